"""Time of one fully optimised minplus bound of a three-domain path, when many are asked for at once.

Fully optimised: over all forms, θ, block lengths and image ratios. The same path is bounded at many random
reservations; on one thread and on all, and form by form. Beside it the same bounds asked for one by one from
Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from fedopt.bench.row import Row
from fedopt.calculus import forms, minplus
from fedopt.calculus.forms import EVERY_RATE
from fedopt.calculus.path import Path
from fedopt.calculus.search import best_bound
from fedopt.kernels import kernel
from fedopt.laws import ExponentialWork, Poisson
from fedopt.simulate.trials import thread_count

BOUNDS = 2_000
ONE_BY_ONE = "one by one from Python"


def three_domains() -> Path:
    """Poisson requests over three domains with exponential impairments; deadline 100 slots, ε = 1e-3."""
    return Path(
        arrival=Poisson(0.5),
        impairments=(ExponentialWork(0.3), ExponentialWork(0.2), ExponentialWork(0.4)),
        latencies=np.array([2.0, 3.0, 4.0]),
        rate_latency=np.zeros(3, dtype=bool),
        deadline=100.0,
        log_epsilon=np.log(1e-3),
    )


@kernel
def _many(mask, path, rates):
    """The least log-bound at each row of rates, (K, L) work/slot: at the row and at it lowered to its
    smallest rate. `minplus.evaluate`, whose time is beside it, searches further lowered rates."""
    values = np.empty(rates.shape[0])
    for k in range(rates.shape[0]):
        lowered = np.full(rates.shape[1], rates[k].min())
        best = best_bound(mask, path, rates[k])[0]
        values[k] = min(best, best_bound(mask & EVERY_RATE, path, lowered)[0])
    return values


def rows(bounds: int = BOUNDS, seed: int = 0) -> list[Row]:
    """All forms on one and on all threads, every form on one thread, and the bounds one by one."""
    path = three_domains()
    packed = minplus.PackedPath(path)
    rates = np.random.default_rng(np.random.SeedSequence(seed)).uniform(1.0, 1.6, (bounds, len(path)))
    given = packed.arguments()
    few = rates[: max(1, bounds // 20)]
    minplus.evaluate(path, rates[0])  # compile
    single = _row(ONE_BY_ONE, lambda: [minplus.evaluate(path, rate) for rate in few], len(few))
    table = [single]
    _many(packed.mask, given, few)  # compile
    threads = thread_count(None)
    with ThreadPoolExecutor(threads) as pool:
        parts = np.array_split(rates, 8 * threads)

        def everywhere() -> None:
            list(pool.map(partial(_many, packed.mask, given), parts))

        works: list[tuple[str, Callable[[], object]]] = [
            ("all forms", partial(_many, packed.mask, given, rates))
        ]
        works += [("all forms, all threads", everywhere)]
        works += [(form, partial(_many, packed.mask & forms.bit(form), given, rates)) for form in forms.FORMS]
        for case, work in works:
            found = _row(case, work, bounds)
            ratio = single.more["microseconds"] / found.more["microseconds"]
            table.append(replace(found, ratio_to=ONE_BY_ONE, ratio=ratio))
    return [*table[1:], single]


def _row(case: str, work: Callable[[], object], bounds: int) -> Row:
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    return Row(case, seconds, more={"bounds": bounds, "microseconds": 1e6 * seconds / bounds})
