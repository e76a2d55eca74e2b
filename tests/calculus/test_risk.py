"""Shares of the tail risk: mean times of the critical window, which are derivatives of the log-bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.minplus import PackedPath
from fedopt.calculus.risk import mean_times, risk_shares
from tests.calculus.systems import at, case_a, case_b, path_of
from tests.oracles.random_tandems import random_tandem, theta_top


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**32))
def test_mean_times_are_derivatives(seed):
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    path = path_of(tandem)
    packed = PackedPath(path)
    rates = np.array(tandem.rates) * rng.uniform(1.2, 2.5)
    theta = 0.9 * min(theta_top(tandem), 10.0) * 10.0 ** rng.uniform(-1.5, 0)
    value = at("fine", packed, rates, theta)
    times = mean_times(path, rates, theta)
    if value == math.inf:
        assert np.isnan(times).all()
        return
    assert np.all(times >= 0.0)
    assert times.sum() >= path.slots + 1 - 1e-9
    for i in range(len(rates)):
        step = 1e-5 * rates[i]
        moved = [at("fine", packed, rates + sign * step * np.eye(len(rates))[i], theta) for sign in (1, -1)]
        if max(moved) == math.inf:
            continue
        slope = (moved[0] - moved[1]) / (2 * step)
        scale = theta * (1.0 + times.sum())
        assert slope == pytest.approx(-theta * (times[i] - path.guardrail_latencies[i]), abs=1e-3 * scale)


@pytest.mark.parametrize("rates", [(1.3, 1.3, 1.3), (1.3, 1.6, 1.25)])
def test_shares_add_up_and_follow_the_bottleneck(rates):
    path = path_of(case_a(*rates), request=True)
    shares = risk_shares(path, np.array(rates))
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)
    assert int(np.argmax(shares)) == 2  # the largest impairment at the least rate
    assert min(shares) > 0.0


def test_equal_domains_share_equally():
    assert risk_shares(path_of(case_b(4)), np.full(4, 0.15)) == pytest.approx([0.25] * 4, abs=1e-12)


def test_shares_where_nothing_is_proven():
    assert risk_shares(path_of(case_a(1.0, 1.0, 1.0)), np.full(3, 0.3)) == pytest.approx([1 / 3] * 3)
