"""Other worlds to learn in: two regimes, an abrupt change, and controllers that honour a contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedopt.learn.decompose import Acceptance
from fedopt.learn.feedback import Array, Rows
from fedopt.papers.rade_simulator import ALPHA, AnalyticNetwork, DomainParameters, TrueAcceptance, load_at

RequiredRate = Callable[[int, Array, Array], Array]
"""Rate that a domain must reserve: (domain, delays, throughputs) → rates; inf where no rate suffices."""


@dataclass(frozen=True)
class _Mixture:
    """P = (1 − share) · P of `calm` + share · P of `busy`."""

    calm: TrueAcceptance
    busy: TrueAcceptance
    share: float

    concave = False

    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        both = [part.log_probability(delay, throughput, rows) for part in (self.calm, self.busy)]
        return np.asarray(np.logaddexp(np.log1p(-self.share) + both[0], np.log(self.share) + both[1]))

    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        total = self.log_probability(delay, throughput, rows)
        by_delay, by_throughput = np.zeros(total.shape), np.zeros(total.shape)
        for part, share in ((self.calm, 1 - self.share), (self.busy, self.share)):
            log_p = part.log_probability(delay, throughput, rows)
            slopes = part.gradient(delay, throughput, rows)
            weight = np.where(np.isfinite(log_p), share * np.exp(log_p - np.maximum(total, -700)), 0.0)
            by_delay += np.where(weight > 0, weight * slopes[0], 0.0)
            by_throughput += np.where(weight > 0, weight * slopes[1], 0.0)
        return by_delay, by_throughput


@dataclass(frozen=True)
class TwoRegimes:
    """Domains that are slowed down by a factor now and then.

    Between the delay that the calm regime needs and that of the busy one P has a plateau at 1 − share, so
    log P is not concave in the delay by construction: no convex risk model can follow it.
    """

    base: AnalyticNetwork
    share: float = 0.3
    slowdown: float = 6.0

    @property
    def domains(self) -> int:
        """Number of domains N."""
        return self.base.domains

    def acceptance(self, step: int) -> _Mixture:
        """True probabilities at a step."""
        calm = self.base.acceptance(step)
        busy = TrueAcceptance(calm.capacity, self.slowdown * calm.service, calm.load, calm.alpha)
        return _Mixture(calm, busy, self.share)

    def answer(self, step: int, rows: Rows, delay: Array, throughput: Array, coin: Array) -> Array:
        """Answers by chance."""
        return _answer(self.acceptance(step), rows, delay, throughput, coin)


@dataclass(frozen=True)
class Changing:
    """Analytic domains whose parameters change abruptly at one step."""

    base: AnalyticNetwork
    at: int
    after: DomainParameters

    @property
    def domains(self) -> int:
        """Number of domains N."""
        return self.base.domains

    def acceptance(self, step: int) -> TrueAcceptance:
        """True probabilities at a step."""
        now = self.base.acceptance(step)
        if step < self.at:
            return now
        return TrueAcceptance(self.after.capacity, self.after.service, now.load, now.alpha)

    def answer(self, step: int, rows: Rows, delay: Array, throughput: Array, coin: Array) -> Array:
        """Answers by chance."""
        return _answer(self.acceptance(step), rows, delay, throughput, coin)


@dataclass(frozen=True)
class _ContractAcceptance:
    """P = 1 − min(1, required rate / capacity)^{α/λ}; slopes by central differences."""

    required: RequiredRate
    capacity: Array
    load: Array
    alpha: float

    concave = False

    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        rows = np.arange(self.load.size) if rows is None else rows
        delay = np.asarray(delay, float)
        throughput = np.broadcast_to(np.asarray(throughput, float), delay.shape)
        kind = rows % self.capacity.size
        share = np.empty(delay.shape)
        for domain in np.unique(kind):
            own = kind == domain
            share[own] = self.required(int(domain), delay[own], throughput[own]) / self.capacity[domain]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log1p(-(np.minimum(share, 1.0) ** (self.alpha / self.load[rows])[:, None])))

    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        delay = np.asarray(delay, float)
        throughput = np.broadcast_to(np.asarray(throughput, float), delay.shape)
        slopes = []
        for axis, value in enumerate((delay, throughput)):
            h = 1e-5 * np.maximum(np.abs(value), 1e-6)
            ends = []
            for sign in (1, -1):
                late, more = (sign * h, 0.0) if axis == 0 else (0.0, sign * h)
                ends.append(np.maximum(self.log_probability(delay + late, throughput + more, rows), -1e30))
            slopes.append((ends[0] - ends[1]) / (2 * h))
        return slopes[0], slopes[1]


@dataclass(frozen=True)
class ContractNetwork:
    """Controllers that accept what their contract can carry.

    A domain of capacity C with the random load x of the analytic simulator accepts (τ, θ) if and only if
    the rate that its contract requires for it fits into what is free: required(τ, θ) ≤ C (1 − x). The
    required rate comes from outside: from a bound of the calculus (`contract_rate`) or from a simulation of
    packets, tabulated (`tabulated_rate`).
    """

    required: RequiredRate
    capacity: Array
    mean_load: Array
    period: int
    alpha: float = ALPHA

    @property
    def domains(self) -> int:
        """Number of domains N."""
        return int(self.capacity.size)

    def acceptance(self, step: int) -> _ContractAcceptance:
        """True probabilities at a step."""
        load = np.repeat(load_at(self.mean_load, step, self.period), self.domains)
        return _ContractAcceptance(self.required, self.capacity, load, self.alpha)

    def answer(self, step: int, rows: Rows, delay: Array, throughput: Array, coin: Array) -> Array:
        """Answers by chance."""
        return _answer(self.acceptance(step), rows, delay, throughput, coin)


def contract_rate(
    theta: Array, latency: Array, burst: Array, kappa: Array, epsilon: float, rho_per_throughput: Array
) -> RequiredRate:
    """Least rate by the one-domain martingale bound ("ville") with pure delay.

    R = max(ρ + κ, [log(1/ε) + θ (burst + κτ)] / [θ (τ − T)]), the least over the grid of θ; arrivals of
    throughput x have ρ(θ) = x · rho_per_throughput(θ).

    Args:
        theta: grid of tilting parameters, 1/work, shape (G,).
        latency: pure delay T of each domain, shape (N,).
        burst: σ + η at each θ of each domain, work, shape (N, G).
        kappa: κ at each θ of each domain, work per time, shape (N, G).
        epsilon: violation probability that the contract allows.
        rho_per_throughput: shape (G,).
    """

    def required(domain: int, delay: Array, throughput: Array) -> Array:
        window = (delay - latency[domain])[..., None]
        k, b = kappa[domain], burst[domain]
        with np.errstate(divide="ignore", invalid="ignore"):
            tail = (np.log(1 / epsilon) + theta * (b + k * delay[..., None])) / (theta * window)
        rate = np.maximum(throughput[..., None] * rho_per_throughput + k, tail)
        return np.asarray(np.where(window > 0, rate, np.inf).min(axis=-1))

    return required


def tabulated_rate(delays: Array, throughputs: Array, rates: Array) -> RequiredRate:
    """Rates measured on a grid (by simulation, say), bilinear in between, shape (N, delays, throughputs).

    Below the least delay no rate suffices; beyond the other ends the nearest measurement counts.
    """

    def required(domain: int, delay: Array, throughput: Array) -> Array:
        x = np.clip(delay, delays[0], delays[-1])
        y = np.clip(throughput, throughputs[0], throughputs[-1])
        i = np.clip(np.searchsorted(delays, x, side="right") - 1, 0, delays.size - 2)
        j = np.clip(np.searchsorted(throughputs, y, side="right") - 1, 0, throughputs.size - 2)
        a = (x - delays[i]) / (delays[i + 1] - delays[i])
        b = (y - throughputs[j]) / (throughputs[j + 1] - throughputs[j])
        table = rates[domain]
        low = table[i, j] * (1 - b) + table[i, j + 1] * b
        high = table[i + 1, j] * (1 - b) + table[i + 1, j + 1] * b
        return np.asarray(np.where(delay < delays[0], np.inf, low * (1 - a) + high * a))

    return required


def _answer(truth: Acceptance, rows: Rows, delay: Array, throughput: Array, coin: Array) -> Array:
    log_p = truth.log_probability(delay[:, None], throughput[:, None], rows)[:, 0]
    return np.asarray((coin < np.exp(log_p)).astype(float))
