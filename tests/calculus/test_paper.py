"""The paper's own bounds: the formulas, their sizing, and the value that the theory states for them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.calculus import paper
from fedopt.calculus.path import Path


class PoissonArrivals:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def rho(self, theta):
        return self.rate * np.expm1(theta) / theta

    def sigma(self, theta):
        return 0.0 * theta

    def request_log_bias(self, theta):
        return 1.0 * theta


class ExponentialImpairment:
    def __init__(self, mean: float) -> None:
        self.mean = mean

    def kappa(self, theta):
        theta = np.asarray(theta, dtype=float)
        return np.where(
            theta * self.mean < 1, -np.log1p(-np.minimum(theta * self.mean, 1 - 1e-16)) / theta, np.inf
        )

    def eta(self, theta):
        return 0.0 * theta


class Burst:
    def __init__(self, level: float, burst: float) -> None:
        self.level, self.burst = level, burst

    def kappa(self, theta):
        return self.level + 0.0 * theta

    def eta(self, theta):
        return self.burst + 0.0 * theta


GRID = np.geomspace(0.01, 2.4, 60)


def case_a() -> Path:
    impairments = tuple(ExponentialImpairment(mean) for mean in (0.3, 0.2, 0.4))
    return Path(PoissonArrivals(0.5), impairments, [2, 3, 4], [False] * 3, 30, math.log(1e-3))


def test_path_bound_reserves_what_the_theory_states():
    """Case A of the table: 2.24 times the least rate 1.1063 that meets the promise in simulation."""
    assert paper.size_path(case_a(), GRID).rate / 1.1063 == pytest.approx(2.24, abs=0.005)


def test_formulas():
    path = Path(PoissonArrivals(0.4), (Burst(0.1, 0.3), Burst(0.2, 0.1)), [2, 1], [True] * 2, 25, -7.0)
    theta, rates = 0.7, np.array([1.6, 1.4])
    rho = path.arrival.rho(theta)
    sigma = 1.0  # per request: one job
    for d, (kappa, eta, latency) in enumerate(((0.1, 0.3, 2), (0.2, 0.1, 1))):
        margin = rates[d] - rho - kappa
        value = theta * (sigma + eta + kappa * latency) - math.log(1 - math.exp(-theta * margin))
        value -= theta * margin * (25 - latency)
        assert paper.local(path, rates, theta)[0, d] == pytest.approx(value, rel=1e-12)
    margin = 1.4 - rho - 0.3
    value = theta * (sigma + 0.4 + 0.1 * 2 + 0.2) - math.log(1 - math.exp(-theta * margin))
    value -= theta * margin * 22
    assert paper.path_bound(path, rates, theta)[0] == pytest.approx(value, rel=1e-12)
    assert bool(paper.path_proven(path, theta)[0]) == (rho * 22 >= 0.3 * 3 - (0.1 * 2 + 0.2))


def test_sizes_meet_the_bound_exactly_and_no_theta_does_better():
    path = case_a()
    found = paper.size_path(path, GRID)
    bound = paper.path_bound(path, [found.rate] * 3, found.theta)[0]
    assert bound == pytest.approx(path.log_epsilon, rel=1e-12)
    dense = np.geomspace(0.01, 2.4, 4000)
    assert np.all(paper.path_bound(path, np.full(3, found.rate * (1 - 1e-7)), dense) > path.log_epsilon)
    each = paper.size_local(path, GRID)
    for d in range(3):
        bound = paper.local(path, each.rates, each.thetas[d])[0, d]
        assert bound == pytest.approx(path.log_epsilon, rel=1e-12)
        assert np.all(paper.local(path, each.rates * (1 - 1e-7), dense)[:, d] > path.log_epsilon)


def test_problem_20_calls_an_impossible_tandem_feasible():
    """Three domains of latency 40, deadline 100: each domain alone has 60 slots left, the path none."""
    impairments = tuple(ExponentialImpairment(0.2) for _ in range(3))
    path = Path(PoissonArrivals(0.5), impairments, [40] * 3, [True] * 3, 100, math.log(1e-3))
    assert np.all(np.isfinite(paper.size_local(path, GRID).rates))
    assert math.isinf(paper.size_path(path, GRID).rate)


@pytest.mark.parametrize("window", [1e-3, 0.1, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("constant", [-50.0, -3.0, 0.0, 1e-9, 2.0, 1e3])
def test_margin_solves_its_equation(constant, window):
    x = float(paper.margin(constant, window))
    phi = -math.log(-math.expm1(-x)) if x < 36 else math.exp(-x)
    assert abs(constant + phi - x * window) <= 1e-12 * (1 + abs(constant) + x * window)


def test_margin_without_a_window_is_infinite():
    assert np.all(np.isinf(paper.margin([-5.0, 1.0], [0.0, -1.0])))
