"""A plain simulation, slot by slot, of servers in a row; many independent copies side by side.

Two events, each P(W(t) > τ) for the virtual delay W(t) = least whole w ≥ 0 with departures(t + w) ≥
arrivals(t), where work may pass through all servers within a slot:

*queue* – the physical system. Domain i serves R_i a slot, impairments J_i first, what it cannot serve carries
over; what is left goes to the flow. A rate-latency server sleeps for T_i whenever it wakes from being empty
of both.

*path* – the worst system that the envelopes allow, the event that the proofs bound: some path of times
s_1 < t, s_1 ≤ s_2 ≤ … ≤ t + τ has A(s_1, t) + Σ_i (I_i − R_i[x_i − T_i]^+) > 0.

Per instant: the share of slots. Per request: the share of the slots' requests (of their work, where the model
has no requests). Standard errors come from the independent copies. Work is compared with a tolerance far
above the rounding of cumulative sums (1e-12 here) and far below any piece of work.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.oracles.tandem import Tandem

TOLERANCE = 1e-7


class Outcome(NamedTuple):
    """Violation probabilities and their standard errors, each of shape (windows,)."""

    instants: np.ndarray
    instants_error: np.ndarray
    requests: np.ndarray
    requests_error: np.ndarray


def draw(tandem: Tandem, rng: np.random.Generator, copies: int, slots: int):
    """Work and requests of the flow, and the impairments; each (copies, slots)."""
    if hasattr(tandem.arrival, "sample_requests"):
        work, requests = tandem.arrival.sample_requests(rng, (copies, slots))
    else:
        work = tandem.arrival.sample(rng, (copies, slots))
        requests = work
    return work, np.asarray(requests, float), [j.sample(rng, (copies, slots)) for j in tandem.impairments]


def queue(tandem: Tandem, windows, rng: np.random.Generator, copies: int, slots: int, warm: int) -> Outcome:
    """Violations in the physical system, for several windows (whole slots after pure delays)."""
    total = warm + slots
    work, requests, high = draw(tandem, rng, copies, total)
    size, lags = len(tandem.rates), tandem.lags
    waiting, priority, sleep = (np.zeros((size, copies)) for _ in range(3))
    arrived = np.concatenate([np.zeros((copies, 1)), np.cumsum(work, axis=1)], axis=1)
    departed = np.zeros(copies)
    late = np.zeros((len(windows), copies))
    weighted = np.zeros((len(windows), copies))
    for k in range(total):
        moving = work[:, k]
        for i in range(size):
            j = high[i][:, k]
            capacity = np.full(copies, tandem.rates[i])
            if lags[i] > 0:
                idle = (waiting[i] + priority[i] <= 1e-12) & (moving + j > 0)
                sleep[i] = np.where(idle, lags[i], sleep[i])
                slept = np.minimum(sleep[i], 1.0)
                sleep[i] -= slept
                capacity = capacity * (1.0 - slept)
            priority[i] += j
            first = np.minimum(priority[i], capacity)
            priority[i] -= first
            waiting[i] += moving
            moving = np.minimum(waiting[i], capacity - first)
            waiting[i] -= moving
        departed = departed + moving
        for w, n in enumerate(windows):
            if k - n >= warm:
                violated = arrived[:, k - n + 1] > departed + TOLERANCE
                late[w] += violated
                weighted[w] += violated * requests[:, k - n]
    counts = np.array([slots - n for n in windows], float)[:, None]
    weights = np.stack([requests[:, warm : total - n].sum(axis=1) for n in windows])
    return _outcome(late, np.broadcast_to(counts, late.shape), weighted, weights)


def path(tandem: Tandem, windows, rng: np.random.Generator, copies: int, slots: int, warm: int) -> Outcome:
    """Violations of the path event, for several windows."""
    value, requests = path_values(tandem, windows, rng, copies, slots, warm)
    violated = value > TOLERANCE
    shape = (len(windows), copies)
    weights = np.broadcast_to(requests.sum(axis=0), shape)
    looks = np.full(shape, float(requests.shape[0]))
    return _outcome(violated.sum(axis=1), looks, (violated * requests).sum(axis=1), weights)


def path_values(
    tandem: Tandem,
    windows,
    rng: np.random.Generator,
    copies: int,
    slots: int,
    warm: int,
    arrivals: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """The worst path value, and the requests of the slot it is judged from.

    Shapes (windows, looks, copies) and (looks, copies). It is looked at every max(windows)/2 slots. Without
    `arrivals`: the worst path that starts at t itself, which is G_1(t) of the image form.
    """
    windows = list(windows)
    horizon = max(windows)
    gap = max(horizon // 2, 5)
    work, requests, high = draw(tandem, rng, copies, warm + slots + horizon)
    size = len(tandem.rates)
    costs = []
    for i in range(size):
        steps = np.arange(int(np.ceil(tandem.lags[i])) + 2)
        costs.append(np.diff(tandem.rates[i] * np.maximum(steps - tandem.lags[i], 0.0)))

    def step(value, k: int, start: float, with_work: bool):
        """One slot more: state (i, j) is the best path now in domain i, j+1 slots old there."""
        entry = np.full(copies, start)
        fresh = []
        for i in range(size):
            before = value[i]
            moved = np.concatenate([entry[None], before[:-1]])
            moved[-1] = np.maximum(moved[-1], before[-1])
            gain = high[i][:, k] - costs[i][:, None]
            fresh.append(moved + gain + (work[:, k] if with_work else 0.0))
            entry = np.maximum(entry, before.max(axis=0))
        return fresh

    nothing = [np.full((c.size, copies), -np.inf) for c in costs]
    value, found, seen = nothing, [], []
    for k in range(warm + slots):
        value = step(value, k, 0.0, True)
        if k >= warm and (k - warm) % gap == 0:
            ahead = value if arrivals else nothing
            best = np.empty((len(windows), copies))
            for x in range(horizon + 1):
                if x in windows:
                    best[windows.index(x)] = np.max([v.max(axis=0) for v in ahead], axis=0)
                if x < horizon:
                    ahead = step(ahead, k + 1 + x, 0.0 if x == 0 and not arrivals else -np.inf, False)
            found.append(best)
            seen.append(requests[:, k])
    return np.stack(found, axis=1), np.stack(seen)


def _outcome(late, counts, weighted, weights) -> Outcome:
    instants, instants_error = _ratio(late, counts)
    requests, requests_error = _ratio(weighted, weights)
    return Outcome(instants, instants_error, requests, requests_error)


def _ratio(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of means over independent copies and its standard error (linearised)."""
    copies = above.shape[1]
    mean = below.mean(axis=1)
    ratio = above.mean(axis=1) / mean
    residual = above - ratio[:, None] * below
    return ratio, residual.std(axis=1, ddof=1) / np.sqrt(copies) / mean
