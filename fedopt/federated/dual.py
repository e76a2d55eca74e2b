"""The dual step, and how hard the broker pulls: prices follow disagreement, penalties follow residuals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Residuals", "answered_prices", "balanced"]

Floats = npt.NDArray[np.float64]


def answered_prices(loads: Floats, prices: Floats, penalties: Floats, z: Floats) -> Floats:
    """prices + penalties·(loads − z), no price below zero; broker and operator compute it alike.

    Where z is the domain step at these loads, prices and penalties, the result is a subgradient of the
    operators' cost at z (its optimality condition), which is what certifies.
    """
    return np.maximum(prices + penalties * (loads - z), 0.0)


@dataclass(frozen=True)
class Residuals:
    """Disagreement of broker and operators, and movement of the operators, both relative (Boyd et al. 2011,
    section 3.3, each in the metric of the prices). They tell a penalty too small or too large; they certify
    nothing.
    """

    primal: float
    dual: float

    @classmethod
    def of(cls, loads: Floats, z: Floats, before: Floats, prices: Floats, penalties: Floats) -> Residuals:
        """From the broker's loads, the answers z and the answers before."""
        worth = max(float(prices @ np.maximum(z, loads)), 1e-300)
        primal = float(prices @ np.abs(loads - z)) / worth
        dual = float(penalties * np.abs(z - before) @ np.maximum(z, loads)) / worth
        return cls(primal, dual)


def balanced(residuals: Residuals, ratio: float = 4.0, factor: float = 2.0) -> float:
    """What to multiply the penalties by so that neither residual lags: 1, `factor` or its inverse (Wohlberg
    2017, relative residuals).
    """
    if residuals.primal > ratio * residuals.dual:
        return factor
    if residuals.dual > ratio * residuals.primal:
        return 1.0 / factor
    return 1.0
