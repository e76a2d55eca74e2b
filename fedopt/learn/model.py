"""What a risk model is: P(accept), monotone in how strict the request is; and labels that may be wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from fedopt.learn.feedback import Array, Feedback, Rows


class RiskModel(ABC):
    """`count` independent risk models of one kind, fitted and evaluated together.

    A model gives P(accept | delay, throughput): between 0 and 1, non-decreasing in the delay that the
    domain is allowed, non-increasing in the throughput that it must carry. Models are immutable:
    `fit` and `update` return a new one, so that inference never waits for learning.
    """

    concave: bool = False
    """True where log P is concave in the delay by construction (decomposition is then convex)."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of models."""

    @abstractmethod
    def fit(self, feedback: Feedback) -> Self:
        """Fit from scratch to a history, one row of feedback per model."""

    @abstractmethod
    def update(self, feedback: Feedback, rows: Rows | None = None) -> Self:
        """Learn from the feedback in a buffer, starting from what is known; `rows` names the models."""

    @abstractmethod
    def log_probability(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> Array:
        """log P(accept), shape (rows, K), of delays and throughputs of that shape (throughput broadcasts).

        `extra`, shape (rows, K, E), belongs to models that were fitted to feedback with such columns.
        """

    @abstractmethod
    def gradient(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> tuple[Array, Array]:
        """Derivatives of log P by delay (≥ 0) and by throughput (≤ 0), each of shape (rows, K)."""

    def judge(self, fresh: Feedback, rows: Rows) -> Self:
        """Note how well answers that no `update` has seen were foretold (of use where there is a choice)."""
        return self

    def alarmed(self, rows: Rows) -> Self:
        """Note that these domains seem to have changed."""
        return self

    @abstractmethod
    def grown(self, models: int) -> Self:
        """With blank models up to `models`; what is there stays."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All that is needed to resume, as plain numbers and arrays."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The model that gave this state."""


def clean_labels(log_probability: Array, reported: Array, flip: float) -> Array:
    """Probability that the true answer was "accepted", given the report; shape as the inputs.

    If a share ν of the answers is reported as its opposite, an observed "accepted" has probability
    (1−ν)P + ν(1−P). Its maximum likelihood is reached by expectation–maximisation: these probabilities
    replace the labels, and the model is fitted to them. At soft labels a model's gradient is the gradient of
    that robust likelihood (Fisher's identity).

    Raises
    ------
    ValueError
        Unless 0 ≤ flip < 1/2 (at one half an answer says nothing).
    """
    if not 0 <= flip < 0.5:
        raise ValueError(f"the share of wrong answers must lie in [0, 0.5), not {flip}")
    p = np.exp(log_probability)
    q = -np.expm1(np.minimum(log_probability, -1e-12))
    if_yes = (1 - flip) * p / ((1 - flip) * p + flip * q)
    if_no = flip * p / (flip * p + (1 - flip) * q)
    return np.asarray(reported * if_yes + (1 - reported) * if_no)


def cleaned(model: RiskModel, feedback: Feedback, flip: float, rows: Rows | None = None) -> Feedback:
    """Feedback whose labels are the probabilities that the true answers were "accepted"."""
    if flip == 0:
        return feedback
    log_p = model.log_probability(feedback.delay, feedback.throughput, rows, feedback.extra)
    return feedback.with_accepted(clean_labels(log_p, feedback.accepted, flip))


def gathered(values: Array, rows: Rows | None) -> Array:
    """The values of the chosen models, all of them without a choice."""
    return values if rows is None else values[rows]
