"""What a risk model is: −log P(accept), monotone in how strict the request is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedopt.learn.feedback import Array, Feedback

Rows = NDArray[np.intp]


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
    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        """log P(accept), shape (rows, K), of delays and throughputs of that shape (throughput broadcasts)."""

    @abstractmethod
    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        """Derivatives of log P by delay (≥ 0) and by throughput (≤ 0), each of shape (rows, K)."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All that is needed to resume, as plain numbers and arrays."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The model that gave this state."""
