"""The simulator gives the checked values of Random, equal split and OPT; chance is paired."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.papers.rade_loop import EqualSplit, Oracle, RandomSplit, run
from fedopt.papers.rade_simulator import AnalyticNetwork, Scenario, load_at

LOADS = (0.3, 0.5, 0.7)
CHECKED = {
    "Random": (0.418, 0.384, 0.349),
    "Equal split": (0.81, 0.72, 0.66),
    "OPT": (0.996, 0.967, 0.922),
}
STEPS, RUNS = 400, 30


@pytest.fixture(scope="module")
def world():
    network = AnalyticNetwork(np.repeat(LOADS, RUNS), STEPS)
    rates = np.stack([network.load(t) for t in range(STEPS)], axis=1)
    return network, Scenario.draw(rates, np.tile(np.arange(RUNS), 3), 3, 0)


@pytest.mark.parametrize("name", list(CHECKED))
def test_checked_values(world, name):
    network, scenario = world
    method = {"Random": RandomSplit(), "Equal split": EqualSplit(), "OPT": Oracle(network)}[name]
    score = run(method, network, scenario).score.reshape(3, RUNS)
    error = score.std(axis=1, ddof=1) / np.sqrt(RUNS)
    rounding = 0.001 if name != "Equal split" else 0.005
    assert (np.abs(score.mean(axis=1) - CHECKED[name]) < 4 * error + rounding).all()


def test_mean_load_over_a_period():
    load = np.array([load_at(np.array([0.3, 0.7]), t, 200) for t in range(200)])
    np.testing.assert_allclose(load.mean(axis=0), [0.3, 0.7], atol=1e-12)
    np.testing.assert_allclose(load.min(axis=0), 0.1, atol=1e-3)


def test_acceptance_formula_and_gradient():
    truth = AnalyticNetwork(np.array([0.5]), 100).acceptance(0)
    delay, throughput = np.full((3, 1), 30.0), np.full((3, 1), 0.5)
    u = 0.5 / np.array([1, 0.75, 3]) + np.array([1.47, 7.35, 4.9]) / 30
    np.testing.assert_allclose(
        np.exp(truth.log_probability(delay, throughput))[:, 0], 1 - u ** (11.5 / 0.5), rtol=1e-12
    )
    slopes = truth.gradient(delay, throughput)
    for axis, h in enumerate(((1e-5, 0.0), (0.0, 1e-7))):
        up = truth.log_probability(delay + h[0], throughput + h[1])
        down = truth.log_probability(delay - h[0], throughput - h[1])
        np.testing.assert_allclose(slopes[axis], (up - down) / (2 * sum(h)), rtol=1e-4, atol=1e-12)


def test_runs_of_one_seed_share_their_luck_whatever_their_neighbours():
    rates = np.full((2, 50), 0.8)
    both = Scenario.draw(rates, np.array([3, 3]), 3, 1, np.array([0.0, 0.5]))
    alone = Scenario.draw(rates[:1], np.array([3]), 3, 1)
    for together, single in zip(both.steps, alone.steps, strict=True):
        own = together.run == 0
        for name in ("delay", "throughput", "coin", "simplex"):
            np.testing.assert_array_equal(getattr(together, name)[own], getattr(single, name))
            np.testing.assert_array_equal(getattr(together, name)[~own], getattr(single, name))
        assert not together.corrupted[own].any()
    shares = np.concatenate([step.corrupted[step.run == 1].ravel() for step in both.steps])
    assert abs(shares.mean() - 0.5) < 4 * 0.5 / np.sqrt(shares.size)


def test_numbers_of_requests_are_poisson():
    rates = np.full((40, 200), 0.7)
    scenario = Scenario.draw(rates, np.arange(40), 3, 5)
    counts = np.array([np.bincount(step.run, minlength=40) for step in scenario.steps])
    assert abs(counts.mean() - 0.7) < 4 * np.sqrt(0.7 / counts.size)
    assert abs((counts == 0).mean() - np.exp(-0.7)) < 4 * np.sqrt(0.25 / counts.size)
