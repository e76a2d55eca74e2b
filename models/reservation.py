"""Reservation sizing on given paths under the min-plus guarantee, in the log domain (cvxpy, Clarabel).

Sets
    e ∈ E            entries: n_e units of one tenant on one given path o_1…o_L
    o ∈ O, d ∈ D     offers, domains

Given
    θ_e              tilt of each entry; everything below is taken at it
    ρ, σ             arrivals, σ with the per-request correction
    κ_i, η_i         impairment of each domain on the path
    T_i              latency of a rate-latency guardrail (0 for a pure delay), T_Σ their sum
    N                ⌊τ − delays of links − pure delays⌋, slots
    v_o, w_o, C_d    convex cost of the total rate, capacity used per unit of rate, capacity
    h_i              largest rate of a unit

Variables
    R_{e,i}          rate of one unit in each domain of its path, work/slot
    z_o              total rate of offer o

Minimise
    Σ_o v_o(z_o)     (+ fixed and link charges of the given paths [− payments], which are constant)

subject to, with s_i = R_i − κ_i, u_i = θs_i and x_i = θ(s_i − ρ),

    θ(σ + Σ(η_i + κ_iT_i)) + Σ u_iT_i + log Σ_{ℓ≥1} e^{θρℓ} h_{ℓ+N}(e^{−u_1}, …, e^{−u_L}) ≤ log ε       fine
    θ(σ + Ση_i) + θ[κ_Σ N − R_min(N − T_Σ)] − θ(R_min − ρ − κ_Σ) ≤ log ε,  R_i ≥ R_min ≥ ρ + κ_Σ        ville
    R_i ≥ ρ + κ_i                                                                               isolation (19)
    Σ_{o∈d} w_o z_o ≤ C_d,   z_o = Σ_e n_e R_{e,i(o)},   R_{e,i} ≤ h_i                               capacity

h_X is the complete homogeneous polynomial: a sum over all ways to spend X slots in the L domains. Its
logarithm is written as log-sum-exp along the lattice of (domain j, slots x) that those ways are,

    H_j(x) ≥ log(e^{H_{j−1}(x)} + e^{H_j(x−1) − u_j}),    H_1(x) = −x u_1,    H_j(0) ≥ 0,

and the sum over ℓ in closed form, by the domain j in which a way takes its slot N + 1:

    log Σ_{ℓ≥1} … = log Σ_j exp(θρ − u_j + H_j(N) + Σ_{i≥j} φ(x_i)),      φ(x) = −log(1 − e^{−x}), convex.

Both forms are convex in R at fixed θ and path. θ is improved between solves: at the rates found, the θ that
proves most. Default paths and a first θ come from `path_selection`; the options `paths` ({tenant:
["domain/offer", …]}, or a list of such paths, one a unit) and `thetas` ({tenant: θ}) state them. The optimum
is over the rates for the given paths, so the plan states no lower bound.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, field

import cvxpy as cp
import numpy as np

from fedopt.calculus.forms import bit
from fedopt.calculus.minplus import evaluate
from fedopt.formulations import Decision, ModelError, Program, Route, Sized, given_paths, no_plan, to_plan
from fedopt.instance import Instance
from fedopt.plan import Explanation, Plan

GUARANTEES = ("minplus:fine", "minplus:ville")
OBJECTIVES = ("cost", "profit")


@dataclass
class Model:
    """The entries (route, units) with their θ, and after `solve` their rates."""

    program: Program
    form: str
    objective: str
    entries: list[tuple[Route, int]]
    thetas: list[float]
    rounds: int
    explanation: list[Explanation] = field(default_factory=list)
    status: str = "limit"
    rates: list[np.ndarray] = field(default_factory=list)
    prices: dict[str, float] = field(default_factory=dict)
    timing: dict[str, float] = field(default_factory=dict)


def build(
    instance: Instance,
    guarantee: str = "minplus:fine",
    objective: str = "cost",
    paths=None,
    thetas=None,
    rounds=8,
) -> Model:
    """Fix the paths and a first θ for each."""
    started = time.perf_counter()
    program, form = Program(instance), guarantee.partition(":")[2]
    entries, explanation = given_paths(program, paths, guarantee, objective)
    first = []
    for route, _ in entries:
        theta = (thetas or {}).get(route.tenant)
        first.append(float(theta) if theta is not None else _best_theta(route, route.highs, form, widen=True))
    model = Model(program, form, objective, entries, first, rounds if thetas is None else 0, explanation)
    model.timing["build"] = time.perf_counter() - started
    return model


def solve(model: Model, gap: float = 1e-3, time_limit: float | None = None) -> None:
    """Solve at the current θ; take the θ that proves most at the rates found; until that saves nothing."""
    if model.explanation:
        model.status = "infeasible"
        return
    started, best = time.perf_counter(), math.inf
    for _ in range(1 + model.rounds):
        cost, rates, prices = _solve(model, model.thetas)
        if not math.isfinite(cost):
            if math.isinf(best):
                model.status = "infeasible"
                model.explanation = [
                    Explanation(
                        constraint="capacity", message="the given paths do not fit the capacities at their θ"
                    )
                ]
            break
        saved, best = best - cost, min(best, cost)
        if saved > 0:
            model.status, model.rates, model.prices = "feasible", rates, prices
        if saved <= 1e-7 * abs(cost) or _over(started, time_limit):
            break
        pairs = zip(model.entries, rates, strict=True)
        model.thetas = [_best_theta(route, r, model.form) for (route, _), r in pairs]
    model.timing["solve"] = time.perf_counter() - started


def _solve(model, thetas):
    """(cost, rates, capacity prices) of the convex program at given θ."""
    program, constraints = model.program, []
    variables = [cp.Variable(len(route.hops)) for route, _ in model.entries]
    terms: dict[str, list] = {}
    for (route, units), rate, theta in zip(model.entries, variables, thetas, strict=True):
        add = fine_constraints if model.form == "fine" else ville_constraints
        constraints += [*add(route.path, rate, theta), rate <= route.highs]
        for i, hop in enumerate(route.hops):
            terms.setdefault(hop, []).append(units * rate[i])
    z = {hop: cp.sum(cp.hstack(parts)) for hop, parts in terms.items()}
    capacity = {}
    for domain in program.instance.domains:
        used = [program.factor(hop) * z[hop] for hop in z if hop.partition("/")[0] == domain.id]
        if used:
            capacity[domain.id] = cp.sum(cp.hstack(used)) <= program.capacity[domain.id]
    cost = sum(convex_cost(program, hop, load) for hop, load in z.items())
    problem = cp.Problem(cp.Minimize(cost), [*constraints, *capacity.values()])
    try:
        with warnings.catch_warnings():  # rates are made exact afterwards, so a little less precision will do
            warnings.filterwarnings("ignore", message="Solution may be inaccurate")
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    except cp.SolverError:
        return math.inf, [], {}
    if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        return math.inf, [], {}
    prices = {name: float(row.dual_value) * program.slot for name, row in capacity.items()}
    return float(problem.value), [np.array(v.value) for v in variables], prices


def constants(path, theta):
    """ρ, θσ with the per-request correction, κ_i and η_i at θ (with Hölder exponents)."""
    path = path.fluid  # whose bounds are those of whole requests
    rho = float(path.arrival.rho(theta))
    start = theta * float(path.arrival.sigma(theta))
    if path.per_request:
        start += float(path.arrival.request_log_bias(theta))
    pairs = list(zip(path.impairments, path.exponents, strict=True))
    kappa = np.array([float(i.kappa(p * theta)) for i, p in pairs])
    eta = np.array([float(i.eta(p * theta)) for i, p in pairs])
    if not (math.isfinite(start + rho) and np.all(np.isfinite(kappa + eta))):
        raise ModelError(f"θ = {theta:g} lies outside the domain of an envelope on the path")
    return rho, start, kappa, eta


def fine_constraints(path, rate, theta):
    """The fine form: log-sum-exp along the lattice of (domain, slots), with H_j(x) as variables above it."""
    path = path.fluid  # whose bounds are those of whole requests
    rho, start, kappa, eta = constants(path, theta)
    n, hops, lag = path.slots, len(path), path.guardrail_latencies
    u = theta * (rate - kappa)
    x = u - theta * rho
    phi = -cp.log(1 - cp.exp(-x))
    constraints = [x >= 1e-9]
    row = -u[0] * np.arange(n + 1)
    ends = [row[n]]
    for j in range(1, hops):
        above = cp.Variable(n + 1)
        constraints.append(above[0] >= 0)  # nothing spent yet: log 1
        if n:
            merged = cp.log_sum_exp(cp.vstack([row[1:], above[:-1] - u[j]]), axis=0)
            constraints.append(above[1:] >= merged)
        row = above
        ends.append(row[n])
    ways = [theta * rho - u[j] + ends[j] + cp.sum(phi[j:]) for j in range(hops)]
    burst = start + theta * float(eta.sum() + (kappa * lag).sum())
    return [*constraints, burst + lag @ u + cp.log_sum_exp(cp.hstack(ways)) <= path.log_epsilon]


def ville_constraints(path, rate, theta):
    """The ville form: linear in the smallest reservation."""
    path = path.fluid  # whose bounds are those of whole requests
    rho, start, kappa, eta = constants(path, theta)
    n, least, every, total = path.slots, cp.min(rate), kappa.sum(), float(path.guardrail_latencies.sum())
    bound = start + theta * float(eta.sum()) + theta * (every * n - least * (n - total))
    return [bound - theta * (least - rho - every) <= path.log_epsilon, rate >= rho + every]


def convex_cost(program, hop, load):
    """v_o(z) as a cvxpy expression."""
    cost = program.offers[hop][1].cost
    z = load / program.slot
    if cost.model == "linear":
        return cost.rate * z
    if cost.model == "quadratic":
        return cost.rate * z + cost.quad * cp.square(z)
    if cost.model != "piecewise":
        raise ModelError(f"{hop}: reservation knows linear, quadratic and piecewise costs")
    lines = program.curves[hop].tangents(program.top(hop))
    return cp.max(cp.hstack([slope * load + intercept for slope, intercept in lines]))


def _best_theta(route, rates, form, widen=False):
    found = evaluate(route.path, np.asarray(rates, dtype=float), bit(form))
    if not math.isfinite(found.log_bound):
        raise ModelError(f"tenant {route.tenant}: the form {form} proves nothing for its path at any rate")
    if widen:  # start from the θ of the least common rate
        from fedopt.formulations import size_route

        sized = size_route(route, f"minplus:{form}", np.ones(len(route.hops)))
        return found.theta if sized is None else sized.theta
    return found.theta


def _over(started, time_limit):
    return time_limit is not None and time.perf_counter() - started > time_limit


def extract(model: Model) -> Plan:
    """The rates found, each with the bound that they prove."""
    about = {
        "method": "model:reservation",
        "guarantee": f"minplus:{model.form}",
        "objective": model.objective,
        "timing": model.timing,
    }
    if model.status != "feasible":
        return no_plan(model.program, explanation=model.explanation, limit=model.status == "limit", **about)
    decisions = []
    for (route, units), rates in zip(model.entries, model.rates, strict=True):
        safe = _repair(route, rates, model.form)
        found = evaluate(route.path, safe, bit(model.form))
        parameters = dict(found.parameters)
        sized = Sized(
            safe, found.theta, found.log_bound, model.form, block=found.block, parameters=parameters
        )
        decisions.append(Decision(route, units, sized))
    notes = ["Paths are given; the optimum is over the rates on them."]
    return to_plan(model.program, decisions, prices=model.prices, notes=notes, **about)


def _repair(route, rates, form):
    """The rates, raised by the least part that makes the promise exact where the solver left it short."""
    part = 0.0
    while evaluate(route.path, rates * (1 + part), bit(form)).log_bound > route.path.log_epsilon:
        part = max(2 * part, 1e-12)
        if part > 1e-5:
            raise ModelError(
                f"tenant {route.tenant}: the solver's rates miss the promise by more than rounding"
            )
    return np.minimum(rates * (1 + part), route.highs)
