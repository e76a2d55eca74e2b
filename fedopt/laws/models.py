"""Laws of work: nothing, gamma-distributed, Poisson, bounded by a token bucket, on-off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["ExponentialWork", "GammaWork", "NoImpairment", "OnOff", "Poisson", "TokenBucket"]


@dataclass(frozen=True)
class NoImpairment(Law):
    """No work at all: κ = η = 0 for every θ."""

    @property
    def continuous(self) -> bool:
        """Nothing happens, at any time."""
        return True

    @property
    def theta_max(self) -> float:
        """Every tilt is usable."""
        return np.inf

    @property
    def mean(self) -> float:
        """0."""
        return 0.0

    def log_rate(self, theta: Values) -> Values:
        """0 for every θ."""
        return np.zeros_like(np.asarray(theta, float))[()]

    def request_log_bias(self, theta: Values) -> Values:
        """0: there is no request."""
        return self.log_rate(theta)

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Zeros of shape `slots`."""
        return np.zeros(slots)


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


@dataclass(frozen=True)
class GammaWork(Law):
    """Work of a slot ~ Gamma(shape, scale): log-moment −shape·log(1 − θ·scale) for θ < 1/scale, no burst.

    Attributes:
        shape: of one slot.
        scale: work.
    """

    shape: float
    scale: float

    @property
    def theta_max(self) -> float:
        """1/scale, excluded."""
        return 1.0 / self.scale

    @property
    def mean(self) -> float:
        """shape·scale, work per slot."""
        return self.shape * self.scale

    def log_rate(self, theta: Values) -> Values:
        """−shape·log(1 − θ·scale) for θ of either sign."""
        x = np.asarray(theta, float) * self.scale
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(x < 1.0, -self.shape * np.log1p(-x), np.inf)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """log(Λ'(θ)/Λ'(0)) = −log(1 − θ·scale): the slot of a unit of work is size-biased."""
        x = np.asarray(theta, float) * self.scale
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(x < 1.0, -np.log1p(-x), np.inf)[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Work per slot, shape `slots`."""
        return rng.gamma(self.shape, self.scale, slots)


@dataclass(frozen=True)
class Poisson(Law):
    """Compound Poisson work: log E e^{θ·work of a slot} = rate·(E e^{θB} − 1), no burst.

    Attributes:
        rate: requests per slot.
        size: the work of a request, or its mean where `exponential` is set.
        exponential: whether the work of a request is exponentially distributed.
        per_stage: whether it is drawn anew in each domain.
    """

    rate: float
    size: float = 1.0
    exponential: bool = False
    per_stage: bool = False

    @property
    def continuous(self) -> bool:
        """A Poisson process knows no slots."""
        return True

    @property
    def max_size(self) -> float:
        """The size, or +inf where it is exponential."""
        return math.inf if self.exponential else self.size

    def log_gap(self, theta: float) -> float:
        """Exponential gaps."""
        return -math.log1p(theta / self.rate)

    def log_size_moment(self, theta: float) -> float:
        """Of the size."""
        x = theta * self.size
        if not self.exponential:
            return x
        return -math.log1p(-x) if x < 1.0 else math.inf

    @property
    def mean_size(self) -> float:
        """The mean size."""
        return self.size

    def barrier(self, broken: float, slope: float, own: bool) -> float:
        """Earlier requests are Poisson points of their own (Slivnyak): ∫ rate·P(B > b + slope·x) dx and,
        for the request itself, P(B > b), of exponential sizes of mean m: e^{−b/m}(own + rate·m/slope)."""
        return self.size * math.log((own + self.rate * self.size / slope) / broken)

    @property
    def theta_max(self) -> float:
        """1/size for exponential sizes (excluded), else every tilt is usable."""
        return 1.0 / self.size if self.exponential else np.inf

    @property
    def mean(self) -> float:
        """rate·size, work per slot."""
        return self.rate * self.size

    def log_rate(self, theta: Values) -> Values:
        """rate·(E e^{θB} − 1) for θ of either sign."""
        x = np.asarray(theta, float) * self.size
        with np.errstate(over="ignore", divide="ignore"):
            surplus = np.where(x < 1.0, x / (1.0 - x), np.inf) if self.exponential else np.expm1(x)
            return (self.rate * surplus)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """log E e^{θB}: by Slivnyak's theorem a request finds the stationary process, and itself."""
        x = np.asarray(theta, float) * self.size
        if not self.exponential:
            return x[()]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(x < 1.0, -np.log1p(-x), np.inf)[()]

    def stream(self, rng: np.random.Generator, slots: float) -> tuple[np.ndarray, np.ndarray]:
        """Times, in slots, and sizes of the requests of so many slots."""
        times = np.sort(rng.random(rng.poisson(self.rate * slots))) * slots
        sizes = rng.standard_exponential(len(times)) if self.exponential else np.ones(len(times))
        return times, self.size * sizes

    def sample_requests(self, rng: np.random.Generator, slots: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Work and number of requests per slot, each of shape `slots`."""
        count = rng.poisson(self.rate, slots)
        if not self.exponential:
            return count * self.size, count
        work = rng.standard_gamma(np.maximum(count, 1)) * self.size
        return np.where(count > 0, work, 0.0), count

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Work per slot, shape `slots`."""
        return self.sample_requests(rng, slots)[0]


@dataclass(frozen=True)
class TokenBucket(Law):
    """A(s, t) ≤ rate·(t−s) + burst for every interval and with certainty: θρ = θ·rate, θσ = θ·burst.

    Why it may be used in every form: for a deadline that belongs to time t, replace A(s, t) for all s < t at
    once by the larger rate·(t−s) + burst. That is work of `rate` in each slot, deterministic and hence
    i.i.d., and `burst` once at time t; the delay can only grow. So it counts as i.i.d. with log-moment θ·rate
    and σ = burst.

    Why requests need no correction: the inequality holds on every path, so also on those a request sees.

    As an impairment it bounds the work with priority in the same way, burst included.

    Attributes:
        rate: work per slot.
        burst: work.
    """

    rate: float
    burst: float = 0.0

    @property
    def continuous(self) -> bool:
        """The bound holds for every interval."""
        return True

    @property
    def max_size(self) -> float:
        """No request is larger than the burst."""
        return self.burst

    @property
    def mean_size(self) -> float:
        """At most the burst."""
        return self.burst

    @property
    def theta_max(self) -> float:
        """Every tilt is usable."""
        return np.inf

    @property
    def mean(self) -> float:
        """At most `rate`, work per slot."""
        return self.rate

    def log_rate(self, theta: Values) -> Values:
        """θ·rate for θ > 0; 0 for θ < 0, where an upper bound on the work says nothing."""
        theta = np.asarray(theta, float)
        return np.where(theta > 0.0, theta * self.rate, 0.0)[()]

    def log_burst(self, theta: Values) -> Values:
        """θ·burst."""
        return (np.asarray(theta, float) * self.burst)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """0: the bound on the work is certain."""
        return np.zeros_like(np.asarray(theta, float))[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """A conforming flow that is as bursty as allowed: the bucket fills, empties at once, fills again.

        The phase is random, so that the work is stationary; shape `slots`, time on the last axis.
        """
        shape = (slots,) if isinstance(slots, int) else tuple(slots)
        period = math.ceil(self.burst / self.rate) + 1 if self.rate > 0.0 else shape[-1] + 1
        phase = rng.integers(period, size=(*shape[:-1], 1))
        full = (np.arange(shape[-1]) + phase) % period == 0
        return np.where(full, min(self.burst + self.rate, period * self.rate), 0.0)


@dataclass(frozen=True)
class OnOff(Law):
    """A two-state chain that brings `peak` work in each slot in which it is on, started stationary.

    Let P be the transition matrix, π its stationary law, D = diag(1, e^{θ·peak}), r the spectral radius of PD
    and w > 0 its right eigenvector, PDw = rw. Then θρ = log r and θσ = log(⟨π, w⟩ / min w).

    *Fixed interval.* With π = πP, E e^{θA} over n slots is π(PD)ⁿ1 ≤ π(PD)ⁿw / min w = rⁿ⟨π, w⟩ / min w.

    *Supremum over intervals with a common end t* (Ville). Read the states backwards from t + 1: Y_0, Y_1 =
    X_t, Y_2 = X_{t−1}, … A stationary chain of two states is reversible, so Y is the same chain, and M_ℓ =
    r^{−ℓ} e^{θ A(t−ℓ, t)} w(Y_ℓ) satisfies E[M_{ℓ+1} | Y_ℓ = i] = M_ℓ (PDw)_i / (r w_i) = M_ℓ: a martingale
    with E M_0 = ⟨π, w⟩. As e^{θA} r^{−ℓ} ≤ M_ℓ / min w, the maximal inequality costs the factor ⟨π, w⟩ / min
    w, the same as before. Products over independent sources and a factor that decreases with ℓ keep it a
    supermartingale; an interval that ends earlier starts with the same mean ⟨π, w⟩, because E M_ℓ = ⟨π, w⟩
    for all ℓ.

    *Requests.* All slots that bring work bring `peak`, so a unit of work drawn at random finds the stationary
    chain given X_t = on. There M_1 = r^{−1} e^{θ·peak} w_on, and M is a martingale from ℓ = 1. So both bounds
    hold with ⟨π, w⟩ replaced by e^{θ·peak} w_on / r; the logarithm of the quotient is the bias.

    Attributes:
        peak: work per slot while on.
        on_to_off: probability of a change in a slot, in (0, 1].
        off_to_on: probability of a change in a slot, in (0, 1].
    """

    peak: float
    on_to_off: float
    off_to_on: float

    @property
    def slot_start(self) -> bool:
        """One request in each slot that is on, at its start."""
        return True

    @property
    def max_size(self) -> float:
        """The peak."""
        return self.peak

    @property
    def mean_size(self) -> float:
        """The peak."""
        return self.peak

    @property
    def iid(self) -> bool:
        """Only where the next state does not depend on the present one."""
        return self.on_to_off + self.off_to_on == 1.0

    @property
    def theta_max(self) -> float:
        """Every tilt is usable."""
        return np.inf

    @property
    def on_share(self) -> float:
        """Stationary probability of being on."""
        return self.off_to_on / (self.on_to_off + self.off_to_on)

    @property
    def mean(self) -> float:
        """Mean work per slot."""
        return self.peak * self.on_share

    def _spectrum(self, theta: Values) -> tuple[np.ndarray, np.ndarray]:
        """log r and log(w_on / w_off) for tilts θ of either sign, stable for tiny and huge θ·peak."""
        p, q = self.on_to_off, self.off_to_on
        x = np.asarray(theta, float) * self.peak
        # Small tilts: y = r − 1 solves y² + by − qz = 0 with z = e^x − 1, b = p + q − (1−p)z.
        z = np.expm1(np.minimum(x, 30.0))
        b = p + q - (1.0 - p) * z
        root = np.sqrt((p - q - (1.0 - p) * z) ** 2 + 4.0 * p * q * (z + 1.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            over = np.where(b > 0.0, 2.0 * z / (b + root), (root - b) / (2.0 * q))  # y / q
            low_rate, low_ratio = np.log1p(q * over), np.log1p(over) - x
        # Large ones: divide the matrix by e^x.
        e = np.exp(-np.maximum(x, 0.0))
        half = (1.0 - q) * e - (1.0 - p)
        scaled = 0.5 * ((1.0 - q) * e + (1.0 - p) + np.sqrt(half * half + 4.0 * p * q * e))
        with np.errstate(divide="ignore", invalid="ignore"):
            high_rate = x + np.log(scaled)
            high_ratio = np.log((scaled - (1.0 - q) * e) / q)
        large = x > 30.0
        return np.where(large, high_rate, low_rate), np.where(large, high_ratio, low_ratio)

    def _log_start(self, ratio: np.ndarray) -> np.ndarray:
        """log(⟨π, w⟩ / w_off)."""
        on = self.on_share
        return np.logaddexp(np.log1p(-on) if on < 1.0 else -np.inf, np.log(on) + ratio)

    def log_rate(self, theta: Values) -> Values:
        """log of the spectral radius for θ > 0; for θ < 0 as well where the work is i.i.d., else 0."""
        theta = np.asarray(theta, float)
        rate = self._spectrum(theta)[0]
        return (rate if self.iid else np.where(theta < 0.0, 0.0, rate))[()]

    def log_burst(self, theta: Values) -> Values:
        """log(⟨π, w⟩ / min w) ≥ 0."""
        ratio = self._spectrum(theta)[1]
        return np.maximum(self._log_start(ratio) - np.minimum(ratio, 0.0), 0.0)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """log(e^{θ·peak} w_on / (r ⟨π, w⟩)): the slot of a unit of work is on."""
        rate, ratio = self._spectrum(theta)
        return (np.asarray(theta, float) * self.peak + ratio - rate - self._log_start(ratio))[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Stationary work per slot, shape `slots`, time on the last axis."""
        shape = (slots,) if isinstance(slots, int) else tuple(slots)
        p, q = self.on_to_off, self.off_to_on
        draw = rng.random(shape)
        low, high = min(q, 1.0 - p), max(q, 1.0 - p)
        # One draw a slot decides: on (below low), off (from high on), else kept or, where q > 1 − p, flipped.
        decided = (draw < low) | (draw >= high)
        on = draw < low
        decided[..., 0] = True
        on[..., 0] = draw[..., 0] < self.on_share
        time = np.broadcast_to(np.arange(shape[-1]), shape)
        last = np.maximum.accumulate(np.where(decided, time, 0), axis=-1)
        state = np.take_along_axis(on, last, axis=-1)
        if q > 1.0 - p:
            state = state ^ ((time - last) % 2 == 1)
        return np.where(state, self.peak, 0.0)
