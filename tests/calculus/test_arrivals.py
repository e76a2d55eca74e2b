"""Credit for arrivals: the factor against simulation and a plain iteration, on its safe side, not far off."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from fedopt.calculus.arrivals import EXPONENTIAL_SIZE, FIXED_SIZE, crossing_factor

SLACK = 1e-3


def overshoot(theta, rate, kind, size, requests, runs=20_000, seed=1):
    """E e^{−θz} at the first slot with z > 0, from far below, of tilted requests against a constant rate."""
    rng = np.random.default_rng(seed)
    z = np.full(runs, -12.0 * size) - rng.uniform(0.0, size, runs)
    while (z <= 0.0).any():
        going = z <= 0.0
        count = np.full(going.sum(), -requests) if requests < 0 else rng.poisson(requests, going.sum())
        work = count * size if kind == FIXED_SIZE else rng.gamma(np.maximum(count, 1e-9), size) * (count > 0)
        z[going] += work - rate
    values = np.exp(-theta * z)
    return values.mean(), values.std() / math.sqrt(runs)


@pytest.mark.parametrize(
    ("theta", "rate", "kind", "size", "requests"),
    [
        (0.95, 0.086, FIXED_SIZE, 1.0, 0.13),
        (0.6, 0.93, FIXED_SIZE, 1.0, 1.4),
        (1.5, 0.43, FIXED_SIZE, 0.5, 1.3),
        (0.4, 0.8, EXPONENTIAL_SIZE, 1.2, 0.9),
        (0.4, 0.8, EXPONENTIAL_SIZE, 1.2, -1),
        (0.3, 1.5, EXPONENTIAL_SIZE, 0.8, -3),
    ],
)
def test_the_factor_is_the_overshoot(theta, rate, kind, size, requests):
    """Without impairments κ far below is E e^{−θ·overshoot}; the grid costs a few per cent, more
    where a slot brings several requests."""
    mean, error = overshoot(theta, rate, kind, size, requests)
    factor, middle, ceiling = crossing_factor(theta, rate, kind, size, requests, 0.0, 0.0, 1e-4, 64)
    assert mean - 3.5 * error <= factor * (1 + 0.01)  # ω takes off a little, as the walk takes some slots
    assert factor <= mean + (0.06 if abs(requests) < 1.0 else 0.15)
    assert factor <= middle <= ceiling <= 1.0
    finer, _, _ = crossing_factor(theta, rate, kind, size, requests, 0.0, 0.0, 1e-7, 256)
    assert finer >= mean - 3.5 * error


def plain(theta, rate, size, requests, jumps, jump, slack, cells):
    """κ by plain value iteration on cell centres, without rounding: a little less than it should be."""
    step = rate / max(1, round(rate / size * cells))
    z = (np.arange(-int(7 * size / step), int(5 * size / step)) + 0.5) * step
    kappa = np.where(z > 0, np.exp(-theta * np.maximum(z, 0.0)), 1.0)
    share, more = poisson.pmf(np.arange(12), requests), poisson.pmf(np.arange(4), jumps)
    for _ in range(4_000):
        after = sum(p * np.interp(z + m * size, z, kappa) for m, p in enumerate(share))
        worst = after * more[0]
        for m in (1, 2, 3):
            width = int(m * jump / step)
            ahead = np.lib.stride_tricks.sliding_window_view(
                np.append(after, np.full(width, after[-1])), width + 1
            )
            worst = worst + (more[m] if m < 3 else 1 - more[:3].sum()) * ahead.max(axis=1)
        new = math.exp(-slack) * np.interp(z - rate, z, worst)
        new = np.where(z > 0, kappa, np.minimum(new, kappa))
        if np.abs(new - kappa).max() < 1e-7:
            break
        kappa = new
    return float(kappa[np.searchsorted(z, -4.5 * size)])


@pytest.mark.parametrize(
    ("theta", "rate", "requests", "jumps", "jump"),
    [(0.95, 0.088, 0.13, 0.03, 0.3), (1.0, 0.094, 0.137, 0.08, 0.3), (0.7, 0.5, 0.6, 0.2, 0.5)],
)
def test_against_a_plain_iteration(theta, rate, requests, jumps, jump):
    expected = plain(theta, rate, 1.0, requests, jumps, jump, SLACK, 64)
    factor, _, _ = crossing_factor(theta, rate, FIXED_SIZE, 1.0, requests, jumps, jump, SLACK, 64)
    assert expected - 1e-3 <= factor <= expected + 0.05


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32))
def test_what_must_hold_of_any_factor(seed):
    """No more than one; larger with impairments, smaller on finer grids; not below what can be overshot."""
    rng = np.random.default_rng(seed)
    kind = int(rng.choice([FIXED_SIZE, EXPONENTIAL_SIZE]))
    theta, size = rng.uniform(0.1, 2.0), 10.0 ** rng.uniform(-1, 1)
    theta /= size
    rate = size * 10.0 ** rng.uniform(-1.5, 0.7)
    requests = rate / size * rng.uniform(1.05, 2.0)
    jumps, jump = float(rng.choice([0.0, 0.05, math.inf])), float(rng.choice([0.3 * size, math.inf]))
    given_ = (theta, rate, kind, size, requests)
    factor, middle, ceiling = crossing_factor(*given_, jumps, jump, SLACK, 32)
    alone, _, _ = crossing_factor(*given_, 0.0, 0.0, SLACK, 32)
    assert 0.0 < alone <= factor + 1e-2  # both iterations end early
    assert factor <= middle <= ceiling <= 1.0
    if kind == FIXED_SIZE:  # a slot's last request overshoots by less than its size, the others by more
        assert factor >= 0.5 * math.exp(requests * math.expm1(-theta * size)) * math.exp(-theta * size)
    finer, _, _ = crossing_factor(*given_, jumps, jump, SLACK, 96)
    assert finer <= factor + 2e-2


def test_too_many_requests_a_slot_earn_nothing():
    assert crossing_factor(0.01, 60.0, FIXED_SIZE, 1.0, 61.0, 0.0, 0.0, SLACK, 32) == (1.0,) * 3
