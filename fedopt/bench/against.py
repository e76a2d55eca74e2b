"""The central method beside what a user would otherwise write, at the same certified gap.

Two opponents, each under the guarantee that it knows. What a planner writes first (minplus): all paths of all
tenants, sized one and all, in one integer program for HiGHS. And the `joint` model: paths, rates and shares
in one convex mixed-integer program for SCIP (split). Sizes grow until an opponent no longer meets the gap in
the time given: that is where it stops working.

The first has variables n_{k,p} ∈ {0, 1, …}, units of class k on path p at one of two profiles of rates
(equal, and in proportion to each domain's own floor), with one column each; z_o the load of an offer, c_o its
cost by tangents:

    min Σ c_o + Σ f_p n_{kp}   s.t.  Σ_p n_{kp} = count_k,  z_o = Σ R_{kp,o} n_{kp},  Σ_{o∈d} w_o z_o ≤ C_d,
    c_o ≥ v_o(ẑ) + v_o'(ẑ)(z_o − ẑ).

It shares the calculus with the central method, compiled sizing included, and nothing of its pricing:
identical tenants are one class here too, so what is compared is enumeration against generation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import highspy
import numpy as np

from fedopt.bench import central
from fedopt.bench.row import OutOfTime, ProcessDied, Row
from fedopt.calculus.floor import ville_floor
from fedopt.calculus.forms import ALL
from fedopt.calculus.minplus import PackedPath
from fedopt.calculus.scaling import least_scale
from fedopt.formulations import Program
from fedopt.instance.generating import generate

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["OPPONENTS", "Outcome", "enumerate_and_solve", "ours", "rows", "theirs"]


TANGENTS = 40


@dataclass(frozen=True)
class Outcome:
    """What the integer program came to; `columns` counts sized points, `sizing` the seconds they took."""

    status: str
    cost: float | None
    lower_bound: float | None
    columns: int
    sizing: float

    @property
    def gap(self) -> float | None:
        """(cost − bound)/|cost|."""
        if self.cost is None or self.lower_bound is None:
            return None
        return (self.cost - self.lower_bound) / max(abs(self.cost), 1e-12)


@dataclass
class _Program:
    """The integer program as it grows."""

    objective: list[float] = field(default_factory=list)
    rows: list[tuple[float, float, dict[int, float]]] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)

    def column(self, cost: float, whole: bool) -> int:
        self.objective.append(cost)
        self.whole.append(whole)
        return len(self.objective) - 1


def enumerate_and_solve(instance: Instance, gap: float, time_limit: float) -> Outcome:
    """Size every path of every tenant, then solve one integer program to the gap, within seconds in all."""
    started = time.perf_counter()
    program, mip = Program(instance), _Program()
    use: dict[str, dict[int, float]] = {}
    members: dict[tuple[Any, ...], list[Any]] = {}
    for tenant in instance.tenants:
        key = (tenant.arrivals.model_dump_json(), tenant.slo, tenant.policy)
        members.setdefault(key, []).append(tenant)
    for tenants in members.values():
        columns: dict[int, float] = {}
        for route in program.routes(tenants[0]):
            if time.perf_counter() - started > time_limit:
                return Outcome("limit", None, None, len(mip.objective), time.perf_counter() - started)
            for rates in _points(route):
                column = mip.column(route.fixed, True)
                columns[column] = 1.0
                for hop, rate in zip(route.hops, rates, strict=True):
                    use.setdefault(hop, {})[column] = rate
        units = float(sum(tenant.count for tenant in tenants))
        mip.rows.append((units, units, columns))
    count = len(mip.objective)
    _loads_and_costs(program, mip, use)
    sizing = time.perf_counter() - started
    return _solve(mip, gap, time_limit - sizing, count, sizing)


def _points(route: Any) -> list[np.ndarray]:
    """Both profiles' least rates, work/slot, where the path can keep the promise at all."""
    packed = PackedPath(route.path)
    given = packed.arguments()
    models, arrival, impair, exponent, lag, window, biased, log_epsilon = given
    if window < 0:
        return []
    floors = np.array(
        [
            ville_floor(models, arrival, row, power, window, own, biased, log_epsilon, 1.0)[0]
            for row, power, own in zip(impair, exponent, lag, strict=True)
        ]
    )
    if not (floors <= route.highs).all():
        return []
    shapes = [np.ones(len(floors))]
    if floors.max() > floors.min() * (1 + 1e-6):
        shapes.append(floors)
    points = []
    for shape in shapes:
        scale = least_scale(packed.mask & ALL, given, 1.0, shape, np.asarray(route.highs, float), math.inf)[0]
        if scale < math.inf:
            points.append(np.minimum(scale * shape, route.highs))
    return points


