"""Work per slot, drawn inside compiled kernels: the laws behind the envelopes of arrivals and impairments.

``slot_work`` turns an envelope (in slots) into a ``SlotWork`` that kernels can draw from. A table of bounds
is not a law; it is represented by the most demanding compound Poisson work that the table admits
(``admitted``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linprog

from fedopt.kernels import kernel
from fedopt.laws.models import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, TokenBucket
from fedopt.laws.table import Table
from fedopt.laws.trace import Trace
from fedopt.simulate.streams import exponential, gamma, mix, poisson, uniform, word_at

NONE, POISSON, POISSON_EXPONENTIAL, EXPONENTIAL, GAMMA, ON_OFF, PERIODIC, REPLAY, ATOMS = range(9)
MANY = 20.0
"""Requests per slot beyond which a count is drawn at once instead of one by one."""
_EMPTY = np.zeros(1)
_AFTER_COUNT = np.uint64(0xC2B2AE3D27D4EB4F)


@dataclass(frozen=True, eq=False)
class SlotWork:
    """A law of work per slot: code, parameters, and tables (replayed work and its requests, or atoms and
    rates).
    """

    code: int
    parameters: tuple[float, float, float]
    mean: float
    work: np.ndarray
    requests: np.ndarray


Laws = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def laws_of(sources: Sequence[SlotWork]) -> Laws:
    """(codes, parameters, work, requests, where each table starts) of sources, as kernels take them."""
    starts = np.concatenate([[0], np.cumsum([s.work.size for s in sources])]).astype(np.int64)
    return (
        np.array([s.code for s in sources], dtype=np.int64),
        np.array([s.parameters for s in sources]),
        np.concatenate([s.work for s in sources]),
        np.concatenate([s.requests for s in sources]),
        starts,
    )


def _plain(code: int, mean: float, *parameters: float) -> SlotWork:
    a, b, c = (*parameters, 0.0, 0.0, 0.0)[:3]
    return SlotWork(code, (float(a), float(b), float(c)), float(mean), _EMPTY, _EMPTY)


def slot_work(model: Any, rng: np.random.Generator | None = None, slots: int = 1_000_000) -> SlotWork:
    """The law that a simulation draws an envelope's work from.

    A user's own model is sampled once (``slots`` slots, with ``rng``) and replayed from random places. Raises
    TypeError where an object can neither be drawn from nor sampled.
    """
    if isinstance(model, NoImpairment):
        return _plain(NONE, 0.0)
    if isinstance(model, Poisson):
        return _plain(
            POISSON_EXPONENTIAL if model.exponential else POISSON, model.mean, model.rate, model.size
        )
    if isinstance(model, ExponentialWork):
        return _plain(EXPONENTIAL, model.mean, model.mean_work)
    if isinstance(model, GammaWork):
        return _plain(GAMMA, model.mean, model.shape, model.scale)
    if isinstance(model, OnOff):
        return _plain(ON_OFF, model.mean, model.peak, model.on_to_off, model.off_to_on)
    if isinstance(model, TokenBucket):
        period = math.ceil(model.burst / model.rate) + 1 if model.rate > 0 else 1
        size = min(model.burst + model.rate, period * model.rate)
        return _plain(PERIODIC, size / period, period, size)
    if isinstance(model, Trace):
        return SlotWork(
            REPLAY, (0.0, 0.0, 0.0), model.mean, np.ascontiguousarray(model.work, dtype=float),
            np.ascontiguousarray(model.requests, dtype=float),
        )  # fmt: skip
    if isinstance(model, Table):
        return admitted(model)
    if not hasattr(model, "sample"):
        raise TypeError(f"{type(model).__name__} cannot be sampled: it has no method sample(rng, slots)")
    sampled = np.ascontiguousarray(
        model.sample(rng if rng is not None else np.random.default_rng(0), slots), dtype=float
    )
    return SlotWork(REPLAY, (0.0, 0.0, 0.0), float(sampled.mean()), sampled, sampled)


def admitted(table: Table, atoms: int = 48) -> SlotWork:
    """The compound Poisson work of largest log-moments that lies below a table at every tilt of its grid.

    Jump sizes b_j lie on a geometric grid; their rates solve the linear program: maximise the mean over the
    grid of Σ_j λ_j (e^{θb_j} − 1)/θρ subject to Σ_j λ_j (e^{θ_i b_j} − 1) ≤ θ_iρ(θ_i) for every i. The burst
    is left unused, so what is drawn is one law among those the table admits, not the worst.
    """
    theta = table.grid[table.grid > 0]
    bound = np.asarray(table.log_rate(theta), dtype=float)
    theta, bound = theta[np.isfinite(bound)], bound[np.isfinite(bound)]
    if theta.size == 0 or not (bound > 0).any():
        return _plain(NONE, 0.0)
    sizes = np.geomspace(1e-2 / theta[-1], 30.0 / theta[0], atoms)
    sizes = sizes[sizes * theta[-1] < 500.0]
    scaled = np.expm1(np.outer(theta, sizes)) / np.maximum(bound, 1e-300)[:, None]
    unit = scaled.max(axis=0)  # each column scaled to one at its tightest tilt
    found = linprog(
        -(scaled / unit).mean(axis=0), A_ub=scaled / unit, b_ub=np.ones(theta.size), method="highs"
    )
    rates = found.x / unit
    kept = rates * sizes > 1e-12 * (rates * sizes).sum()
    sizes, rates = sizes[kept], rates[kept]
    total = float(rates.sum())
    return SlotWork(
        ATOMS, (total, 0.0, 0.0), float((rates * sizes).sum()), sizes, np.cumsum(rates) / total
    )  # fmt: skip


@kernel
def begin(code, a, b, c, work, origin, step, state):
    """Put a source into its stationary state: ``state`` = (phase or time to the next request, words used)."""
    state[0] = 0.0
    state[1] = 1.0
    word = word_at(origin, step, 0)
    if code in (POISSON, POISSON_EXPONENTIAL, ATOMS):
        state[0] = exponential(word) / a if a > 0.0 else np.inf
    elif code == ON_OFF:
        state[0] = 1.0 if uniform(word) < c / (b + c) else 0.0
    elif code == PERIODIC:
        state[0] = math.floor(uniform(word) * a)
    elif code == REPLAY:
        state[0] = math.floor(uniform(word) * work.shape[0])


@kernel
def piece(code, b, work, requests, word):
    """The work of one request of compound Poisson work."""
    if code == POISSON_EXPONENTIAL:
        return b * exponential(mix(word + _AFTER_COUNT))
    u = uniform(mix(word + _AFTER_COUNT))
    low = 0
    high = work.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if requests[middle] < u:
            low = middle + 1
        else:
            high = middle
    return work[low]


@kernel
def _fill_requests(code, a, b, work, requests, origin, step, state, out, weights):
    left = state[0]
    index = np.int64(state[1])
    for t in range(out.shape[0]):
        count = 0.0
        total = 0.0
        while left < 1.0:
            count += 1.0
            word = word_at(origin, step, index)
            index += 1
            left += exponential(word) / a
            if code != POISSON:
                total += piece(code, b, work, requests, word)
        left -= 1.0
        out[t] = count * b if code == POISSON else total
        weights[t] = count
    state[0] = left
    state[1] = float(index)


@kernel
def _fill_on_off(peak, leave_on, leave_off, origin, step, state, out, weights):
    on = state[0] > 0.5
    index = np.int64(state[1])
    for t in range(out.shape[0]):
        out[t] = weights[t] = peak if on else 0.0
        u = uniform(word_at(origin, step, index + t))
        on = u >= leave_on if on else u < leave_off
    state[0] = 1.0 if on else 0.0
    state[1] = float(index + out.shape[0])


@kernel
def fill(code, a, b, c, work, requests, origin, step, state, out, weights):
    """The next ``len(out)`` slots: their work, and their weight in requests.

    The weight is the number of requests where there are requests, else the work itself.
    """
    slots = out.shape[0]
    if code == NONE:
        out[:] = 0.0
        weights[:] = 0.0
    elif code == POISSON and a > MANY:
        index = np.int64(state[1])
        for t in range(slots):
            count = poisson(word_at(origin, step, index + t), a)
            out[t] = count * b
            weights[t] = count
        state[1] = float(index + slots)
    elif code in (POISSON, POISSON_EXPONENTIAL, ATOMS):
        _fill_requests(code, a, b, work, requests, origin, step, state, out, weights)
    elif code == EXPONENTIAL:
        index = np.int64(state[1])
        for t in range(slots):
            out[t] = weights[t] = a * exponential(word_at(origin, step, index + t))
        state[1] = float(index + slots)
    elif code == GAMMA:
        index = np.int64(state[1])
        for t in range(slots):
            out[t] = weights[t] = b * gamma(word_at(origin, step, index + t), a)
        state[1] = float(index + slots)
    elif code == ON_OFF:
        _fill_on_off(a, b, c, origin, step, state, out, weights)
    else:
        place = int(state[0])
        period = int(a) if code == PERIODIC else work.shape[0]
        for t in range(slots):
            if code == PERIODIC:
                out[t] = weights[t] = b if place == 0 else 0.0
            else:
                out[t] = work[place]
                weights[t] = requests[place]
            place = place + 1 if place + 1 < period else 0
        state[0] = float(place)


@kernel
def sample(code, a, b, c, work, requests, origin, step, out, weights):
    """Fill ``out`` with the work of consecutive slots and ``weights`` with their requests, from the start."""
    state = np.empty(2)
    begin(code, a, b, c, work, origin, step, state)
    fill(code, a, b, c, work, requests, origin, step, state, out, weights)
