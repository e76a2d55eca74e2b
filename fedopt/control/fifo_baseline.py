"""Best effort: all tenants' packets in one queue per domain, first in, first out, at its whole capacity.

The packets and the priority work are those that the tenants would have met on reservations of their own,
random number by random number: a domain serves first the priority work of everybody who crosses it, then work
in the order in which it came (of one slot: in an order that rotates from slot to slot). Work may cross all
domains in one slot, as in `fedopt.control.packets`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedopt.control.environment import Environment
from fedopt.control.measurement import Observer, Period
from fedopt.control.packets import BATCHES
from fedopt.kernels import kernel
from fedopt.plan import TenantPlan
from fedopt.simulate.slot_work import begin, fill
from fedopt.simulate.slots import SlotPath
from fedopt.simulate.streams import mix, streams

__all__ = ["fifo_baseline", "share_queues"]

CHUNK = 256
_DRAIN = 4096
_WAITING = 1 << 17
"""Parcels that may wait in a domain; what finds no place is lost, and late."""
_OWN = np.uint64(0x94D049BB133111EB)


@kernel
def _run(
    code, parameters, mean, work, requests, table_start, hop, factor, capacity, stage_of, allowed,
    starts, steps, slots, warmup, sent, late,
):  # fmt: skip
    tenants, stages = hop.shape
    domains = capacity.shape[0]
    sources = stages + 1
    batches = sent.shape[1]
    block = np.empty((tenants, sources, CHUNK))
    weights = np.empty(CHUNK)
    size = np.empty((tenants, CHUNK))
    state = np.empty((tenants, sources, 2))
    origin = np.empty((tenants, sources), dtype=np.uint64)
    length = warmup + slots + _DRAIN + CHUNK
    left = np.zeros((tenants, warmup + slots))
    weight = np.zeros((tenants, warmup + slots), dtype=np.float32)
    for u in range(tenants):
        for s in range(sources):
            k = u * sources + s
            origin[u, s] = mix(starts[u] + _OWN * np.uint64(s + 1))
            begin(
                code[k], parameters[k, 0], parameters[k, 1], parameters[k, 2],
                work[table_start[k] : table_start[k + 1]], origin[u, s], steps[u], state[u, s],
            )  # fmt: skip
    ring_tenant = np.empty((domains, _WAITING), dtype=np.int32)
    ring_born = np.empty((domains, _WAITING), dtype=np.int32)
    ring_work = np.empty((domains, _WAITING))
    head = np.zeros(domains, dtype=np.int64)
    tail = np.zeros(domains, dtype=np.int64)
    first = np.zeros(domains)
    ordered = np.argsort(stage_of, kind="mergesort")
    at = CHUNK
    for clock in range(length):
        now = clock - warmup
        if now >= slots + _DRAIN:
            break
        if at == CHUNK:
            at = 0
            for u in range(tenants):
                for s in range(sources):
                    k = u * sources + s
                    table = slice(table_start[k], table_start[k + 1])
                    fill(
                        code[k], parameters[k, 0], parameters[k, 1], parameters[k, 2], work[table],
                        requests[table], origin[u, s], steps[u], state[u, s], block[u, s], weights,
                    )  # fmt: skip
                    if s == 0:
                        size[u] = weights
        for i in range(tenants):
            u = (i + clock) % tenants
            x = block[u, 0, at]
            for s in range(stages):
                first[hop[u, s]] += block[u, s + 1, at] * factor[u, s]
            if x > 0.0:
                d = hop[u, 0]
                if clock < warmup + slots:
                    left[u, clock] = x
                    weight[u, clock] = size[u, at]
                    if now >= 0:
                        batch = now * batches // slots
                        sent[u, batch] += size[u, at]
                        late[u, batch] += size[u, at]  # until it leaves in time
                    if tail[d] - head[d] < _WAITING:
                        place = tail[d] & (_WAITING - 1)
                        ring_tenant[d, place] = u
                        ring_born[d, place] = clock
                        ring_work[d, place] = x
                        tail[d] += 1
        for d in ordered:
            s = stage_of[d]
            free = capacity[d]
            if first[d] >= free:
                first[d] -= free
                continue
            free -= first[d]
            first[d] = 0.0
            while free > 0.0 and head[d] != tail[d]:
                place = head[d] & (_WAITING - 1)
                u = ring_tenant[d, place]
                born = ring_born[d, place]
                x = ring_work[d, place]
                need = x * factor[u, s]
                if need <= free:
                    free -= need
                    head[d] += 1
                else:
                    x = free / factor[u, s]
                    ring_work[d, place] -= x
                    free = 0.0
                if s + 1 < stages:
                    e = hop[u, s + 1]
                    if tail[e] - head[e] < _WAITING:
                        place = tail[e] & (_WAITING - 1)
                        ring_tenant[e, place] = u
                        ring_born[e, place] = born
                        ring_work[e, place] = x
                        tail[e] += 1
                else:
                    left[u, born] -= x
                    if left[u, born] <= 1e-9 * mean[u]:
                        left[u, born] = np.inf
                        came = born - warmup
                        if came >= 0 and clock - born <= allowed[u]:
                            late[u, came * batches // slots] -= weight[u, born]
        at += 1


_kernel: Any = _run


def share_queues(
    paths: Sequence[SlotPath],
    hops: np.ndarray,
    factors: np.ndarray,
    capacity: np.ndarray,
    stage_of: np.ndarray,
    allowed: np.ndarray,
    seeds: Sequence[np.random.SeedSequence],
    slots: int,
) -> tuple[np.ndarray, np.ndarray]:
    """(requests, late requests) of each tenant and batch, shape (tenants, BATCHES).

    paths: arrivals and impairments (their rates are not used); hops: domain of each stage, shape (tenants,
    L); factors: work factor of the offer used there; capacity: per domain and slot; stage_of: per domain;
    allowed: slots that a request may wait; seeds: a stream for each tenant.
    """
    sources = [source for path in paths for source in (path.arrivals, *path.impairments)]
    rows = np.array([streams(seed, 1)[0] for seed in seeds], dtype=np.uint64)
    sent = np.zeros((len(paths), BATCHES))
    late = np.zeros((len(paths), BATCHES))
    _kernel(
        np.array([s.code for s in sources], dtype=np.int64),
        np.array([s.parameters for s in sources]),
        np.array([max(path.arrivals.mean, 1e-300) for path in paths]),
        np.concatenate([s.work for s in sources]),
        np.concatenate([s.requests for s in sources]),
        np.concatenate([[0], np.cumsum([s.work.size for s in sources])]).astype(np.int64),
        np.ascontiguousarray(hops, dtype=np.int64),
        np.ascontiguousarray(factors, dtype=float),
        np.ascontiguousarray(capacity, dtype=float),
        np.ascontiguousarray(stage_of, dtype=np.int64),
        np.ascontiguousarray(allowed, dtype=np.int64),
        rows[:, 0].copy(),
        rows[:, 1].copy(),
        slots,
        slots // 8,
        sent,
        late,
    )
    return sent, np.maximum(late, 0.0)


def fifo_baseline(observer: Observer, environment: Environment, entries: Sequence[TenantPlan]) -> Period:
    """A period of everybody in one queue per domain."""
    truth = environment.truth
    index = {domain.id: d for d, domain in enumerate(truth.domains)}
    stages = {stage: s for s, stage in enumerate(truth.stages)}
    jobs = [observer.job(truth, environment.moment, entry) for entry in entries]
    capacity = [0.0 if d.id in environment.moment.failed else d.capacity * truth.slot for d in truth.domains]
    sent, late = share_queues(
        [path for path, _ in jobs],
        np.array([[index[domain] for domain, _ in entry.hops()] for entry in entries]),
        np.array([[truth.offer(hop)[1].work_factor for hop in entry.path] for entry in entries]),
        np.array(capacity),
        np.array([stages[domain.stage] for domain in truth.domains]),
        np.array([allowed for _, allowed in jobs]),
        [observer.stream(environment.moment.period, entry.id) for entry in entries],
        observer.slots,
    )
    names = [entry.id for entry in entries]
    return Period(dict(zip(names, sent, strict=True)), dict(zip(names, late, strict=True)))
