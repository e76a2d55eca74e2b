"""How the time of the central method grows with tenants, stages and domains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from fedopt.bench import central
from fedopt.bench.central import Case
from fedopt.bench.row import Row

__all__ = ["AXES", "exponent", "measure", "rows"]

BASE = Case(1_000, 4, 12, gap=5e-3, seconds=120.0)

AXES: dict[str, tuple[int, ...]] = {
    "tenants": (100, 300, 1_000, 3_000, 10_000),
    "stages": (2, 3, 4, 5, 6, 8),
    "domains": (4, 6, 8, 12, 16, 24),
}
"""The sizes along each axis; the others stay at 1,000 tenants, 4 stages, 12 domains a stage."""

QUICK = {"tenants": (10, 20, 40), "stages": (2, 3, 4), "domains": (2, 3, 4)}


def cases(quick: bool = False) -> Iterator[tuple[str, Case]]:
    """(axis, case) in order."""
    base = replace(BASE, tenants=20, stages=2, domains=3) if quick else BASE
    for axis, sizes in (QUICK if quick else AXES).items():
        for size in sizes:
            yield axis, replace(base, **{axis: size})


def measure(axis: str, case: Case, time_limit: float | None, seed: int) -> list[Row]:
    """The solve of one case, with the axis and the size on it."""
    return [
        replace(row, case=f"{axis}: {row.case}", more={"axis": axis, "size": getattr(case, axis), **row.more})
        for row in central.rows(case, time_limit, seed)
    ]


def rows(
    quick: bool = False,
    time_limit: float | None = None,
    seed: int = 0,
    run: Callable[..., list[Row]] = lambda measure, *given: measure(*given),
) -> Iterator[Row]:
    """All cases; the last row of an axis carries the exponent of its growth."""
    found: dict[str, list[Row]] = {axis: [] for axis in AXES}
    listed = list(cases(quick))
    for axis, case in listed:
        (row,) = run(measure, axis, case, time_limit, seed)
        found[axis].append(row)
        if case is [c for a, c in listed if a == axis][-1]:
            row = replace(row, more={**row.more, "exponent": exponent(found[axis])})
        yield row


def exponent(rows: Iterable[Row]) -> float:
    """The slope of log seconds over log size, by least squares over the rows of one axis."""
    points = [(float(row.more["size"]), row.seconds) for row in rows]
    size, seconds = np.log(np.array(points)).T
    return float(np.polyfit(size, seconds, 1)[0])
