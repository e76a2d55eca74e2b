"""Path, rates and split together: one convex mixed-integer program, solved to global optimality (SCIP).

Sets
    u ∈ U            tenant groups of count_u identical units
    p ∈ P_u          admissible paths, with offers o_1…o_L
    k ∈ K_p          values of θ to choose from on path p
    o ∈ O, d ∈ D     offers; domains with offers O_d

Given
    G_pk(R)          slots of deadline that rates R need under the split guarantee at θ_k, with deadlines and
                     budgets chosen best (closed form, `fedopt.calculus.split.rate_excess`); convex in R
    N_p              slots of deadline that there are
    ρ_k + κ_i, h_i   isolation (19) and largest rate of a unit
    f_p, m_u         fixed charges and link costs of a unit; its payment
    v_o, w_o, C_d    convex cost of the total rate, capacity used per unit of rate, capacity

Variables
    n_{pk} ∈ {0, 1, 2, …}   units on path p proven at θ_k
    X_{pk,i} ≥ 0            their rates in domain i, added up
    z_o, c_o ≥ 0            total rate of an offer, and its cost

Minimise
    Σ_o c_o + Σ_{pk} f_p n_{pk}   [ − Σ_u m_u Σ_{pk} n_{pk} ]

subject to
    Σ_{pk} n_{pk} = count_u  (≤ count_u for "profit")            one path and one θ a unit
    n G_pk(X_{pk}/n) ≤ n N_p                                     the promise, in perspective
    (ρ_k + κ_i) n_{pk} ≤ X_{pk,i} ≤ h_i n_{pk}                   isolation, largest rates
    z_o = Σ X,   Σ_{o∈O_d} w_o z_o ≤ C_d,   c_o ≥ v_o(z_o)       loads, capacity, cost

G is convex, so units of a group with the same path and θ take equal rates, and every tangent

    G(R̂) n + ∇G(R̂)·(X − R̂ n) ≤ N n

is valid for all X and n. SCIP branches on n over the tangents known (the perspective makes them as tight as
they can be: at whole n they say what they say for one unit). Then n is held and tangents are added until
rates, shares and costs are exact, which gives a plan; and SCIP branches again. An assignment that comes back
has been paid for exactly, and the two bounds meet.

The lower bound is over all paths, rates, deadlines and budgets, and the θ listed. `thetas`, or the instance's
own `theta`, states K, the same for all paths; without one K_p surrounds the θ that is best for p at list
prices, and values that would be better at the prices found are added until none is. It lists all paths: for
small instances.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from fedopt.calculus import split
from fedopt.central.certificate import bound_of
from fedopt.formulations import Decision, ModelError, Program, Route, Sized, no_plan, to_plan
from fedopt.instance import Instance
from fedopt.plan import Explanation, HistoryRow, Plan

GUARANTEES = ("split",)
OBJECTIVES = ("cost", "profit")
SPREAD = (0.75, 0.87, 1.0, 1.15, 1.33)
TIGHT = 2e-7
"""Relative precision of costs between the rounds."""


@dataclass
class Choice:
    """One (path, θ) of a tenant, with its columns in the program."""

    route: Route
    terms: split.SplitTerms
    inside: np.ndarray
    n: object = None
    X: list = field(default_factory=list)


@dataclass
class Model:
    """The program, its choices and its columns; after `solve` the best plan found and the bound."""

    program: Program
    objective: str
    grow: bool
    choices: list[Choice]
    blocked: list[Explanation]
    scip: object
    z: dict = field(default_factory=dict)
    c: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)
    status: str = "limit"
    cost: float = math.inf
    lower_bound: float = -math.inf
    decisions: list[Decision] = field(default_factory=list)
    history: list[HistoryRow] = field(default_factory=list)
    timing: dict[str, float] = field(default_factory=dict)


def build(instance: Instance, objective: str = "cost", thetas=None) -> Model:
    """List the choices that can keep their promise and write the program with tangents around list prices."""
    try:
        import pyscipopt
    except ImportError as error:
        raise ModelError("joint needs the extra fedopt[scip] (the package pyscipopt)") from error
    started = time.perf_counter()
    program, scip = Program(instance), pyscipopt.Model("joint")
    scip.hideOutput()
    scip.setParam("numerics/feastol", 1e-7)
    scip.setParam("limits/gap", 0.1 * TIGHT)
    thetas = instance.theta if thetas is None else thetas
    model = Model(program, objective, thetas is None, [], [], scip)
    start_rows(model)
    for tenant in program.tenants:
        routes, found = program.routes(tenant), 0
        for route in routes:
            for theta in theta_choices(program, route) if thetas is None else np.atleast_1d(thetas):
                found += add_choice(model, route, float(theta))
        if not found and objective == "cost":
            reason = (
                "no path keeps the deadline at any allowed rate" if routes else "the policy admits no path"
            )
            constraint = "deadline" if routes else "policy"
            message = f"tenant {tenant.id}: {reason}"
            model.blocked.append(Explanation(tenant=tenant.id, constraint=constraint, message=message))
    model.timing["build"] = time.perf_counter() - started
    return model


def theta_choices(program, route):
    """Values of θ around the best one at list prices; none where the path cannot keep the promise."""
    found = split.size(route.path, program.prices(route), highs=route.highs, refine=True)
    return found.theta * np.array(SPREAD) if math.isfinite(found.cost) else np.empty(0)


def start_rows(model):
    """Rows of units, loads and capacity, and the cost columns of the offers, still without choices."""
    scip, program = model.scip, model.program
    infinity = scip.infinity()
    for tenant in program.tenants:
        least = tenant.count if model.objective == "cost" else 0
        model.rows["units", tenant.id] = row(scip, [], least, tenant.count)
    for hop in program.offers:
        model.z[hop] = scip.addVar(lb=0, ub=program.top(hop))
        model.c[hop] = scip.addVar(lb=0, obj=1)
        model.rows["load", hop] = row(scip, [(model.z[hop], -1.0)], 0, 0)
        for slope, intercept in program.curves[hop].tangents(program.top(hop)):
            row(scip, [(model.c[hop], 1.0), (model.z[hop], -slope)], intercept, infinity)
    for domain in program.instance.domains:
        parts = [(model.z[hop], program.factor(hop)) for hop in model.z if hop.partition("/")[0] == domain.id]
        model.rows["capacity", domain.id] = row(scip, parts, -infinity, program.capacity[domain.id])


def row(scip, parts, low, high):
    """low ≤ Σ coefficient · variable ≤ high."""
    import pyscipopt

    total = pyscipopt.quicksum(coefficient * variable for variable, coefficient in parts)
    if low == high:
        return scip.addCons(total == low, modifiable=True)
    if high < scip.infinity():
        return scip.addCons(
            (total <= high) if low <= -scip.infinity() else (low <= (total <= high)), modifiable=True
        )
    return scip.addCons(total >= low)


def add_choice(model, route, theta):
    """Columns, bounds and first tangents of one (path, θ); False where it cannot keep the promise."""
    program, scip = model.program, model.scip
    terms = split.terms(route.path, theta)
    prices = np.maximum(program.prices(route), 1e-3)
    first = split.size(route.path, prices, terms, highs=route.highs)
    if not math.isfinite(first.cost):
        return False
    tenant = program.instance.tenant(route.tenant)
    base = terms.isolation[0]
    inside = np.minimum(base + 1.2 * (first.rates - base), 0.5 * (first.rates + route.highs))
    gain = route.fixed - (tenant.payment if model.objective == "profit" else 0.0)
    choice = Choice(route, terms, inside, scip.addVar(vtype="I", lb=0, ub=tenant.count, obj=gain))
    scip.addConsCoeff(model.rows["units", tenant.id], choice.n, 1.0)
    for hop, low, high in zip(route.hops, base * (1 + split.LEAST_MARGIN), route.highs, strict=True):
        x = scip.addVar(lb=0)
        choice.X.append(x)
        scip.addConsCoeff(model.rows["load", hop], x, 1.0)
        row(scip, [(x, 1.0), (choice.n, -float(low))], 0, scip.infinity())
        row(scip, [(x, 1.0), (choice.n, -float(high))], -scip.infinity(), 0)
    add_tangent(model, choice, first.rates)
    for i in range(len(prices)):  # and where one domain's rate has become dear
        other = prices.copy()
        other[i] *= 8.0
        add_tangent(model, choice, split.size(route.path, other, terms, highs=route.highs).rates)
    model.choices.append(choice)
    return True


def add_tangent(model, choice, rates):
    """G(R̂) n + ∇G(R̂)·(X − R̂ n) ≤ N n, scaled."""
    value, gradient = split.rate_excess(choice.terms, rates)
    slope = gradient[0]
    scale = float(np.abs(slope).max())
    parts = [(x, float(g) / scale) for x, g in zip(choice.X, slope, strict=True)]
    parts.append((choice.n, float(value[0] - slope @ rates) / scale))
    row(model.scip, parts, -model.scip.infinity(), 0)


def solve(model: Model, gap: float = 1e-3, time_limit: float | None = None) -> None:
    """Branch, make the assignment found exact, branch again until the bounds meet; then look for better θ."""
    if model.blocked:
        model.status = "infeasible"
        return
    started, seen = time.perf_counter(), set()
    gap = min(gap, 1e-6)
    while True:
        left = None if time_limit is None else time_limit - (time.perf_counter() - started)
        if left is not None and left <= 0:
            break
        outcome = branch(model, left)
        if outcome == "infeasible":
            model.status = "infeasible" if math.isinf(model.cost) else model.status
            break
        if outcome == "limit":
            break
        model.lower_bound, units = outcome
        again, key = False, tuple(units)
        if key not in seen:
            seen.add(key)
            again = make_exact(model, units)
        seconds = time.perf_counter() - started
        best = None if math.isinf(model.cost) else model.cost
        bound = min(model.lower_bound, model.cost)
        model.history.append(
            HistoryRow(round=len(model.history) + 1, cost=best, lower_bound=bound, seconds=seconds)
        )
        met = math.isfinite(model.cost) and model.cost - model.lower_bound <= gap * abs(model.cost) + 1e-12
        if (met or not again) and not (model.grow and met and add_better_thetas(model)):
            break
    model.timing["solve"] = time.perf_counter() - started


def branch(model, time_limit):
    """(lower bound, units of each choice) of the integer program over the tangents so far."""
    scip = model.scip
    scip.freeTransform()
    scip.setParam("limits/time", 1e20 if time_limit is None else time_limit)
    scip.optimize()
    if scip.getStatus() == "infeasible":
        return "infeasible"
    if scip.getStatus() not in ("optimal", "gaplimit"):
        return "limit"
    return scip.getDualbound(), [round(scip.getVal(choice.n)) for choice in model.choices]


def make_exact(model, units):
    """Hold n, add tangents until rates and costs are exact, keep the best plan; always True (it was new).

    Tangents at the points of a linear program close in slowly where a whole face of it is optimal, so a local
    solver, which is a global one here, is asked now and then for the point to put them at.
    """
    scip, program = model.scip, model.program
    active = [(choice, count) for choice, count in zip(model.choices, units, strict=True) if count]
    scip.freeTransform()
    for choice, count in zip(model.choices, units, strict=True):
        scip.chgVarLb(choice.n, count)
        scip.chgVarUb(choice.n, count)
    for number in range(100):
        scip.freeTransform()
        scip.optimize()
        if scip.getStatus() not in ("optimal", "gaplimit"):
            break
        bound = scip.getDualbound()
        points = [np.array([scip.getVal(x) for x in choice.X]) / count for choice, count in active]
        scip.freeTransform()
        here = consider(model, active, points)
        if here - bound > TIGHT * abs(bound) and number % 5 == 0:
            here = min(here, consider(model, active, descend(model, active, points)))
        if here - bound <= TIGHT * abs(bound):
            break
    scip.freeTransform()
    for choice in model.choices:
        scip.chgVarLb(choice.n, 0)
        scip.chgVarUb(choice.n, program.instance.tenant(choice.route.tenant).count)
    return True


def consider(model, active, points):
    """Add the tangents that these rates ask for, keep them (made exact) as a plan if they are the best; their
    cost.
    """
    program, decisions, loads = model.program, [], {}
    for (choice, count), rates in zip(active, points, strict=True):
        for other in model.choices:  # the other θ of the path would ask for nearly the same rates
            if other.route is choice.route:
                edge, outside = to_the_edge(other, rates, -1e-7 if other is choice else 1e-2)
                if outside:
                    add_tangent(model, other, edge)
        for hop, rate in zip(choice.route.hops, rates, strict=True):
            loads[hop] = loads.get(hop, 0.0) + count * float(rate)
        decisions.append(Decision(choice.route, count, promise(choice, rates)))
    for hop, load in loads.items():
        if not program.curves[hop].linear:
            slope, intercept = program.curves[hop].tangent(load)
            row(model.scip, [(model.c[hop], 1.0), (model.z[hop], -slope)], intercept, model.scip.infinity())
    return keep(model, decisions)


def descend(model, active, points):
    """The best rates for units held, from a starting point: a smooth convex program with few variables."""
    from scipy.optimize import minimize

    program = model.program
    where = [(k, hop) for k, (choice, _) in enumerate(active) for hop in choice.route.hops]
    used = sorted({hop for _, hop in where})
    weight = np.array([[active[k][1] * (hop == other) for k, hop in where] for other in used], dtype=float)
    names = sorted({hop.partition("/")[0] for hop in used})
    factor = np.array(
        [[program.factor(hop) * (hop.partition("/")[0] == name) for hop in used] for name in names]
    )
    capacity = np.array([program.capacity[name] for name in names])
    ends = np.cumsum([0] + [len(choice.X) for choice, _ in active])

    def cost(r):
        return sum(program.curves[hop](z) for hop, z in zip(used, weight @ r, strict=True))

    def slope(r):
        return (
            np.array([program.curves[hop].slope(z) for hop, z in zip(used, weight @ r, strict=True)]) @ weight
        )

    def slack(r):
        parts = [
            -split.rate_excess(c.terms, r[a:b])[0][0]
            for (c, _), a, b in zip(active, ends[:-1], ends[1:], strict=True)
        ]
        return np.concatenate([np.minimum(parts, 1e6), (capacity - factor @ (weight @ r)) / capacity])

    def slack_slope(r):
        rows = np.zeros((len(active), r.size))
        for k, (choice, _) in enumerate(active):
            a, b = ends[k], ends[k + 1]
            rows[k, a:b] = -split.rate_excess(choice.terms, r[a:b])[1][0]
        return np.vstack([rows, -(factor @ weight) / capacity[:, None]])

    lows = np.concatenate([c.terms.isolation[0] * (1 + 1e-7) for c, _ in active])
    highs = np.concatenate([c.route.highs for c, _ in active])
    start = np.concatenate([promise(c, r).rates for (c, _), r in zip(active, points, strict=True)])
    found = minimize(
        cost,
        np.clip(start, lows, highs),
        jac=slope,
        bounds=list(zip(lows, highs, strict=True)),
        constraints={"type": "ineq", "fun": slack, "jac": slack_slope},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 200},
    )
    rates = np.clip(found.x, lows, highs)
    return [rates[a:b] for a, b in pairwise(ends)]


def to_the_edge(choice, rates, slack):
    """(where the way from inside to the rates leaves the feasible set, whether the rates lie outside by more
    than slack).
    """
    excess = split.rate_excess(choice.terms, rates)[0][0]
    if excess <= slack:
        return rates, False
    if excess <= 1e-7:
        return rates, True
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        inside = split.rate_excess(choice.terms, choice.inside + middle * (rates - choice.inside))[0][0] <= 0
        low, high = (middle, high) if inside else (low, middle)
    return choice.inside + low * (rates - choice.inside), True


def promise(choice, rates):
    """The rates, margins raised by the least part that makes the promise exact, with their shares."""
    terms, base = choice.terms, choice.terms.isolation[0]
    margin = np.maximum(rates - base, base * split.LEAST_MARGIN)
    low, high = 0.0, 0.0
    while split.log_bound(terms, base + margin * (1 + high))[0][0] > terms.log_epsilon:
        low, high = high, max(1e-10, 4 * high)
    for _ in range(50):
        middle = 0.5 * (low + high)
        kept = split.log_bound(terms, base + margin * (1 + middle))[0][0] <= terms.log_epsilon
        low, high = (low, middle) if kept else (middle, high)
    safe = base + margin * (1 + high)
    deadlines, budgets = split.shares(terms, safe)
    log_bound = float(split.log_bound(terms, safe)[0][0])
    return Sized(safe, float(terms.theta[0]), log_bound, "split", deadlines, budgets)


def keep(model, decisions):
    """Remember the plan if it fits the capacities and is cheaper than the best so far; its cost, +inf if it
    does not.
    """
    program, loads, cost = model.program, {}, 0.0
    for decision in decisions:
        tenant = program.instance.tenant(decision.route.tenant)
        gain = decision.route.fixed - (tenant.payment if model.objective == "profit" else 0.0)
        cost += decision.count * gain
        for hop, rate in zip(decision.route.hops, decision.sized.rates, strict=True):
            loads[hop] = loads.get(hop, 0.0) + decision.count * float(rate)
    used = dict.fromkeys(program.capacity, 0.0)
    for hop, load in loads.items():
        used[hop.partition("/")[0]] += program.factor(hop) * load
        cost += program.curves[hop](load)
    fits = all(used[name] <= capacity * (1 + 2e-7) for name, capacity in program.capacity.items())
    if fits and cost < model.cost:
        model.status, model.cost, model.decisions = "feasible", cost, decisions
    return cost if fits else math.inf


def add_better_thetas(model):
    """Add (path, θ) choices that are new and best at the prices of rate in the best plan; whether there were
    any.
    """
    program, loads, used = model.program, {}, dict.fromkeys(model.program.capacity, 0.0)
    for decision in model.decisions:
        for hop, rate in zip(decision.route.hops, decision.sized.rates, strict=True):
            loads[hop] = loads.get(hop, 0.0) + decision.count * float(rate)
            used[hop.partition("/")[0]] += program.factor(hop) * decision.count * float(rate)
    added = False
    model.scip.freeTransform()
    for decision in model.decisions:
        # the prices for which these rates are optimal are those along the gradient of the promise
        route, sized = decision.route, decision.sized
        gradient = -split.rate_excess(split.terms(route.path, sized.theta), sized.rates)[1][0]
        slopes = np.array([program.curves[hop].slope(loads[hop]) for hop in route.hops])
        prices = gradient * np.max(slopes / gradient)
        better = split.size(route.path, prices, highs=route.highs, refine=True)
        known = [c.terms.theta[0] for c in model.choices if c.route is route]
        worth = better.cost < float(prices @ sized.rates) * (1 - 1e-7)
        if worth and all(abs(math.log(better.theta / theta)) > 1e-4 for theta in known):
            added = add_choice(model, route, better.theta) or added
    return added


def extract(model: Model) -> Plan:
    """The best plan found, with the bound over the θ listed and the one on all plans."""
    about = {
        "method": "model:joint",
        "guarantee": "split",
        "objective": model.objective,
        "timing": model.timing,
    }
    if model.status != "feasible":
        reasons = model.blocked or [
            Explanation(
                constraint="capacity", message="no choice of paths, rates and shares fits the capacities"
            )
        ]
        return no_plan(model.program, explanation=reasons, limit=model.status == "limit", **about)
    notes = ["The bound of the model is over all paths, rates, deadlines and budgets, and the θ tried."]
    return to_plan(
        model.program,
        model.decisions,
        lower_bound=bound_of(model.program.instance, "split", model.objective),
        catalogue_bound=model.lower_bound if math.isfinite(model.lower_bound) else None,
        gap=1e-5,
        history=model.history,
        notes=notes,
        **about,
    )
