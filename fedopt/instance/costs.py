"""Cost models of an offer: a convex, non-decreasing curve of its total reserved rate, and a fixed charge.

The curve `variable(z)` is 0 at 0 and takes the rate that all tenants together reserve of the offer (work per
unit of time); `fixed` is paid once for every tenant that reserves it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
from pydantic import Field, WrapValidator, model_validator

from .base import Document, NonNegative, accepts_objects
from .quantities import Unit


class Linear(Document):
    """`rate` for each unit of rate reserved, and `fixed` per tenant."""

    model: Literal["linear"] = "linear"
    rate: Annotated[NonNegative, Unit("price")]
    fixed: Annotated[NonNegative, Unit("cost")] = 0.0

    def variable(self, z: Any) -> Any:
        """Cost of a total rate `z` ≥ 0 (number or array) without the fixed charge."""
        return self.rate * z

    def marginal(self, z: Any) -> Any:
        """Slope of the curve at `z`."""
        return self.rate + 0.0 * z


class Quadratic(Document):
    """`rate·z + quad·z²` for a total rate z, and `fixed` per tenant."""

    model: Literal["quadratic"] = "quadratic"
    rate: Annotated[NonNegative, Unit("price")]
    quad: Annotated[NonNegative, Unit("curvature")]
    fixed: Annotated[NonNegative, Unit("cost")] = 0.0

    def variable(self, z: Any) -> Any:
        """Cost of a total rate `z` ≥ 0 (number or array) without the fixed charge."""
        return (self.rate + self.quad * z) * z

    def marginal(self, z: Any) -> Any:
        """Slope of the curve at `z`."""
        return self.rate + 2.0 * self.quad * z


class Piecewise(Document):
    """Straight lines between `points` [rate, cost], the first at rate 0, the last line going on for ever.

    The cost of the first point is the fixed charge per tenant.
    """

    model: Literal["piecewise"] = "piecewise"
    points: Annotated[
        tuple[tuple[NonNegative, NonNegative], ...],
        Field(min_length=2, max_length=10_000),
        Unit("rate", "cost"),
    ]

    @model_validator(mode="after")
    def _convex(self) -> Self:
        rates = [rate for rate, _ in self.points]
        costs = [cost for _, cost in self.points]
        if rates[0] != 0:
            raise ValueError(f"the first point must be at rate 0, is at {rates[0]:g}")
        before = 0.0
        for i in range(1, len(rates)):
            if rates[i] <= rates[i - 1]:
                raise ValueError(f"rates must ascend, but {rates[i]:g} follows {rates[i - 1]:g}")
            if costs[i] < costs[i - 1]:
                raise ValueError(f"costs must not decrease, but {costs[i]:g} follows {costs[i - 1]:g}")
            slope = (costs[i] - costs[i - 1]) / (rates[i] - rates[i - 1])
            if slope < before * (1 - 1e-9) - 1e-12:
                raise ValueError(
                    f"the cost must be convex, but its slope falls from {before:g} to {slope:g} "
                    f"at rate {rates[i - 1]:g}"
                )
            before = max(before, slope)
        return self

    @property
    def fixed(self) -> float:
        """The charge per tenant: the cost at rate 0."""
        return self.points[0][1]

    @property
    def slopes(self) -> tuple[float, ...]:
        """The slope of each line, never falling."""
        slopes: list[float] = []
        for (x0, y0), (x1, y1) in zip(self.points, self.points[1:], strict=False):
            slopes.append(max((y1 - y0) / (x1 - x0), slopes[-1] if slopes else 0.0))
        return tuple(slopes)

    def variable(self, z: Any) -> Any:
        """Cost of a total rate `z` ≥ 0 (number or array) without the fixed charge."""
        rates = np.array([rate for rate, _ in self.points])
        costs = np.array([cost for _, cost in self.points]) - self.fixed
        value = np.interp(z, rates, costs) + self.slopes[-1] * np.maximum(np.asarray(z) - rates[-1], 0.0)
        return float(value) if np.ndim(z) == 0 else value

    def marginal(self, z: Any) -> Any:
        """Slope of the curve at `z`; at a corner the slope to its right."""
        rates = np.array([rate for rate, _ in self.points])
        piece = np.clip(np.searchsorted(rates, z, side="right") - 1, 0, len(rates) - 2)
        value = np.array(self.slopes)[piece]
        return float(value) if np.ndim(z) == 0 else value


@runtime_checkable
class OwnCost(Protocol):
    """A user's own convex, non-decreasing cost model, allowed where an instance is built in code."""

    @property
    def fixed(self) -> float:
        """The charge per tenant."""

    def variable(self, z: Any) -> Any:
        """Cost of a total rate `z` (work per unit of time), 0 at 0."""

    def marginal(self, z: Any) -> Any:
        """Slope of the curve at `z`."""


Cost = Annotated[
    Annotated[Linear | Quadratic | Piecewise, Field(discriminator="model")],
    WrapValidator(accepts_objects("fixed", "variable", "marginal")),
]
