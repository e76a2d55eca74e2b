"""Offers without a contract: what answers to asks taught about them.

A domain that publishes no envelope is asked: work like this, shaped to at most this throughput, is to leave
within this delay; every request is answered by accepted (it did) or rejected (it did not). What such answers
taught is a table of risks. It is no theorem: it holds at its confidence, for as long as the domain stays as
it was when it answered.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, model_validator

from .arrivals import Arrivals, ExponentialWork, OnOff, Poisson, TokenBucket, same_lengths
from .base import Document, OpenProbability, Positive, Probability, _ascending

__all__ = ["Ask", "LearnedImpairment", "no_heavier"]


class Ask(Document):
    """What is known about asks of one kind.

    `risk[k]` is an upper confidence limit on the probability that a request of traffic no heavier than
    `arrivals`, shaped to at most `throughput` (work per unit of time), spends more than `delay[k]` (units of
    time) in the domain. `answers` were counted for it. `estimate[k]`, where it is given, is what the risk
    model of the learner expects.
    """

    arrivals: Arrivals
    throughput: Positive
    delay: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=1000), AfterValidator(_ascending)]
    risk: tuple[Probability, ...]
    estimate: tuple[Probability, ...] | None = None
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
    confidence: OpenProbability = 0.95
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
