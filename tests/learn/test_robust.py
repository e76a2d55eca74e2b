"""Soft labels, and what a robust likelihood saves when answers are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.learn.model import clean_labels, cleaned
from tests.learn.conftest import make, random_history


def test_labels_follow_bayes():
    log_p = np.log(np.array([[0.9, 0.9, 0.2]]))
    labels = clean_labels(log_p, np.array([[1.0, 0.0, 1.0]]), 0.1)
    np.testing.assert_allclose(
        labels, [[0.81 / 0.82, 0.09 / (0.09 + 0.09), 0.18 / (0.18 + 0.08)]], rtol=1e-12
    )
    np.testing.assert_allclose(clean_labels(log_p, np.array([[1.0, 0.0, 1.0]]), 0.0), [[1, 0, 1]])
    with pytest.raises(ValueError, match="wrong answers"):
        clean_labels(log_p, log_p, 0.5)


def test_robust_fit_sees_through_wrong_answers():
    truth, history = random_history(6, 300, 8)
    rng = np.random.default_rng(9)
    flips = rng.random(history.accepted.shape) < 0.2
    reported = history.with_accepted(np.where(flips, 1 - history.accepted, history.accepted))
    blank = make("convex", 18)
    real = np.exp(truth.log_probability(history.delay, history.throughput))
    errors = {}
    for flip in (0.0, 0.2):
        fitted = blank.fit(reported)
        for _ in range(8 if flip else 0):
            fitted = fitted.fit(cleaned(fitted, reported, flip))
        errors[flip] = np.abs(np.exp(fitted.log_probability(history.delay, history.throughput)) - real).mean()
    assert errors[0.2] < 0.5 * errors[0.0]
