"""The plain baseline: a logistic regression that can only be monotone.

P = sigmoid(b + w₁ log(u + s) − w₂ v) with w ≥ 0, u the relative delay and v the relative throughput.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from fedopt.learn.feedback import Array, Feedback, Scale
from fedopt.learn.model import RiskModel, Rows
from fedopt.learn.newton import LOGISTIC, minimise

SHIFT = 0.02
_SIGNED = np.array([True, False, False])
_PRIOR = np.array([2.0, 2.0, 1.0])


@dataclass(frozen=True)
class LogisticRisk(RiskModel):
    """Monotone logistic models, one per domain.

    Attributes:
        models: number of models.
        penalty: weight of ½‖c − prior‖², in answers.
        steps: Newton steps of one `update`.
        scale: input scale; taken from the history by `fit`.
        coefficients: (b, w₁, w₂) of each model, shape (models, 3).
    """

    models: int = 1
    penalty: float = 0.1
    steps: int = 3
    scale: Scale = field(default=Scale(1.0, 0.0, 1.0))
    coefficients: Array | None = field(default=None, repr=False)

    concave = True

    def __post_init__(self) -> None:
        if self.coefficients is None:
            object.__setattr__(self, "coefficients", np.tile(_PRIOR, (self.models, 1)))

    @property
    def count(self) -> int:
        return self.models

    @property
    def c(self) -> Array:
        """The coefficients, shape (models, 3)."""
        assert self.coefficients is not None
        return self.coefficients

    def fit(self, feedback: Feedback) -> Self:
        start = replace(self, scale=Scale.of(feedback), coefficients=np.tile(_PRIOR, (self.models, 1)))
        return start._descend(feedback, None, steps=60)

    def update(self, feedback: Feedback, rows: Rows | None = None) -> Self:
        return self._descend(feedback, rows, self.steps)

    def _descend(self, feedback: Feedback, rows: Rows | None, steps: int) -> Self:
        index = np.arange(self.models) if rows is None else np.asarray(rows)
        found, _ = minimise(
            LOGISTIC,
            features(self.scale, feedback.delay, feedback.throughput),
            np.ascontiguousarray(feedback.accepted),
            np.ascontiguousarray(feedback.weight),
            np.full(3, self.penalty),
            _PRIOR,
            _SIGNED,
            self.c[index],
            steps,
            1e-7,
        )
        coefficients = self.c.copy()
        coefficients[index] = found
        return replace(self, coefficients=coefficients)

    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        return -np.logaddexp(0.0, -self._predictor(delay, throughput, rows))

    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        c = self.c if rows is None else self.c[rows]
        refused = np.exp(-np.logaddexp(0.0, self._predictor(delay, throughput, rows)))
        u = np.maximum(np.asarray(delay, float) / self.scale.delay, 0.0)
        by_delay = refused * c[:, 1, None] / (u + SHIFT) / self.scale.delay
        return by_delay, -refused * c[:, 2, None] / self.scale.spread

    def _predictor(self, delay: Array, throughput: Array, rows: Rows | None) -> Array:
        c = self.c if rows is None else self.c[rows]
        u, v = self.scale.relative(np.asarray(delay, float), np.asarray(throughput, float))
        return np.asarray(
            c[:, 0, None] + c[:, 1, None] * np.log(np.maximum(u, 0.0) + SHIFT) - c[:, 2, None] * v
        )

    def state(self) -> dict[str, Any]:
        return {
            "models": self.models,
            "penalty": self.penalty,
            "steps": self.steps,
            "scale": [self.scale.delay, self.scale.middle, self.scale.spread],
            "coefficients": self.c,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        return cls(
            models=int(state["models"]),
            penalty=float(state["penalty"]),
            steps=int(state["steps"]),
            scale=Scale(*(float(value) for value in state["scale"])),
            coefficients=np.asarray(state["coefficients"], float),
        )


def features(scale: Scale, delay: Array, throughput: Array) -> Array:
    """(1, log(u+s), −v) of requests, shape (models, K, 3)."""
    u, v = scale.relative(np.asarray(delay, float), np.asarray(throughput, float))
    return np.stack([np.ones_like(u), np.log(np.maximum(u, 0.0) + SHIFT), -v], axis=-1)