def _loads_and_costs(program: Program, mip: _Program, use: dict[str, dict[int, float]]) -> None:
    capacities: dict[str, dict[int, float]] = {}
    for hop, entries in use.items():
        load = mip.column(0.0, False)
        cost = mip.column(1.0, False)
        mip.rows.append((0.0, 0.0, {load: -1.0, **entries}))
        capacities.setdefault(hop.partition("/")[0], {})[load] = program.factor(hop)
        for slope, intercept in program.curves[hop].tangents(program.top(hop), TANGENTS):
            mip.rows.append((intercept, math.inf, {cost: 1.0, load: -slope}))
    for domain, entries in capacities.items():
        mip.rows.append((-math.inf, program.capacity[domain], entries))


def _solve(mip: _Program, gap: float, seconds: float, columns: int, sizing: float) -> Outcome:
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("mip_rel_gap", gap)
    highs.setOptionValue("time_limit", max(seconds, 0.0))
    total = len(mip.objective)
    infinity = highspy.kHighsInf
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = total, len(mip.rows)
    model.col_cost_ = np.array(mip.objective)
    model.col_lower_, model.col_upper_ = np.zeros(total), np.full(total, infinity)
    model.row_lower_ = np.array([low if low > -math.inf else -infinity for low, _, _ in mip.rows])
    model.row_upper_ = np.array([high if high < math.inf else infinity for _, high, _ in mip.rows])
    entries = [np.fromiter(row, int, len(row)) for _, _, row in mip.rows]
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.concatenate([[0], np.cumsum([len(e) for e in entries])])
    model.a_matrix_.index_ = np.concatenate(entries)
    model.a_matrix_.value_ = np.concatenate(
        [np.fromiter(row.values(), float, len(row)) for _, _, row in mip.rows]
    )
    model.integrality_ = [
        highspy.HighsVarType.kInteger if whole else highspy.HighsVarType.kContinuous for whole in mip.whole
    ]
    highs.passModel(model)
    highs.run()
    if highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return Outcome("infeasible", None, None, columns, sizing)
    info = highs.getInfo()
    has_plan = info.primal_solution_status == 2
    cost = float(info.objective_function_value) if has_plan else None
    bound = float(info.mip_dual_bound) if math.isfinite(info.mip_dual_bound) else None
    outcome = Outcome("feasible" if has_plan else "limit", cost, bound, columns, sizing)
    if outcome.gap is not None and outcome.gap <= gap * (1 + 1e-9):
        return Outcome("optimal", cost, bound, columns, sizing)
    return outcome


SIZES = (2, 5, 10, 20, 50, 100)
QUICK = (2, 3)
STAGES, DOMAINS = 3, 8
GAP = 1e-2
THETA = (0.05, 0.1, 0.2, 0.4, 0.8)
"""The θ that split is planned over, the same for both: the joint model certifies over a list."""

OPPONENTS = {"enumeration, HiGHS": "minplus", "joint model, SCIP": "split"}
"""Each opponent and the guarantee that both plan under."""

