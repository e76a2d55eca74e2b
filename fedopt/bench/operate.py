"""Operating: what one arrival costs beside many tenants, and a whole day under each policy."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from fedopt.bench.central import warm_up
from fedopt.bench.row import Row
from fedopt.control import Store, identity_of, load_scenario, operate
from fedopt.control.admission import Pricing
from fedopt.control.planning import decide
from fedopt.control.scenario import Planning
from fedopt.control.summary import summarize
from fedopt.instance import Tenant
from fedopt.instance.generating import generate

__all__ = ["day", "rows"]

STAGES, DOMAINS = 3, 12
ARRIVALS = 20

COMPARED = (
    "admitted",
    "proven",
    "met",
    "kept",
    "undecided",
    "broken",
    "cost",
    "planned",
    "patched",
    "moved",
    "disclosed",
)
"""What policies are compared by."""


def rows(tenants: int, kinds: int, arrivals: int = ARRIVALS, seed: int = 0) -> list[Row]:
    """One row for the plan of `tenants` tenants of `kinds` kinds, one for `arrivals` that come one by one.

    Every other newcomer is of a kind that nobody has asked for before. The seconds of the second row are the
    median of a period's decision (patched, or planned anew where that is what it takes), with those of a
    processor beside them, its gap the largest.
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
    first = Row(case=f"plan of {case}", seconds=time.perf_counter() - started, gap=plan.catalogue_gap)
    seconds, worked, gaps, anew = [], [], [], 0
    for newcomer in newcomers:
        present = [*present, newcomer]
        started, begun = time.perf_counter(), time.process_time()
        decision = decide(pricing, present, decision.standing, planning)
        seconds.append(time.perf_counter() - started)
        worked.append(time.process_time() - begun)
        anew += decision.mode == "planned"
        if decision.plan.catalogue_gap is not None:
            gaps.append(decision.plan.catalogue_gap)
    then = Row(
        case=f"arrival beside {case}: median of {arrivals}, {anew} planned anew",
        seconds=median(seconds),
        gap=max(gaps, default=None),
        more={"processor_s": round(median(worked), 4)},
    )
    return [first, then]


def day(policy: str, scenario: str, seed: int) -> list[Row]:
    """The row of a scenario of the distribution, such as "city-day", run whole under one policy.

    Its seconds are those of the run, its gap the largest certified one of a period; `more` holds what the
    policies are compared by (`fedopt.control.summary.Row` says what each number is) and the seconds of a
    processor, which other work on the machine does not add to.
    """
    import fedopt

    package = Path(str(fedopt.__file__)).parent
    places = (package / "_instances", package.parent / "instances")
    folder = next(place for place in places if place.is_dir())
    what, instance = load_scenario(folder / "scenarios" / f"{scenario}.yaml")
    identity = identity_of(what, instance, seed)
    with (
        tempfile.TemporaryDirectory() as state,
        Store.open(Path(state) / "day.db", identity) as store,
    ):
        started, worked = time.perf_counter(), time.process_time()
        operate(what, instance, store, policies=[policy], seed=seed)
        seconds, worked = time.perf_counter() - started, time.process_time() - worked
        (row,) = summarize(store)
    counted = row.to_dict()
    more = {**{name: counted[name] for name in COMPARED}, "processor_s": round(worked, 1)}
    return [Row(case=f"{scenario}, seed {seed}: {policy}", seconds=seconds, gap=row.gap, more=more)]
