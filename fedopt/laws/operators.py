"""A user's own envelopes, completed, and operators on envelopes, whose results are envelopes again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["Own", "aggregate", "hoelder", "leftover", "output", "own_arrival", "own_impairment"]


@dataclass(frozen=True, eq=False)
class Own(Law):
    """An object with `rho`/`sigma` or `kappa`/`eta` (θ > 0; per slot), read through one interface.

    What the object does not state is taken on the safe side: not monotone, no independent increments, not
    i.i.d., no correction for requests, nothing known for θ < 0. Arrivals are work and so grow with the
    interval. A function that takes no arrays is called value by value.
    """

    model: Any
    arrivals: bool

    def _stated(self, name: str, default: Any) -> Any:
        return getattr(self.model, name, default)

    @property
    def monotone(self) -> bool:
        """As stated; arrivals always are."""
        return self.arrivals or bool(self._stated("monotone", False))

    @property
    def independent_increments(self) -> bool:
        """As stated, else False."""
        return bool(self._stated("independent_increments", False))

    @property
    def iid(self) -> bool:
        """As stated, else False."""
        return bool(self._stated("iid", False))

    @property
    def continuous(self) -> bool:
        """As stated, else False."""
        return bool(self._stated("continuous", False))

    @property
    def max_size(self) -> float:
        """As stated, else not known."""
        return float(self._stated("max_size", math.nan))

    @property
    def theta_max(self) -> float:
        """As stated, else no limit but where the functions become infinite."""
        return float(self._stated("theta_max", np.inf))

    @property
    def mean(self) -> float:
        """As stated, else the rate at the smallest usable θ, which is no smaller."""
        stated = self._stated("mean", None)
        if stated is not None:
            return float(stated)
        for theta in 10.0 ** np.arange(-9.0, 3.0):
            rate = float(self.rho(theta))
            if np.isfinite(rate):
                return rate
        return np.inf

    def _values(self, name: str, theta: Values, infinite_beyond: bool = True) -> np.ndarray:
        function = getattr(self.model, name)
        theta = np.asarray(theta, float)
        with np.errstate(all="ignore"):
            try:
                values = np.asarray(function(theta), float)
                if values.ndim == 0:
                    values = np.broadcast_to(values, theta.shape)
            except (TypeError, ValueError):
                values = np.empty(0)
            if values.shape != theta.shape:
                values = np.array([_value(function, float(t)) for t in theta.ravel()]).reshape(theta.shape)
        bad = np.isnan(values)
        return np.where(bad | (theta > self.theta_max) if infinite_beyond else bad, np.inf, values)

    def log_rate(self, theta: Values) -> Values:
        """θρ or θκ as stated; for θ < 0 the stated log-moment of i.i.d. work, else 0."""
        theta = np.asarray(theta, float)
        values = theta * self._values("rho" if self.arrivals else "kappa", np.where(theta > 0.0, theta, 1.0))
        if np.any(theta <= 0.0):
            below = np.zeros(theta.shape)
            if self.iid and hasattr(self.model, "log_moment"):
                below = np.minimum(self._values("log_moment", theta), 0.0)
            values = np.where(theta > 0.0, values, np.where(theta < 0.0, below, 0.0))
        return values[()]

    def log_burst(self, theta: Values) -> Values:
        """θσ or θη as stated."""
        theta = np.asarray(theta, float)
        return (theta * self._values("sigma" if self.arrivals else "eta", theta))[()]

    def request_log_bias(self, theta: Values) -> Values:
        """As stated, else +inf."""
        theta = np.asarray(theta, float)
        if not hasattr(self.model, "request_log_bias"):
            return np.full(theta.shape, np.inf)[()]
        return self._values("request_log_bias", theta)[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """As stated; TypeError where the object cannot be sampled."""
        if not hasattr(self.model, "sample"):
            raise TypeError(f"{type(self.model).__name__} has no method sample(rng, slots)")
        return np.asarray(self.model.sample(rng, slots), float)


def _value(function: Any, theta: float) -> float:
    """The function's value, +inf where it has none."""
    try:
        return float(function(theta))
    except (ArithmeticError, ValueError):
        return np.inf


def own_arrival(model: Any) -> Law:
    """`model` itself if it is one of the package's, else a user's arrivals completed."""
    return model if isinstance(model, Law) else Own(model, arrivals=True)


def own_impairment(model: Any) -> Law:
    """`model` itself if it is one of the package's, else a user's impairment completed."""
    return model if isinstance(model, Law) else Own(model, arrivals=False)


