"""The question and the answer of SLA decomposition, for many requests at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedopt.errors import InputError
from fedopt.learn.feedback import Array

Rows = NDArray[np.intp]


class DecompositionInfeasible(InputError):
    """The least delays that the user demands exceed the SLA, or the largest do not reach it."""

    exit_code = 3


class Acceptance(Protocol):
    """What decomposition needs to know of domains: log P and its derivative, by row."""

    @property
    def concave(self) -> bool:
        """Whether log P is concave in the delay."""
        ...

    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        """log P, shape (rows, K)."""
        ...

    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        """Derivatives of log P by delay and by throughput, each of shape (rows, K)."""
        ...


@dataclass(frozen=True)
class Problem:
    """Choose τ_1 + … + τ_N = τ with lower ≤ τ_n ≤ upper to maximise Σ log P_n(τ_n, θ), for R requests.

    The throughput is the minimum over the domains and log P falls with it, so every domain is asked for
    exactly the SLA's θ.

    Attributes:
        acceptance: risk models or the truth; request i meets the models `rows[i]`.
        rows: shape (R, N).
        delay: end-to-end delay τ of each request, shape (R,), units of time.
        throughput: end-to-end throughput θ of each request, shape (R,).
        lower, upper: bounds on the partial delays, shape (N,).
    """

    acceptance: Acceptance
    rows: Rows
    delay: Array
    throughput: Array
    lower: Array = field(default_factory=lambda: np.zeros(0))
    upper: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        rows = np.atleast_2d(np.asarray(self.rows, dtype=np.intp))
        domains = rows.shape[1]
        delay = np.broadcast_to(np.atleast_1d(np.asarray(self.delay, float)), rows.shape[:1])
        throughput = np.broadcast_to(np.atleast_1d(np.asarray(self.throughput, float)), rows.shape[:1])
        lower = np.zeros(domains) if np.size(self.lower) == 0 else np.asarray(self.lower, float)
        upper = np.full(domains, np.inf) if np.size(self.upper) == 0 else np.asarray(self.upper, float)
        for name, value in {
            "rows": rows,
            "delay": delay,
            "throughput": throughput,
            "lower": lower,
            "upper": upper,
        }.items():
            object.__setattr__(self, name, value)
        if lower.shape != (domains,) or upper.shape != (domains,):
            raise ValueError(f"bounds need one value per domain ({domains})")
        if (lower < 0).any() or (lower > upper).any():
            raise DecompositionInfeasible("each least partial delay must lie between 0 and the largest one")
        if delay.size and lower.sum() > delay.min() * (1 + 1e-12):
            raise DecompositionInfeasible(
                f"the least partial delays add up to {lower.sum():g}, more than the SLA's delay "
                f"{delay.min():g}: lower one of them or relax the SLA"
            )
        if delay.size and upper.sum() < delay.max() * (1 - 1e-12):
            raise DecompositionInfeasible(
                f"the largest partial delays add up to {upper.sum():g}, less than the SLA's delay "
                f"{delay.max():g}; such an SLA may simply be tightened to {upper.sum():g}"
            )

    @property
    def requests(self) -> int:
        """Number of requests R."""
        return int(self.rows.shape[0])

    @property
    def domains(self) -> int:
        """Number of domains N."""
        return int(self.rows.shape[1])

    def table(self, delays: Array) -> Array:
        """log P at delays of shape (R, N, K); −1e30 stands for impossible and for out of bounds."""
        requests, domains, points = delays.shape
        flat = np.maximum(delays, 1e-12).reshape(requests * domains, points)
        throughput = np.repeat(self.throughput, domains)[:, None]
        values = self.acceptance.log_probability(flat, throughput, self.rows.reshape(-1))
        values = np.where(np.isfinite(values), values, -1e30).reshape(delays.shape)
        slack = 1e-9 * (1.0 + self.delay[:, None, None])
        outside = (delays < self.lower[:, None] - slack) | (delays > self.upper[:, None] + slack)
        return np.where(outside, -1e30, values)

    def value(self, delays: Array) -> Array:
        """Σ log P of splits of shape (R, N), shape (R,)."""
        return np.asarray(self.table(delays[:, :, None])[:, :, 0].sum(axis=1))

    def slopes(self, delays: Array) -> Array:
        """d log P_n / dτ_n at splits of shape (R, N)."""
        flat = np.maximum(delays, 1e-12).reshape(-1, 1)
        throughput = np.repeat(self.throughput, self.domains)[:, None]
        return self.acceptance.gradient(flat, throughput, self.rows.reshape(-1))[0].reshape(delays.shape)

    def equal(self) -> Array:
        """Equal split, moved into the bounds; shape (R, N)."""
        return project(np.repeat(self.delay[:, None] / self.domains, self.domains, 1), self)


def project(delays: Array, problem: Problem) -> Array:
    """The nearest splits that add up and respect the bounds (bisection on a common shift)."""
    low = np.full(delays.shape[0], -1.0) * (np.abs(delays).max(axis=1) + problem.delay + 1.0)
    high = -low
    for _ in range(70):
        middle = (low + high) / 2
        total = np.clip(delays + middle[:, None], problem.lower, problem.upper).sum(axis=1)
        low, high = (
            np.where(total < problem.delay, middle, low),
            np.where(total < problem.delay, high, middle),
        )
    return np.clip(delays + ((low + high) / 2)[:, None], problem.lower, problem.upper)


@dataclass(frozen=True)
class Decomposition:
    """Splits and what they are worth.

    Attributes:
        delay: partial delays, shape (R, N); each row adds up to the SLA's delay.
        log_probability: Σ log P of each split under the models, shape (R,).
        upper_bound: a value that no split can exceed under the models, shape (R,); None if not asked for.
    """

    delay: Array
    log_probability: Array
    upper_bound: Array | None = None

    @property
    def gap(self) -> Array | None:
        """Certified distance to the best split, in log-probability, shape (R,)."""
        return None if self.upper_bound is None else np.maximum(self.upper_bound - self.log_probability, 0.0)