GRACE = 30.0
"""Seconds beyond the limit after which a process is ended: starting it, and what knows no limit."""


def _instance(tenants: int, domains: int, guarantee: str, seed: int) -> Instance:
    instance = generate(tenants, STAGES, domains, seed)
    return instance.with_(theta=list(THETA)) if guarantee == "split" else instance


def ours(tenants: int, domains: int, guarantee: str, time_limit: float, seed: int) -> list[Row]:
    """The central method."""
    central.warm_up(STAGES, guarantee)
    instance = _instance(tenants, domains, guarantee, seed)
    plan, seconds = central.measured(instance, guarantee=guarantee, gap=GAP, time_limit=time_limit)
    case = f"central, {guarantee}: {tenants}x{STAGES}x{domains}"
    return [Row(case, seconds, gap=plan.catalogue_gap, more={"status": plan.status, "cost": plan.cost})]


def theirs(opponent: str, tenants: int, domains: int, time_limit: float, seed: int) -> list[Row]:
    """The opponent, after a small instance that loads compiled code."""
    guarantee = OPPONENTS[opponent]
    measure = _enumeration if guarantee == "minplus" else _joint
    measure(_instance(2, 2, guarantee, 0), 20.0)
    instance = _instance(tenants, domains, guarantee, seed)
    start = time.perf_counter()
    status, cost, gap = measure(instance, time_limit)
    seconds = time.perf_counter() - start
    case = f"{opponent}: {tenants}x{STAGES}x{domains}"
    return [Row(case, seconds, gap=gap, more={"status": status, "cost": cost})]


def _enumeration(instance: Instance, time_limit: float) -> tuple[str, float | None, float | None]:
    from fedopt.bench.against import enumerate_and_solve

    outcome = enumerate_and_solve(instance, GAP, time_limit)
    return outcome.status, outcome.cost, outcome.gap


def _joint(instance: Instance, time_limit: float) -> tuple[str, float | None, float | None]:
    from fedopt import formulations

    plan = formulations.solve(instance, "joint", guarantee="split", gap=GAP, time_limit=time_limit)
    met = plan.gap is not None and plan.gap <= GAP * (1 + 1e-6)
    return "optimal" if plan.has_plan and met else plan.status, plan.cost, plan.gap


def rows(
    sizes: tuple[int, ...] = SIZES,
    domains: int = DOMAINS,
    time_limit: float = 60.0,
    seed: int = 0,
    run: Callable[..., list[Row]] = lambda measure, *given, limit=None: measure(*given),
) -> Iterator[Row]:
    """Opponent by opponent, size by size: the opponent's row, then ours with the ratio of times.

    After the first size that an opponent fails only ours is measured. SCIP's rows are left out where
    pyscipopt is not installed.
    """
    for opponent, guarantee in OPPONENTS.items():
        if "SCIP" in opponent and find_spec("pyscipopt") is None:
            continue
        working = True
        for tenants in sizes:
            (mine,) = run(ours, tenants, domains, guarantee, time_limit, seed, limit=time_limit + 3 * GRACE)
            if working:
                other = _row(run, opponent, tenants, domains, time_limit, seed)
                working = other.more["status"] == "optimal"
                mine = replace(mine, ratio_to=opponent, ratio=other.seconds / mine.seconds)
                if not working:
                    mine = replace(mine, more={**mine.more, "ratio_is": "at least"})
                yield other
            yield mine


def _row(
    run: Callable[..., list[Row]], opponent: str, tenants: int, domains: int, time_limit: float, seed: int
) -> Row:
    start = time.perf_counter()
    try:
        (row,) = run(theirs, opponent, tenants, domains, time_limit, seed, limit=time_limit + GRACE)
        return row
    except (OutOfTime, ProcessDied) as error:
        case = f"{opponent}: {tenants}x{STAGES}x{domains}"
        return Row(case, time.perf_counter() - start, more={"status": "limit", "problem": str(error)})
