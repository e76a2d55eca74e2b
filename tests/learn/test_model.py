"""What every risk model promises: normalised, monotone, differentiable, resumable."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.learn.feedback import Feedback
from tests.learn.conftest import make, random_history

KINDS = ("convex", "logistic", "spline", "isotonic", "trees", "network")


@pytest.mark.parametrize("kind", KINDS[:4])
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), online=st.booleans())
def test_normalised_and_monotone_whatever_the_data(kind, seed, online):
    check_normalised_and_monotone(kind, seed, online)


@pytest.mark.parametrize("kind", KINDS[4:])
@pytest.mark.parametrize(("seed", "online"), [(3, True), (2200, False)])
def test_heavy_kinds_are_normalised_and_monotone(kind, seed, online):
    check_normalised_and_monotone(kind, seed, online)


def check_normalised_and_monotone(kind, seed, online):
    rng = np.random.default_rng(seed)
    shape = (4, 24)
    feedback = Feedback.of(
        rng.exponential(40, shape) + 0.1,
        rng.uniform(0, 2, shape),
        (rng.random(shape) < rng.random((4, 1))).astype(float),
        (rng.random(shape) < 0.8).astype(float),
    )
    model = make(kind, 4, seed).fit(feedback)
    if online:
        other = feedback.with_accepted(1 - feedback.accepted)
        model = model.update(other.rows(np.array([0, 2])), np.array([0, 2]))
    delay = np.sort(rng.uniform(0, 300, (4, 60)), axis=1)
    demand = np.sort(rng.uniform(0, 3, (4, 60)), axis=1)
    by_delay = model.log_probability(delay, np.full((4, 1), 0.7))
    by_throughput = model.log_probability(np.full((4, 60), 30.0), demand)
    tolerance = 2e-5 * (1 + np.abs(by_delay).max())  # the network computes in single precision
    for values in (by_delay, by_throughput):
        assert np.isfinite(values).all()
        assert (values <= 0).all()
    assert (np.diff(by_delay, axis=1) >= -tolerance).all()
    assert (np.diff(by_throughput, axis=1) <= 2e-5 * (1 + np.abs(by_throughput).max())).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_the_derivative(kind, fitted):
    if kind not in fitted:
        pytest.importorskip("jax")
    model = fitted[kind]
    rng = np.random.default_rng(1)
    delay, throughput = rng.uniform(10, 90, (6, 20)), rng.uniform(0.4, 0.6, (6, 20))
    by_delay, by_throughput = model.gradient(delay, throughput)
    assert (by_delay >= 0).all()
    assert (by_throughput <= 0).all()
    # four points: a step wide enough for the single precision of the network, and still exact to h⁴
    step = 0.2 if kind == "network" else 1e-3
    numeric = (
        8.0
        * (model.log_probability(delay + step, throughput) - model.log_probability(delay - step, throughput))
        - model.log_probability(delay + 2.0 * step, throughput)
        + model.log_probability(delay - 2.0 * step, throughput)
    ) / (12.0 * step)
    np.testing.assert_allclose(by_delay, numeric, rtol=2e-2, atol=2e-5)
    step = 5e-4 if kind == "network" else 1e-6
    numeric = (
        model.log_probability(delay, throughput + step) - model.log_probability(delay, throughput - step)
    ) / (2 * step)
    np.testing.assert_allclose(by_throughput, numeric, rtol=2e-2, atol=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_pick_models_and_state_resumes(kind, fitted):
    if kind not in fitted:
        pytest.importorskip("jax")
    model = fitted[kind]
    delay, throughput = np.full((6, 3), 25.0), np.full((6, 3), 0.5)
    whole = model.log_probability(delay, throughput)
    rows = np.array([4, 1])
    np.testing.assert_allclose(model.log_probability(delay[:2], throughput[:2], rows), whole[rows], rtol=1e-5)
    again = type(model).from_state(model.state())
    np.testing.assert_array_equal(again.log_probability(delay, throughput), whole)
    assert again.count == model.count == 6


@pytest.mark.parametrize("kind", KINDS)
def test_learns_the_simulator(kind):
    runs = 8 if kind in KINDS[:4] else 2
    truth, history = random_history(runs, 400, 3)
    model = make(kind, 3 * runs).fit(history)
    _, fresh = random_history(runs, 200, 4)
    stated = np.exp(model.log_probability(fresh.delay, fresh.throughput))
    real = np.exp(truth.log_probability(fresh.delay, fresh.throughput))
    assert np.abs(stated - real).mean() < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_update_leaves_the_other_models_alone(kind, fitted):
    if kind not in fitted:
        pytest.importorskip("jax")
    model = fitted[kind]
    rows = np.array([2])
    feedback = Feedback.of(np.full((1, 5), 30.0), np.full((1, 5), 0.5), np.zeros((1, 5)))
    after = model.update(feedback, rows)
    delay, throughput = np.full((6, 1), 30.0), np.full((6, 1), 0.5)
    change = after.log_probability(delay, throughput) - model.log_probability(delay, throughput)
    assert change[2, 0] < 0
    np.testing.assert_array_equal(np.delete(change, 2, axis=0), 0)
    assert model.update(Feedback.of(np.ones((0, 1)), np.ones((0, 1)), np.ones((0, 1))), rows[:0]).count == 6
