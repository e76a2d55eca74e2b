"""Algorithm 1: nothing is used before it is known, learning pays, the state survives."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.learn.feedback import Buffer
from fedopt.learn.scores import PageHinkley
from fedopt.papers.rade_loop import EqualSplit, Learner, Oracle, gather_history, run
from fedopt.papers.rade_simulator import AnalyticNetwork, Scenario
from tests.learn.conftest import make

RUNS, STEPS = 12, 120


@pytest.fixture(scope="module")
def world():
    network = AnalyticNetwork(np.full(RUNS, 0.7), STEPS)
    rates = np.stack([network.load(t) for t in range(STEPS)], axis=1)
    scenario = Scenario.draw(rates, np.arange(RUNS), 3, 0)
    return network, scenario, gather_history(network, Scenario.draw(rates, np.arange(RUNS), 3, 1), 60)


def learner(world, **options) -> Learner:
    _, _, history = world
    buffer = Buffer.empty(3 * RUNS, 100)
    buffer.extend(history)
    return Learner(make("convex", 3 * RUNS).fit(history), 3, buffer, **options)


def test_history_is_the_latest_answers(world):
    network, _, history = world
    assert history.delay.shape == (3 * RUNS, 60)
    assert (history.weight.sum(axis=1) == 60).all()
    total = history.delay.reshape(RUNS, 3, 60).sum(axis=1)
    assert (total >= 90).all()
    assert (total <= 110).all()
    assert network.domains == 3


def test_learning_beats_equal_split_and_nothing_beats_opt(world):
    network, scenario, _ = world
    best = run(Oracle(network), network, scenario)
    equal = run(EqualSplit(), network, scenario)
    learned = run(learner(world), network, scenario)
    assert learned.score.mean() > equal.score.mean() + 0.1
    asked = best.requests > 0
    assert (learned.acceptance[asked] <= best.acceptance[asked] + 1e-4).all()
    growing = np.diff(equal.regret(best), axis=1)
    assert (growing >= -1e-4).all()


def test_answers_of_a_step_count_from_the_next_one(world):
    network, scenario, _ = world
    method = learner(world)
    busy = [t for t, step in enumerate(scenario.steps) if step.run.size][:2]
    step = scenario.steps[busy[0]]
    before = method.split(busy[0], step)
    model = method.model
    method.learn(busy[0], step, before, np.zeros_like(before))
    assert method.model is not model
    assert np.abs(method.split(busy[0], step) - before).max() > 0
    del network


def test_memoryless_holds_the_last_step_only(world):
    _, scenario, _ = world
    method = learner(world, memoryless=True)
    for t in range(20):
        step = scenario.steps[t]
        if step.run.size:
            delays = method.split(t, step)
            method.learn(t, step, delays, np.ones_like(delays))
    last = max(t for t in range(20) if (scenario.steps[t].run == 0).any())
    number = int((scenario.steps[last].run == 0).sum())
    assert (method.buffer.view(np.array([0])).weight > 0).sum() == number


def test_drift_detection_clears_old_answers(world):
    _, scenario, _ = world
    method = learner(world, drift=PageHinkley(3 * RUNS, threshold=4.0, keep=3))
    for t in range(40):
        step = scenario.steps[t]
        if step.run.size:
            delays = method.split(t, step)
            method.learn(t, step, delays, np.zeros_like(delays))
    assert method.drift.alarms > RUNS
    assert (method.buffer.weight > 0).sum(axis=1).min() < 60


def test_static_never_changes(world):
    network, scenario, history = world
    model = make("logistic", 3 * RUNS).fit(history)
    method = Learner(model, 3, name="Static")
    run(method, network, scenario)
    assert method.model is model
