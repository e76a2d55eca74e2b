"""Impairment models: work with priority that takes a domain's rate away.

What a slot cannot serve carries over. Means and rates are per unit of time, sizes are work.

A domain that publishes no envelope is asked instead: work like this, shaped to at most this throughput, is to
leave within this delay; every request is answered by accepted (it did) or rejected (it did not). What such
answers taught is a table of risks (`LearnedImpairment`). It is no theorem: it holds at its confidence, for as
long as the domain stays as it was when it answered.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

from pydantic import AfterValidator, Field, StrictBool, StrictInt, WrapValidator, model_validator

from .arrivals import (
    Arrivals,
    ExponentialSize,
    ExponentialWork,
    Law,
    OnOff,
    Poisson,
    Size,
    TokenBucket,
    same_lengths,
)
from .base import (
    Document,
    NonNegative,
    OpenProbability,
    Positive,
    Probability,
    Real,
    _ascending,
    accepts_objects,
)
from .quantities import Unit


class NoImpairment(Law):
    """A domain that always gives the rate that was reserved."""

    model: Literal["none"] = "none"

    def theta_limit(self, slot: float) -> float:
        """Every tilt is usable."""
        return math.inf


class TableImpairment(Law):
    """A table of (κ, η) over θ: E exp(θ I(s,t)) ≤ exp(θκ(θ)(t−s) + θη(θ)).

    θ in 1/work, ascending; it may include negative values, which only the image form uses, but not 0.
    κ in work per unit of time, η in work. Between grid points θκ and θη are interpolated linearly; beyond
    the last one there is no guarantee, unless `peak` says that no slot brings more than that (work per unit
    of time). `monotone` declares that the impairment of an interval is at least
    that of every part of it, `independent_increments` that disjoint slots are independent.
    """

    later = frozenset({"basis", "confidence", "sizes", "peak"})

    model: Literal["table"] = "table"
    theta: Annotated[
        tuple[Real, ...], Field(min_length=1, max_length=10_000), AfterValidator(_ascending), Unit("tilt")
    ]
    kappa: Annotated[tuple[NonNegative, ...], Unit("rate")]
    eta: Annotated[tuple[NonNegative, ...], Unit("work")]
    monotone: StrictBool = False
    independent_increments: StrictBool = False
    peak: Annotated[Positive | None, Unit("rate")] = None

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


class ExponentialImpairment(Law):
    """Independent exponentially distributed work in every slot; `mean` is work per unit of time."""

    model: Literal["exponential"] = "exponential"
    mean: Annotated[Positive, Unit("rate")]

    def theta_limit(self, slot: float) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return 1 / (self.mean * slot)


class GammaImpairment(Law):
    """Independent gamma-distributed work in every slot.

    `shape` is per unit of time (a slot's shape is `shape·slot`), `scale` is work; the mean is `shape·scale`
    work per unit of time.
    """

    model: Literal["gamma"] = "gamma"
    shape: Annotated[Positive, Unit("frequency")]
    scale: Annotated[Positive, Unit("work")]

    def theta_limit(self, slot: float) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return 1 / self.scale


class PoissonImpairment(Law):
    """Pieces of work `size` that come with a Poisson process of `rate` per unit of time."""

    model: Literal["poisson"] = "poisson"
    rate: Annotated[Positive, Unit("frequency")]
    size: Annotated[Size, Unit("work")] = 1.0

    def theta_limit(self, slot: float) -> float:
        """The tilts below which the moment generating function is finite, 1/work."""
        return self.size.theta_limit() if isinstance(self.size, ExponentialSize) else math.inf


class OnOffImpairment(Law):
    """Discrete Markov-modulated work: `peak` per unit of time while on.

    `on_to_off` and `off_to_on` are the probabilities of a change from one slot to the next.
    """

    model: Literal["on-off"] = "on-off"
    peak: Annotated[Positive, Unit("rate")]
    on_to_off: Annotated[Probability, Unit("share")]
    off_to_on: Annotated[Probability, Unit("share")]

    def theta_limit(self, slot: float) -> float:
        """Every tilt is usable."""
        return math.inf


class Ask(Document):
    """What is known about asks of one kind.

    `risk[k]` is an upper confidence limit on the probability that a request of traffic no heavier than
    `arrivals`, shaped to at most `throughput` (work per unit of time), spends more than `delay[k]` (units of
    time) in the domain. `answers` were counted for it. `estimate[k]`, where it is given, is what the risk
    model of the learner expects.
    """

    arrivals: Arrivals
    throughput: Annotated[Positive, Unit("rate")]
    delay: Annotated[
        tuple[Positive, ...],
        Field(min_length=1, max_length=1000),
        AfterValidator(_ascending),
        Unit("time"),
    ]
    risk: Annotated[tuple[Probability, ...], Unit("share")]
    estimate: Annotated[tuple[Probability, ...] | None, Unit("share")] = None
    answers: Annotated[StrictInt, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _table(self) -> Self:
        columns = {"delay": self.delay, "risk": self.risk}
        same_lengths(**columns, **({} if self.estimate is None else {"estimate": self.estimate}))
        for before, after in itertools.pairwise(self.risk):
            if after > before:
                raise ValueError(f"more delay cannot be riskier, but a risk of {after:g} follows {before:g}")
        return self

    def covers(self, arrivals: Any, throughput: float) -> bool:
        """Whether what is known holds for this traffic, shaped to this throughput."""
        return throughput <= self.throughput * (1 + 1e-9) and no_heavier(arrivals, self.arrivals)

    def at(self, delay: float) -> int | None:
        """The place of the longest delay in the table that is not above this one; None where all are."""
        found = [k for k, known in enumerate(self.delay) if known <= delay * (1 + 1e-9)]
        return found[-1] if found else None


class LearnedImpairment(Document):
    """In the place of an envelope: the offer's domain publishes none, and this is what its answers taught.

    `confidence` is that of every risk of the table by itself. Without `asks` nothing is known yet, and the
    offer can be promised to nobody.
    """

    model: Literal["learned"] = "learned"
    confidence: Annotated[OpenProbability, Unit("share")] = 0.95
    asks: tuple[Ask, ...] = ()

    def theta_limit(self, slot: float) -> float:
        """Every tilt is usable: what is learned has no moment generating function."""
        return math.inf

    def risk(self, arrivals: Any, throughput: float, delay: float) -> float:
        """The probability of a longer delay, at most, at the confidence of the table; 1 where it says
        nothing.
        """
        return min(
            (
                ask.risk[place]
                for ask in self.asks
                if ask.covers(arrivals, throughput) and (place := ask.at(delay)) is not None
            ),
            default=1.0,
        )


def no_heavier(arrivals: Any, than: Any) -> bool:
    """Whether arrivals are those of `than`, or fewer or smaller ones of the same kind: requests of a Poisson
    process left out at random, or all work scaled down.
    """
    if arrivals == than:
        return True
    match arrivals, than:
        case Poisson(), Poisson():
            return bool(arrivals.size == than.size and arrivals.rate <= than.rate)
        case ExponentialWork(), ExponentialWork():
            return bool(arrivals.mean <= than.mean)
        case OnOff(), OnOff():
            changes = (arrivals.on_to_off, arrivals.off_to_on) == (than.on_to_off, than.off_to_on)
            return bool(changes and arrivals.peak <= than.peak)
        case TokenBucket(), TokenBucket():
            return bool(arrivals.rate <= than.rate and arrivals.burst <= than.burst)
    return False


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
