"""Federated provisioning by ADMM in sharing form: Algorithm 1 of the paper (cvxpy, Clarabel, HiGHS).

Sets
    k ∈ K            classes of n_k identical tenants
    j ∈ J_k          columns found so far: a path with reservations R_j that keep the promise; charges f_j
    d ∈ D, o ∈ O_d   domains and their offers

Private to a domain d
    c_d(z)           convex cost of its loads z_o, work per unit of time
    w·z ≤ C_d        capacity used per unit of load; capacity

Public
    x_j ≥ 0          tenants on each column (broker);  v = Σ_j R_j x_j their loads
    p, ρ             prices of loads; penalty

Minimise Σ_d c_d(z_d) + Σ_j f_j x_j   subject to   z = v,   Σ_{j∈J_k} x_j = n_k,   w·z_d ≤ C_d

Algorithm, in every round
    domain step      z_d ← argmin c_d(z) − p·z + ρ/2 ‖z − v‖²     over w·z ≤ C_d; only z_d leaves the domain
    dual step        p ← p + ρ (v − z)
    certificate      no plan costs less than Σ_d min_z {c_d(z) − p·z} + Σ_k n_k min_j {f_j + p·R_j}; the first
                     minima are the domain step without its penalty, the second the pricing oracle, which
                     looks at every path and catalogue and hands over columns cheaper than those known; with
                     every domain's floor in the place of R_j that holds for all reservations
    broker step      x ← argmin Σ f_j x_j + p·v + ρ/2 ‖v − z‖²    over Σ x_j = n_k, x ≥ 0
    residuals        ‖v − z‖ and ρ‖z − z⁻‖; where one is four times the other ρ is doubled or halved

and when both are small, tenants are assigned as a whole: every certificate is a cut c_d(v) ≥ D_d + p·v, an
integer program over the cuts proposes a plan, and the domains answer what it costs, or how much of it they
can carry, until a plan is within the gap of the bound or no better one is proposed.

The methods `admm` and `bundle` do the same with over-relaxation, closed forms and linear programs that mix
the answers of all rounds; this file is what they are held to account against.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import cvxpy as cp
import numpy as np

from fedopt.central.report import domain_plans, instance_reference, tenant_plans
from fedopt.federated import default_problem
from fedopt.federated.domain import offers_of
from fedopt.instance import Instance
from fedopt.plan import Explanation, HistoryRow, Plan, TenantPlans
from fedopt.pricing import Network, Oracle, sizing_for

GUARANTEES = ("minplus", "split", "paper-path", "paper-local")
OBJECTIVES = ("cost",)
FINE = {"solver": cp.CLARABEL, "tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9}


class DomainProblem:
    """One domain's private convex problem; parametrised, so that rounds do not build it again (DPP)."""

    def __init__(self, domain):
        problem, offers = default_problem([domain]), offers_of([domain])
        self.z = cp.Variable(len(offers), nonneg=True)
        self.price, self.target = cp.Parameter(len(offers)), cp.Parameter(len(offers))
        self.root = cp.Parameter(nonneg=True)  # √ρ: ρ‖z − v‖² in v and ρ would be no DPP
        self.wanted = cp.Parameter(len(offers), nonneg=True)
        near = 0.5 * cp.sum_squares(self.root * self.z - self.target)
        carried = [*problem.constraints, problem.loads(offers) >= self.z]
        self.proximal = cp.Problem(cp.Minimize(problem.cost - self.price @ self.z + near), carried)
        self.nearest = cp.Problem(cp.Minimize(cp.sum_squares(self.z - self.wanted)), carried)
        exact = [*problem.constraints, problem.loads(offers) >= self.wanted]
        self.exact = cp.Problem(cp.Minimize(problem.cost), exact)

    def step(self, price, v, rho):
        """argmin c(z) − p·z + ρ/2 ‖z − v‖²."""
        self.price.value, self.root.value, self.target.value = price, math.sqrt(rho), math.sqrt(rho) * v
        self.proximal.solve(**FINE)
        return np.maximum(self.z.value, 0.0)

    def support(self, price):
        """min c(z) − p·z, less the solver's tolerance."""
        self.step(price, np.zeros(len(price)), 0.0)
        value = float(self.proximal.value)
        return value - 1e-7 * (abs(value) + float(np.abs(price) @ self.z.value))

    def cost(self, loads):
        """c(loads), or infinity and the nearest loads that the domain can carry."""
        self.wanted.value = np.maximum(loads * (1.0 - 1e-9), 0.0)
        self.exact.solve(**FINE)
        if self.exact.status == cp.OPTIMAL:
            return float(self.exact.value), loads
        self.nearest.solve(**FINE)
        return math.inf, self.z.value


