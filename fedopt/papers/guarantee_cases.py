"""Cases of *what a guarantee costs*: one path each, the least rate that meets its SLO, and what is proven.

Equal rates in all domains, per request, best θ and parameters of every form. The least rate is found by
importance sampling of the exact event with carry-over, on common random numbers, so it has no theory in it
but the tilt.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import numpy as np

import fedopt
from fedopt.calculus.forms import ALL, FORMS, bit
from fedopt.calculus.minplus import evaluate
from fedopt.calculus.paper import size_path
from fedopt.calculus.path import Path
from fedopt.laws.models import ExponentialWork, Poisson
from fedopt.simulate import rare, simulated
from fedopt.simulate.crossing import crossing
from fedopt.simulate.trials import Progress
from fedopt.storage import write_atomically

CREDITED = "minplus, arrivals credited"
GUARANTEES = ("paper-path", *(f"minplus:{form}" for form in FORMS), "minplus", CREDITED, "simulated")
SAMPLES, QUICK_SAMPLES = 40_000, 2_000
_FEW = 4_000


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


def least_rate(case: Case, samples: int, seed: int = 0) -> tuple[float, float]:
    """The least common rate at which P(delay > deadline) of a request is ε in simulation, and its standard
    error.

    Secants on log P with few samples, then one evaluation with all of them, on the same random numbers; the
    error is that of log P over its slope in the rate.
    """
    path = case.path()
    hops = len(case.impairments)

    def estimate(rate: float, count: int) -> rare.RareEstimate:
        return rare.violation(path, np.full(hops, rate), samples=count, seed=seed)

    def log_probability(rate: float) -> float:
        return math.log(max(estimate(rate, min(samples, _FEW)).probability, 1e-300))

    high = proven_rate(case, "minplus")
    at, slope = crossing(log_probability, path.log_epsilon, _stable(path), high)
    found = estimate(at, samples)
    return at + (path.log_epsilon - math.log(found.probability)) / slope, found.relative_error / abs(slope)


def proven_rate(case: Case, guarantee: str) -> float:
    """The least common rate that a guarantee needs; nan where it does not apply."""
    path = case.path()
    hops = len(case.impairments)
    if guarantee == "paper-path":
        return float(size_path(path).rate)
    if guarantee == "simulated":
        start = np.full(hops, proven_rate(case, "minplus"))
        return float(simulated.size(path, start).rates[0])
    credited = guarantee == CREDITED
    mask = ALL if credited or guarantee == "minplus" else bit(guarantee.partition(":")[2])

    def is_proven(rate: float) -> bool:
        found = evaluate(path, np.full(hops, rate), mask, crossing=credited)
        return found.log_bound <= path.log_epsilon

    low = _stable(path)
    high = 2.0 * low
    while not is_proven(high):
        low, high = high, 2.0 * high
        if high > 1e3 * path.arrival.mean:
            return math.nan
    while high - low > 2e-5 * high:
        middle = 0.5 * (low + high)
        if is_proven(middle):
            high = middle
        else:
            low = middle
    return high


def _stable(path: Path) -> float:
    return float(path.arrival.mean + max(impairment.mean for impairment in path.impairments))


class Rows:
    """Measured rows, each a dictionary of numbers.

    record: a JSON file of the rows measured so far, by release, case, effort and seed; written after every
    case, so that a study that was stopped goes on where it ended.
    """

    def __init__(self, record: File | None = None, progress: Progress | None = None) -> None:
        self.record = record
        self.progress = progress
        self._known: dict[str, dict[str, float]] = {}
        if record is not None and record.exists():
            try:
                self._known = dict(json.loads(record.read_text(encoding="utf-8")))
            except ValueError as error:
                raise ValueError(
                    f"{record}: not a record of measured cases ({error}); delete it or choose another folder"
                ) from None

    def measure(
        self, cases: Sequence[Any], row: Callable[[Any], dict[str, float]], *settings: Any
    ) -> list[dict[str, float]]:
        """One row a case; settings: what else a row depends on."""
        rows = []
        for number, case in enumerate(cases):
            if self.progress is not None:
                self.progress(number, len(cases))
            key = json.dumps([fedopt.__version__, repr(case), *settings])
            if key not in self._known:
                self._known[key] = row(case)
                if self.record is not None:
                    write_atomically(self.record, json.dumps(self._known, indent=1) + "\n")
            rows.append(self._known[key])
        return rows


def measured(case: Case, samples: int, seed: int) -> dict[str, float]:
    """``least``, its standard error ``error``, and the rate of every guarantee."""
    least, error = least_rate(case, samples, seed)
    return {"least": least, "error": error} | {name: proven_rate(case, name) for name in GUARANTEES}
