"""Operating: what one arrival costs beside many tenants, with the certified gap that is left."""

from __future__ import annotations

import time
from statistics import median

from fedopt.bench.central import warm_up
from fedopt.bench.row import Row
from fedopt.instance import Tenant
from fedopt.instance.generating import generate
from fedopt.operate.planning import decide
from fedopt.operate.pricing import Pricing
from fedopt.operate.scenario import Planning

__all__ = ["rows"]

STAGES, DOMAINS = 3, 12
ARRIVALS = 20


def rows(tenants: int, kinds: int, arrivals: int = ARRIVALS, seed: int = 0) -> list[Row]:
    """One row for the plan of `tenants` tenants of `kinds` kinds, one for `arrivals` that come one by one.

    Every other newcomer is of a kind that nobody has asked for before. The seconds of the second row are the
    median of a period's decision (patched, or planned anew where that is what it takes), its gap the largest.
    """
    warm_up(STAGES)
    whole = generate(tenants + arrivals, STAGES, DOMAINS, seed, kinds=kinds + arrivals)
    residents: list[Tenant] = []
    newcomers: list[Tenant] = []
    for tenant in whole.tenants[:kinds]:
        residents.extend(
            tenant.model_copy(update={"id": f"{tenant.id}-{i}", "count": 1})
            for i in range(max(1, round(tenants / kinds)))
        )
    for i, tenant in enumerate(whole.tenants[kinds : kinds + arrivals]):
        pattern = tenant if i % 2 else whole.tenants[i % kinds]
        newcomers.append(pattern.model_copy(update={"id": f"new-{i}", "count": 1}))
    planning = Planning(gap=2e-3, replan_gap=5e-3)
    pricing = Pricing(whole, "minplus")
    present = residents[:tenants]
    started = time.perf_counter()
    decision = decide(pricing, present, None, planning)
    plan = decision.plan
    case = f"{len(present)} tenants of {kinds} kinds, {STAGES} x {DOMAINS}"
    first = Row(case=f"plan of {case}", seconds=time.perf_counter() - started, gap=plan.gap)
    seconds, gaps, anew = [], [], 0
    for newcomer in newcomers:
        present = [*present, newcomer]
        started = time.perf_counter()
        decision = decide(pricing, present, decision.standing, planning)
        seconds.append(time.perf_counter() - started)
        anew += decision.mode == "planned"
        if decision.plan.gap is not None:
            gaps.append(decision.plan.gap)
    then = Row(
        case=f"arrival beside {case}: median of {arrivals}, {anew} planned anew",
        seconds=median(seconds),
        gap=max(gaps, default=None),
    )
    return [first, then]
