"""The central method beside what a user would otherwise write, at the same certified gap.

Two opponents, each under the guarantee that it knows: all paths in one integer program for HiGHS (minplus),
and the `joint` model, paths, rates and shares in one convex mixed-integer program for SCIP (split). Sizes
grow until an opponent no longer meets the gap in the time given: that is where it stops working.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fedopt.bench import central
from fedopt.bench.fresh_process import OutOfTime, ProcessDied
from fedopt.bench.row import Row
from fedopt.instance.generating import generate

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["OPPONENTS", "ours", "rows", "theirs"]

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
    from fedopt.bench.enumeration import enumerate_and_solve

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
