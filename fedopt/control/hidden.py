"""Domains without a contract, as they truly are: a hidden server behind each tenant's own shaper.

A tenant's work reaches such a domain through a shaper at the reserved rate and is asked to leave it within a
delay. What is late there is late altogether; what is not is held until that delay is over, so that the
domains behind it see what left the shaper, that much later. The domain answers for every request whether it
left in time, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedopt.control.packets import DRAIN, by_batch
from fedopt.kernels import kernel
from fedopt.laws import build
from fedopt.simulate.slot_work import laws_of, slot_work
from fedopt.simulate.slots import CHUNK, SlotPath, cross_slot, draw, left_over, start_sources
from fedopt.simulate.streams import streams

__all__ = ["BATCHES", "TOLERANCE", "Answers", "Ask", "HiddenServer", "answered", "delays_in"]

BATCHES = 192
"""Batches of a sender's requests in a period. Each is one observation of a risk, so many are needed; and they
are taken to be independent, so each has to be long against a busy period.
"""

TOLERANCE = 1e-9
"""Slots by which a delay may exceed what was asked for, for rounding."""


@dataclass(frozen=True)
class HiddenServer:
    """What an offer without a contract truly is: work per slot that it serves for each tenant, its latency in
    slots, and the law of the work with priority per slot.
    """

    rate: float
    latency: float
    impairment: Any

    @classmethod
    def of(cls, rate: float, latency: float, impairment: Any, slot: float) -> HiddenServer:
        """From the units of an instance."""
        return cls(rate * slot, latency / slot, slot_work(build(impairment, slot)))


@dataclass(frozen=True, eq=False)
class Ask:
    """What one sender asks of one domain in a period.

    like, factor: the kind of its traffic; promised: the delay that it counts on, delay: those that are asked
    for by batch, shape (BATCHES,), in units of time.
    """

    subject: str
    like: str
    factor: float
    throughput: float
    promised: float
    delay: np.ndarray


@dataclass(frozen=True, eq=False)
class Answers:
    """What a domain answered to an ask: requests, and rejected ones, of each batch, shape (BATCHES,)."""

    sender: str
    ask: Ask
    asked: np.ndarray
    rejected: np.ndarray

    def rows(self) -> list[tuple[float, float, float]]:
        """(delay, asked, rejected) of every batch."""
        columns = (self.ask.delay.tolist(), self.asked.tolist(), self.rejected.tolist())
        return list(zip(*columns, strict=True))


def answered(sender: str, ask: Ask, delay: np.ndarray, weight: np.ndarray, slot: float) -> Answers:
    """The answers to an ask. delay: slots in the domain, by slot; weight: requests, by slot."""
    slots = len(weight)
    edges = np.arange(BATCHES) * slots // BATCHES
    limit = np.repeat(ask.delay / slot, np.diff([*edges, slots]))
    return Answers(sender, ask, *by_batch(weight, delay > limit + TOLERANCE, BATCHES))


@kernel
def _run(laws, numbers, mean, rates, hidden_rate, start, step, slots, warmup, worst):
    domains = rates.shape[0]
    sources = domains + 2
    tolerance = 1e-9 * mean
    block = np.empty((sources, CHUNK))
    weights = np.empty((sources, CHUNK))
    state = np.empty((sources, 2))
    origin = np.empty(sources, dtype=np.uint64)
    own = np.zeros(domains)
    first = np.zeros(domains + 1)
    start_sources(laws, numbers, start, step, origin, state)
    size = warmup + slots + DRAIN + 1
    came = np.empty(size, dtype=np.int64)  # what has not left the shaper, in order
    left = np.empty(size)
    head = 0
    tail = 0
    born = np.empty(2 * size, dtype=np.int64)  # pieces in the hidden server, in order
    entered = np.empty(2 * size, dtype=np.int64)
    rest = np.empty(2 * size)
    next_out = 0
    next_in = 0
    at = CHUNK
    now = -warmup
    while now < slots + DRAIN:
        if now >= slots:
            waiting_before = head != tail and came[head] < slots
            waiting_here = next_out != next_in and born[next_out] < slots
            if not waiting_before and not waiting_here:
                break
        if at == CHUNK:
            at = 0
            draw(laws, origin, step, state, block, weights)
        x = block[0, at]
        if x > 0.0:
            came[tail] = now
            left[tail] = x
            tail += 1
        x, waiting = cross_slot(x, block, at, rates, own, first)
        while head != tail:  # what leaves the shaper enters the hidden server
            piece = left[head]
            part = waiting > 0.0 and piece - x > tolerance
            if part:
                left[head] = piece - x
                piece = x
            x -= piece
            if piece > tolerance or not part:
                born[next_in] = came[head]
                entered[next_in] = now
                rest[next_in] = piece
                next_in += 1
            if part:
                break
            head += 1
        first[domains], free = left_over(first[domains], block[domains + 1, at], hidden_rate)
        while next_out != next_in and free > 0.0:
            piece = rest[next_out]
            if piece - free > tolerance:
                rest[next_out] = piece - free
                break
            free -= piece
            slot = born[next_out]
            if 0 <= slot < slots:
                worst[slot] = max(worst[slot], now - entered[next_out])
            next_out += 1
        at += 1
        now += 1
    for k in range(next_out, next_in):
        if 0 <= born[k] < slots:
            worst[born[k]] = np.inf
    for k in range(head, tail):
        if 0 <= came[k] < slots:
            worst[came[k]] = np.inf


_kernel: Any = _run


def delays_in(
    path: SlotPath, hidden: Mapping[int, HiddenServer], slots: int, seed: np.random.SeedSequence
) -> dict[int, np.ndarray]:
    """Longest delay of any part of each slot's work in the hidden servers, by position on the path.

    In slots, shape (slots,): from leaving the shaper to leaving the server; −1 where there was no work,
    infinite where some of it never left. path: as `fedopt.control.packets.listen` runs it, with a shaper in
    the place of every hidden server; the requests and everything before the shaper are the same.
    """
    start, step = streams(seed, 1)[0]
    found = {}
    for place, server in hidden.items():
        sources = (path.arrivals, *path.impairments[: place + 1], server.impairment)
        # its random numbers are its own: no server of `listen` on this path has them
        number = [*range(place + 2), len(path.impairments) + 1 + place]
        worst = np.full(slots, -1.0)
        _kernel(
            laws_of(sources),
            np.array(number, dtype=np.int64),
            max(path.arrivals.mean, 1e-300),
            path.rates[: place + 1],
            server.rate,
            start,
            step,
            slots,
            slots // 8,
            worst,
        )
        found[place] = np.where(worst < 0, -1.0, worst + server.latency)
    return found
