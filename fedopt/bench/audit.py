"""Coverage of the audit's intervals: P(late) at exact or long-simulated quantiles of series of many kinds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm

from fedopt.audit.counts import count_above, few_clusters
from fedopt.audit.sample import Grid, Sample
from fedopt.bench.row import Row

PROBABILITIES = (0.99, 0.999, 0.9999)
WARM_UP = 20_000
LONG = 4_000_000

Draw = Callable[[np.random.Generator, int], np.ndarray]


def sojourns(gaps: np.ndarray, work: np.ndarray) -> np.ndarray:
    """Sojourn times of a single server in order of arrival, after a warm-up; gaps lie before each request."""
    steps = np.concatenate([[0.0], work[:-1] - gaps[1:]])
    walk = np.cumsum(steps)
    return np.asarray((walk - np.minimum.accumulate(walk) + work)[WARM_UP:])


def _queue(load: float) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        size = n + WARM_UP
        return sojourns(rng.exponential(1 / load, size), rng.exponential(1.0, size))

    return draw


def _served(load: float, work: Callable[[np.random.Generator, int], np.ndarray]) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        size = n + WARM_UP
        return sojourns(rng.exponential(1 / load, size), work(rng, size))

    return draw


def _autoregressive(rng: np.random.Generator, n: int) -> np.ndarray:
    noise = rng.standard_normal(n + WARM_UP) * math.sqrt(1 - 0.81)
    return np.asarray(-norm.logsf(lfilter([1.0], [1.0, -0.9], noise)[WARM_UP:]))


def _mixture(share: float, body: Draw, high: float) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.where(rng.random(n) < share, high + rng.normal(0.0, high / 100, n), body(rng, n))

    return draw


def _exponential(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.exponential(1.0, n)


def _lognormal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.lognormal(0.0, 0.5, n)


SERIES: dict[str, tuple[Draw, Callable[[float], float] | None]] = {
    "exponential": (_exponential, lambda p: -math.log(1 - p)),
    "M/M/1 .8": (_queue(0.8), lambda p: -math.log(1 - p) / 0.2),
    "M/M/1 .9": (_queue(0.9), lambda p: -math.log(1 - p) / 0.1),
    "M/M/1 .95": (_queue(0.95), lambda p: -math.log(1 - p) / 0.05),
    "log-normal service .7": (_served(0.7, lambda rng, n: rng.lognormal(-0.5, 1.0, n)), None),
    "Pareto service .6": (_served(0.6, lambda rng, n: 1.5 * rng.pareto(2.5, n)), None),
    "AR(1) .9": (_autoregressive, lambda p: -math.log(1 - p)),
    "mixture 0.3 %": (_mixture(0.003, _lognormal, 30.0), None),
    "mixture 0.05 %": (_mixture(0.0005, _lognormal, 30.0), None),
}
"""How each series is drawn, and its exact quantile where it is known."""


def rows(name: str, samples: int, replications: int, seed: int = 0) -> list[Row]:
    """One series at p99, p99.9 and p99.99: how often the 95 % interval of P(late) covers, in all and where it
    is not marked, its median upper end over the truth, and misses by side.
    """
    draw, exact = SERIES[name]
    if exact is None:
        values = draw(np.random.default_rng([seed, 1]), LONG)
        levels = {p: float(np.quantile(values, p)) for p in PROBABILITIES}
    else:
        levels = {p: exact(p) for p in PROBABILITIES}
    found: dict[float, list[tuple[float, float, bool]]] = {p: [] for p in PROBABILITIES}
    begin = time.perf_counter()
    for replication in range(replications):
        values = draw(np.random.default_rng([seed, 2, replication]), samples)
        sample = Sample(values, np.arange(samples), samples, Grid(0.0))
        for p, level in levels.items():
            counted = count_above(sample, level)
            found[p].append((*counted.interval(0.95), few_clusters(counted) is None))
    seconds = (time.perf_counter() - begin) / (replications * len(levels))
    return [_row(name, p, found[p], seconds) for p in PROBABILITIES]


def _row(name: str, p: float, found: list[tuple[float, float, bool]], seconds: float) -> Row:
    truth = 1 - p
    covered = [low <= truth <= high for low, high, _ in found]
    relied = [hit for hit, (_, _, plain) in zip(covered, found, strict=True) if plain]
    return Row(
        f"{name}, p{100 * p:g}",
        seconds,
        more={
            "covered": float(np.mean(covered)),
            "truth_above": float(np.mean([high < truth for _, high, _ in found])),
            "unmarked": len(relied),
            "of_them_covered": float(np.mean(relied)) if relied else "–",
            "upper_over_truth": float(np.median([high for _, high, _ in found]) / truth),
        },
    )
