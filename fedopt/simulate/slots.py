"""One tenant's path slot by slot, compiled: reserved rates, and impairments that are served first and carry
over.

In each slot, domain after domain: the slot's impairment joins the priority work waiting there; the reserved
rate serves the priority work first and the tenant's own work with what is left; what leaves a domain may
cross the next in the same slot, as the min-plus model has it. Pure delays commute with all this, so they are
taken off the deadline, and so is the latency of a rate-latency guardrail (the simulated server keeps the
whole latency as a delay, which is one of the behaviours that the guardrail permits).

The delay of slot t's work is f − t, with f the slot in which its last part leaves the last domain; it counts
with the slot's weight (its requests, or its work where the model has no requests). The virtual delay of an
instant t is that of the last work that came up to t. A promise is broken where the delay exceeds n whole
slots.

Work is followed first in, first out: no cumulative curves are compared, so rounding does not pile up with
time. Whenever every queue is empty the account is closed exactly; within a busy period a slot's work counts
as served when less than 1e-9 of the mean work of a slot is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedopt.kernels import kernel
from fedopt.simulate.slot_work import SlotWork, begin, fill, laws_of
from fedopt.simulate.streams import mix, streams
from fedopt.simulate.trials import Progress, over_blocks

CHUNK = 512
BINS = 4096
"""Delays of this many slots and more are counted together."""
_MOST_WAITING = 1 << 22
OWN = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class SlotPath:
    """Arrivals, impairments and reserved rates of a path, in work per slot, and which impairments are one
    process.

    ``stream[d]`` is the number of the random stream that drives domain d's impairment: domains that may
    depend on each other are given the same one.
    """

    arrivals: SlotWork
    impairments: tuple[SlotWork, ...]
    rates: np.ndarray
    stream: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        rates = np.ascontiguousarray(self.rates, dtype=float)
        if rates.shape != (len(self.impairments),) or rates.size == 0 or not (rates >= 0).all():
            raise ValueError("a path needs one non-negative rate for each of its impairments")
        object.__setattr__(self, "rates", rates)
        if not self.stream:
            object.__setattr__(self, "stream", tuple(range(rates.size)))

    @property
    def stable(self) -> bool:
        """Whether every domain's rate exceeds the mean work that it must serve."""
        return all(
            rate > self.arrivals.mean + impairment.mean
            for rate, impairment in zip(self.rates, self.impairments, strict=True)
        )


@dataclass(frozen=True)
class DelayCounts:
    """Delays of independent trials: ``requests[i, w]`` is the weight of trial i's requests delayed w slots.

    ``instants`` counts slots by virtual delay. The last column holds all delays of ``bins − 1`` slots and
    more. ``busy`` counts the periods from one empty system to the next.
    """

    requests: np.ndarray
    instants: np.ndarray
    busy: np.ndarray
    slots: int
    unfinished: np.ndarray = field(default_factory=lambda: np.zeros(0))


# --- the slot kernel: what every recorder of a path shares --------------------------------------------------


@kernel
def start_sources(laws, numbers, start, step, origin, state):
    """Put the sources into their stationary states; numbers: of their random streams."""
    code, parameters, work, _, work_start = laws
    for s in range(code.shape[0]):
        origin[s] = mix(start + OWN * np.uint64(numbers[s] + 1))
        begin(
            code[s], parameters[s, 0], parameters[s, 1], parameters[s, 2],
            work[work_start[s] : work_start[s + 1]], origin[s], step, state[s],
        )  # fmt: skip


@kernel
def draw(laws, origin, step, state, block, weights):
    """The work of the next slots of every source, and its requests; shape (sources, slots)."""
    code, parameters, work, requests, work_start = laws
    for s in range(code.shape[0]):
        table = slice(work_start[s], work_start[s + 1])
        fill(
            code[s], parameters[s, 0], parameters[s, 1], parameters[s, 2], work[table], requests[table],
            origin[s], step, state[s], block[s], weights[s],
        )  # fmt: skip


@kernel(inline="always")
def left_over(first, taken, rate):
    """(priority work that waits at the end of a slot, what the slot leaves to the tenant)."""
    priority = first + taken
    if priority >= rate:
        return priority - rate, 0.0
    return 0.0, rate - priority


@kernel(inline="always")
def cross_slot(x, block, at, rates, own, first):
    """(work that leaves the path in a slot in which x comes, work that waits on it)."""
    waiting = 0.0
    for d in range(rates.shape[0]):
        first[d], free = left_over(first[d], block[d + 1, at], rates[d])
        queue = own[d] + x
        if queue <= free:
            x = queue
            queue = 0.0
        else:
            x = free
            queue -= free
        own[d] = queue
        waiting += queue
    return x, waiting