@dataclass(frozen=True)
class Sum(Law):
    """Independent works added: log-moments and bursts add."""

    parts: tuple[Law, ...]

    @property
    def monotone(self) -> bool:
        """Where all parts are."""
        return all(part.monotone for part in self.parts)

    @property
    def independent_increments(self) -> bool:
        """Where all parts have them: a product of independent supermartingales is one."""
        return all(part.independent_increments for part in self.parts)

    @property
    def continuous(self) -> bool:
        """Where all parts are."""
        return all(part.continuous for part in self.parts)

    @property
    def slot_start(self) -> bool:
        """Where all parts' requests arrive at the start of a slot."""
        return all(part.slot_start for part in self.parts)

    @property
    def max_size(self) -> float:
        """The largest of the parts; nan where one is not known."""
        return float(np.max([part.max_size for part in self.parts]))

    @property
    def mean_size(self) -> float:
        """The largest of the parts."""
        return float(np.max([part.mean_size for part in self.parts]))

    def own_size(self, probability: float) -> tuple[float, float]:
        """The largest of the parts: a request is one of some part."""
        found = [part.own_size(probability) for part in self.parts]
        return max(size for size, _ in found), max(exceeded for _, exceeded in found)

    def barrier(self, broken: float, slope: float, own: bool) -> float:
        """The largest of the parts at an equal share: for a request of one part the others are stationary,
        which asks for no more than a request of theirs does."""
        share = broken / len(self.parts)
        bounded = [part.max_size for part in self.parts]
        return max(
            size if math.isfinite(size) else part.barrier(share, slope, own)
            for size, part in zip(bounded, self.parts, strict=True)
        )

    def stream(self, rng: np.random.Generator, slots: float) -> tuple[np.ndarray, np.ndarray]:
        """Times, in slots, and sizes of the requests of so many slots, all parts together."""
        times, sizes = zip(*(_stream(part, rng, slots) for part in self.parts), strict=True)
        order = np.argsort(np.concatenate(times), kind="stable")
        return np.concatenate(times)[order], np.concatenate(sizes)[order]

    @property
    def iid(self) -> bool:
        """Where all parts are."""
        return all(part.iid for part in self.parts)

    @property
    def theta_max(self) -> float:
        """The least of the parts."""
        return min(part.theta_max for part in self.parts)

    @property
    def mean(self) -> float:
        """Sum of the means."""
        return sum(part.mean for part in self.parts)

    def log_rate(self, theta: Values) -> Values:
        """Sum of the parts."""
        return sum(part.log_rate(theta) for part in self.parts)

    def log_burst(self, theta: Values) -> Values:
        """Sum of the parts."""
        return sum(part.log_burst(theta) for part in self.parts)

    def request_log_bias(self, theta: Values) -> Values:
        """The largest of the parts: right for the requests of each part, so for all of them together."""
        parts = [part.request_log_bias(theta) for part in self.parts]
        return np.max(np.broadcast_arrays(*parts), axis=0)[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Sum of independent samples."""
        return np.sum([part.sample(rng, slots) for part in self.parts], axis=0)


@dataclass(frozen=True)
class Hoelder(Law):
    """One factor of Hölder's inequality: (E e^{pθA})^{1/p}, hence θρ becomes (pθ)ρ(pθ)/p and θσ likewise.

    Independence is what Hölder's inequality does without, so forms that need it are not available.
    """

    part: Law
    exponent: float

    @property
    def monotone(self) -> bool:
        """As the part."""
        return self.part.monotone

    @property
    def independent_increments(self) -> bool:
        """False."""
        return False

    @property
    def iid(self) -> bool:
        """False."""
        return False

    @property
    def theta_max(self) -> float:
        """That of the part, divided by the exponent."""
        return self.part.theta_max / self.exponent

    @property
    def mean(self) -> float:
        """As the part."""
        return self.part.mean

    def log_rate(self, theta: Values) -> Values:
        """(pθ)ρ(pθ)/p; 0 for θ < 0."""
        theta = np.asarray(theta, float)
        positive = np.where(theta > 0.0, theta, 1e-300)
        return np.where(theta > 0.0, self.part.log_rate(self.exponent * positive) / self.exponent, 0.0)[()]

    def log_burst(self, theta: Values) -> Values:
        """(pθ)σ(pθ)/p."""
        return self.part.log_burst(self.exponent * np.asarray(theta, float)) / self.exponent

    def request_log_bias(self, theta: Values) -> Values:
        """+inf: what a request finds may differ from the stationary law in every dependent factor."""
        return np.full(np.shape(theta), np.inf)[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """As the part."""
        return self.part.sample(rng, slots)


@dataclass(frozen=True)
class Departures(Law):
    """What leaves a server, as arrivals of the next one.

    The departures of (s, t] are at most sup_{u ≤ s} A(u, t) − S(u, s). With E e^{−θS} over m slots at most 1,
    and at most e^{θη + θκT − θ(R−κ)(m−T)} from m = T on, the union over m = s − u ≥ 0 gives ρ unchanged and
    θσ' = θσ + log[Σ_{m<T} e^{θρm} + e^{θη + θκT} Σ_{m≥T} e^{θρm − θ(R−κ)(m−T)}], finite where R > ρ + κ. A
    pure delay only shifts time and counts as T = 0.

    Attributes:
        arrival: what enters.
        impairment: of the server.
        rate: reserved, work per slot.
        latency: T of a rate-latency server in slots, 0 for a pure delay.
    """

    arrival: Law
    impairment: Law
    rate: float
    latency: float

    @property
    def independent_increments(self) -> bool:
        """False: a queue remembers."""
        return False

    @property
    def iid(self) -> bool:
        """False."""
        return False

    @property
    def theta_max(self) -> float:
        """At most the least of the two."""
        return min(self.arrival.theta_max, self.impairment.theta_max)

    @property
    def mean(self) -> float:
        """Mean work of the arrivals."""
        return self.arrival.mean

    def log_rate(self, theta: Values) -> Values:
        """That of the arrivals, where the server is stable at θ; 0 for θ < 0."""
        theta = np.asarray(theta, float)
        rate = np.asarray(self.arrival.log_rate(theta), float)
        stable = rate + self.impairment.log_rate(theta) < theta * self.rate
        return np.where(theta > 0.0, np.where(stable, rate, np.inf), 0.0)[()]

    def log_burst(self, theta: Values) -> Values:
        """θσ' as above."""
        theta = np.asarray(theta, float)
        with np.errstate(all="ignore"):
            grow = np.asarray(self.arrival.log_rate(theta), float)
            lose = np.asarray(self.impairment.log_rate(theta), float)
            net = theta * self.rate - lose - grow
            whole = float(np.ceil(self.latency))
            late = self.impairment.log_burst(theta) + lose * self.latency + grow * whole
            late = late - (theta * self.rate - lose) * (whole - self.latency) - np.log(-np.expm1(-net))
            ratio = np.expm1(whole * grow) / np.expm1(grow)
            early = np.log(np.where(grow > 0.0, ratio, whole)) if whole > 0.0 else -np.inf
            value = self.arrival.log_burst(theta) + np.logaddexp(early, late)
        return np.where(net > 0.0, value, np.inf)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """+inf: no valid correction is known for requests seen at the next server alone."""
        return np.full(np.shape(theta), np.inf)[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Departures of a simulated server (work with priority carries over), after a start from empty."""
        shape = (slots,) if isinstance(slots, int) else tuple(slots)
        warm = shape[-1] + 1000
        extended = (*shape[:-1], warm)
        high = np.cumsum(self.impairment.sample(rng, extended), axis=-1)
        low = np.cumsum(self.arrival.sample(rng, extended), axis=-1)
        time = self.rate * np.arange(1, warm + 1)

        def served(work: np.ndarray) -> np.ndarray:
            before = np.concatenate([np.zeros((*shape[:-1], 1)), (work - time)], axis=-1)
            return np.minimum.accumulate(before, axis=-1)[..., 1:] + time

        departed = served(high + low) - served(high)
        return np.diff(departed, axis=-1, prepend=0.0)[..., -shape[-1] :]


def _stream(part: Any, rng: np.random.Generator, slots: float) -> tuple[np.ndarray, np.ndarray]:
    """Requests of one part; those of a law per slot arrive at the start of their slots."""
    if hasattr(part, "stream"):
        times, sizes = part.stream(rng, slots)
        return np.asarray(times), np.asarray(sizes)
    work = part.sample(rng, math.ceil(slots))
    at = np.flatnonzero(work > 0.0)
    return at.astype(float), work[at]


def aggregate(*arrivals: Any, exponents: Sequence[float] | None = None) -> Law:
    """Arrivals added: independent, or of any dependence given Hölder `exponents` p_i, Σ1/p_i = 1."""
    return _added([own_arrival(arrival) for arrival in arrivals], exponents)


def leftover(impairment: Any, cross: Any, exponents: Sequence[float] | None = None) -> Law:
    """The impairment of a domain that also serves `cross` arrivals first: works add, as in `aggregate`."""
    return _added([own_impairment(impairment), own_arrival(cross)], exponents)


def output(arrival: Any, impairment: Any, rate: float, latency: float = 0.0) -> Law:
    """What leaves a server of `rate` (work per slot) and rate-latency `latency` (slots); see `Departures`."""
    if not (rate > 0.0 and latency >= 0.0):
        raise ValueError("a server needs a positive rate and a latency that is not negative")
    return Departures(own_arrival(arrival), own_impairment(impairment), rate, latency)


def hoelder(model: Any, exponent: float) -> Law:
    """`model` as a factor of Hölder's inequality with `exponent` p ≥ 1; p = 1 leaves it alone."""
    if not exponent >= 1.0:
        raise ValueError(f"a Hölder exponent must be at least 1, is {exponent:g}")
    part = own_arrival(model) if hasattr(model, "rho") else own_impairment(model)
    return part if exponent == 1.0 else Hoelder(part, float(exponent))


def _added(parts: list[Law], exponents: Sequence[float] | None) -> Law:
    if not parts:
        raise ValueError("nothing to add")
    if exponents is not None:
        if len(exponents) != len(parts) or abs(sum(1.0 / p for p in exponents) - 1.0) > 1e-9:
            raise ValueError("Hölder exponents, one for each part, must satisfy Σ 1/p = 1")
        parts = [hoelder(part, p) for part, p in zip(parts, exponents, strict=True)]
    return parts[0] if len(parts) == 1 else Sum(tuple(parts))
