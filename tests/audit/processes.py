"""Delays with known laws: M/M/1 tandems, dependent series, and a reserved server slot by slot."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.stats import norm

from fedopt.kernels import kernel

RATES = np.array([1.0, 1.15, 1.25])


@kernel
def _tandem(samples, warm_up, load, rates, rng):
    own = np.empty((rates.size, samples))
    last = np.zeros(rates.size)
    clock = 0.0
    for i in range(samples + warm_up):
        clock += rng.exponential(1.0 / load)
        entered = clock
        for k in range(rates.size):
            left = max(entered, last[k]) + rng.exponential(1.0 / rates[k])
            last[k] = left
            if i >= warm_up:
                own[k, i - warm_up] = left - entered
            entered = left
    return own


def segments(samples: int, load: float, seed: int, rates: np.ndarray = RATES) -> np.ndarray:
    """Sojourn times in each stage of a stationary M/M/1 tandem, shape (stages, samples)."""
    return _tandem(samples, 5000, load, rates, np.random.default_rng(seed))


def tandem(samples: int, load: float, seed: int) -> np.ndarray:
    """End-to-end sojourn times of the tandem with service rates 1, 1.15, 1.25; shape (samples,)."""
    return segments(samples, load, seed).sum(axis=0)


def tandem_quantile(load: float, probability: float = 0.999) -> float:
    """Exact quantile: the sojourn time is a sum of independent exponentials of rates μ_i − λ."""
    rate = RATES - load
    weight = [np.prod([rate[j] / (rate[j] - rate[i]) for j in range(3) if j != i]) for i in range(3)]

    def beyond(x: float) -> float:
        return float(sum(w * math.exp(-r * x) for w, r in zip(weight, rate, strict=True))) - (1 - probability)

    return float(brentq(beyond, 0.0, 1e4))


def autoregressive(rng: np.random.Generator, samples: int, correlation: float) -> np.ndarray:
    """Exponential margins on a Gaussian autoregressive series."""
    noise = rng.standard_normal(samples + 2000) * math.sqrt(1 - correlation**2)
    return -np.log(norm.sf(lfilter([1.0], [1.0, -correlation], noise)[2000:]))


@kernel
def _server(arrivals, impairment, rate):
    """Slots until the work that arrived in each slot has left; priority work is served first and carries
    over.
    """
    slots = arrivals.size
    delay = np.full(slots, -1)
    priority = 0.0
    waiting = np.zeros(slots)
    first = 0
    for t in range(slots):
        waiting[t] = arrivals[t]
        priority += impairment[t]
        served = min(priority, rate)
        priority -= served
        left = rate - served
        while first <= t:
            if waiting[first] <= left + 1e-9:
                left -= waiting[first]
                waiting[first] = 0.0
                delay[first] = t - first
                first += 1
            else:
                waiting[first] -= left
                break
    return delay


def reserved_server(
    rng: np.random.Generator, slots: int, arrivals: float, impairment: float, rate: float
) -> np.ndarray:
    """Delays in slots of Poisson requests of size 1 at a server of `rate` with exponential priority work per
    slot.
    """
    requests = rng.poisson(arrivals, slots)
    delay = _server(requests.astype(float), rng.exponential(impairment, slots), rate)
    done = delay >= 0
    return np.repeat(delay[done], requests[done]).astype(float)