@dataclass
class Model:
    """Network and oracle (public), domains (private), the columns so far, and what `solve` finds."""

    network: Network
    oracle: Oracle
    guarantee: str
    domains: list[DomainProblem]
    offers: list[np.ndarray]
    rounds: int
    penalty: float
    counts: np.ndarray
    columns: list = field(default_factory=list)
    cuts: list = field(default_factory=list)
    room: dict[int, float] = field(default_factory=dict)
    lower: float = -math.inf
    floor: float = -math.inf
    cost: float = math.inf
    gap: float = 1e-3
    chosen: tuple | None = None
    explanation: list[Explanation] = field(default_factory=list)
    history: list[HistoryRow] = field(default_factory=list)
    timing: dict[str, float] = field(default_factory=dict)

    def matrix(self):
        """Loads of one tenant on each column, (offers, columns)."""
        loads = np.zeros((len(self.network.names), len(self.columns)))
        for j, column in enumerate(self.columns):
            np.add.at(loads[:, j], column.offers, column.rates / self.network.slot)
        return loads

    def assignment(self):
        """Which class each column serves, (classes, columns); the columns' charges."""
        kinds = np.array([column.kind for column in self.columns])
        charges = np.array([column.charge for column in self.columns])
        return (kinds == np.arange(len(self.counts))[:, None]).astype(float), charges


def build(instance: Instance, guarantee: str = "minplus", rounds: int = 60, penalty: float = 0.25) -> Model:
    """State every domain's problem; `penalty` is ρ in the mean price per mean load."""
    network = Network(instance)
    domains = [DomainProblem(domain) for domain in instance.domains]
    ends = np.cumsum([len(domain.offers) for domain in instance.domains])
    offers = np.split(np.arange(len(network.names)), ends[:-1])
    counts = np.array([kind.count for kind in network.kinds], float)
    oracle = Oracle(network, sizing_for(guarantee, network))
    return Model(network, oracle, guarantee, domains, offers, rounds, penalty, counts)


def solve(model: Model, gap: float = 1e-3, time_limit: float | None = None) -> None:
    """Algorithm 1, then whole tenants."""
    started, n, model.gap = time.perf_counter(), len(model.network.names), gap
    price = np.array([float(curve.marginal(0.0)) for curve in model.network.curves])
    price = np.maximum(price, 1e-3 * price.mean())
    _certify(model, np.zeros(len(model.domains)), price)
    blocked = [kind for kind in model.network.kinds if all(c.kind != kind.index for c in model.columns)]
    for kind in blocked:
        name = kind.tenants[0][0]
        model.explanation.append(
            Explanation(tenant=name, constraint="path", message=f"{name}: no path keeps its promise")
        )
    if blocked:
        return
    _, v = _broker_step(model, price, np.zeros(n), 0.0)
    rho = model.penalty * price.mean() / max(v.mean(), 1e-9)
    z = v
    for number in range(1, model.rounds + 1):
        parts = zip(model.domains, model.offers, strict=True)
        before, z = z, np.concatenate([domain.step(price[o], v[o], rho) for domain, o in parts])
        price = np.maximum(price + rho * (v - z), 0.0)
        parts = zip(model.domains, model.offers, strict=True)
        _certify(model, np.array([domain.support(price[o]) for domain, o in parts]), price)
        _, v = _broker_step(model, price, z, rho)
        primal = float(price @ np.abs(v - z)) / float(price @ v)
        dual = float(rho * np.abs(z - before) @ v) / float(price @ v)
        _record(model, started, primal, dual)
        if max(primal, dual) < 0.1 * gap or _over(started, time_limit):
            break
        if number % 2 == 0:
            rho *= 2.0 if primal > 4.0 * dual else 0.5 if dual > 4.0 * primal else 1.0
    while not _over(started, time_limit) and len(model.history) < 2 * model.rounds:
        if math.isfinite(model.cost) and model.cost - model.lower <= gap * abs(model.cost):
            break
        found, value = _whole(model)
        if found is None or value >= model.cost * (1.0 - 0.1 * gap):
            break
        _confirm(model, found)
        _record(model, started)
    model.timing["solve"] = time.perf_counter() - started


