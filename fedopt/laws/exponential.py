"""Independent exponentially distributed work in every slot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["ExponentialWork"]


@dataclass(frozen=True)
class ExponentialWork(Law):
    """Work of a slot ~ Exp(mean): log-moment −log(1 − θ·mean) for θ < 1/mean, no burst.

    `mean_work` is the mean work of a slot.
    """

    mean_work: float

    @property
    def theta_max(self) -> float:
        """1/mean, excluded."""
        return 1.0 / self.mean_work

    @property
    def mean(self) -> float:
        """Mean work per slot."""
        return self.mean_work

    def log_rate(self, theta: Values) -> Values:
        """−log(1 − θ·mean) for θ of either sign."""
        x = np.asarray(theta, float) * self.mean_work
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(x < 1.0, -np.log1p(-x), np.inf)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """log(Λ'(θ)/Λ'(0)) = −log(1 − θ·mean): the slot of a unit of work is size-biased."""
        return self.log_rate(theta)

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Work per slot, shape `slots`."""
        return rng.exponential(self.mean_work, slots)
