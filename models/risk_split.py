"""The split guarantee on given paths: convex in (rate, deadline, budget); tangent cuts with HiGHS, or SCIP.

Sets
    e ∈ E            entries: n_e units of one tenant on one given path with domains i = 1…L
    o ∈ O, d ∈ D     offers, domains

Given
    θ_e              tilt of each entry; ρ, κ_i and K_i at it (constants, see `fedopt.calculus.split`)
    τ, ε             deadline less delays of links, violation probability
    T_i, D_i, c      guardrail latency, pure delay, slots per slot of a share
    v_o, w_o, C_d    convex cost of the total rate, capacity used per unit of rate, capacity
    h_i              largest rate of a unit

Variables, for one unit of each entry
    R_i              reserved rate, ρ + κ_i ≤ R_i ≤ h_i (19)
    τ_i ≥ D_i        share of the deadline
    β_i              share of the budget: ε_i = β_i ε
    z_o              total rate of offer o

Minimise
    Σ_o v_o(z_o)     (+ fixed and link charges of the given paths [− payments], which are constant)

subject to, with s_i = R_i − κ_i and φ(x) = −log(1 − e^{−x}),

    g_i := [−log(β_i ε) + K_i + Σ_{j≤i} φ(θ(s_j − ρ))]/(θs_i) − (c(τ_i − D_i) − T_i) ≤ 0      every domain
    Σ τ_i ≤ τ,   Σ β_i ≤ 1,   β_i ε ≤ e^{−1/2}                                                 every entry
    z_o = Σ_e n_e R_{e,i(o)},   Σ_{o∈d} w_o z_o ≤ C_d                                          capacity

Hidden convexity: g_i is jointly convex in (R, τ, β) for budgets up to e^{−1/2}, because f(x)/y is jointly
convex iff 2ff'' ≥ f'², which holds for −log ε there and for φ everywhere. So tangents are valid cuts
everywhere and a local optimum is global.

`solver="cuts"` (default): the linear program over all tangents so far, by HiGHS; where its answer breaks a
constraint, tangents are added at the boundary point between it and a point inside, until nothing is broken by
more than 1e-9. The last linear program is a lower bound for the given paths and θ. `solver="scip"`: the same
problem written in Pyomo as θs_i(c(τ_i − D_i) − T_i) ≥ …, which SCIP sees as a nonconvex product; its own
Ipopt finds the optimum and its branching confirms it on small instances.

θ is improved between solves at the current prices of the rates (own slope plus capacity price), unless
`thetas` ({tenant: θ}) states it. Default paths come from `path_selection`; `paths` states them. The plan
states no lower bound, since other paths might be cheaper.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import highspy
import numpy as np

from fedopt.calculus import split
from fedopt.formulations import Decision, ModelError, Program, Route, Sized, given_paths, no_plan, to_plan
from fedopt.instance import Instance
from fedopt.plan import Explanation, HistoryRow, Plan

GUARANTEES = ("split",)
OBJECTIVES = ("cost", "profit")
TOLERANCE = 1e-9


@dataclass
class Model:
    """The entries (route, units) with their θ, and after `solve` their rates and the certified optimum."""

    program: Program
    objective: str
    entries: list[tuple[Route, int]]
    thetas: list[float]
    solver: str
    rounds: int
    explanation: list[Explanation] = field(default_factory=list)
    status: str = "limit"
    rates: list[np.ndarray] = field(default_factory=list)
    given_cost: float = math.inf
    given_bound: float = -math.inf
    prices: dict[str, float] = field(default_factory=dict)
    history: list[HistoryRow] = field(default_factory=list)
    timing: dict[str, float] = field(default_factory=dict)


def build(
    instance: Instance, objective: str = "cost", paths=None, thetas=None, solver="cuts", rounds=12
) -> Model:
    """Fix the paths, and for each the θ that is best at list prices."""
    if solver not in ("cuts", "scip"):
        raise ModelError(f"risk_split: solver is cuts or scip, not {solver!r}")
    started = time.perf_counter()
    program = Program(instance)
    entries, explanation = given_paths(program, paths, "split", objective)
    first = []
    for route, _ in entries:
        theta = (thetas or {}).get(route.tenant)
        if theta is None:
            theta = split.size(route.path, program.prices(route), highs=route.highs, refine=True).theta
        if not math.isfinite(theta):
            explanation.append(
                Explanation(
                    tenant=route.tenant,
                    constraint="deadline",
                    message=f"tenant {route.tenant}: its path cannot keep the deadline at any allowed rate",
                )
            )
        first.append(float(theta))
    rounds = rounds if thetas is None else 0
    timing = {"build": time.perf_counter() - started}
    return Model(program, objective, entries, first, solver, rounds, explanation, timing=timing)


def solve(model: Model, gap: float = 1e-3, time_limit: float | None = None) -> None:
    """Solve at the current θ, improve θ at the prices found, until that saves nothing."""
    if model.explanation:
        model.status = "infeasible"
        return
    started = time.perf_counter()
    thetas = list(model.thetas)
    for number in range(1 + model.rounds):
        left = None if time_limit is None else time_limit - (time.perf_counter() - started)
        if left is not None and left <= 0:
            break
        run = solve_by_scip if model.solver == "scip" else solve_by_cuts
        outcome = run(model.program, model.entries, thetas, left, min(gap, 1e-6))
        if outcome is None:
            if model.status != "feasible":
                model.status = "infeasible"
                message = "the given paths do not fit the capacities at any rates that keep the promises"
                model.explanation = [Explanation(constraint="capacity", message=message)]
            break
        cost, bound, rates, prices = outcome
        seconds = time.perf_counter() - started
        model.history.append(HistoryRow(round=number + 1, cost=min(cost, model.given_cost), seconds=seconds))
        saved = model.given_cost - cost
        if saved > 0:
            model.status, model.given_cost, model.given_bound = "feasible", cost, bound
            model.thetas, model.rates, model.prices = list(thetas), rates, prices
        if saved <= 1e-8 * abs(cost) or model.rounds == 0:
            break
        thetas = improved_thetas(model)
    model.timing["solve"] = time.perf_counter() - started


def loads(entries, rates):
    """Total rate of every offer in use, work/slot."""
    z: dict[str, float] = {}
    for (route, units), rate in zip(entries, rates, strict=True):
        for hop, r in zip(route.hops, rate, strict=True):
            z[hop] = z.get(hop, 0.0) + units * float(r)
    return z


def improved_thetas(model):
    """For each entry the best θ at the current prices of rate in its domains."""
    program, z, found = model.program, loads(model.entries, model.rates), []
    for (route, _), theta in zip(model.entries, model.thetas, strict=True):
        capacity = [model.prices.get(d, 0.0) / program.slot for d in route.domains]
        slopes = [program.curves[hop].slope(z[hop]) for hop in route.hops]
        factors = [program.factor(hop) for hop in route.hops]
        prices = np.array(slopes) + np.array(capacity) * np.array(factors)
        better = split.size(route.path, prices, highs=route.highs, refine=True).theta
        found.append(better if math.isfinite(better) else theta)
    return found


def solve_by_cuts(program, entries, thetas, time_limit, gap):
    """(cost, lower bound, rates, capacity prices) at fixed θ by tangent cuts; None if infeasible."""
    started = time.perf_counter()
    h = highspy.Highs()
    h.silent()
    for option in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
        h.setOptionValue(option, TOLERANCE)
    of = [split.terms(route.path, theta) for (route, _), theta in zip(entries, thetas, strict=True)]
    variables, inside = [], []
    for (route, _), terms in zip(entries, of, strict=True):
        length, least = len(route.hops), terms.isolation[0] * (1 + split.LEAST_MARGIN)
        if not np.all(least < route.highs):
            return None
        point = interior(route, terms)
        if point is None:
            return None
        most = min(1.0, math.exp(split.LARGEST_LOG_BUDGET - terms.log_epsilon))
        rate = [h.addVariable(lb=float(a), ub=float(b)) for a, b in zip(least, route.highs, strict=True)]
        share = [h.addVariable(lb=float(a), ub=float(terms.deadline)) for a in terms.delays]
        budget = [h.addVariable(lb=1e-9, ub=most) for _ in range(length)]
        h.addConstr(sum(share) <= terms.deadline)
        h.addConstr(sum(budget) <= 1)
        variables.append([*rate, *share, *budget])
        inside.append(point)
    expressions: dict[str, list] = {}
    for (route, units), v in zip(entries, variables, strict=True):
        for i, hop in enumerate(route.hops):
            expressions.setdefault(hop, []).append(units * v[i])
    z, c = {}, {}
    for hop, parts in expressions.items():
        z[hop], c[hop] = h.addVariable(lb=0), h.addVariable(lb=0, obj=1)
        h.addConstr(z[hop] == sum(parts))
        for slope, intercept in program.curves[hop].tangents(program.top(hop)):
            h.addConstr(c[hop] >= slope * z[hop] + intercept)
    capacity = {}
    for domain in program.instance.domains:
        used = [program.factor(hop) * z[hop] for hop in z if hop.partition("/")[0] == domain.id]
        if used:
            capacity[domain.id] = h.addConstr(sum(used) <= program.capacity[domain.id])
    for v, terms, point in zip(variables, of, inside, strict=True):
        add_tangents(h, v, terms, point)
    best, answer = math.inf, None
    for _ in range(2000):
        h.run()
        if h.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        bound, values = h.getInfo().objective_function_value, np.array(h.getSolution().col_value)
        rates, cut = [], False
        for (route, _), v, terms, point in zip(entries, variables, of, inside, strict=True):
            here = values[[x.index for x in v]]
            feasible, edge = towards(here, point, terms)
            if not feasible:
                cut = add_tangents(h, v, terms, edge) or cut
            rates.append(repaired(route, terms, here[: len(route.hops)]))
        total = loads(entries, rates)
        for hop, load in total.items():
            if program.curves[hop](load) > values[c[hop].index] + TOLERANCE * abs(bound):
                slope, intercept = program.curves[hop].tangent(load)
                h.addConstr(c[hop] >= slope * z[hop] + intercept)
        cost = sum(program.curves[hop](load) for hop, load in total.items())
        fits = all(
            sum(program.factor(hop) * load for hop, load in total.items() if hop.partition("/")[0] == name)
            <= program.capacity[name] * (1 + 1e-8)
            for name in capacity
        )
        if fits and cost < best:
            duals = h.getSolution().row_dual
            prices = {name: max(0.0, -duals[row.index]) * program.slot for name, row in capacity.items()}
            best, answer = cost, (rates, prices)
        if best - bound <= 1e-9 * abs(bound) or not cut:
            break
        if time_limit is not None and time.perf_counter() - started > time_limit:
            break
    return None if answer is None else (best, bound, *answer)


def interior(route, terms):
    """A point (R, τ, β) at which all split constraints hold with room to spare; None if there is none."""
    found = split.size(route.path, np.ones(len(route.hops)), terms, highs=route.highs)
    if not math.isfinite(found.cost):
        return None
    base = terms.isolation[0]
    rates = np.minimum(base + 1.2 * (found.rates - base), 0.5 * (found.rates + route.highs))
    deadlines, budgets = split.shares(terms, rates)
    return np.concatenate([rates, deadlines, np.minimum(budgets / math.exp(terms.log_epsilon), 1.0)])


def broken(point, terms, order=0):
    """The split constraints g_i at a point (R, τ, β)."""
    rates, shares, parts = np.split(point, 3)
    return split.excess(terms, rates, shares, parts * math.exp(terms.log_epsilon), order=order)


def towards(point, inside, terms):
    """(whether the point is feasible, the point where the way from inside to it leaves the feasible set)."""
    if np.all(broken(point, terms).value <= TOLERANCE):
        return True, point
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        if np.all(broken(inside + middle * (point - inside), terms).value <= 0):
            low = middle
        else:
            high = middle
    return False, inside + low * (point - inside)


def add_tangents(h, variables, terms, point):
    """The tangents of all g_i at a point, as rows; whether any was added."""
    at = broken(point, terms, order=1)
    slopes = at.gradient[0].copy()
    third = len(point) // 3
    slopes[:, 2 * third :] *= math.exp(terms.log_epsilon)
    for value, slope in zip(at.value[0], slopes, strict=True):
        scale = float(np.abs(slope).max())
        index = np.flatnonzero(np.abs(slope) > 1e-13 * scale)
        right = float(slope @ point - value)
        h.addRow(
            -highspy.kHighsInf,
            right / scale,
            index.size,
            np.array([variables[k].index for k in index], dtype=np.int32),
            slope[index] / scale,
        )
    return True


def repaired(route, terms, rates):
    """The rates, their margins raised by the least part that proves the promise."""
    base = terms.isolation[0]
    margin = np.maximum(rates - base, base * split.LEAST_MARGIN)

    def proves(part):
        return split.log_bound(terms, base + margin * (1 + part))[0][0] <= terms.log_epsilon

    if proves(0.0):
        return base + margin
    low, high = 0.0, 1e-9
    while not proves(high):
        low, high = high, 4 * high
        if high > 1e9:
            return base + margin
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if proves(middle) else (middle, high)
    return base + margin * (1 + high)


def solve_by_scip(program, entries, thetas, time_limit, gap):
    """(cost, lower bound, rates, no prices) at fixed θ: the same problem in Pyomo, by SCIP; None if
    infeasible.
    """
    import pyomo.environ as pyo
    from pyomo.contrib.solver.common.factory import SolverFactory

    m = pyo.ConcreteModel("risk split")
    m.rows = pyo.ConstraintList()
    m.margin = pyo.VarList(domain=pyo.NonNegativeReals)  # x = θ(s − ρ)
    m.more = pyo.VarList(domain=pyo.NonNegativeReals)
    terms = [split.terms(route.path, theta) for (route, _), theta in zip(entries, thetas, strict=True)]
    rates, used = [], {}
    for (route, units), of, theta in zip(entries, terms, thetas, strict=True):
        load, base, mine, phis, parts, shares = theta * of.rho[0], of.isolation[0], [], [], [], []
        for i, hop in enumerate(route.hops):
            x, phi, u, share = m.margin.add(), m.more.add(), m.more.add(), m.more.add()
            x.setlb(theta * float(base[i]) * split.LEAST_MARGIN)
            x.setub(theta * float(route.highs[i] - base[i]))
            phi.setub(40.0)
            u.setlb(max(0.0, of.log_epsilon - split.LARGEST_LOG_BUDGET))
            u.setub(25.0)
            share.setub(of.stretch * of.deadline)
            phis, parts, shares = [*phis, phi], [*parts, u], [*shares, share]
            m.rows.add(phi >= -pyo.log(1 - pyo.exp(-x)))
            top = u - of.log_epsilon + float(of.constants[0, i]) + sum(phis)
            m.rows.add((x + load) * share >= top)  # share = c(τ_i − D_i) − T_i
            mine.append(float(base[i]) + x / theta)
            used.setdefault(hop, []).append(units * mine[-1])
        m.rows.add(sum(pyo.exp(-u) for u in parts) <= 1)
        m.rows.add(sum(shares) <= of.room)
        rates.append(mine)
    cost = 0
    for hop, parts in used.items():
        c = m.more.add()
        charge, z = program.offers[hop][1].cost, sum(parts) / program.slot
        if charge.model == "quadratic":
            m.rows.add(c >= charge.rate * z + charge.quad * z**2)
        else:
            for slope, intercept in program.curves[hop].tangents(program.top(hop), count=200):
                m.rows.add(c >= slope * sum(parts) + intercept)
        cost = cost + c
    for domain in program.instance.domains:
        parts = [
            program.factor(hop) * sum(p) for hop, p in used.items() if hop.partition("/")[0] == domain.id
        ]
        if parts:
            m.rows.add(sum(parts) <= program.capacity[domain.id])
    m.total = pyo.Objective(expr=cost)
    solver = SolverFactory("scip_direct")
    if not solver.available():
        raise ModelError("solver='scip' needs the extra fedopt[scip] (the package pyscipopt)")
    outcome = solver.solve(
        m,
        rel_gap=gap,
        time_limit=time_limit,
        solver_options={"numerics/feastol": 1e-9},
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
    )
    if outcome.incumbent_objective is None:
        return None
    outcome.solution_loader.load_vars()
    values = [np.array([pyo.value(r) for r in mine]) for mine in rates]
    fixed = [repaired(route, of, r) for (route, _), of, r in zip(entries, terms, values, strict=True)]
    total = sum(program.curves[hop](load) for hop, load in loads(entries, fixed).items())
    return total, float(outcome.objective_bound), fixed, {}


def extract(model: Model) -> Plan:
    """The rates found, with the shares of deadline and budget that prove most."""
    about = {
        "method": "model:risk_split",
        "guarantee": "split",
        "objective": model.objective,
        "timing": model.timing,
    }
    if model.status != "feasible":
        return no_plan(model.program, explanation=model.explanation, limit=model.status == "limit", **about)
    decisions = []
    for (route, units), theta, rates in zip(model.entries, model.thetas, model.rates, strict=True):
        terms = split.terms(route.path, theta)
        deadlines, budgets = split.shares(terms, rates)
        log_bound = float(split.log_bound(terms, rates)[0][0])
        decisions.append(Decision(route, units, Sized(rates, theta, log_bound, "split", deadlines, budgets)))
    notes = [
        "Paths are given; on them and at the θ stated the variable cost is "
        f"{model.given_cost:.9g} with the lower bound {model.given_bound:.9g}."
    ]
    return to_plan(
        model.program, decisions, prices=model.prices or None, history=model.history, notes=notes, **about
    )
