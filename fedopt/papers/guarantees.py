"""What a guarantee costs: rate it reserves over the least rate that meets the SLO in simulation.

The table of the documentation, and studies over the number of domains, the load, ε and the burstiness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    measured,
)
from fedopt.papers.series import Series
from fedopt.papers.whole_systems import cost, draw
from fedopt.simulate.trials import Progress

Figure = Callable[..., list[Series]]

SYSTEMS = range(300, 340)
EFFORT, QUICK_EFFORT = 600, 100


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
        "whole": whole_requests,
    }
    return {name: partial(study, rows) for name, study in studies.items()}


def table(rows: Rows, trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """The table of the docs: a point a case, a curve a guarantee; the prototype's figures as published."""
    names = list(TABLE)[:3] if quick else list(TABLE)
    points = tuple(range(len(names)))
    return _curves(rows, [TABLE[name] for name in names], points, "case", trials, seed, quick, names)


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


def whole_requests(rows: Rows, trials: int = EFFORT, seed: int = 0, quick: bool = False) -> list[Series]:
    """Random systems of whole requests: what is reserved over the least rate that simulation needs.

    trials: requests of each of the 64 trials of a look.
    """
    numbers = range(SYSTEMS.start, SYSTEMS.start + 3) if quick else SYSTEMS
    effort = QUICK_EFFORT if quick else trials
    found = rows.measure(numbers, lambda number: cost(number, effort, seed), "whole", effort, seed)
    names = tuple(f"{number}: {draw(number).name}" for number in numbers)
    points = tuple(map(float, numbers))

    def curve(label: str, values: Sequence[float], errors: Sequence[float]) -> Series:
        low, high = (
            tuple(value + side * 1.96 * error for value, error in zip(values, errors, strict=True))
            for side in (-1, 1)
        )
        return Series(label, points, tuple(values), low, high, None, "system", label, names)

    facts = {"domains": "hops", "load": "load", "ε": "epsilon", "window": "window"}
    exact = [0.0] * len(points)
    ratios = [row["proven"] / row["least"] for row in found]
    errors = [ratio * row["error"] / row["least"] for ratio, row in zip(ratios, found, strict=True)]
    return [
        *(curve(label, [row[key] for row in found], exact) for label, key in facts.items()),
        curve("reserved over least rate", ratios, errors),
    ]


def _curves(
    rows: Rows,
    cases: list[Case],
    points: tuple[float, ...],
    label: str,
    trials: int,
    seed: int,
    quick: bool,
    names: Sequence[str] = (),
) -> list[Series]:
    """The least rate and one curve a guarantee, with 95 % bands from the least rate's standard error."""
    samples = QUICK_SAMPLES if quick else trials
    found = rows.measure(cases, lambda case: measured(case, samples, seed), samples, seed)
    x = tuple(map(float, points))
    least = [(row["least"], 1.96 * row["error"]) for row in found]

    def published(column: str) -> tuple[float | None, ...] | None:
        values = tuple(PROTOTYPE[name].get(column) for name in names)
        return values if any(value is not None for value in values) else None

    low, high = tuple(v - e for v, e in least), tuple(v + e for v, e in least)
    means, axes = tuple(value for value, _ in least), (label, "work per slot", tuple(names))
    series = [Series("least rate", x, means, low, high, published("least"), *axes)]
    for guarantee in GUARANTEES:
        rates = [row[guarantee] for row in found]
        mean, low, high = (
            tuple(rate / (v + side * e) for rate, (v, e) in zip(rates, least, strict=True))
            for side in (0, 1, -1)
        )
        known = published(guarantee.partition(":")[2] or guarantee)
        series.append(
            Series(guarantee, x, mean, low, high, known, label, "rate over least rate", tuple(names))
        )
    return series