def _certify(model, supports, price):
    """The lower bound at these prices, with the cuts and the columns that come with it."""
    known = np.full(len(model.counts), math.inf)
    for column in model.columns:
        known[column.kind] = min(known[column.kind], column.cost(price / model.network.slot))
    answers = model.oracle.price_all(price / model.network.slot, known)
    model.columns += [column for answer in answers for column in answer.columns[:2]]
    if supports.any():
        model.cuts.append((supports, price))
        least = np.array([answer.bound for answer in answers])
        model.lower = max(model.lower, math.fsum(supports) + math.fsum(model.counts * least))
        floors, _ = model.oracle.relaxed(price / model.network.slot)
        model.floor = max(model.floor, math.fsum(supports) + math.fsum(model.counts * floors))


def _broker_step(model, price, z, rho):
    """argmin Σ f_j x_j + p·v + ρ/2 ‖v − z‖² over tenants x on the columns; (x, v)."""
    x, loads = cp.Variable(len(model.columns), nonneg=True), model.matrix()
    classes, charges = model.assignment()
    near = 0.5 * cp.sum_squares(math.sqrt(rho) * (loads @ x - z)) if rho else 0.0
    cost = charges @ x + price @ loads @ x + near
    cp.Problem(cp.Minimize(cost), [classes @ x == model.counts]).solve(solver=cp.CLARABEL)
    x = np.maximum(x.value, 0.0)
    return x, loads @ x


def _whole(model):
    """Whole tenants on the columns: the plan that would be cheapest if the cuts were exact; its value."""
    x, loads = cp.Variable(len(model.columns), integer=True), model.matrix()
    classes, charges = model.assignment()
    bills, v = cp.Variable(len(model.domains), nonneg=True), loads @ x
    rows = [x >= 0, classes @ x == model.counts]
    for d, o in enumerate(model.offers):
        rows += [bills[d] >= supports[d] + price[o] @ v[o] for supports, price in model.cuts]
        if d in model.room:
            rows.append(model.network.factor[o] @ v[o] <= model.room[d])
    problem = cp.Problem(cp.Minimize(charges @ x + cp.sum(bills)), rows)
    problem.solve(solver=cp.HIGHS)
    return (None, math.inf) if x.value is None else (np.round(x.value), float(problem.value))


def _confirm(model, x):
    """Ask every domain what a plan costs; one that cannot carry it says how much it can."""
    _, charges = model.assignment()
    loads, total, answers = model.matrix() @ x, float(charges @ x), []
    for d, (domain, o) in enumerate(zip(model.domains, model.offers, strict=True)):
        cost, carried = domain.cost(loads[o])
        total += cost
        answers.append(carried)
        if math.isinf(cost):
            model.room[d] = float(model.network.factor[o] @ carried)
    if total < model.cost:
        used = np.flatnonzero(x)
        model.cost, model.chosen = total, ([model.columns[j] for j in used], x[used])
    slopes = [domain.exact.constraints[-1].dual_value for domain in model.domains]
    if math.isfinite(total):  # what the plan costs is a cut too: its slope is the shadow price of its loads
        price = np.concatenate([np.maximum(slope, 0.0) for slope in slopes])
        supports = [d.support(price[o]) for d, o in zip(model.domains, model.offers, strict=True)]
        model.cuts.append((np.array(supports), price))


def _record(model, started, primal=None, dual=None):
    model.history.append(
        HistoryRow(
            round=len(model.history) + 1,
            cost=model.cost if math.isfinite(model.cost) else None,
            lower_bound=model.lower if math.isfinite(model.lower) else None,
            primal_residual=primal,
            dual_residual=dual,
            seconds=time.perf_counter() - started,
            columns=len(model.columns),
        )
    )


def _over(started, time_limit):
    return time_limit is not None and time.perf_counter() - started > time_limit


def extract(model: Model) -> Plan:
    """The confirmed plan with the certified bound."""
    about = {
        "instance": instance_reference(model.network),
        "method": "model:federated_admm",
        "guarantee": model.guarantee,
        "objective": "cost",
        "timing": model.timing,
        "history": model.history,
    }
    if model.chosen is None:
        status = "infeasible" if model.explanation else "limit"
        return Plan(**about, status=status, explanation=model.explanation)
    entries = tenant_plans(model.network, model.chosen[0], model.chosen[1])
    cost = math.fsum(entry.cost for entry in entries)
    bound = min(model.lower, cost)
    return Plan(
        **about,
        status="optimal" if cost - bound <= model.gap * abs(cost) else "feasible",
        cost=cost,
        lower_bound=min(model.floor, cost),
        catalogue_bound=bound,
        tenants=TenantPlans(entries),
        domains=domain_plans(model.network, entries, None),
    )
