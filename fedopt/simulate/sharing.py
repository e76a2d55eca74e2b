"""Several tenants over the same domains slot by slot: one shared queue, reserved rates, or weighted sharing.

A domain serves its impairment first (it carries over) and divides the rest of its rate:

- *fifo*: tenants' work in the order of the slots in which it came to the domain, work of one slot in
proportion;
- *reserved*: tenant u gets its share of the domain's rate and nothing more, its own impairment included;
- *weighted*: shares as weights (fluid fair queueing): what a tenant does not need is divided among those who
do.

Delays are counted as in ``fedopt.simulate.slots``: slot of the last departure less slot of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedopt.kernels import kernel
from fedopt.simulate.slot_work import SlotWork, begin, fill
from fedopt.simulate.streams import mix, streams
from fedopt.simulate.trials import over_blocks

FIFO, RESERVED, WEIGHTED = range(3)
POLICIES = ("fifo", "reserved", "weighted")
CHUNK = 512
BACKLOG = 1 << 14
"""Slots of work that may wait in a domain or for a tenant; more counts as delayed beyond every bin."""
_OWN = np.uint64(0x9FB21C651E98DF25)


@dataclass(frozen=True)
class Sharing:
    """Tenants' arrivals, domains' impairments and rates (work per slot), and each tenant's share of every
    domain.
    """

    arrivals: tuple[SlotWork, ...]
    impairments: tuple[SlotWork, ...]
    rates: tuple[float, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.impairments) != len(self.rates) or len(self.arrivals) != len(self.shares):
            raise ValueError("there must be one rate per impairment and one share per tenant")
        if not self.arrivals or not self.rates or min(self.shares) <= 0 or sum(self.shares) > 1 + 1e-12:
            raise ValueError("shares must be positive and add up to at most 1")


@kernel
def _divide(free, weights, wanted, given):
    """Fluid fair shares of ``free`` among tenants that want ``wanted``: water-filling by weight."""
    given[:] = 0.0
    left = free
    open_weight = 0.0
    for u in range(wanted.shape[0]):
        if wanted[u] > 0.0:
            open_weight += weights[u]
    while left > 1e-15 and open_weight > 1e-15:
        level = left / open_weight
        satisfied = 0.0
        spent = 0.0
        for u in range(wanted.shape[0]):
            need = wanted[u] - given[u]
            if need > 0.0 and need <= level * weights[u]:
                given[u] = wanted[u]
                spent += need
                satisfied += weights[u]
        if satisfied == 0.0:
            for u in range(wanted.shape[0]):
                if wanted[u] > given[u]:
                    given[u] = min(wanted[u], given[u] + level * weights[u])
            return
        left -= spent
        open_weight -= satisfied


@kernel
def _run(
    code, parameters, work, requests, work_start, tenants, rates, shares, policy, tolerance, stream,
    slots, warmup, delays,
):  # fmt: skip
    domains = rates.shape[0]
    sources = tenants + domains
    bins = delays.shape[2]
    block = np.empty((sources, CHUNK))
    weights = np.empty((sources, CHUNK))
    state = np.empty((sources, 2))
    origin = np.empty(sources, dtype=np.uint64)
    mask = BACKLOG - 1
    for trial in range(stream.shape[0]):
        step = stream[trial, 1]
        for s in range(sources):
            origin[s] = mix(stream[trial, 0] + _OWN * np.uint64(s + 1))
            begin(
                code[s], parameters[s, 0], parameters[s, 1], parameters[s, 2],
                work[work_start[s] : work_start[s + 1]], origin[s], step, state[s],
            )  # fmt: skip
        queue = np.zeros((domains, tenants))
        first = np.zeros((domains, tenants))
        batch = np.zeros((domains, BACKLOG, tenants)) if policy == FIFO else np.zeros((1, 1, tenants))
        batch_head = np.zeros(domains, dtype=np.int64)
        batch_tail = np.zeros(domains, dtype=np.int64)
        came = np.empty((tenants, BACKLOG), dtype=np.int64)
        left = np.empty((tenants, BACKLOG))
        weight = np.empty((tenants, BACKLOG))
        head = np.zeros(tenants, dtype=np.int64)
        tail = np.zeros(tenants, dtype=np.int64)
        flow = np.empty(tenants)
        given = np.empty(tenants)
        at = CHUNK
        for now in range(-warmup, slots + bins):
            if at == CHUNK:
                at = 0
                for s in range(sources):
                    table = slice(work_start[s], work_start[s + 1])
                    fill(
                        code[s], parameters[s, 0], parameters[s, 1], parameters[s, 2], work[table],
                        requests[table], origin[s], step, state[s], block[s], weights[s],
                    )  # fmt: skip
            counted = 0
            for u in range(tenants):
                flow[u] = block[u, at]
                if flow[u] > 0.0 and tail[u] - head[u] < BACKLOG:
                    place = tail[u] & mask
                    came[u, place] = now
                    left[u, place] = flow[u]
                    weight[u, place] = weights[u, at]
                    tail[u] += 1
                if tail[u] > head[u] and came[u, head[u] & mask] < slots:
                    counted += 1
            if now >= slots and counted == 0:
                break
            for d in range(domains):
                impairment = block[tenants + d, at]
                if policy == RESERVED:
                    for u in range(tenants):
                        priority = first[d, u] + impairment * shares[u]
                        free = max(rates[d] * shares[u] - priority, 0.0)
                        first[d, u] = max(priority - rates[d] * shares[u], 0.0)
                        queue[d, u] += flow[u]
                        flow[u] = min(queue[d, u], free)
                        queue[d, u] -= flow[u]
                    continue
                priority = first[d, 0] + impairment
                free = max(rates[d] - priority, 0.0)
                first[d, 0] = max(priority - rates[d], 0.0)
                for u in range(tenants):
                    queue[d, u] += flow[u]
                if policy == WEIGHTED:
                    _divide(free, shares, queue[d], given)
                    for u in range(tenants):
                        flow[u] = given[u]
                        queue[d, u] -= given[u]
                    continue
                if flow.sum() > 0.0 and batch_tail[d] - batch_head[d] < BACKLOG:
                    batch[d, batch_tail[d] & mask] = flow
                    batch_tail[d] += 1
                flow[:] = 0.0
                while free > 0.0 and batch_head[d] < batch_tail[d]:
                    oldest = batch[d, batch_head[d] & mask]
                    total = oldest.sum()
                    part = 1.0 if total <= free else free / total
                    for u in range(tenants):
                        flow[u] += part * oldest[u]
                        queue[d, u] = max(queue[d, u] - part * oldest[u], 0.0)
                        oldest[u] -= part * oldest[u]
                    if part < 1.0:
                        break
                    free -= total
                    batch_head[d] += 1
                if batch_head[d] == batch_tail[d]:
                    queue[d] = 0.0
            at += 1
            for u in range(tenants):
                out = flow[u]
                waiting = 0.0
                for d in range(domains):
                    waiting += queue[d, u]
                while head[u] < tail[u]:
                    place = head[u] & mask
                    if waiting > tolerance and left[u, place] - out > tolerance:
                        left[u, place] -= out
                        break
                    out -= left[u, place]
                    if 0 <= came[u, place] < slots:
                        delays[trial, u, min(now - came[u, place], bins - 1)] += weight[u, place]
                    head[u] += 1
        for u in range(tenants):
            for k in range(head[u], tail[u]):
                if 0 <= came[u, k & mask] < slots:
                    delays[trial, u, bins - 1] += weight[u, k & mask]


_kernel: Any = _run


def simulate(
    system: Sharing,
    policy: str,
    slots: int,
    *,
    trials: int = 16,
    warmup: int | None = None,
    bins: int = 1024,
    seed: int | np.random.SeedSequence = 0,
    threads: int | None = None,
) -> np.ndarray:
    """Delay counts of shape ``(trials, tenants, bins)``: weight of requests (or work) by slots of delay.

    ``policy`` is fifo, reserved or weighted; all three see the same random numbers. Under *reserved* a
    tenant's part of the domain has the tenant's share of the impairment. Results do not depend on
    ``threads``.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}")
    if slots < 1 or trials < 1 or bins < 2:
        raise ValueError(f"need slots >= 1, trials >= 1 and bins >= 2, got {slots}, {trials}, {bins}")
    sources: Sequence[SlotWork] = (*system.arrivals, *system.impairments)
    starts = np.concatenate([[0], np.cumsum([s.work.size for s in sources])]).astype(np.int64)
    mean = sum(s.mean for s in system.arrivals)
    arrays = (
        np.array([s.code for s in sources], dtype=np.int64),
        np.array([s.parameters for s in sources]),
        np.concatenate([s.work for s in sources]),
        np.concatenate([s.requests for s in sources]),
        starts,
        len(system.arrivals),
        np.array(system.rates, dtype=float),
        np.array(system.shares, dtype=float),
        POLICIES.index(policy),
        1e-9 * mean,
    )
    early = slots // 8 if warmup is None else warmup

    def work(first: int, count: int) -> np.ndarray:
        delays = np.zeros((count, len(system.arrivals), bins))
        _kernel(*arrays, streams(seed, count, first), slots, early, delays)
        return delays

    return np.concatenate(list(over_blocks(work, trials, max(1, -(-trials // 16)), threads)))
