"""The dual step, how hard the broker pulls, and what answers must have in common.

Prices follow disagreement, penalties follow residuals; costs and bounds of all rounds fit one convex cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Residuals", "Statements", "answered_prices", "balanced"]

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


class Statements:
    """What one side stated of its cost v in a run: points (z, v(z)) and cuts v(y) ≥ D + p·y.

    Every cost lies above every cut, whatever v is. The operator sees to it with `take`, and the broker, who
    knows the same numbers (or their sums over operators, of which the same is true), holds it to that with
    `add`.
    """

    def __init__(self) -> None:
        self._loads: list[Floats] = []
        self._costs: list[float] = []
        self._prices: list[Floats] = []
        self._bounds: list[float] = []

    def take(
        self, prices: Floats, bound: float, points: Sequence[tuple[Floats, float]]
    ) -> tuple[float, list[float]]:
        """A bound and costs that contradict nothing: the bound lowered and the costs raised by what the
        solvers behind them left open. Both stay true: a lower bound may be lower, a cost at most higher.
        """
        costs = [cost for _, cost in points]
        if self._bounds:
            known_prices, known_bounds = np.array(self._prices), np.array(self._bounds)
            costs = [
                max(c, float((known_bounds + known_prices @ z).max()))
                for (z, _), c in zip(points, costs, strict=True)
            ]
        self._loads.extend(z for z, _ in points)
        self._costs.extend(costs)
        bound = min(bound, float((np.array(self._costs) - np.array(self._loads) @ prices).min()))
        self._prices.append(prices)
        self._bounds.append(bound)
        return bound, costs

    def add(
        self,
        prices: Floats,
        bound: float,
        points: Sequence[tuple[Floats, float]],
        relative: float,
        absolute: float,
    ) -> bool:
        """Take a round; False where a cost lies below a bound by more than rounding."""
        first = len(self._costs)
        self._loads.extend(z for z, _ in points)
        self._costs.extend(cost for _, cost in points)
        self._prices.append(prices)
        self._bounds.append(bound)
        costs, bounds = np.array(self._costs)[:, None], np.array(self._bounds)
        worth = np.array(self._loads) @ np.array(self._prices).T
        fine = costs - bounds - worth >= -(
            relative * (np.abs(costs) + np.abs(bounds) + np.abs(worth)) + absolute
        )
        return bool(fine[first:].all() and fine[:, -1].all())
