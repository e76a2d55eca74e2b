"""A period's packets of one tenant at its reserved rates, slot by slot, with what each domain saw of itself.

The servers are those of `fedopt.simulate.slots` (impairments first, they carry over; work may cross all
domains in one slot); here the delay of every slot's work is kept in time order, which an audit needs, and
every domain counts how its own impairment exceeded a reference level, which is all that it reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fedopt.kernels import kernel
from fedopt.simulate.slot_work import begin, fill, laws_of
from fedopt.simulate.slots import CHUNK, OWN, SlotPath, cross_slot, draw, start_sources
from fedopt.simulate.streams import mix, streams

__all__ = [
    "BATCHES",
    "WINDOW",
    "Observed",
    "by_batch",
    "impairment_of",
    "listen",
    "probe",
    "reference_level",
]

BATCHES = 24
WINDOW = 10
"""Slots over which a domain adds up its impairment before it is compared with the reference."""

SHARE = 0.02
"""Part of the windows that exceed the reference when a domain delivers what its contract says."""

DRAIN = 4096
"""Slots after a period in which its last work may still leave; what has not left then is late."""
_REFERENCE_WINDOWS = 200_000


@dataclass(frozen=True, eq=False)
class Observed:
    """What a period told of one tenant.

    delay: slots of queueing of each slot's work, −1 where there was none, shape (slots,); weight: its
    requests (or work); counts, excess: per domain of the path and batch, the windows whose impairment
    exceeded the reference level and by how much in all, shape (L, BATCHES).
    """

    delay: np.ndarray
    weight: np.ndarray
    counts: np.ndarray
    excess: np.ndarray

    def late(self, allowed: int, lost: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Requests, and those delayed more than `allowed` slots, of each batch; shape (BATCHES,).

        lost: slots whose requests are late whatever their delay here, shape (slots,).
        """
        late = self.delay > allowed
        return by_batch(self.weight, late if lost is None else late | lost)

    def series(self) -> np.ndarray:
        """Queueing delays of the requests in time order, slots; one entry for each request."""
        sent = self.delay >= 0
        weight = np.maximum(np.rint(self.weight[sent]).astype(np.int64), 1)
        return np.repeat(self.delay[sent], weight)


def by_batch(weight: np.ndarray, late: np.ndarray, batches: int = BATCHES) -> tuple[np.ndarray, np.ndarray]:
    """Requests, and late ones, of each batch, shape (batches,); weight, late: by slot."""
    edges = np.arange(batches) * len(weight) // batches
    return np.add.reduceat(weight, edges), np.add.reduceat(np.where(late, weight, 0.0), edges)


@kernel
def _run(laws, mean, rates, levels, start, step, slots, warmup, delay, weight, counts, excess):
    domains = rates.shape[0]
    sources = domains + 1
    tolerance = 1e-9 * mean
    batches = counts.shape[1]
    windows = slots // WINDOW // batches * batches
    block = np.empty((sources, CHUNK))
    weights = np.empty((sources, CHUNK))
    state = np.empty((sources, 2))
    origin = np.empty(sources, dtype=np.uint64)
    own = np.zeros(domains)
    first = np.zeros(domains)
    window = np.zeros(domains)
    start_sources(laws, np.arange(sources), start, step, origin, state)
    size = warmup + slots + DRAIN + 1
    came = np.empty(size, dtype=np.int64)
    left = np.empty(size)
    head = 0
    tail = 0
    at = CHUNK
    now = -warmup
    while now < slots or (head != tail and came[head] < slots and now < slots + DRAIN):
        if at == CHUNK:
            at = 0
            draw(laws, origin, step, state, block, weights)
        x = block[0, at]
        if x > 0.0:
            came[tail] = now
            left[tail] = x
            tail += 1
            if 0 <= now < slots:
                weight[now] = weights[0, at]
        x, waiting = cross_slot(x, block, at, rates, own, first)
        if 0 <= now < slots:
            ends = (now + 1) % WINDOW == 0
            place = now // WINDOW
            for d in range(domains):
                window[d] += block[d + 1, at]
                if ends:
                    if place < windows and window[d] > levels[d]:
                        batch = place * batches // windows
                        counts[d, batch] += 1
                        excess[d, batch] += window[d] / levels[d] - 1.0
                    window[d] = 0.0
        at += 1
        while head != tail:
            rest = left[head]
            if waiting > 0.0 and rest - x > tolerance:
                left[head] = rest - x
                break
            x -= rest
            if 0 <= came[head] < slots:
                delay[came[head]] = now - came[head]
            head += 1
        now += 1
    for k in range(head, tail):
        if 0 <= came[k] < slots:
            delay[came[k]] = slots + DRAIN