@kernel
def _run(
    laws, numbers, mean, rates, streams_of_trials, slots, warmup, delays, instants, busy, unfinished
):  # fmt: skip
    domains = rates.shape[0]
    sources = domains + 1
    bins = delays.shape[1]
    tolerance = 1e-9 * mean
    block = np.empty((sources, CHUNK))
    weights = np.empty((sources, CHUNK))
    state = np.empty((sources, 2))
    origin = np.empty(sources, dtype=np.uint64)
    own = np.empty(domains)
    first = np.empty(domains)
    for trial in range(streams_of_trials.shape[0]):
        step = streams_of_trials[trial, 1]
        start_sources(laws, numbers, streams_of_trials[trial, 0], step, origin, state)
        own[:] = 0.0
        first[:] = 0.0
        size = 1024
        ring_slot = np.empty(size, dtype=np.int64)
        ring_left = np.empty(size)
        ring_weight = np.empty(size)
        head = 0
        tail = 0
        booked = -warmup - 1  # the last instant whose virtual delay is known
        at = CHUNK
        now = -warmup
        while True:
            if now >= slots and (
                head == tail or ring_slot[head & (size - 1)] >= slots or now >= slots + bins
            ):
                break
            if at == CHUNK:
                at = 0
                draw(laws, origin, step, state, block, weights)
            x = block[0, at]
            if x > 0.0:
                if tail - head == size:
                    if size >= _MOST_WAITING:
                        break
                    grown_slot = np.empty(2 * size, dtype=np.int64)
                    grown_left = np.empty(2 * size)
                    grown_weight = np.empty(2 * size)
                    for k in range(head, tail):
                        old, new = k & (size - 1), k & (2 * size - 1)
                        grown_slot[new] = ring_slot[old]
                        grown_left[new] = ring_left[old]
                        grown_weight[new] = ring_weight[old]
                    ring_slot, ring_left, ring_weight = grown_slot, grown_left, grown_weight
                    size *= 2
                place = tail & (size - 1)
                ring_slot[place] = now
                ring_left[place] = x
                ring_weight[place] = weights[0, at]
                tail += 1
            x, waiting = cross_slot(x, block, at, rates, own, first)
            at += 1
            while head != tail:
                place = head & (size - 1)
                left = ring_left[place]
                if waiting > 0.0 and left - x > tolerance:
                    ring_left[place] = left - x
                    break
                x -= left
                came = ring_slot[place]
                head += 1
                if 0 <= came < slots:
                    delays[trial, min(now - came, bins - 1)] += ring_weight[place]
                # instants from this work's slot up to the next work's refer to this work
                following = ring_slot[head & (size - 1)] if head != tail else now + 1
                for u in range(max(came, 0), min(following, slots)):
                    instants[trial, min(now - u, bins - 1)] += 1
                booked = following - 1
                if head == tail and 0 <= came < slots:
                    busy[trial] += 1
            if head == tail and booked < now:
                if 0 <= now < slots:
                    instants[trial, 0] += 1
                booked = now
            now += 1
        for k in range(head, tail):
            came = ring_slot[k & (size - 1)]
            if 0 <= came < slots:
                delays[trial, bins - 1] += ring_weight[k & (size - 1)]
                unfinished[trial] += 1.0
                following = ring_slot[(k + 1) & (size - 1)] if k + 1 != tail else slots
                instants[trial, bins - 1] += min(following, slots) - came


_kernel: Any = _run


def simulate(
    path: SlotPath,
    slots: int,
    *,
    trials: int = 32,
    warmup: int | None = None,
    bins: int = BINS,
    seed: int | np.random.SeedSequence = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> DelayCounts:
    """Count delays over ``slots`` slots in each of ``trials`` independent trials, from empty after a warm-up.

    The warm-up defaults to an eighth of the slots. Memory is 16 bytes per trial and bin. Results depend on
    the seed, not on ``threads``. Work that has not left ``slots + bins`` slots after the last counted one
    counts as delayed beyond every bin.
    """
    if slots < 1 or trials < 1 or bins < 2:
        raise ValueError(f"need slots >= 1, trials >= 1 and bins >= 2, got {slots}, {trials}, {bins}")
    arrays = (
        laws_of((path.arrivals, *path.impairments)),
        np.array([0, *(number + 1 for number in path.stream)], dtype=np.int64),
        max(path.arrivals.mean, 1e-300),
        path.rates,
    )
    early = slots // 8 if warmup is None else warmup

    def work(first: int, count: int) -> tuple[np.ndarray, ...]:
        delays = np.zeros((count, bins))
        instants = np.zeros((count, bins), dtype=np.int64)
        busy = np.zeros(count, dtype=np.int64)
        unfinished = np.zeros(count)
        _kernel(*arrays, streams(seed, count, first), slots, early, delays, instants, busy, unfinished)
        return delays, instants, busy, unfinished

    parts = list(over_blocks(work, trials, max(1, math.ceil(trials / 16)), threads, progress))
    delays, instants, busy, unfinished = (np.concatenate(column) for column in zip(*parts, strict=True))
    return DelayCounts(delays, instants, busy, slots, unfinished)


def merged(counts: Sequence[DelayCounts]) -> DelayCounts:
    """Trials of several runs of the same length together."""
    return DelayCounts(
        np.concatenate([c.requests for c in counts]),
        np.concatenate([c.instants for c in counts]),
        np.concatenate([c.busy for c in counts]),
        counts[0].slots,
        np.concatenate([c.unfinished for c in counts]),
    )
