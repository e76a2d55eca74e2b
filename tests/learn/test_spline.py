"""A spline of one index: the logistic model where that is right, a step or a plateau where answers say so."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.learn.feedback import Feedback
from fedopt.learn.monotone import KNOTS, LEAST_GAP, SplineRisk
from tests.learn.conftest import make


def answers(chance, number: int, seed: int) -> Feedback:
    rng = np.random.default_rng(seed)
    delay, throughput = rng.uniform(1, 100, (1, number)), rng.uniform(0.4, 0.6, (1, number))
    accepted = rng.random(delay.shape) < chance(delay, throughput)
    return Feedback.of(delay, throughput, accepted.astype(float))


def stated(model: SplineRisk, delays: list[float], throughput: float = 0.5) -> np.ndarray:
    return np.exp(model.log_probability(np.array([delays]), np.full((1, 1), throughput)))[0]


def test_nothing_seen_it_is_the_logistic_model():
    delay, throughput = np.linspace(1, 90, 40)[None], np.full((1, 40), 0.5)
    spline, logistic = make("spline", 1), make("logistic", 1)
    np.testing.assert_allclose(
        spline.log_probability(delay, throughput), logistic.log_probability(delay, throughput), atol=1e-12
    )
    for one, other in zip(
        spline.gradient(delay, throughput), logistic.gradient(delay, throughput), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(
    ("chance", "delays", "expected"),
    [
        # a step at 40 (1 + θ): hardly any chance between
        (lambda d, x: d > 40 * (0.5 + x), [30.0, 37.0, 43.0, 70.0], [0.0, 0.0, 1.0, 1.0]),
        # two regimes: a plateau of 0.6 between 10 and 60
        (lambda d, x: 0.6 * (d > 10) + 0.4 * (d > 60), [5.0, 25.0, 45.0, 80.0], [0.0, 0.6, 0.6, 1.0]),
    ],
)
def test_steps_and_plateaus(chance, delays, expected):
    """1,500 answers, about 800 on the plateau (standard error 0.02); a ramp is a twelfth of them."""
    seen = answers(chance, 1500, 1)
    fitted = make("spline", 1).fit(seen)
    np.testing.assert_allclose(stated(fitted, delays), expected, atol=0.08)
    logistic = np.exp(make("logistic", 1).fit(seen).log_probability(np.array([delays]), np.full((1, 1), 0.5)))
    assert np.abs(stated(fitted, delays) - expected).max() < np.abs(logistic[0] - expected).max()


def test_knots_are_apart_whatever_the_answers():
    same = Feedback.of(np.full((1, 50), 20.0), np.full((1, 50), 0.5), np.ones((1, 50)))
    fitted = make("spline", 1).fit(same)
    assert fitted.knots.shape == (1, KNOTS)
    assert (np.diff(fitted.knots) >= LEAST_GAP * (1 - 1e-9)).all()
    assert np.isfinite(fitted.coefficients).all()
    assert stated(fitted, [20.0])[0] > 0.9
