"""What an arrival or impairment envelope must offer, and the part that all of the package's own models share.

An envelope bounds the exponential moments of work on an interval of n slots, for every θ > 0 of its domain:
arrivals E exp(θ A) ≤ exp(θρ(θ) n + θσ(θ)), impairments E exp(θ I) ≤ exp(θκ(θ) n + θη(θ)).
θ is in 1/work, ρ and κ in work per slot, σ and η in work. Everything is vectorised over θ, and +inf outside
the domain. A guarantee uses a form only where the envelope declares the properties that the form needs.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import numpy as np

__all__ = ["Arrival", "Impairment", "Law", "Shape", "Values"]

Values = Any
"""θ as a number or an array; results have its shape."""

Shape = int | tuple[int, ...]
"""How much to sample: a number of slots, or a shape whose last axis is time."""


@runtime_checkable
class Arrival(Protocol):
    """A tenant's work: (σ, ρ)(θ) and the properties that the guarantees ask for."""

    @property
    def theta_max(self) -> float:
        """Supremum of the θ at which ρ and σ are finite, 1/work."""

    @property
    def independent_increments(self) -> bool:
        """Whether e^{θA − θρℓ}, times at most e^{θσ}, is dominated by a supermartingale in the length ℓ
        of an interval with a fixed end (what Ville's inequality needs): i.i.d. work, or the eigenvector
        martingale of Markov-modulated work."""

    @property
    def iid(self) -> bool:
        """Whether the work is dominated by i.i.d. work per slot with log-moment θρ(θ), plus σ once."""

    @property
    def mean(self) -> float:
        """Mean work per slot, or an upper bound on it."""

    def rho(self, theta: Values) -> Values:
        """ρ(θ), work per slot."""

    def sigma(self, theta: Values) -> Values:
        """σ(θ), work."""

    def log_moment(self, theta: Values) -> Values:
        """At least log E e^{θ·work of a slot}, for θ of either sign; 0 for θ < 0 if unknown."""

    def request_log_bias(self, theta: Values) -> Values:
        """θ times what a bound per request adds to σ(θ); +inf where nothing valid is known."""

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Stationary work per slot, shape `slots` (time on the last axis)."""


@runtime_checkable
class Impairment(Protocol):
    """Work with priority in a domain: (η, κ)(θ) and the properties that the guarantees ask for."""

    @property
    def theta_max(self) -> float:
        """Supremum of the θ at which κ and η are finite, 1/work."""

    @property
    def monotone(self) -> bool:
        """Whether the impairment of an interval is at least that of every interval inside it."""

    @property
    def independent_increments(self) -> bool:
        """As for `Arrival`."""

    @property
    def iid(self) -> bool:
        """Whether the work is i.i.d. per slot (or dominated by such work) with log-moment `log_moment`."""

    @property
    def mean(self) -> float:
        """Mean work per slot, or an upper bound on it."""

    def kappa(self, theta: Values) -> Values:
        """κ(θ), work per slot."""

    def eta(self, theta: Values) -> Values:
        """η(θ), work."""

    def log_moment(self, theta: Values) -> Values:
        """At least log E e^{θ·work of a slot}, for θ of either sign; 0 for θ < 0 if unknown."""

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Stationary work per slot, shape `slots` (time on the last axis)."""


class Law:
    """Base of the package's models, each of which may serve as arrivals and as impairment.

    A model states `log_rate` (θρ or θκ) and `log_burst` (θσ or θη, 0 unless overridden), for θ > 0 and both
    vectorised; the rest follows. Defaults are those of work that is i.i.d. per slot.
    """

    @property
    def monotone(self) -> bool:
        """Work is never negative, so it grows with the interval."""
        return True

    @property
    def independent_increments(self) -> bool:
        """True unless the model says otherwise."""
        return True

    @property
    def iid(self) -> bool:
        """True unless the model says otherwise."""
        return True

    @property
    def continuous(self) -> bool:
        """Whether the same bound holds in continuous time, for intervals that begin and end anywhere:
        stationary
        independent increments, or a bound that holds with certainty. False: the law speaks of slots."""
        return False

    @property
    def slot_start(self) -> bool:
        """Whether all requests arrive at the start of a slot; False: anywhere."""
        return False

    @property
    def max_size(self) -> float:
        """The largest work of one request; +inf without a bound, nan where it is not known."""
        return math.nan

    @property
    def mean_size(self) -> float:
        """Mean work of a request; nan where it is not known."""
        return math.nan

    @property
    def per_stage(self) -> bool:
        """Whether a request's size is drawn anew in each domain; else it is one and the same."""
        return False

    def log_gap(self, theta: float) -> float:
        """log E e^{−θT} of the gaps T between requests, θ in 1/slot; nan where they are not independent."""
        return math.nan

    def log_size_moment(self, theta: float) -> float:
        """log E e^{θB} of the sizes of requests, for θ of either sign; nan where they are not independent."""
        return math.nan

    def own_size(self, probability: float) -> tuple[float, float]:
        """(size that a request exceeds with at most this probability, that probability itself), work."""
        return self.max_size, 0.0

    def barrier(self, broken: float, slope: float, own: bool) -> float:
        """The least b such that, but for a probability `broken`, no request that arrived x slots before a
        given
        time (or request, `own`, which counts itself) is larger than b + slope·x; nan where it is not known.

        slope: work per slot, positive; used only where `max_size` is +inf.
        """
        return math.nan

    @property
    def theta_max(self) -> float:
        """Supremum of the usable θ, 1/work."""
        raise TypeError(f"{type(self).__name__} does not state theta_max")

    @property
    def mean(self) -> float:
        """Mean work per slot, or an upper bound on it."""
        raise TypeError(f"{type(self).__name__} does not state mean")

    def request_log_bias(self, theta: Values) -> Values:
        """θ times what a bound per request adds to σ; +inf unless the model knows better."""
        return np.full(np.shape(theta), np.inf)[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Stationary work per slot; TypeError unless the model can be sampled."""
        raise TypeError(f"{type(self).__name__} cannot be sampled")

    def log_rate(self, theta: Values) -> Values:
        """θρ(θ) = θκ(θ), nats per slot; +inf outside the domain; for θ < 0 the log-moment or 0."""
        raise TypeError(f"{type(self).__name__} does not state log_rate")

    def log_burst(self, theta: Values) -> Values:
        """θσ(θ) = θη(θ): nats, +inf outside the domain."""
        return np.where(np.isfinite(self.log_rate(theta)), 0.0, np.inf)[()]

    def log_moment(self, theta: Values) -> Values:
        """Log-moment of a slot's work for θ of either sign."""
        return self.log_rate(theta)

    def rho(self, theta: Values) -> Values:
        """Work per slot at θ > 0."""
        theta = np.asarray(theta, float)
        return (self.log_rate(theta) / theta)[()]

    def sigma(self, theta: Values) -> Values:
        """Burst at θ > 0, work."""
        theta = np.asarray(theta, float)
        return (self.log_burst(theta) / theta)[()]

    def kappa(self, theta: Values) -> Values:
        """The same as ρ: work per slot at θ > 0."""
        return self.rho(theta)

    def eta(self, theta: Values) -> Values:
        """The same as σ: burst at θ > 0, work."""
        return self.sigma(theta)
