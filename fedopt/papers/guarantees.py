"""What a guarantee costs: rate it reserves over the least rate that meets the SLO in simulation.

The table of the documentation, and studies over the number of domains, the load, ε and the burstiness.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from fedopt.papers.guarantee_cases import (
    CASE_A,
    GUARANTEES,
    PROTOTYPE,
    QUICK_SAMPLES,
    SAMPLES,
    TABLE,
    Case,
    Rows,
    case_b,
)
from fedopt.papers.series import Series
from fedopt.simulate.trials import Progress

Figure = Callable[..., list[Series]]


def figures(record: Path | None = None, progress: Progress | None = None) -> dict[str, Figure]:
    """The studies by name; each takes (trials, seed, quick), trials being samples of a least rate.

    record: a file that keeps the cases measured so far; progress is told (cases done, cases) of a study.
    """
    rows = Rows(record, progress)
    studies = {
        "table": table,
        "hops": over_hops,
        "load": over_load,
        "epsilon": over_epsilon,
        "burstiness": over_sizes,
    }
    return {name: partial(study, rows) for name, study in studies.items()}


def table(rows: Rows, trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """The table of the docs: a point a case, a curve a guarantee; the prototype's figures as published."""
    names = list(TABLE)[:3] if quick else list(TABLE)
    label = f"case ({'; '.join(f'{i} {name}' for i, name in enumerate(names))})"
    return _curves(
        rows, [TABLE[name] for name in names], tuple(range(len(names))), label, trials, seed, quick, names
    )


def over_hops(rows: Rows, trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """Cost against the number of domains in a row (case B)."""
    hops = (1, 2) if quick else (1, 2, 3, 4, 5, 6)
    return _curves(rows, [case_b(n) for n in hops], hops, "domains in a row (case B)", trials, seed, quick)


def over_load(rows: Rows, trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """Cost against the load (case B with 3 domains, all rates scaled)."""
    loads = (0.5, 1.0) if quick else (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    cases = [case_b(3, load=load) for load in loads]
    return _curves(rows, cases, loads, "load relative to case B with 3", trials, seed, quick)


def over_epsilon(rows: Rows, trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """Cost against the violation probability promised (case A)."""
    values = (1e-2, 1e-3) if quick else (1e-2, 1e-3, 1e-4, 1e-5)
    cases = [replace(CASE_A, epsilon=value) for value in values]
    return _curves(
        rows, cases, tuple(-math.log10(v) for v in values), "−log10 ε (case A)", trials, seed, quick
    )


def over_sizes(rows: Rows, trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """Cost against burstiness: the size of an impairment at the same mean (case B with 3 domains)."""
    sizes = (0.3, 1.0) if quick else (0.1, 0.3, 1.0, 2.0)
    cases = [case_b(3, size=size) for size in sizes]
    return _curves(rows, cases, sizes, "size of an impairment (case B with 3)", trials, seed, quick)


def _curves(
    rows: Rows,
    cases: list[Case],
    points: tuple[float, ...],
    label: str,
    trials: int,
    seed: int,
    quick: bool,
    names: list[str] | None = None,
) -> list[Series]:
    """The least rate and one curve a guarantee, with 95 % bands from the least rate's standard error."""
    found = rows.measure(cases, QUICK_SAMPLES if quick else trials, seed)
    x = tuple(map(float, points))
    least = [(row["least"], 1.96 * row["error"]) for row in found]

    def published(column: str) -> tuple[float | None, ...] | None:
        values = tuple(PROTOTYPE[name].get(column) for name in names or ())
        return values if any(value is not None for value in values) else None

    low, high = tuple(v - e for v, e in least), tuple(v + e for v, e in least)
    series = [
        Series(
            "least rate", x, tuple(v for v, _ in least), low, high, published("least"), label, "work per slot"
        )
    ]
    for guarantee in GUARANTEES:
        rates = [row[guarantee] for row in found]
        mean, low, high = (
            tuple(rate / (v + side * e) for rate, (v, e) in zip(rates, least, strict=True))
            for side in (0, 1, -1)
        )
        known = published(guarantee.partition(":")[2] or guarantee)
        series.append(Series(guarantee, x, mean, low, high, known, label, "rate over least rate"))
    return series
