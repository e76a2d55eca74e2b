"""The stages that whole requests cross, compiled: servers with priority work, pools, work that flows on.

Arrays of a system, one row a stage: kinds, rates, delays, servers, numbers of random streams, and of the
impairments codes, parameters, tables and where each table starts.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import kernel
from fedopt.simulate import slot_work as sw
from fedopt.simulate.estimates import push
from fedopt.simulate.streams import exponential, gamma, mix, uniform, word_at

WHOLE, CUT_THROUGH, POOL = range(3)
FREE, NOW, PRIORITY, NEXT, PHASE, STATE = range(6)
"""State of a stage: when its last request leaves; up to when its impairment is known, the priority work
waiting then, the instant of the next, the phase or place of its law. STATE: how many numbers these are."""
STREAM = np.uint64(0x94D049BB133111EB)


# --- impairments --------------------------------------------------------------------------------------------


@kernel
def begin(code, parameters, size, phase, origin, step, state, words):
    """A stage, empty, its law stationary; phase: time to the next slot's start; size: of the law's table."""
    state[:] = 0.0
    state[NEXT] = phase
    word = word_at(origin, step, 0)
    words[0] = 1
    a, b, c = parameters[0], parameters[1], parameters[2]
    if code == sw.NONE:
        state[NEXT] = np.inf
    elif code in (sw.POISSON, sw.POISSON_EXPONENTIAL, sw.ATOMS):
        state[NEXT] = exponential(word) / a if a > 0.0 else np.inf
    elif code == sw.ON_OFF:
        state[PHASE] = 1.0 if uniform(word) < c / (b + c) else 0.0
    elif code == sw.PERIODIC:
        state[NEXT] = uniform(word) * a
    elif code == sw.REPLAY:
        state[PHASE] = math.floor(uniform(word) * size)


@kernel
def jump(code, parameters, work, requests, origin, step, state, words):
    """The priority work that comes at the instant state[NEXT], which moves on to the next instant."""
    word = word_at(origin, step, words[0])
    words[0] += 1
    a, b, c = parameters[0], parameters[1], parameters[2]
    if code in (sw.POISSON, sw.POISSON_EXPONENTIAL, sw.ATOMS):
        state[NEXT] += exponential(word) / a
        return b if code == sw.POISSON else sw.piece(code, b, work, requests, word)
    if code == sw.PERIODIC:
        state[NEXT] += a
        return b
    state[NEXT] += 1.0
    if code == sw.EXPONENTIAL:
        return a * exponential(word)
    if code == sw.GAMMA:
        return b * gamma(word, a)
    if code == sw.ON_OFF:
        on = state[PHASE] > 0.5
        u = uniform(word)
        state[PHASE] = 1.0 if (u >= b if on else u < c) else 0.0
        return a if on else 0.0
    place = np.int64(state[PHASE])
    state[PHASE] = float(place + 1) if place + 1 < work.shape[0] else 0.0
    return work[place]


@kernel
def wait_until(time, rate, code, parameters, work, requests, origin, step, state, words):
    """Serve nothing but priority work up to an instant."""
    now, priority = state[NOW], state[PRIORITY]
    while state[NEXT] <= time:
        at = state[NEXT]
        left = max(priority - rate * (at - now), 0.0)
        priority = left + jump(code, parameters, work, requests, origin, step, state, words)
        now = at
    state[PRIORITY] = max(priority - rate * (time - now), 0.0)
    state[NOW] = time


# --- stages -------------------------------------------------------------------------------------------------


@kernel
def serve(time, size, rate, code, parameters, work, requests, origin, step, state, words):
    """The instant at which a request of a size leaves a stage that it reaches at a time."""
    if time < state[FREE]:
        time = state[FREE]
    if code == sw.NONE:
        state[FREE] = time + size / rate
        return state[FREE]
    if time > state[NOW]:
        wait_until(time, rate, code, parameters, work, requests, origin, step, state, words)
    now = state[NOW]
    left = state[PRIORITY] + size
    while state[NEXT] < now + left / rate:
        at = state[NEXT]
        left -= rate * (at - now)
        now = at
        left += jump(code, parameters, work, requests, origin, step, state, words)
    now += left / rate
    state[FREE] = state[NOW] = now
    state[PRIORITY] = 0.0
    return now


@kernel
def serve_flow(
    begins, ends, shares, owners, sizes, rate, code, parameters, work, requests, origin, step, state, words
):
    """Work that moves on while it is served: pieces of requests in, pieces out.

    A piece is a share of its owner's size that comes at a constant rate between its begin and its end. The
    server gives it all of the rate that priority work leaves, at most what has come. Returns the pieces that
    leave; while a piece leaves its rate is constant as well.
    """
    room = 2 * begins.shape[0] + 16
    out_begins, out_ends = np.empty(room), np.empty(room)
    out_shares, out_owners = np.empty(room), np.empty(room, dtype=np.int64)
    count = 0
    for k in range(begins.shape[0]):
        whole = shares[k] * sizes[owners[k]]
        pace = (ends[k] - begins[k]) / whole if whole > 0.0 else 0.0
        time = max(begins[k], state[NOW])
        if time > state[NOW]:
            wait_until(time, rate, code, parameters, work, requests, origin, step, state, words)
        done = 0.0
        sent = False
        while not sent:
            while state[PRIORITY] > 0.0:  # priority work first, and what comes meanwhile
                after = time + state[PRIORITY] / rate
                if state[NEXT] <= after:
                    at = state[NEXT]
                    state[PRIORITY] = max(state[PRIORITY] - rate * (at - time), 0.0)
                    time = at
                    state[PRIORITY] += jump(code, parameters, work, requests, origin, step, state, words)
                else:
                    state[PRIORITY] = 0.0
                    time = after
            come = begins[k] + pace * done
            slope = 1.0 / rate
            until = whole
            if pace > slope:
                behind = time - come
                catch = behind / (pace - slope)
                if behind > 1e-12 * (1.0 + time) and catch > 1e-12 * whole:
                    until = min(whole, done + catch)
                else:
                    slope = pace
            after = time + (until - done) * slope
            if state[NEXT] < after:
                after = state[NEXT]
                until = min(until, done + (after - time) / slope)
                state[PRIORITY] = jump(code, parameters, work, requests, origin, step, state, words)
                sent = until >= whole
            else:
                sent = until >= whole
            if until > done or sent:
                if count == out_begins.shape[0]:
                    out_begins, out_ends = np.append(out_begins, out_begins), np.append(out_ends, out_ends)
                    out_shares, out_owners = (
                        np.append(out_shares, out_shares),
                        np.append(out_owners, out_owners),
                    )
                out_begins[count], out_ends[count] = time, after
                out_shares[count] = shares[k] * ((until - done) / whole if whole > 0.0 else 1.0)
                out_owners[count] = owners[k]
                count += 1
            done = until
            time = after
        state[NOW] = state[FREE] = time
    return out_begins[:count], out_ends[:count], out_shares[:count], out_owners[:count]


@kernel
def cross(times, sizes, stages, origins, step, states, words, free, first_free):
    """Take a chunk of requests through all stages.

    times: of arrival, ascending, shape (n,); on return the instants at which the requests leave. sizes: shape
    (columns, n). free: the instants at which the servers of the pools are free, as heaps; those of stage i
    begin at first_free[i].
    """
    kinds, rates, delays, servers, _, codes, parameters, work, requests, starts = stages
    count = times.shape[0]
    order = np.arange(count)  # requests in the order in which they reach the stage
    flowing = False
    begins, ends = times, times
    shares, owners = np.ones(1), order
    for i in range(kinds.shape[0]):
        size = sizes[min(i, sizes.shape[0] - 1)]
        table = slice(starts[i], starts[i + 1])
        law, atoms = work[table], requests[table]
        flows_on = kinds[i] == CUT_THROUGH and i + 1 < kinds.shape[0] and kinds[i + 1] != POOL
        if kinds[i] == POOL:
            heap = free[first_free[i] : first_free[i] + servers[i]]
            for n in order:
                times[n] = max(times[n], heap[0]) + size[n] / rates[i]
                push(heap, times[n])
            if servers[i] > 1:
                order = order[np.argsort(times[order], kind="mergesort")]
        elif flowing or flows_on:
            if not flowing:
                begins, ends = times[order], times[order]
                shares, owners = np.ones(count), order
            begins, ends, shares, owners = serve_flow(
                begins, ends, shares, owners, size, rates[i], codes[i], parameters[i], law, atoms, origins[i],
                step, states[i], words[i],
            )  # fmt: skip
            for k in range(ends.shape[0]):
                times[owners[k]] = ends[k]
            if flows_on:
                begins, ends = begins + delays[i], ends + delays[i]
        elif codes[i] == sw.NONE:
            last = states[i, FREE]
            for n in order:
                last = max(times[n], last) + size[n] / rates[i]
                times[n] = last
            states[i, FREE] = last
        else:
            for n in order:
                times[n] = serve(
                    times[n], size[n], rates[i], codes[i], parameters[i], law, atoms, origins[i], step,
                    states[i], words[i],
                )  # fmt: skip
        flowing = flows_on
        if delays[i] > 0.0:
            for n in range(count):
                times[n] += delays[i]


@kernel
def prepare(stages, origin, step, phase, origins, states, words):
    """Stages empty and their impairments stationary; origins: of the stages' random streams, filled."""
    _, _, _, _, numbers, codes, parameters, _, _, starts = stages
    for i in range(codes.shape[0]):
        origins[i] = mix(origin + STREAM * np.uint64(numbers[i] + 2))
        begin(
            codes[i], parameters[i], starts[i + 1] - starts[i], phase, origins[i], step, states[i], words[i]
        )
