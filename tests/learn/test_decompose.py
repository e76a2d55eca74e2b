"""Every decomposition against exhaustive search on random models; bounds, certificates and constraints."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.learn import decompose
from fedopt.learn.choice import AdaptiveRisk
from fedopt.learn.decompose import (
    DecompositionInfeasible,
    Problem,
    by_price,
    by_slsqp,
    on_grid,
    settle,
)
from fedopt.learn.settings import Settings
from fedopt.papers.rade_networks import TwoRegimes
from fedopt.papers.rade_simulator import AnalyticNetwork, TrueAcceptance
from tests.learn.conftest import make, random_history

DOMAINS = 3


def exhaustive(problem: Problem, points: int = 401) -> np.ndarray:
    """Best of all the splits on a grid of `points` delays per domain, tried one by one; shape (R,)."""
    axis = np.linspace(0.0, 1.0, points)
    table = problem.table(problem.delay[:, None, None] * np.tile(axis, (1, DOMAINS, 1)))
    i, j = np.meshgrid(np.arange(points), np.arange(points), indexing="ij")
    i, j = (index[i + j < points] for index in (i, j))
    k = points - 1 - i - j
    return np.array([(one[0][i] + one[1][j] + one[2][k]).max() for one in table])


def problem_of(model, requests: int, seed: int) -> Problem:
    rng = np.random.default_rng(seed)
    rows = np.arange(DOMAINS * requests).reshape(requests, DOMAINS)
    return Problem(model, rows, rng.uniform(90, 110, requests), rng.uniform(0.4, 0.6, requests))


@pytest.mark.parametrize(
    ("kind", "runs"), [("convex", 200), ("logistic", 200), ("spline", 200), ("network", 20)]
)
def test_grid_is_exhaustive_to_1e_4_on_random_models(kind, runs):
    _, history = random_history(runs, 60, 11)
    problem = problem_of(make(kind, 3 * runs).fit(history), runs, 12)
    best = exhaustive(problem)
    found = on_grid(problem, points=96)
    assert (found.log_probability >= best - 1e-4).all()
    np.testing.assert_allclose(found.delay.sum(axis=1), problem.delay, rtol=1e-9)
    if problem.acceptance.concave:
        exact = by_price(problem)
        assert (exact.log_probability >= best - 1e-7).all()
        assert exact.gap is not None
        assert exact.gap.max() < 1e-5


def test_truth_by_price_and_grid_agree():
    rng = np.random.default_rng(3)
    truth = TrueAcceptance(
        np.array([1.0, 0.75, 3.0]), np.array([1.47, 7.35, 4.9]), rng.uniform(0.1, 1.3, 300)
    )
    problem = problem_of(truth, 100, 4)
    exact, grid = by_price(problem), on_grid(problem)
    assert np.abs(exact.log_probability - grid.log_probability).max() < 1e-4
    assert exact.gap.max() < 1e-6


@pytest.mark.parametrize(("kind", "runs"), [("convex", 8), ("network", 3)])
def test_slsqp_of_the_paper_is_close_to_the_best(kind, runs):
    _, history = random_history(runs, 100, 21)
    problem = problem_of(make(kind, 3 * runs).fit(history), runs, 22)
    paper, best = by_slsqp(problem), on_grid(problem, points=128)
    assert (paper.log_probability <= best.log_probability + 1e-4).all()
    assert np.median(best.log_probability - paper.log_probability) < 1e-3


def test_a_split_that_is_not_concave_is_settled():
    """A mixture of kinds: the gap is closed, and nothing that exhaustive search finds is above the bound."""
    history = random_history(4, 100, 23)[1]
    model = AdaptiveRisk.blank(12, Settings()).fit(history)
    assert not model.concave
    problem = problem_of(model, 4, 24)
    rough = on_grid(problem, points=256, windows=1, bound=True)
    found = settle(problem, rough, 1e-6)
    assert rough.gap.max() > 1e-4
    assert (found.gap <= 1e-6).all()
    assert (found.upper_bound <= rough.upper_bound).all()
    assert (exhaustive(problem, 601) <= found.upper_bound + 1e-12).all()
    np.testing.assert_allclose(found.delay.sum(axis=1), problem.delay, rtol=1e-9)


@pytest.mark.parametrize("price", [1e-4, 3e-3, 0.05])
def test_the_bound_at_a_price_is_above_every_delay_of_a_fine_grid(price):
    history = random_history(1, 100, 23)[1]
    model = AdaptiveRisk.blank(3, Settings()).fit(history)
    problem = Problem(model, np.arange(3)[None], np.array([100.0]), np.array([0.5]))
    grid = np.tile(np.linspace(0.0, 100.0, 20_001), (1, 3, 1))
    best = (problem.table(grid) - price * grid).max(axis=2).sum() + price * 100.0
    assert best - 1e-12 <= decompose._at_price(problem, price, 1e-7) <= best + 1e-5


def test_where_no_price_supports_the_best_split_the_bound_of_the_grid_stays():
    truth = TwoRegimes(AnalyticNetwork(np.full(2, 0.5), 100), 0.4, 3.0).acceptance(0)
    problem = Problem(truth, np.arange(6).reshape(2, 3), np.array([60.0, 75.0]), np.full(2, 0.5))
    rough = on_grid(problem, points=256, windows=1, bound=True)
    found = settle(problem, rough, 1e-6)
    best = exhaustive(problem, 601)
    assert (found.upper_bound >= best - 1e-12).all()
    assert (found.log_probability >= best - 1e-4).all()


def test_any_number_of_domains_and_the_certificate_holds():
    _, history = random_history(4, 80, 31)
    model = make("convex", 12).fit(history)
    for domains in (1, 2, 7, 12):
        rows = np.arange(domains)[None]
        problem = Problem(model, rows, np.array([40.0 * domains]), np.array([0.5]))
        exact, grid = by_price(problem), on_grid(problem, points=256, bound=True)
        assert abs(exact.log_probability[0] - grid.log_probability[0]) < 1e-4
        assert grid.upper_bound[0] >= exact.log_probability[0] - 1e-9
        assert exact.delay.sum() == pytest.approx(40.0 * domains)


def test_bounds_on_partial_delays_are_kept():
    _, history = random_history(1, 100, 41)
    model = make("convex", 3).fit(history)
    lower, upper = np.array([30.0, 0.0, 0.0]), np.array([np.inf, 40.0, np.inf])
    problem = Problem(model, np.arange(3)[None], np.array([100.0]), np.array([0.5]), lower, upper)
    for found in (by_price(problem), on_grid(problem), by_slsqp(problem)):
        assert found.delay[0, 0] >= 30 - 1e-6
        assert found.delay[0, 1] <= 40 + 1e-6
        assert found.delay.sum() == pytest.approx(100)
        assert found.log_probability[0] == pytest.approx(by_price(problem).log_probability[0], abs=1e-3)


def test_impossible_bounds_are_refused_with_a_reason():
    _, history = random_history(1, 50, 51)
    model = make("logistic", 3).fit(history)
    with pytest.raises(DecompositionInfeasible, match="add up to 120") as caught:
        Problem(model, np.arange(3)[None], np.array([100.0]), np.array([0.5]), np.array([60.0, 60.0, 0.0]))
    assert caught.value.exit_code == 3
    with pytest.raises(DecompositionInfeasible, match="less than"):
        Problem(
            model, np.arange(3)[None], np.array([100.0]), np.array([0.5]), np.zeros(3), np.array([20.0] * 3)
        )


def test_price_needs_concavity():
    model = make("network", 3)
    with pytest.raises(ValueError, match="concave"):
        by_price(Problem(model, np.arange(3)[None], np.array([100.0]), np.array([0.5])))


def test_hopeless_requests_get_an_equal_split():
    truth = TrueAcceptance(np.array([1.0, 0.75, 3.0]), np.array([1.47, 7.35, 4.9]), np.full(3, 0.5))
    found = on_grid(Problem(truth, np.arange(3)[None], np.array([9.0]), np.array([0.5])))
    np.testing.assert_allclose(found.delay, 3.0)
