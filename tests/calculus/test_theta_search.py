"""The θ grid covers the best θ, and the search between its points finds it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.calculus import split
from fedopt.calculus.path import Path
from fedopt.calculus.theta_search import least_over_theta, theta_grid
from fedopt.laws import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, TokenBucket

ARRIVALS = {
    "poisson": Poisson(0.5),
    "heavy requests": Poisson(0.01, 20.0),
    "exponential": ExponentialWork(0.8),
    "on-off": OnOff(2.0, 0.3, 0.1),
    "token bucket": TokenBucket(0.5, 3.0),
}


@pytest.mark.parametrize("arrival", ARRIVALS)
@pytest.mark.parametrize("impairment", [NoImpairment(), GammaWork(0.5, 0.4)], ids=["none", "gamma"])
def test_the_grid_reaches_the_best_theta(arrival, impairment):
    path = Path(ARRIVALS[arrival], (impairment,) * 3, [1.0, 2.0, 0.5], [True] * 3, 80.0, math.log(1e-3))
    grid = theta_grid(path)
    assert np.all(np.isfinite(split.terms(path, grid).constants))
    found = split.size(path, [1.0, 1.0, 1.0], grid, refine=True)
    wide = split.size(path, [1.0, 1.0, 1.0], np.geomspace(grid[0] / 50, grid[-1] * 50, 600))
    assert found.cost <= wide.cost * 1.02


def test_search_refines_between_the_points():
    value, theta = least_over_theta(lambda t: (np.log(t) - 0.3) ** 2, np.geomspace(0.01, 100, 7))
    assert value == pytest.approx(0.0, abs=1e-12)
    assert theta == pytest.approx(math.exp(0.3), rel=1e-6)


def test_nothing_finite_gives_infinity():
    value, theta = least_over_theta(lambda t: np.full(t.shape, np.inf), np.array([0.1, 1.0]))
    assert math.isinf(value)
    assert math.isnan(theta)
    assert math.isinf(least_over_theta(lambda t: t, np.empty(0))[0])
