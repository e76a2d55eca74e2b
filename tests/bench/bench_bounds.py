"""Microseconds per fully optimised bound of a three-domain path when many are asked for at once.

Usage: python -m tests.bench.bench_bounds [COUNT] [--runs N]

Two questions, each over all forms and over one form alone: `best_bound`, the least log-bound at given
reservations, and `least_scales`, the least common rate that meets ε. Paths differ in deadline, ε and
reservations; models are packed once, and compilation is not timed. The median of the runs is printed, on one
core and on all.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import numba
import numpy as np
from numba import prange

from fedopt.calculus.forms import ALL, FORMS, bit
from fedopt.calculus.scaling import least_scale
from fedopt.calculus.search import best_bound
from fedopt.kernels import kernel
from fedopt.laws import ExponentialWork, Poisson, pack

MODELS = pack([Poisson(0.5), ExponentialWork(0.3), ExponentialWork(0.2), ExponentialWork(0.4)])
ROWS, ONES, ZEROS = np.array([1, 2, 3]), np.ones(3), np.zeros(3)


@kernel(parallel=True)
def bounds(mask, models, rows, exponent, lag, window, log_epsilon, rates, result):
    """Least log-bounds at rates (N, 3), written into result (N,)."""
    for n in prange(result.size):
        path = (models, 0, rows, exponent, lag, window[n], True, log_epsilon[n])
        result[n] = best_bound(mask, path, rates[n])[0]


@kernel(parallel=True)
def scales(mask, models, rows, exponent, lag, window, log_epsilon, shape, cap, result):
    """Least common rates, written into result (N,)."""
    for n in prange(result.size):
        path = (models, 0, rows, exponent, lag, window[n], True, log_epsilon[n])
        result[n] = least_scale(mask, path, 1.0, shape, cap, math.inf)[0]


def timed(call: Callable[[], object], count: int, runs: int) -> float:
    """Median microseconds an item."""
    call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) / count * 1e6


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", nargs="?", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    window = rng.integers(15, 60, options.count)
    log_epsilon = -rng.uniform(2.0, 14.0, options.count)
    rates = rng.uniform(1.4, 1.9, (options.count, 1)) * rng.uniform(1.0, 1.1, (options.count, 3))
    result = np.empty(options.count)
    cap = np.full(3, 1e3)
    cores = numba.config.NUMBA_NUM_THREADS
    print(f"{options.count} three-domain paths at once, µs each, median of {options.runs}")
    many = f"{cores} cores"
    print(f"{'forms':<12} {'bound, 1 core':>14} {many:>9} {'least rate, 1 core':>19} {many:>9}")
    for name, mask in [("all", ALL), *((form, bit(form)) for form in FORMS)]:
        given = (mask, MODELS, ROWS, ONES, ZEROS, window, log_epsilon)
        row = []
        for call in (
            lambda g=given: bounds(*g, rates, result),
            lambda g=given: scales(*g, ONES, cap, result),
        ):
            for threads in (1, cores):
                numba.set_num_threads(threads)
                row.append(timed(call, options.count, options.runs))
        print(f"{name:<12} {row[0]:>14.0f} {row[1]:>9.0f} {row[2]:>19.0f} {row[3]:>9.0f}", flush=True)


if __name__ == "__main__":
    main()
