"""Answers that may be wrong: a robust likelihood by expectation–maximisation.

If a share ν of the answers is reported as its opposite, an observed "accepted" has probability
(1−ν)P + ν(1−P). Its maximum likelihood is reached by alternating two steps: the probability that the true
answer was "accepted", given what was reported and the present model, replaces each label; and the model is
fitted to these soft labels. Every risk model here takes soft labels, and for the convex one each fit stays
a convex problem. For gradient steps the two agree (Fisher's identity): the gradient at soft labels is the
gradient of the robust likelihood.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from fedopt.learn.feedback import Array, Feedback
from fedopt.learn.model import RiskModel

Model = TypeVar("Model", bound=RiskModel)


def clean_labels(log_probability: Array, reported: Array, flip: float) -> Array:
    """Probability that the true answer was "accepted", given the report; shape as the inputs.

    Raises `ValueError` unless 0 ≤ flip < 1/2 (at one half an answer says nothing).
    """
    if not 0 <= flip < 0.5:
        raise ValueError(f"the share of wrong answers must lie in [0, 0.5), not {flip}")
    p = np.exp(log_probability)
    q = -np.expm1(np.minimum(log_probability, -1e-12))
    if_yes = (1 - flip) * p / ((1 - flip) * p + flip * q)
    if_no = flip * p / (flip * p + (1 - flip) * q)
    return np.asarray(reported * if_yes + (1 - reported) * if_no)


def robust_fit(model: Model, feedback: Feedback, flip: float, rounds: int = 8) -> Model:
    """Fit from scratch to a history of which a share `flip` may be wrong."""
    fitted = model.fit(feedback)
    for _ in range(rounds if flip > 0 else 0):
        log_p = fitted.log_probability(feedback.delay, feedback.throughput)
        fitted = fitted.fit(feedback.with_accepted(clean_labels(log_p, feedback.accepted, flip)))
    return fitted


def robust_log_likelihood(model: RiskModel, feedback: Feedback, flip: float) -> Array:
    """Log-likelihood of reported answers, shape (models,)."""
    p = np.exp(model.log_probability(feedback.delay, feedback.throughput))
    seen = flip + (1 - 2 * flip) * p
    value = feedback.accepted * np.log(seen) + (1 - feedback.accepted) * np.log1p(-seen)
    return np.asarray((feedback.weight * value).sum(axis=1))


def estimate_flip(model: Model, feedback: Feedback, candidates: Array | None = None) -> float:
    """The share of wrong answers that makes a history likeliest, over a few candidate values."""
    values = np.array([0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]) if candidates is None else candidates
    scores = []
    for flip in values:
        fitted = robust_fit(model, feedback, float(flip))
        scores.append(robust_log_likelihood(fitted, feedback, max(float(flip), 1e-6)).sum())
    return float(values[int(np.argmax(scores))])
