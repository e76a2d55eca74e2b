"""The fine form: reference values, exact sums on a thousand systems, derivatives, convexity."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from fedopt.calculus.fine import fine, fine_derivatives
from fedopt.calculus.series import log_geometric
from fedopt.laws import ExponentialWork, NoImpairment
from tests.calculus.convexity import assert_jointly_convex
from tests.oracles.tandem import plain

SINGLE = plain(ExponentialWork(1.0), [NoImpairment()], [1.6], 8)


def pair(first: float, second: float):
    """Two domains, each impaired by Exp(1/1.2) a slot."""
    return plain(ExponentialWork(0.5), [ExponentialWork(1 / 1.2)] * 2, [first, second], 10)


def nodes(tandem, theta: float):
    """(θρ, log p) of a tandem."""
    lose = np.array([j.log_rate(theta) for j in tandem.impairments])
    return float(tandem.arrival.log_rate(theta)), lose - theta * np.array(tandem.rates)


def from_one(tandem, theta: float) -> float:
    """The package's sum, from ℓ ≥ 1."""
    free, node = nodes(tandem, theta)
    return fine(free, node, np.zeros(len(node)), 0.0, tandem.window)


def from_zero(tandem, theta: float) -> float:
    """Σ_{ℓ≥0} r^ℓ h_{ℓ+n}: the series that starts a slot later in the window, divided by r."""
    free, node = nodes(tandem, theta)
    return log_geometric(node, free, tandem.window - 1, 0) - free


def least(value, top: float):
    """(least, θ) on (0, top)."""
    found = minimize_scalar(
        value, bounds=(1e-6, top * (1 - 1e-9)), method="bounded", options={"xatol": 1e-10}
    )
    return float(found.fun), float(found.x)


def test_one_server_with_the_toolboxes_convention():
    assert math.exp(from_zero(SINGLE, 0.5)) == pytest.approx(0.0163955329, rel=1e-8)
    value, theta = least(lambda t: from_zero(SINGLE, t) if 1.6 * t + math.log1p(-t) > 0 else 1e3, 0.7)
    assert math.exp(value) == pytest.approx(0.0101637, rel=1e-5)
    assert theta == pytest.approx(0.581, abs=1e-3)


def test_one_server_from_one():
    value, _ = least(lambda t: from_one(SINGLE, t) if 1.6 * t + math.log1p(-t) > 0 else 1e3, 0.7)
    assert math.exp(value) == pytest.approx(0.0095637905, rel=1e-6)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((3, 4), 6.10128e-06), ((3, 3), 4.18896e-05), ((3, 3 + 1e-12), 4.18896e-05), ((3, 3.1), 2.72933e-05)],
)
def test_two_servers(rates, expected):
    value, _ = least(lambda t: min(from_zero(pair(*rates), t), 1e3), 1.2)
    assert math.exp(value) == pytest.approx(expected, rel=1e-5)


def brute_force(free: float, node: np.ndarray, window: int) -> float:
    """log Σ_{ℓ≥1} r^ℓ h_{ℓ+n}(p): the whole series Π 1/(1 − r p_i) less the terms up to n, each by summing
    over all splits; 150 digits make the subtraction harmless.
    """
    with mpmath.workdps(150):
        p = [mpmath.exp(mpmath.mpf(float(x)) + mpmath.mpf(free)) for x in node]  # r p
        h = [mpmath.mpf(1)] + [mpmath.mpf(0)] * window
        for q in p:
            for x in range(1, window + 1):
                h[x] += q * h[x - 1]
        tail = 1 / mpmath.fprod(1 - q for q in p) - mpmath.fsum(h)
        return float(mpmath.log(tail) - window * mpmath.mpf(free))


