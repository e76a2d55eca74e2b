"""What a guarantee costs: rate it reserves over the least rate that meets the SLO in simulation.

Equal rates in all domains, per request, best θ and parameters of every form. The least rate is found by
importance sampling of the exact event with carry-over, on common random numbers, so it has no theory in it
but the tilt. The simulated guarantee is measured by plain Monte-Carlo, as planning does, down to ε = 1e-3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from fedopt.calculus.forms import ALL, FORMS, bit
from fedopt.calculus.minplus import evaluate
from fedopt.calculus.paper import size_path
from fedopt.calculus.path import Path
from fedopt.envelopes.exponential import ExponentialWork
from fedopt.envelopes.poisson import Poisson
from fedopt.reproduce.series import Series
from fedopt.simulate import rare, simulated

Figure = Callable[..., list[Series]]
GUARANTEES = ("paper-path", *(f"minplus:{form}" for form in FORMS), "minplus", "simulated")
SAMPLES, QUICK_SAMPLES = 16_000, 4_000
_SIMULATED_SLOTS = 10_000_000


@dataclass(frozen=True)
class Case:
    """One row of the table: arrivals, impairments, slots left by the deadline, ε; latencies only delay."""

    arrivals: Any
    impairments: tuple[Any, ...]
    window: int
    epsilon: float = 1e-3
    latencies: tuple[float, ...] = ()

    def path(self) -> Path:
        """The case as the calculus takes it."""
        hops = len(self.impairments)
        latencies = np.array(self.latencies or (0.0,) * hops)
        return Path(
            self.arrivals,
            self.impairments,
            latencies,
            np.zeros(hops, dtype=bool),
            self.window + float(latencies.sum()),
            math.log(self.epsilon),
        )


CASE_A = Case(
    Poisson(0.5), (ExponentialWork(0.3), ExponentialWork(0.2), ExponentialWork(0.4)), 21, latencies=(2, 3, 4)
)


def case_b(hops: int, *, load: float = 1.0, size: float = 0.3, epsilon: float = 1e-3) -> Case:
    """Poisson .05 requests a slot and impairments of rate .01 and size .3, 100 slots; ``load`` scales both
    rates.
    """
    return Case(Poisson(0.05 * load), (Poisson(0.01 * 0.3 / size * load, size),) * hops, 100, epsilon)


TABLE = {
    "A": CASE_A,
    "B": case_b(1),
    "B with 2 domains": case_b(2),
    "B with 3": case_b(3),
    "B with 5": case_b(5),
    "B with 6": case_b(6),
}
PROTOTYPE: dict[str, dict[str, float]] = {
    "A": {"least": 1.1063, "paper-path": 2.24, "monotone": 1.61, "fine": 1.19, "block": 1.19, "ville": 1.50,
          "block-ville": 1.15, "image": 1.043},
    "B": {"least": 0.0850, "paper-path": 2.20, "monotone": 1.28, "fine": 1.28, "block": 1.28, "ville": 1.020,
          "block-ville": 1.020, "image": 1.020},
    "B with 2 domains": {"least": 0.0869, "paper-path": 2.19, "monotone": 1.29, "fine": 1.45, "block": 1.32,
                         "ville": 1.037, "block-ville": 1.105, "image": 1.027},
    "B with 3": {"least": 0.0876, "paper-path": 2.22, "monotone": 1.32, "fine": 1.60, "block": 1.35,
                 "ville": 1.069, "block-ville": 1.154, "image": 1.044},
    "B with 5": {"least": 0.0900, "paper-path": 2.24, "monotone": 1.37, "fine": 1.81, "block": 1.38,
                 "ville": 1.117, "block-ville": 1.218, "image": 1.062},
    "B with 6": {"least": 0.0900, "ville": 1.156, "block-ville": 1.263, "image": 1.082},
}  # fmt: skip
"""The prototype's figures (±1 %), from before this package; the image's column is its best variant."""


def figures() -> dict[str, Figure]:
    """The studies by name; each takes (trials, seed, quick), trials being samples of a least rate."""
    return {
        "table": table,
        "hops": over_hops,
        "load": over_load,
        "epsilon": over_epsilon,
        "burstiness": over_sizes,
    }


@lru_cache(maxsize=256)
def least_rate(case: Case, samples: int, seed: int = 0) -> tuple[float, float]:
    """The least common rate at which P(delay > deadline) of a request is ε in simulation, and its standard
    error.

    Secant steps on log P with an eighth of the samples, then one with all of them, on the same random
    numbers; the error is that of log P over its slope.
    """
    path = case.path()
    log_epsilon = math.log(case.epsilon)
    hops = len(case.impairments)

    def log_probability(rate: float, count: int) -> tuple[float, float]:
        found = rare.violation(path, np.full(hops, rate), samples=count, seed=seed)
        return math.log(max(found.probability, 1e-300)), found.relative_error

    few = max(samples // 8, 1_000)
    high = before = proven_rate(case, "minplus")
    earlier = log_probability(before, few)[0]
    at = before / 1.03
    slope = math.nan
    for _ in range(6):
        value, relative = log_probability(at, few)
        slope = (value - earlier) / (at - before)
        before, earlier = at, value
        # noise may throw a step far: it stays where the path is stable and the bound near
        at = min(max(at + (log_epsilon - value) / slope, 0.97 * at, 0.9 * high), 1.05 * high)
        if abs(value - log_epsilon) < 0.5 * relative:
            break
    value, relative = log_probability(at, samples)
    return at + (log_epsilon - value) / slope, relative / abs(slope)


def proven_rate(case: Case, guarantee: str) -> float:
    """The least common rate that a guarantee proves sufficient; nan where it does not apply."""
    path = case.path()
    if guarantee == "paper-path":
        return float(size_path(path).rate)
    if guarantee == "simulated":
        return _simulated_rate(case)
    mask = ALL if guarantee == "minplus" else bit(guarantee.partition(":")[2])
    hops = len(case.impairments)
    low = path.arrival.mean + max(impairment.mean for impairment in path.impairments)
    high = 2.0 * low
    while evaluate(path, np.full(hops, high), mask).log_bound > path.log_epsilon:
        low, high = high, 2.0 * high
        if high > 1e3 * path.arrival.mean:
            return math.nan
    while high - low > 2e-4 * high:
        middle = 0.5 * (low + high)
        if evaluate(path, np.full(hops, middle), mask).log_bound <= path.log_epsilon:
            high = middle
        else:
            low = middle
    return high


def _simulated_rate(case: Case) -> float:
    """What the simulated guarantee reserves; nan below ε = 1e-3, where it takes too long for a study."""
    if case.epsilon < 0.999e-3:
        return math.nan
    start = np.full(len(case.impairments), proven_rate(case, "minplus"))
    return float(simulated.size(case.path(), start, slots=_SIMULATED_SLOTS).rates[0])


def ratios(
    case: Case, samples: int, seed: int = 0, guarantees: tuple[str, ...] = GUARANTEES
) -> dict[str, float]:
    """Rate over least rate of every guarantee, and ``least`` with its standard error ``error``."""
    least, error = least_rate(case, samples, seed)
    row = {"least": least, "error": error}
    for guarantee in guarantees:
        row[guarantee] = proven_rate(case, guarantee) / least
    return row


def table(trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """The table of the docs: one point per case, one curve per guarantee; the prototype's figures as
    published.
    """
    cases = dict(list(TABLE.items())[:3]) if quick else TABLE
    columns = GUARANTEES[:-1] if quick else GUARANTEES
    samples = QUICK_SAMPLES if quick else trials
    rows = {name: ratios(case, samples, seed, columns) for name, case in cases.items()}
    x = tuple(float(i) for i in range(len(rows)))
    least = tuple(row["least"] for row in rows.values())
    errors = tuple(1.96 * row["error"] for row in rows.values())
    names = "; ".join(f"{i} {name}" for i, name in enumerate(rows))
    known = tuple(PROTOTYPE[name].get("least") for name in rows)
    band = [tuple(v + s * e for v, e in zip(least, errors, strict=True)) for s in (-1, 1)]
    series = [Series("least rate", x, least, band[0], band[1], known, f"case ({names})", "work per slot")]
    for guarantee in columns:
        values = tuple(row[guarantee] for row in rows.values())
        low = tuple(
            v * r["least"] / (r["least"] + 1.96 * r["error"])
            for v, r in zip(values, rows.values(), strict=True)
        )
        high = tuple(
            v * r["least"] / (r["least"] - 1.96 * r["error"])
            for v, r in zip(values, rows.values(), strict=True)
        )
        form = guarantee.partition(":")[2] or guarantee
        stated = tuple(PROTOTYPE[name].get(form) for name in rows)
        published = stated if any(value is not None for value in stated) else None
        series.append(
            Series(guarantee, x, values, low, high, published, f"case ({names})", "rate over least rate")
        )
    return series


def over_hops(trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """Cost against the number of domains in a row (case B)."""
    hops = (1, 2) if quick else (1, 2, 3, 4, 5, 6)
    return _curves(
        [case_b(n) for n in hops], tuple(map(float, hops)), "domains in a row", trials, seed, quick
    )


def over_load(trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """Cost against the load (case B with 2 domains, all rates scaled)."""
    loads = (0.5, 1.0) if quick else (0.25, 0.5, 1.0, 2.0, 4.0)
    return _curves([case_b(2, load=v) for v in loads], loads, "load relative to case B", trials, seed, quick)


def over_epsilon(trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """Cost against the violation probability promised (case A)."""
    values = (1e-2, 1e-3) if quick else (1e-2, 1e-3, 1e-4, 1e-5)
    cases = [replace(CASE_A, epsilon=value) for value in values]
    return _curves(cases, tuple(-math.log10(v) for v in values), "−log10 ε (case A)", trials, seed, quick)


def over_sizes(trials: int = SAMPLES, seed: int = 0, quick: bool = False) -> list[Series]:
    """Cost against burstiness: the size of an impairment at the same mean (case B with 2 domains)."""
    sizes = (0.3, 1.0) if quick else (0.1, 0.3, 1.0, 2.0)
    return _curves([case_b(2, size=v) for v in sizes], sizes, "size of an impairment", trials, seed, quick)


def _curves(
    cases: list[Case], x: tuple[float, ...], label: str, trials: int, seed: int, quick: bool
) -> list[Series]:
    proven = GUARANTEES[:-1]  # the simulated one in the table alone: it takes as long as all the others
    rows = [ratios(case, QUICK_SAMPLES if quick else trials, seed, proven) for case in cases]
    series = []
    for guarantee in proven:
        values = tuple(row[guarantee] for row in rows)
        low = tuple(
            v * r["least"] / (r["least"] + 1.96 * r["error"]) for v, r in zip(values, rows, strict=True)
        )
        high = tuple(
            v * r["least"] / (r["least"] - 1.96 * r["error"]) for v, r in zip(values, rows, strict=True)
        )
        series.append(Series(guarantee, x, values, low, high, None, label, "rate over least rate"))
    return series
