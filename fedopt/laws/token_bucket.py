"""Work that never exceeds a rate times the length of an interval plus a burst."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["TokenBucket"]


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