def test_a_thousand_systems_against_brute_force():
    rng = np.random.default_rng(20)
    smallest = 0.0
    for case in range(1000):
        size = 1 + case % 6
        free = float(rng.choice([0.0, rng.uniform(0.0, 3.0), 10.0 ** rng.uniform(-6, 0)]))
        margin = 10.0 ** rng.uniform(-6.0, 1.0)
        kind = rng.integers(4)
        if kind == 0:
            margins = np.full(size, margin)
        elif kind == 1:
            margins = margin + 1e-12 * np.arange(size)
        elif kind == 2:
            margins = margin * rng.uniform(1.0, 1.0 + 1e-6, size)
        else:
            margins = 10.0 ** rng.uniform(math.log10(margin), 1.0, size)
        # A multiple of 2^-45 keeps the effective rates exact, so that the sums are compared, not roundings.
        free = round(free * 2.0**45) / 2.0**45
        node = -free - np.round(margins * 2.0**45) / 2.0**45
        rng.shuffle(node)
        window = int(rng.choice([0, 1, rng.integers(2, 12), rng.integers(12, 40)]))
        expected = brute_force(free, node, window)
        found = fine(free, np.zeros(size), -node, 0.0, window)
        assert found == pytest.approx(expected, abs=1e-9), f"case {case}: {free}, {node}, {window}"
        smallest = min(smallest, expected)
    assert smallest < math.log(1e-12)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from([0, 1, 2, 9, 40]))
def test_derivatives_against_differences(seed, size, window):
    rng = np.random.default_rng(seed)
    free = rng.uniform(0.0, 1.0)
    impair = rng.uniform(0.0, 0.6, size)
    reserve = free + impair + 10.0 ** rng.uniform(-1.5, 0.5, size)
    if seed % 3 == 0:
        impair[:], reserve[:] = impair[0], reserve[0]
    latency = rng.choice([0.0, 1.5], size)
    gradient, hessian = np.empty(size), np.empty((size, size))
    value = fine_derivatives(free, impair, reserve, latency, window, gradient, hessian)
    assert value == pytest.approx(fine(free, impair, reserve, float(reserve @ latency), window), abs=1e-12)
    step = 1e-4
    scratch = np.empty((size, size))
    for i in range(size):
        ends, slopes = [], []
        for sign in (1.0, -1.0):
            moved = reserve.copy()
            moved[i] += sign * step * (reserve[i] - free - impair[i])
            slope = np.empty(size)
            ends.append(fine_derivatives(free, impair, moved, latency, window, slope, scratch))
            slopes.append(slope)
        width = 2 * step * (reserve[i] - free - impair[i])
        assert (ends[0] - ends[1]) / width == pytest.approx(gradient[i], rel=1e-6, abs=1e-6)
        assert (slopes[0] - slopes[1]) / width == pytest.approx(hessian[i], rel=1e-5, abs=1e-5)
    assert np.linalg.eigvalsh(hessian).min() >= -1e-9 * np.abs(hessian).max()
    # The mean times in the domains add up to the mean window, n + ⟨ℓ⟩ > n.
    up = fine(free + 1e-5, impair, reserve, 0.0, window)
    down = fine(free - 1e-5, impair, reserve, 0.0, window)
    assert (latency - gradient).sum() == pytest.approx(window + (up - down) / 2e-5, rel=1e-5)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.integers(0, 2**32))
def test_convex_in_theta_and_reservations(seed):
    assert_jointly_convex("fine", seed)


def test_divergence_and_far_tails():
    one = np.array([0.2])
    assert fine(0.5, one, np.array([0.7]), 0.0, 10) == math.inf
    assert fine(0.5, one, np.array([0.7 + 1e-9]), 0.0, 10) > 15.0
    # one domain in closed form: r^{-n} q^{n+1}/(1 − q), q = e^{free + κ − R}
    value = fine(0.5, one, np.array([2.7]), 0.0, 50_000)
    assert value == pytest.approx(-0.5 * 50_000 - 2.0 * 50_001 - math.log(-math.expm1(-2.0)), rel=1e-13)
    assert value < -1e5