_kernel: Any = _run


def listen(path: SlotPath, slots: int, seed: np.random.SeedSequence, levels: np.ndarray) -> Observed:
    """Run a tenant for a period of `slots` slots, from empty after a warm-up of an eighth of it.

    levels: reference of each domain's impairment over WINDOW slots, work, shape (L,); infinite where none is
    counted. Independent of threads and of what ran before. Work that has not left 4,096 slots after the end
    counts as delayed beyond all.
    """
    delay = np.full(slots, -1, dtype=np.int64)
    weight = np.zeros(slots)
    counts = np.zeros((len(path.impairments), BATCHES), dtype=np.int64)
    excess = np.zeros((len(path.impairments), BATCHES))
    start, step = streams(seed, 1)[0]
    _kernel(
        laws_of((path.arrivals, *path.impairments)),
        max(path.arrivals.mean, 1e-300),
        path.rates,
        np.asarray(levels, dtype=float),
        start,
        step,
        slots,
        slots // 8,
        delay,
        weight,
        counts,
        excess,
    )
    return Observed(delay, weight, counts, excess)


@kernel
def _one_source(code, a, b, c, work, requests, start, number, step, early, out):
    state = np.empty(2)
    origin = mix(start + OWN * np.uint64(number))
    begin(code, a, b, c, work, origin, step, state)
    weights = np.empty(max(early, out.shape[0]))
    fill(code, a, b, c, work, requests, origin, step, state, np.empty(early), weights[:early])
    fill(code, a, b, c, work, requests, origin, step, state, out, weights[: out.shape[0]])


_impairment: Any = _one_source


def impairment_of(path: SlotPath, place: int, slots: int, seed: np.random.SeedSequence) -> np.ndarray:
    """The work that the domain at a place of the path lost in each slot of the period that `listen` ran."""
    law = path.impairments[place]
    start, step = streams(seed, 1)[0]
    out = np.empty(slots)
    _impairment(law.code, *law.parameters, law.work, law.requests, start, place + 2, step, slots // 8, out)
    return out


@kernel
def _windows(code, a, b, c, work, requests, origin, step, count):
    state = np.empty(2)
    begin(code, a, b, c, work, origin, step, state)
    block = np.empty(WINDOW)
    weights = np.empty(WINDOW)
    sums = np.empty(count)
    for k in range(count):
        fill(code, a, b, c, work, requests, origin, step, state, block, weights)
        sums[k] = block.sum()
    return sums


_sums: Any = _windows


def probe(law: Any, level: float, slots: int, seed: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
    """What a domain reports of a law where nobody crosses it: counts and excess of each batch, (BATCHES,)."""
    start, step = streams(seed, 1)[0]
    windows = slots // WINDOW // BATCHES * BATCHES
    sums = _sums(law.code, *law.parameters, law.work, law.requests, start, step, windows)
    batch = np.arange(windows) * BATCHES // windows
    over = sums > level
    excess = np.where(over, sums / level - 1.0, 0.0)
    return np.bincount(batch[over], minlength=BATCHES), np.bincount(batch, excess, minlength=BATCHES)


def reference_level(law: Any, seed: int) -> tuple[float, float]:
    """The level that the work of WINDOW slots of a law (`SlotWork`) exceeds in a share SHARE of windows, and
    the share that it truly exceeds it in (less where the law has atoms); (∞, SHARE) for no work.
    """
    if law.mean <= 0.0:
        return np.inf, SHARE
    start, step = streams(np.random.SeedSequence([seed, 0x52454645]), 1)[0]
    sums = _sums(law.code, *law.parameters, law.work, law.requests, start, step, _REFERENCE_WINDOWS)
    # a hair above: sums of a law with atoms meet the level exactly, up to the order of addition
    level = float(np.quantile(sums, 1 - SHARE, method="higher")) * (1 + 1e-9)
    share = float((sums > level).mean())
    return (level, share) if share > 0 and level > 0 else (np.inf, SHARE)
