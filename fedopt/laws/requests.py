"""Arrivals of whole requests in continuous time: a law, and what hand-overs add to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["WholeRequests"]


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
