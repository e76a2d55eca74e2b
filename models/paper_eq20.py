"""Problem (20) of the TRE paper, verbatim: one domain a stage, rates, the local bound (10) in each (SCIP).

Sets
    u ∈ U                     tenants, each unit of a group by itself
    o ∈ O_u, (o, o') ∈ A_u    admissible offers and the links between them, stages 1…L
    d ∈ D                     domains

Given
    θ_{u,o}                   the tilt with which u needs least at o (one a domain, as the bounds are local)
    σ, ρ; κ_o, η_o, T_o       arrivals and TRE of the offer, at that θ
    τ_u, ε_u                  the promise
    v_o, f, w_o, C_d          convex cost of the total rate, fixed and link charges, capacity use, capacity
    h_o                       largest rate of a unit

Variables
    y_{u,o}, y_{u,oo'} ∈ {0, 1}    offers and links used
    R_{u,o} ≥ 0                    rate, with x_{u,o} = θΔ and Δ = R_{u,o} − ρ − κ_o
    z_o, c_o ≥ 0                   total rate of an offer, and its cost

Minimise (20)
    Σ_o c_o + Σ f y   [ − Σ_u payment_u · (u admitted) ]

subject to
    Σ_{o ∈ stage 1} y_{u,o} = 1  (≤ 1 for "profit")                                   one path
    y_{u,o} = Σ_{o'} y_{u,oo'} = Σ_{o'} y_{u,o'o}                                     along links
    θ(σ + η_o + κ_oT_o) + φ(x_{u,o}) − x_{u,o}(τ_u − T_o) ≤ log ε_u where y = 1       (10)
    R_{u,o} ≥ ρ + κ_o where y = 1,   R_{u,o} ≤ h_o y_{u,o}                            (19)
    z_o = Σ_u R_{u,o},   Σ_{o∈d} w_o z_o ≤ C_d,   c_o ≥ v_o(z_o)                      capacity, cost

with φ(x) = −log(1 − e^{−x}); "where y = 1" by a big M. The paper knows no delays of links; where an instance
has them, τ_u is the deadline less those of the links used.

Warning: (10) gives every domain the whole deadline, so a solution does not bound the end-to-end delay. Three
domains with T = 40 each and τ = 100 are "feasible" here, though the delay is at least 120. The plan says for
every tenant what its latencies and links add up to beside the deadline. Units are listed one by one: for
small instances.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
import pyomo.environ as pyo
from pyomo.contrib.solver.common.factory import SolverFactory

from fedopt.calculus import paper
from fedopt.formulations import Decision, ModelError, Program, no_plan, prove, to_plan
from fedopt.instance import Instance
from fedopt.plan import Explanation, Plan

GUARANTEES = ("paper-local",)
OBJECTIVES = ("cost", "profit")
MAX_HEADS = 500


@dataclass
class Local:
    """One (unit's tenant, offer): the constants of (10) and (19) at its θ, in slots."""

    theta: float
    burst: float
    isolation: float
    window: float
    need: float


@dataclass
class Model:
    """The program, its units (tenant id, number) and the Pyomo model."""

    program: Program
    objective: str
    units: list[tuple[str, int]]
    local: dict[tuple[str, str], Local]
    pyomo: pyo.ConcreteModel
    blocked: list[Explanation]
    status: str = "limit"
    lower_bound: float | None = None
    linked: bool = False
    timing: dict[str, float] = field(default_factory=dict)


def build(instance: Instance, objective: str = "cost") -> Model:
    """Write (20) as a mixed-integer nonlinear program."""
    started = time.perf_counter()
    program = Program(instance)
    units = [(tenant.id, k) for tenant in program.tenants for k in range(tenant.count)]
    if len(units) > MAX_HEADS:
        raise ModelError(f"paper_eq20 lists units one by one and takes up to {MAX_HEADS}, not {len(units)}")
    local, graphs, blocked = {}, {}, []
    for tenant in program.tenants:
        graph = program.graph(tenant)
        for hop in list(graph):
            found = local_constants(program, tenant, hop, graph)
            if found is None:
                graph.remove_node(hop)
            else:
                local[tenant.id, hop] = found
        graphs[tenant.id] = graph
        layers = {layer for _, layer in graph.nodes(data="layer")}
        if len(layers) < len(program.stages) and objective == "cost":
            message = f"tenant {tenant.id}: some stage has no offer that meets (10) within its largest rate"
            blocked.append(Explanation(tenant=tenant.id, constraint="deadline", message=message))

    m = pyo.ConcreteModel("problem (20)")
    m.H = pyo.Set(initialize=units, dimen=2)
    m.N = pyo.Set(initialize=[(u, k, o) for u, k in units for o in graphs[u]], dimen=3)
    m.A = pyo.Set(initialize=[(u, k, a, b) for u, k in units for a, b in graphs[u].edges], dimen=4)
    m.O = pyo.Set(initialize=list(program.offers))
    m.y = pyo.Var(m.N, domain=pyo.Binary)
    m.flow = pyo.Var(m.A, domain=pyo.Binary)
    m.R = pyo.Var(m.N, domain=pyo.NonNegativeReals)
    m.x = pyo.Var(m.N, domain=pyo.NonNegativeReals)
    m.z = pyo.Var(m.O, domain=pyo.NonNegativeReals)
    m.c = pyo.Var(m.O, domain=pyo.NonNegativeReals)

    payment = {t.id: t.payment if objective == "profit" else 0.0 for t in program.tenants}
    first = {u: [o for o, layer in graphs[u].nodes(data="layer") if layer == 0] for u in graphs}
    m.total = pyo.Objective(
        expr=sum(m.c[o] for o in m.O)
        + sum(program.curves[o].fixed * m.y[u, k, o] for u, k, o in m.N)
        + sum(float(graphs[u].edges[a, b]["cost"]) * m.flow[u, k, a, b] for u, k, a, b in m.A)
        - sum(payment[u] * m.y[u, k, o] for u, k in units for o in first[u])
    )
    m.rows = pyo.ConstraintList()
    for u, k in units:
        graph, starts = graphs[u], sum(m.y[u, k, o] for o in first[u])
        if first[u]:
            m.rows.add(starts == 1 if objective == "cost" else starts <= 1)
        for o, layer in graph.nodes(data="layer"):
            if layer > 0:
                m.rows.add(m.y[u, k, o] == sum(m.flow[u, k, a, o] for a in graph.predecessors(o)))
            if layer < len(program.stages) - 1:
                m.rows.add(m.y[u, k, o] == sum(m.flow[u, k, o, b] for b in graph.successors(o)))
    for u, k, o in m.N:
        at, y, x, rate = local[u, o], m.y[u, k, o], m.x[u, k, o], m.R[u, k, o]
        log_epsilon = math.log(instance.tenant(u).slo.epsilon)
        low, high = 0.5 * min(at.need, 1e-3), at.theta * (program.high(o) - at.isolation)
        x.setlb(low)
        x.setub(max(high, at.need))
        window = at.window
        delayed = [(a, b) for a, b in graphs[u].edges if graphs[u].edges[a, b]["delay"] > 0]
        if delayed:
            links = sum(
                graphs[u].edges[a, b]["delay"] / program.slot * m.flow[u, k, a, b] for a, b in delayed
            )
            window = at.window - links
        longest = sum(float(graphs[u].edges[a, b]["delay"]) for a, b in delayed) / program.slot
        most = at.burst - math.log(-math.expm1(-low)) - log_epsilon + max(high, at.need) * longest
        m.rows.add(at.burst - pyo.log(1 - pyo.exp(-x)) - x * window <= log_epsilon + most * (1 - y))  # (10)
        m.rows.add(rate >= at.isolation * y + (x - low * (1 - y)) / at.theta)  # x = θ(R − ρ − κ), (19)
        m.rows.add(rate <= program.high(o) * y)
    for o in m.O:
        m.rows.add(m.z[o] == sum(m.R[n] for n in m.N if n[2] == o))
        charge, z = program.offers[o][1].cost, m.z[o] / program.slot
        if charge.model == "quadratic":
            m.rows.add(m.c[o] >= charge.rate * z + charge.quad * z**2)
        else:
            for slope, intercept in program.curves[o].tangents(program.top(o), count=200):
                m.rows.add(m.c[o] >= slope * m.z[o] + intercept)
    for domain in instance.domains:
        used = [program.factor(o) * m.z[o] for o in m.O if o.partition("/")[0] == domain.id]
        m.rows.add(sum(used) <= program.capacity[domain.id])
    timing = {"build": time.perf_counter() - started}
    linked = any(link.delay > 0 for link in instance.links or ())
    return Model(program, objective, units, local, m, blocked, linked=linked, timing=timing)


def whole_requests(program, tenant, hop, graph):
    """One domain's path with what whole requests cost along a path through it (hand-overs, slots)."""
    single, layer = program.route(tenant.id, [hop]).path, dict(graph.nodes(data="layer"))
    back, ahead = [hop], [hop]
    while before := list(graph.predecessors(back[0])):
        back.insert(0, before[0])
    while after := list(graph.successors(ahead[-1])):
        ahead.append(after[0])
    along = back + ahead[1:]
    if len({layer[one] for one in along}) < 2:
        return single.fluid
    whole = program.route(tenant.id, along).path
    fluid = whole.fluid
    return replace(
        single,
        arrival=fluid.arrival,
        latencies=fluid.latencies[[along.index(hop)]],
        deadline=single.deadline - (whole.deadline - fluid.deadline),
        log_epsilon=fluid.log_epsilon,
        whole=None,
    )


def local_constants(program, tenant, hop, graph):
    """The constants of (10) for a tenant at an offer, at the θ that asks for the least rate; None if none is
    enough.
    """
    path = whole_requests(program, tenant, hop, graph)
    found = paper.size_local(path)
    if not found.rates[0] <= program.high(hop):
        return None
    theta, impairment, latency = float(found.thetas[0]), path.impairments[0], float(path.latencies[0])
    rho, kappa = float(path.arrival.rho(theta)), float(impairment.kappa(theta))
    burst = theta * (float(path.arrival.sigma(theta)) + float(impairment.eta(theta)) + kappa * latency)
    if path.per_request:
        burst += float(path.arrival.request_log_bias(theta))
    window = path.deadline - latency
    return Local(theta, burst, rho + kappa, window, theta * float(found.rates[0] - rho - kappa))


def solve(model: Model, gap: float = 1e-3, time_limit: float | None = None) -> None:
    """Solve by SCIP."""
    if model.blocked:
        model.status = "infeasible"
        return
    started = time.perf_counter()
    solver = SolverFactory("scip_direct")
    if not solver.available():
        raise ModelError("paper_eq20 needs the extra fedopt[scip] (the package pyscipopt)")
    outcome = solver.solve(
        model.pyomo,
        rel_gap=gap,
        time_limit=time_limit,
        solver_options={"numerics/feastol": 1e-7},
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
    )
    model.timing["solve"] = time.perf_counter() - started
    if outcome.incumbent_objective is not None:
        outcome.solution_loader.load_vars()
        model.status = "feasible"
        if (
            not model.linked
        ):  # θ was chosen for the whole deadline: with delays of links another might be better
            model.lower_bound = float(outcome.objective_bound)
    elif "infeasible" in str(outcome.termination_condition).lower():
        model.status = "infeasible"


def extract(model: Model) -> Plan:
    """The plan, and beside each deadline what the latencies of its path add up to."""
    about = {
        "method": "model:paper_eq20",
        "guarantee": "paper-local",
        "objective": model.objective,
        "timing": model.timing,
    }
    program, m = model.program, model.pyomo
    if model.status != "feasible":
        reasons = model.blocked or [
            Explanation(
                constraint="capacity", message="no choice of offers and rates fits the capacities under (20)"
            )
        ]
        return no_plan(program, explanation=reasons, limit=model.status == "limit", **about)
    groups: dict[tuple, list] = {}
    for u, k in model.units:
        hops = tuple(o for o in program.offers if (u, k, o) in m.N and m.y[u, k, o].value > 0.5)
        if hops:
            stage = {domain.id: program.stages.index(domain.stage) for domain in program.instance.domains}
            hops = tuple(sorted(hops, key=lambda o: stage[o.partition("/")[0]]))
            groups.setdefault((u, hops), []).append([m.R[u, k, o].value for o in hops])
    decisions, notes = [], [WARNING]
    for (u, hops), rates in groups.items():
        route = program.route(u, hops)
        links = program.instance.tenant(u).slo.deadline / program.slot - route.path.deadline
        local = [model.local[u, o] for o in hops]
        log_epsilon = route.path.log_epsilon
        least = [
            at.isolation + float(paper.margin(at.burst - log_epsilon, at.window - links)) / at.theta
            for at in local
        ]
        safe = np.maximum(np.mean(rates, axis=0), np.array(least) * (1 + 1e-9))
        decisions.append(Decision(route, len(rates), prove(route, safe, "paper-local")))
        deadline = program.instance.tenant(u).slo.deadline
        total = deadline - (route.path.deadline - float(route.path.latencies.sum())) * program.slot
        verdict = "which is impossible end to end" if total > deadline else "which leaves the queues the rest"
        notes.append(
            f"Tenant {u}: latencies and links of its path add up to {total:g}, "
            f"the deadline is {deadline:g}, {verdict}."
        )
    return to_plan(
        program, decisions, lower_bound=model.lower_bound, gap=1e-3, notes=list(dict.fromkeys(notes)), **about
    )


WARNING = (
    "Problem (20) gives every domain the whole deadline, so this plan does not bound the end-to-end delay; "
    "it is for comparison with the paper."
)
