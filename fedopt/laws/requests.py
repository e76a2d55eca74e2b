"""Arrivals of whole requests in continuous time: a law, and what hand-overs add to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedopt.laws.gaps import GAPS
from fedopt.laws.protocol import Law, Shape, Values
from fedopt.laws.sizes import Size

__all__ = ["Modulated", "Renewal", "WholeRequests"]


@dataclass(frozen=True)
class WholeRequests(Law):
    """`base` and, for every interval of n slots with certainty, `slope`·n + `size` of work more.

    That is what hand-overs of whole requests cost a bound; see docs/explanation/whole-requests.md.

    Attributes:
        base: the tenant's arrivals.
        size: work that is added once.
        slope: work per slot.
        without_slots: whether bounds by Ville's inequality begin at the request itself instead of at the
            end of its slot: they lose θρ. Only where no law on the path speaks of slots.
    """

    base: Law
    size: float = 0.0
    slope: float = 0.0
    without_slots: bool = False

    @property
    def independent_increments(self) -> bool:
        """As the base."""
        return self.base.independent_increments

    @property
    def iid(self) -> bool:
        """As the base."""
        return self.base.iid

    @property
    def continuous(self) -> bool:
        """As the base."""
        return self.base.continuous

    @property
    def slot_start(self) -> bool:
        """As the base."""
        return self.base.slot_start

    @property
    def max_size(self) -> float:
        """As the base."""
        return self.base.max_size

    def own_size(self, probability: float) -> tuple[float, float]:
        """As the base."""
        return self.base.own_size(probability)

    @property
    def theta_max(self) -> float:
        """As the base."""
        return self.base.theta_max

    @property
    def mean(self) -> float:
        """That of the base, and the slope."""
        return self.base.mean + self.slope

    def log_rate(self, theta: Values) -> Values:
        """That of the base, and θ·slope."""
        return self.base.log_rate(theta) + np.asarray(theta, float) * self.slope

    def log_burst(self, theta: Values) -> Values:
        """That of the base, and θ·size."""
        return self.base.log_burst(theta) + np.asarray(theta, float) * self.size

    def request_log_bias(self, theta: Values) -> Values:
        """As the base."""
        return self.base.request_log_bias(theta)

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """As the base: what is added is no work."""
        return self.base.sample(rng, slots)


@dataclass(frozen=True)
class Renewal(Law):
    """Requests, or batches of them, with independent gaps and sizes.

    Gaps have the coefficient of variation 1/√shape (1: a Poisson process) and a law of `gaps.GAPS`, sizes are
    drawn from `size`. With m = batch·log E e^{θB} the rate γ solves E e^{−γ·gap} = e^{−m}. Backwards from a
    request, e^{θA − γx} is a martingale at the epochs, and e^{θA − γx}h(x) one between them, h(x) =
    e^m·E[e^{−γ·rest of the gap} | its age x]. h ≥ 1 where the hazard of gaps rises; else Ville's inequality
    pays for the least h. The gap around an instant is that of the stationary process.

    Attributes:
        rate: epochs per slot.
        size: of one request.
        shape: of the gaps, 1/cv².
        batch: requests at an epoch.
        per_stage: whether sizes are drawn anew in each domain.
        gaps: a key of `gaps.GAPS`.
    """

    rate: float
    size: Size
    shape: float = 1.0
    batch: int = 1
    per_stage: bool = False
    gaps: str = "gamma"

    @property
    def cv(self) -> float:
        """Coefficient of variation of the gaps."""
        return self.shape**-0.5

    @property
    def continuous(self) -> bool:
        """A renewal process knows no slots."""
        return True

    @property
    def max_size(self) -> float:
        """That of the sizes."""
        return self.size.max_size

    def log_gap(self, theta: float) -> float:
        """That of the gaps; nan for batches."""
        return GAPS[self.gaps].log_transform(theta, self.rate, self.cv) if self.batch == 1 else math.nan

    def log_size_moment(self, theta: float) -> float:
        """Of the sizes."""
        return float(self.size.log_moment(theta))

    @property
    def mean_size(self) -> float:
        """That of the sizes."""
        return self.size.mean

    def own_size(self, probability: float) -> tuple[float, float]:
        """A quantile of the sizes."""
        size = self.size.least_exceeded(probability)
        return size, self.size.exceeding(size)[0]

    @property
    def theta_max(self) -> float:
        """That of the sizes."""
        return self.size.theta_max

    @property
    def mean(self) -> float:
        """Mean work per slot."""
        return self.rate * self.batch * self.size.mean

    def barrier(self, broken: float, slope: float, own: bool) -> float:
        """Before a request at most rate·x epochs are expected in an interval of x where gaps have a rising
        hazard (new better than used), else (cv² − 1)/2 more (Brown's bound for falling hazards)."""
        more = max(1.0 / self.shape - 1.0, 0.0) / 2.0 if own else 0.0
        return self.size.barrier(broken / self.batch, self.rate, slope, float(own) + more)

    def _growth(self, theta: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """m, γ, the penalty and the rest of the gap around an instant, nats; see `gaps`."""
        moment = np.asarray(self.batch * np.asarray(self.size.log_moment(theta)), float)
        return moment, *GAPS[self.gaps].rate(moment, self.rate, self.cv)

    def log_rate(self, theta: Values) -> Values:
        """γ(θ)."""
        return np.asarray(self._growth(theta)[1])[()]

    def log_burst(self, theta: Values) -> Values:
        """What the gap around an instant and the ages of gaps add, nats."""
        moment, growth, penalty, rest = self._growth(theta)
        with np.errstate(invalid="ignore"):
            burst = np.maximum(moment + rest + penalty, 0.0)
        return np.where(np.isfinite(growth), burst, np.inf)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """A request begins with its own batch, and a fresh gap before it."""
        moment, growth, penalty, rest = self._growth(theta)
        with np.errstate(invalid="ignore"):
            bias = moment + penalty - np.maximum(moment + rest + penalty, 0.0)
        return np.where(np.isfinite(growth), bias, np.inf)[()]

    def stream(self, rng: np.random.Generator, slots: float) -> tuple[np.ndarray, np.ndarray]:
        """Times, in slots, and sizes of the requests of so many slots."""
        count = int(self.rate * slots + 6.0 * math.sqrt(self.rate * slots / min(self.shape, 1.0)) + 20)
        gaps = GAPS[self.gaps].sample(rng, count, self.rate, self.cv)
        times = np.repeat(np.cumsum(gaps), self.batch)
        times = times[times < slots]
        return times, self.size.sample(rng, len(times))

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Work per slot, shape `slots`, after a warm-up of a hundred epochs."""
        return _by_slots(self, rng, slots, 100.0 / self.rate)


@dataclass(frozen=True)
class Modulated(Law):
    """Poisson requests whose rate follows a Markov chain in continuous time (MMPP), started stationary.

    Let Q be the chain's generator, π its stationary law, M = E e^{θB}, K = Q* + diag(λ_i(M − 1)) with Q* the
    generator of the chain read backwards, and w > 0 a vector with Kw ≤ γw. Backwards from an instant
    e^{θA − γx}w(state) is a supermartingale of mean ⟨π, w⟩ at its start: θρ = γ, θσ = log(⟨π, w⟩/min w).
    A request sees the states as π_iλ_i, and itself: its bias is log(M·Σπ_iλ_iw_i/(Σπ_iλ_i·⟨π, w⟩)).

    Attributes:
        rates: requests per slot in each state.
        changes: rates of change per slot from state (row) to state; the diagonal does not count.
        size: of one request.
    """

    rates: tuple[float, ...]
    changes: tuple[tuple[float, ...], ...]
    size: Size

    @property
    def continuous(self) -> bool:
        """The chain knows no slots."""
        return True

    @property
    def iid(self) -> bool:
        """False: the state lasts."""
        return False

    @property
    def max_size(self) -> float:
        """That of the sizes."""
        return self.size.max_size

    @property
    def mean_size(self) -> float:
        """That of the sizes."""
        return self.size.mean

    def own_size(self, probability: float) -> tuple[float, float]:
        """A quantile of the sizes."""
        size = self.size.least_exceeded(probability)
        return size, self.size.exceeding(size)[0]

    @cached_property
    def generator(self) -> np.ndarray:
        """Q, per slot, shape (n, n)."""
        changes = np.array(self.changes, float)
        np.fill_diagonal(changes, 0.0)
        return changes - np.diag(changes.sum(axis=1))

    @cached_property
    def stationary(self) -> np.ndarray:
        """π, shape (n,)."""
        count = len(self.rates)
        equations = np.vstack([self.generator.T, np.ones(count)])
        return np.clip(np.linalg.lstsq(equations, np.append(np.zeros(count), 1.0), rcond=None)[0], 0.0, None)

    @property
    def rate(self) -> float:
        """Requests per slot."""
        return float(self.stationary @ np.array(self.rates))

    @property
    def theta_max(self) -> float:
        """That of the sizes."""
        return self.size.theta_max

    @property
    def mean(self) -> float:
        """Mean work per slot."""
        return self.rate * self.size.mean

    def barrier(self, broken: float, slope: float, own: bool) -> float:
        """No state brings more requests than the fastest; an instant expects the mean."""
        return self.size.barrier(broken, max(self.rates) if own else self.rate, slope, float(own))

    def _spectrum(self, theta: Values) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """M, the least γ found with Kw ≤ γw, and w of least element 1, shapes of θ and (…, n).

        w is numpy's eigenvector; that γ is max_i (Kw)_i/w_i makes the inequality hold whatever its error.
        """
        with np.errstate(all="ignore"):
            moment = np.exp(np.asarray(self.size.log_moment(theta), float))
        usable = np.isfinite(moment) & (moment * max(self.rates) < 1e12)
        backwards = self.generator.T * self.stationary / self.stationary[:, None]
        surplus = np.where(usable, moment - 1.0, 0.0)
        matrix = backwards + surplus[..., None, None] * np.diag(self.rates)
        values, vectors = np.linalg.eig(matrix)
        top = np.argmax(values.real, axis=-1)
        w = np.abs(np.take_along_axis(vectors, top[..., None, None], axis=-1)[..., 0].real)
        w = np.maximum(w, 1e-300) / np.maximum(w, 1e-300).min(axis=-1, keepdims=True)
        growth = ((matrix @ w[..., None])[..., 0] / w).max(axis=-1)
        return moment, np.where(usable, growth, np.inf), w

    def log_rate(self, theta: Values) -> Values:
        """γ for θ > 0, else 0."""
        theta = np.asarray(theta, float)
        return np.where(theta > 0.0, self._spectrum(theta)[1], 0.0)[()]

    def log_burst(self, theta: Values) -> Values:
        """log(⟨π, w⟩/min w) ≥ 0."""
        _, growth, w = self._spectrum(theta)
        return np.where(np.isfinite(growth), np.maximum(np.log(w @ self.stationary), 0.0), np.inf)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """A request finds the states that bring requests, and itself."""
        moment, growth, w = self._spectrum(theta)
        seen = self.stationary * np.array(self.rates) / self.rate
        with np.errstate(invalid="ignore"):
            bias = np.log(moment * (w @ seen) / np.maximum(w @ self.stationary, 1.0))
        return np.where(np.isfinite(growth), bias, np.inf)[()]

    def stream(self, rng: np.random.Generator, slots: float) -> tuple[np.ndarray, np.ndarray]:
        """Times, in slots, and sizes of the requests of so many slots."""
        leaving = -np.diag(self.generator)
        jumps = np.cumsum(np.maximum(self.generator, 0.0) / leaving[:, None], axis=1)
        state, now, times = (
            int(rng.choice(len(self.rates), p=self.stationary / self.stationary.sum())),
            0.0,
            [],
        )
        while now < slots:
            stay = rng.exponential(1.0 / leaving[state])
            times.append(now + np.sort(rng.random(rng.poisson(self.rates[state] * stay))) * stay)
            now += stay
            state = int(np.searchsorted(jumps[state], rng.random() * jumps[state, -1]))
        found = np.concatenate(times)
        found = found[found < slots]
        return found, self.size.sample(rng, len(found))

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Stationary work per slot, shape `slots`."""
        return _by_slots(self, rng, slots, 0.0)


def _by_slots(law: Renewal | Modulated, rng: np.random.Generator, slots: Shape, warm_up: float) -> np.ndarray:
    """Work of each slot of a stream of requests, shape `slots`, the warm-up (slots) left out."""
    shape = (slots,) if isinstance(slots, int) else tuple(slots)
    warm = math.ceil(warm_up)
    work = np.empty(shape)
    for row in work.reshape(-1, shape[-1]):
        times, sizes = law.stream(rng, warm + shape[-1])
        slot = np.floor(times).astype(np.int64) - warm
        row[:] = np.bincount(slot[slot >= 0], weights=sizes[slot >= 0], minlength=shape[-1])[: shape[-1]]
    return work
