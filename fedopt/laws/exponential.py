"""Independent exponentially distributed work in every slot."""

from __future__ import annotations

import math
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
    def slot_start(self) -> bool:
        """One request in each slot, at its start."""
        return True

    @property
    def max_size(self) -> float:
        """+inf."""
        return math.inf

    @property
    def mean_size(self) -> float:
        """Mean work of the slot's request."""
        return self.mean_work

    def barrier(self, broken: float, slope: float, own: bool) -> float:
        """Σ_{n ≥ 0} P(B > b + slope·n) = e^{−b/m} / (1 − e^{−slope/m}), n ≥ 1 where the request's own slot
        does not count."""
        total = -1.0 / math.expm1(-slope / self.mean_work) - (0.0 if own else 1.0)
        return self.mean_work * math.log(total / broken)

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
