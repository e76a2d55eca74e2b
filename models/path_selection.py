"""Path selection: unsplittable flow over the stage graph with capacities, rates given (Pyomo, HiGHS).

Sets
    u ∈ U        tenant groups of count_u identical units
    p ∈ P_u      admissible paths of u in its stage graph
    o ∈ p        offers (domain + reservation class) on path p
    d ∈ D        domains, with offers o ∈ O_d

Given
    R_{u,p,o}    rate that each unit needs at offer o on path p, sized beforehand under the guarantee:
                 minplus, paper-path: the least common rate of the path; paper-local: the least rate of each
                 domain under (10); split: the rates that are cheapest at list prices
    f_{u,p}      fixed charges of the path's offers plus costs of its links, per unit
    v_o(z)       convex cost of offer o's total rate z
    w_o, C_d     capacity used per unit of rate; capacity
    m_u          payment per unit (objective "profit" only)

Variables
    n_{u,p} ∈ {0, 1, 2, …}   units of u on path p: a unit's flow is not split
    z_o, c_o ≥ 0             total rate of offer o, and its cost

Minimise
    Σ_o c_o + Σ_{u,p} f_{u,p} n_{u,p}   [ − Σ_{u,p} m_u n_{u,p} ]

subject to
    Σ_p n_{u,p} = count_u  (≤ count_u for "profit")       every unit on one path
    z_o = Σ_{u,p∋o} R_{u,p,o} n_{u,p}                     load of an offer
    Σ_{o∈O_d} w_o z_o ≤ C_d                               capacity; isolation (19) is in R
    c_o ≥ v_o(ẑ) + v_o'(ẑ)(z_o − ẑ)  for all ẑ            convex cost, by its tangents

Tangents of linear and piecewise curves are complete from the start; those of other curves are added where the
solution needs them until the cost is exact. The optimum is over the choice of paths, not over the rates, so
the plan states no lower bound. This is the model a planner writes first: all paths in one list, for small
instances.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pyomo.environ as pyo
from pyomo.contrib import appsi

from fedopt.formulations import Decision, Program, Route, Sized, no_plan, size_route, to_plan
from fedopt.instance import Instance
from fedopt.plan import Explanation, Plan

GUARANTEES = ("minplus", "split", "paper-path", "paper-local")
OBJECTIVES = ("cost", "profit")


@dataclass
class Model:
    """The program, the paths that can keep their promise with their rates, the Pyomo model, the outcome."""

    program: Program
    guarantee: str
    objective: str
    routes: dict[tuple[str, int], tuple[Route, Sized]]
    pyomo: pyo.ConcreteModel
    blocked: list[Explanation] = field(default_factory=list)
    status: str = "limit"
    lower_bound: float | None = None
    timing: dict[str, float] = field(default_factory=dict)


def build(
    instance: Instance, guarantee: str = "minplus", objective: str = "cost", stretch: float = 1.0
) -> Model:
    """List the paths, size their rates, and write the integer program.

    `stretch` > 1 overbooks the capacities, for paths whose rates will be chosen anew.
    """
    started = time.perf_counter()
    program = Program(instance)
    routes, blocked = {}, []
    for tenant in program.tenants:
        listed = program.routes(tenant)
        sized = [(route, size_route(route, guarantee, program.prices(route))) for route in listed]
        kept = [(route, rates) for route, rates in sized if rates is not None]
        routes |= {(tenant.id, k): pair for k, pair in enumerate(kept)}
        if not kept and objective == "cost":
            reason = (
                "no path meets the deadline at any allowed rate" if listed else "the policy admits no path"
            )
            blocked.append(
                Explanation(
                    tenant=tenant.id,
                    constraint="deadline" if listed else "policy",
                    message=f"tenant {tenant.id}: {reason}",
                )
            )

    m = pyo.ConcreteModel("path selection")
    m.P = pyo.Set(initialize=list(routes), dimen=2)
    m.O = pyo.Set(
        initialize=[hop for hop in program.offers if any(hop in r.hops for r, _ in routes.values())]
    )
    m.n = pyo.Var(m.P, domain=pyo.NonNegativeIntegers)
    m.z = pyo.Var(m.O, domain=pyo.NonNegativeReals)
    m.c = pyo.Var(m.O, domain=pyo.NonNegativeReals)

    payment = {t.id: t.payment if objective == "profit" else 0.0 for t in program.tenants}
    m.total = pyo.Objective(
        expr=sum(m.c[o] for o in m.O)
        + sum((routes[key][0].fixed - payment[key[0]]) * m.n[key] for key in m.P)
    )
    m.units = pyo.ConstraintList()
    for tenant in program.tenants:
        units = sum(m.n[key] for key in m.P if key[0] == tenant.id)
        if not isinstance(units, int):
            m.units.add(units == tenant.count if objective == "cost" else units <= tenant.count)
    rate: dict[str, list] = {o: [] for o in m.O}
    for key, (route, sized) in routes.items():
        for o, r in zip(route.hops, sized.rates, strict=True):
            rate[o].append(float(r) * m.n[key])
    m.use = pyo.Constraint(m.O, rule=lambda m, o: m.z[o] == sum(rate[o]))
    m.capacity = pyo.ConstraintList()
    for domain in program.instance.domains:
        used = [program.factor(o) * m.z[o] for o in m.O if o.partition("/")[0] == domain.id]
        if used:
            m.capacity.add(sum(used) <= stretch * program.capacity[domain.id])
    m.tangents = pyo.ConstraintList()
    for o in m.O:
        for slope, intercept in program.curves[o].tangents(program.top(o)):
            m.tangents.add(m.c[o] >= slope * m.z[o] + intercept)
    return Model(
        program, guarantee, objective, routes, m, blocked, timing={"build": time.perf_counter() - started}
    )


def solve(model: Model, gap: float = 1e-3, time_limit: float | None = None) -> None:
    """Solve by HiGHS; add tangents of curved costs at the solution until they change nothing."""
    if model.blocked:
        model.status = "infeasible"
        return
    started, m, program = time.perf_counter(), model.pyomo, model.program
    highs = appsi.solvers.Highs()
    highs.config.load_solution = False
    highs.config.mip_gap = 0.1 * gap
    while True:
        if time_limit is not None:
            highs.config.time_limit = max(0.0, time_limit - (time.perf_counter() - started))
        result = highs.solve(m)
        condition = result.termination_condition
        if condition == appsi.base.TerminationCondition.infeasible:
            model.status = "infeasible"
            break
        if result.best_feasible_objective is None:
            break
        result.solution_loader.load_vars()
        model.status, model.lower_bound = "feasible", result.best_objective_bound
        if condition != appsi.base.TerminationCondition.optimal:
            break
        exact, added = pyo.value(m.total), False
        for o in m.O:
            true = program.curves[o](m.z[o].value)
            if true > m.c[o].value + 1e-7 * abs(exact) + 1e-12:
                slope, intercept = program.curves[o].tangent(m.z[o].value)
                m.tangents.add(m.c[o] >= slope * m.z[o] + intercept)
                added = True
        if not added:
            break
    model.timing["solve"] = time.perf_counter() - started


def extract(model: Model) -> Plan:
    """The units on each path, with the rates the path was sized to."""
    about = {
        "method": "model:path_selection",
        "guarantee": model.guarantee,
        "objective": model.objective,
        "timing": model.timing,
    }
    if model.status != "feasible":
        reasons = model.blocked or [
            Explanation(
                constraint="capacity", message="no choice of paths fits the capacities at the given rates"
            )
        ]
        return no_plan(model.program, explanation=reasons, limit=model.status == "limit", **about)
    decisions = [
        Decision(*model.routes[key][:1], round(model.pyomo.n[key].value), model.routes[key][1])
        for key in model.pyomo.P
        if round(model.pyomo.n[key].value) > 0
    ]
    notes = ["Rates are those each path was sized to beforehand; only the choice of paths is optimised."]
    return to_plan(model.program, decisions, notes=notes, **about)
