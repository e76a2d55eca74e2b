"""The logistic baseline recovers a logistic truth."""

from __future__ import annotations

import numpy as np

from fedopt.learn.feedback import Feedback
from fedopt.learn.parametric import LogisticRisk


def test_recovers_a_logistic_truth():
    rng = np.random.default_rng(0)
    delay, throughput = rng.uniform(5, 60, (1, 20000)), rng.uniform(0.2, 0.8, (1, 20000))
    logit = -3 + 2 * np.log(delay) - 4 * throughput
    accepted = (rng.random(delay.shape) < 1 / (1 + np.exp(-logit))).astype(float)
    model = LogisticRisk().fit(Feedback.of(delay, throughput, accepted))
    grid = np.array([[8.0, 15.0, 30.0, 50.0]])
    truth = -np.logaddexp(0, -(-3 + 2 * np.log(grid) - 2.0))
    # 20,000 answers: standard error of a fitted probability about 0.004
    np.testing.assert_allclose(
        np.exp(model.log_probability(grid, np.full((1, 4), 0.5))), np.exp(truth), atol=0.02
    )
