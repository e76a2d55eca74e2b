"""Federated methods on generated instances: rounds to a certified relaxation gap, and what they end with.

One operator for each domain. Rounds are counted to the first at which the relaxation is certified to the gap;
beside the accelerated method, each switch turned off alone and the textbook's fixed penalty.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fedopt.bench.row import Row
from fedopt.instance.generating import generate
from fedopt.solve import solve

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["SIZES", "VARIANTS", "certified_round", "instances", "rows"]

SIZES = ((20, 3, 4), (50, 3, 5), (100, 3, 6), (100, 4, 4), (200, 4, 5), (500, 4, 6))
"""Tenants, stages and domains of a stage; five seeds each make the thirty instances."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "admm": ("admm", {}),
    "bundle": ("bundle", {}),
    "admm without over-relaxation": ("admm", {"over_relaxation": 1.0}),
    "admm without balancing": ("admm", {"balance": False}),
    "admm with Anderson": ("admm", {"anderson": True}),
    "textbook admm": (
        "admm",
        {"over_relaxation": 1.0, "balance": False, "list_penalty": True, "penalty": 1.0},
    ),
}


def instances(seeds: int, seed: int, largest: int) -> Iterator[Instance]:
    """The generated instances of up to so many tenants."""
    for tenants, stages, domains in SIZES:
        if tenants <= largest:
            for k in range(seeds):
                yield generate(tenants, stages, domains, seed + k)


def certified_round(plan: Any, gap: float) -> int | None:
    """The first round at which the relaxation was certified to the gap; None where none was."""
    for row in plan.ledger["relaxation"]["by_round"]:
        lower, upper = row["lower"], row["upper"]
        if lower is not None and upper is not None and upper - lower <= gap * abs(upper):
            return int(row["round"])
    return None


def rows(
    name: str, seeds: int = 5, seed: int = 0, largest: int = 500, gap: float = 1e-3, time_limit: float = 60.0
) -> list[Row]:
    """A variant on all instances: rounds, and integer gaps from a hundred tenants on."""
    method, switches = VARIANTS[name]
    rounds, integer, numbers, unfinished = [], [], [], 0
    start = time.perf_counter()
    for instance in instances(seeds, seed, largest):
        plan = solve(
            instance,
            method,
            gap=2 * gap,
            time_limit=time_limit,
            explain=False,
            alone=True,
            most_rounds=80,
            **switches,
        )
        found = certified_round(plan, gap)
        unfinished += found is None
        if found is not None:
            rounds.append(found)
        if plan.gap is not None and sum(tenant.count for tenant in instance.tenants) >= 100:
            integer.append(plan.gap)
        numbers.append(plan.ledger["totals"]["numbers"])
    more: dict[str, Any] = {
        "instances": len(rounds) + unfinished,
        "rounds_median": statistics.median(rounds) if rounds else None,
        "rounds_95": sorted(rounds)[max(0, -(-95 * len(rounds) // 100) - 1)] if rounds else None,
        "not_certified": unfinished,
        "largest_gap_from_100_tenants": max(integer) if integer else None,
        "numbers_median": statistics.median(numbers),
    }
    return [Row(name, time.perf_counter() - start, more=more)]
