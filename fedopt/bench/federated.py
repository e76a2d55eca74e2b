"""Federated methods by instance: rounds to a certified relaxation gap, and whole units beside central.

One operator for each domain. Rounds count to the first at which the relaxation is certified to the gap.
Beside the methods as they come, each accelerator is switched off alone, the penalty is wrong by ten, the
textbook's method with one fixed penalty runs, progressive hedging by mpi-sppy where that is installed, and
per-tenant consensus, of which only the cost can be told. The defaults were chosen on generated instances of
other seeds (`TUNING_SEEDS`) than those that are measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedopt.bench.hedging import RHO, available, hedged
from fedopt.bench.row import Row
from fedopt.instance import load
from fedopt.instance.generating import generate
from fedopt.solve import solve

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.plan import Plan

__all__ = [
    "MEASURED_SEEDS",
    "TUNING_SEEDS",
    "VARIANTS",
    "Case",
    "cases",
    "certified_round",
    "measure",
    "rows",
]

SIZES = ((20, 3, 4), (50, 3, 5), (100, 3, 6), (100, 4, 4), (200, 4, 5), (500, 4, 6))
"""Tenants, stages and domains of a stage; five seeds each make the thirty instances."""

JOINT = ((100, 4, 2, 4), (100, 2, 4, 4), (100, 2, 1, 16), (100, 1, 2, 16))
"""The same with offers of a domain, which share its capacity: eight operators with four each, two with
sixteen."""

MEASURED_SEEDS = range(5)
TUNING_SEEDS = range(500, 505)
LIMIT = 120.0
LARGEST_FOR_VARIANTS = 100
"""Tenants up to which every variant runs, not only the methods as they come."""

RELAXATION, WHOLE = 1e-3, 5e-3
"""Gaps asked for: of the relaxation, in which units may be split, and of the plan."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {"admm": ("admm", {}), "bundle": ("bundle", {})}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "admm without over-relaxation": ("admm", {"over_relaxation": 1.0}),
    "admm without balancing": ("admm", {"balance": False}),
    "admm with Anderson": ("admm", {"anderson": True}),
    "admm from a similar plan": ("admm", {}),
    "admm, penalty x 10": ("admm", {"penalty": 2.5}),
    "admm, penalty x 10, without balancing": ("admm", {"penalty": 2.5, "balance": False}),
    "admm, penalty / 10": ("admm", {"penalty": 0.025}),
    "admm, penalty / 10, without balancing": ("admm", {"penalty": 0.025, "balance": False}),
    "textbook admm": (
        "admm",
        {"over_relaxation": 1.0, "balance": False, "list_penalty": True, "penalty": 1.0},
    ),
}
"""What is changed, one thing at a time; the last is ADMM with one fixed penalty for all offers."""

SIMILAR = "admm from a similar plan"


@dataclass(frozen=True)
class Case:
    """An instance file, or a generated instance."""

    file: Path | None = None
    tenants: int = 0
    stages: int = 0
    domains: int = 0
    offers: int = 1
    seed: int = 0

    def __str__(self) -> str:
        if self.file is not None:
            return self.file.stem
        offers = "" if self.offers == 1 else f"x{self.offers}"
        return f"{self.tenants}x{self.stages}x{self.domains}{offers}, seed {self.seed}"

    def instance(self) -> Instance:
        """The instance."""
        if self.file is not None:
            return load(self.file)
        return generate(self.tenants, self.stages, self.domains, self.seed, offers=self.offers)


def cases(seed: int = 0, quick: bool = False) -> Iterator[Case]:
    """The cases in order: instance files, thirty generated ones, operators with several offers."""
    if quick:
        yield Case(tenants=20, stages=3, domains=4, seed=seed)
        return
    for file in sorted(shipped()):
        yield Case(file=file)
    for size in SIZES:
        for k in MEASURED_SEEDS:
            yield Case(None, *size, seed=seed + k)
    for tenants, stages, domains, offers in JOINT:
        for k in MEASURED_SEEDS:
            yield Case(None, tenants, stages, domains, offers, seed + k)


