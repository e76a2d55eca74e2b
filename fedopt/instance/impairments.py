"""Impairment models: work with priority that takes a domain's rate away.

What a slot cannot serve carries over. Means and rates are per unit of time, sizes are work.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

from pydantic import AfterValidator, Field, StrictBool, WrapValidator, model_validator

from .arrivals import ExponentialSize, Size, same_lengths
from .base import Document, NonNegative, Positive, Probability, Real, _ascending, accepts_objects
from .learned import LearnedImpairment


class NoImpairment(Document):
    """A domain that always gives the rate that was reserved."""

    model: Literal["none"] = "none"

    def theta_limit(self, slot: float) -> float:
        """Every tilt is usable."""
        return math.inf


class TableImpairment(Document):
    """A table of (κ, η) over θ: E exp(θ I(s,t)) ≤ exp(θκ(θ)(t−s) + θη(θ)).

    θ in 1/work, ascending; it may include negative values, which only the image form uses, but not 0.
    κ in work per unit of time, η in work. Between grid points θκ and θη are interpolated linearly; beyond
    the last one there is no guarantee. `monotone` declares that the impairment of an interval is at least
    that of every part of it, `independent_increments` that disjoint slots are independent.
    """

    model: Literal["table"] = "table"
    theta: Annotated[tuple[Real, ...], Field(min_length=1, max_length=10_000), AfterValidator(_ascending)]
    kappa: tuple[NonNegative, ...]
    eta: tuple[NonNegative, ...]
    monotone: StrictBool = False
    independent_increments: StrictBool = False

    @model_validator(mode="after")
    def _table(self) -> Self:
        same_lengths(theta=self.theta, kappa=self.kappa, eta=self.eta)
        if 0.0 in self.theta:
            raise ValueError("theta must not hold 0, where κ and η say nothing")
        if self.theta[-1] <= 0:
            raise ValueError("theta must hold at least one positive value")
        return self

    def theta_limit(self, slot: float) -> float:
        """The largest tilt of the table, 1/work."""
        return self.theta[-1]


class ExponentialImpairment(Document):
    """Independent exponentially distributed work in every slot; `mean` is work per unit of time."""

    model: Literal["exponential"] = "exponential"
    mean: Positive

    def theta_limit(self, slot: float) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return 1 / (self.mean * slot)


class GammaImpairment(Document):
    """Independent gamma-distributed work in every slot.

    `shape` is per unit of time (a slot's shape is `shape·slot`), `scale` is work; the mean is `shape·scale`
    work per unit of time.
    """

    model: Literal["gamma"] = "gamma"
    shape: Positive
    scale: Positive

    def theta_limit(self, slot: float) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return 1 / self.scale


class PoissonImpairment(Document):
    """Pieces of work `size` that come with a Poisson process of `rate` per unit of time."""

    model: Literal["poisson"] = "poisson"
    rate: Positive
    size: Size = 1.0

    def theta_limit(self, slot: float) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return self.size.theta_limit() if isinstance(self.size, ExponentialSize) else math.inf


class OnOffImpairment(Document):
    """Discrete Markov-modulated work: `peak` per unit of time while on.

    `on_to_off` and `off_to_on` are the probabilities of a change from one slot to the next.
    """

    model: Literal["on-off"] = "on-off"
    peak: Positive
    on_to_off: Probability
    off_to_on: Probability

    def theta_limit(self, slot: float) -> float:
        """Every tilt is usable."""
        return math.inf


@runtime_checkable
class OwnImpairment(Protocol):
    """A user's own impairment model, in slots, allowed where an instance is built in code.

    `kappa(theta)` is work per slot and `eta(theta)` work, as in E exp(θI(s,t)) ≤ exp(θκ(t−s) + θη).
    """

    def kappa(self, theta: Any) -> Any:
        """Work per slot at tilt θ (1/work)."""

    def eta(self, theta: Any) -> Any:
        """Burst, work, at tilt θ (1/work)."""


Impairment = Annotated[
    Annotated[
        NoImpairment
        | TableImpairment
        | ExponentialImpairment
        | GammaImpairment
        | PoissonImpairment
        | OnOffImpairment
        | LearnedImpairment,
        Field(discriminator="model"),
    ],
    WrapValidator(accepts_objects("kappa", "eta")),
]