def shipped() -> list[Path]:
    """The instance files that come with the package."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "_instances", package.parent / "instances"):
        if place.is_dir():
            return list(place.glob("*.yaml"))
    return []


def certified_round(plan: Plan, gap: float) -> int | None:
    """The first round at which the relaxation was certified to the gap; None where none was."""
    for row in plan.ledger["relaxation"]["by_round"]:
        lower, upper = row["lower"], row["upper"]
        if lower is not None and upper is not None and upper - lower <= gap * abs(upper):
            return int(row["round"])
    return None


def measure(case: Case, time_limit: float | None = None, quick: bool = False) -> list[Row]:
    """One case: a row for the central method, one for each method and variant, none where it is infeasible.

    Paths are sized once in a process, so what runs first pays for what follows: the central method pays here.
    """
    instance = case.instance()
    limit = time_limit or LIMIT
    for method in ("central", "admm"):  # compiled, imported
        solve(generate(tenants=6, stages=2, domains=2, seed=1), method)
    started = time.perf_counter()
    central = solve(instance, gap=0.5 * WHOLE, time_limit=limit, explain=False)
    if central.status == "infeasible":
        return []
    units = sum(tenant.count for tenant in instance.tenants)
    about = {"units": units, "joint": case.offers > 1, "shipped": case.file is not None}
    found = [
        Row(
            f"{case}: central",
            time.perf_counter() - started,
            gap=central.gap,
            more={"method": "central"} | about,
        )
    ]
    for name in METHODS:
        found.append(_row(case, name, instance, central, limit, about, whole=case.offers == 1))
    if case.file is None and case.offers == 1 and units <= LARGEST_FOR_VARIANTS and not quick:
        found += [_row(case, name, instance, central, limit, about, whole=False) for name in VARIANTS]
        found += [_hedged(case, name, instance, limit, about) for name in RHO if available()]
        found.append(_consensus(case, instance, central, limit, about))
    return found


def _hedged(case: Case, name: str, instance: Instance, limit: float, about: dict[str, Any]) -> Row:
    """Progressive hedging on the same relaxation, with the same certificate."""
    done = hedged(instance, RHO[name], RELAXATION, 300, limit)
    more = {"method": name, **about, "rounds_to_relaxation": done.rounds, "relaxation_gap": done.gap}
    return Row(f"{case}: {name}", done.seconds, gap=None, more=more)


def _consensus(case: Case, instance: Instance, central: Plan, limit: float, about: dict[str, Any]) -> Row:
    """Per-tenant consensus: no bound, so no round to count; where it stopped."""
    started = time.perf_counter()
    plan = solve(instance, "consensus", time_limit=limit, explain=False)
    last = plan.history[-1]
    more = {
        "method": "consensus",
        **about,
        "rounds_to_relaxation": None,
        "rounds": last.round,
        "primal_residual": last.primal_residual,
        "frozen_above_central": _over(plan.cost, central.cost),
    }
    return Row(f"{case}: consensus", time.perf_counter() - started, more=more)


def _row(
    case: Case, name: str, instance: Instance, central: Plan, limit: float, about: dict[str, Any], whole: bool
) -> Row:
    """One solve; `whole`: whole units are chosen too, else the relaxation is all."""
    method, switches = (METHODS | VARIANTS)[name]
    start = _similar(instance, limit) if name == SIMILAR else None
    if not whole:
        switches = {**switches, "most_confirmations": 0}
    started = time.perf_counter()
    plan = solve(
        instance,
        method,
        gap=WHOLE,
        relaxation=RELAXATION,
        time_limit=limit,
        warm_start=start,
        explain=False,
        alone=True,
        most_rounds=100,
        **switches,
    )
    seconds = time.perf_counter() - started
    more: dict[str, Any] = {
        "method": name,
        **about,
        "rounds_to_relaxation": certified_round(plan, RELAXATION),
        "relaxation_gap": plan.ledger["relaxation"]["gap"],
        "rounds": plan.ledger["totals"]["rounds"],
        "numbers": plan.ledger["totals"]["numbers"],
    }
    if whole:
        more["dearer_than_central"] = _over(plan.cost, central.cost)
    return Row(f"{case}: {name}", seconds, gap=plan.gap, more=more)


def _similar(instance: Instance, limit: float) -> Plan:
    """The plan of a similar instance: every tenth tenant was not there yet."""
    tenants = tuple(tenant for k, tenant in enumerate(instance.tenants) if k % 10)
    earlier = instance.with_(tenants=tenants)
    return solve(earlier, "admm", gap=WHOLE, time_limit=limit, explain=False, alone=True)


def _over(cost: float | None, other: float | None) -> float | None:
    return None if cost is None or not other else cost / other - 1.0


def rows(
    seed: int = 0,
    quick: bool = False,
    time_limit: float | None = None,
    run: Callable[..., list[Row]] = lambda measure, *given: measure(*given),
) -> Iterator[Row]:
    """A row for each case with the rounds of every variant, then one for each variant over the cases."""
    found: list[Row] = []
    for case in cases(seed, quick):
        one = run(measure, case, time_limit, quick)
        found += one
        if one:
            yield _together(str(case), one)
    yield from summary(found)


def _together(case: str, one: list[Row]) -> Row:
    """One case in a row: seconds of ADMM, rounds of everything."""
    by_method = {row.more["method"]: row for row in one}
    admm = by_method["admm"]
    more: dict[str, Any] = {
        "central_seconds": by_method["central"].seconds,
        "bundle_seconds": by_method["bundle"].seconds,
        "dearer_than_central": admm.more.get("dearer_than_central"),
    }
    for name, row in by_method.items():
        if name != "central":
            more[f"rounds_{name}"] = row.more["rounds_to_relaxation"]
    return replace(admm, case=case, more={k: v for k, v in more.items() if v is not None or "rounds" in k})


def summary(found: Iterable[Row]) -> Iterator[Row]:
    """For each variant, and for each method over operators with several offers: median and 95th percentile of
    the rounds, how many more rounds than ADMM as it comes on the same instances; integer gaps by size.
    """
    rows = [row for row in found if row.more["method"] != "central"]
    plain = {row.case.rpartition(": ")[0]: row for row in rows if row.more["method"] == "admm"}
    for joint in (False, True):
        for name in (*METHODS, *VARIANTS, *RHO, "consensus"):
            mine = [row for row in rows if row.more["method"] == name and row.more["joint"] == joint]
            if joint:
                groups = {f"all, {o} offers a domain": f"x{o}, seed" for o in sorted({j[3] for j in JOINT})}
                for label, mark in groups.items():
                    group = [row for row in mine if mark in row.case]
                    if group:
                        yield _over_cases(f"{label}: {name}", group, plain)
            elif mine:
                yield _over_cases(f"all: {name}", mine, plain)


def _over_cases(case: str, mine: list[Row], plain: dict[str, Row]) -> Row:
    counted = [row.more["rounds_to_relaxation"] for row in mine]
    rounds = sorted(count for count in counted if count is not None)
    more: dict[str, Any] = {
        "instances": len(mine),
        "rounds_median": statistics.median(rounds) if rounds else None,
        "rounds_95": rounds[max(0, -(-95 * len(rounds) // 100) - 1)] if rounds else None,
        "rounds_most": rounds[-1] if rounds else None,
        "not_certified": len(mine) - len(rounds),
    }
    others = [
        (row.more["rounds_to_relaxation"], plain[row.case.rpartition(": ")[0]].more["rounds_to_relaxation"])
        for row in mine
    ]
    both = [mine - theirs for mine, theirs in others if mine is not None and theirs is not None]
    if both and mine[0].more["method"] != "admm":
        more["rounds_more_than_admm"] = statistics.mean(both)
    frozen = [row.more["frozen_above_central"] for row in mine if row.more.get("frozen_above_central")]
    if frozen:
        more["frozen_above_central_median"] = statistics.median(frozen)
        more["frozen_above_central_most"] = max(frozen)
        more["without_plan"] = len(mine) - len(frozen)
    if all("dearer_than_central" in row.more for row in mine):
        for label, part in (
            ("100_units_on", [row for row in mine if row.more["units"] >= 100]),
            ("fewer_units", [row for row in mine if row.more["units"] < 100]),
        ):
            more |= _whole_units(label, part)
    return Row(case, sum(row.seconds for row in mine), more=more)


def _whole_units(label: str, part: list[Row]) -> dict[str, Any]:
    """The largest certified gap and the largest excess over central, and how many ended without a plan."""
    gaps = [row.gap for row in part if row.gap is not None]
    over = [row.more["dearer_than_central"] for row in part if row.more["dearer_than_central"] is not None]
    if not part:
        return {}
    return {
        f"largest_gap_{label}": max(gaps, default=None),
        f"dearer_than_central_{label}": max(over, default=None),
        f"without_plan_{label}": len(part) - len(gaps),
    }
