"""Arrivals of whole requests in continuous time: a law, and what hand-overs add to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values
from fedopt.laws.sizes import Size

__all__ = ["Renewal", "WholeRequests"]


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

    Gaps are gamma-distributed of `shape` (a coefficient of variation of 1/√shape; 1: a Poisson process),
    sizes are drawn from `size`. With m = batch·log E e^{θB} the rate γ solves E e^{−γ·gap} = e^{−m}: γ =
    kλ(e^{m/k} − 1),
    k the shape. Backwards from a request, e^{θA − γx} is a martingale at the epochs; between them it is
    h(x)·e^{θA − γx} is one, h(x) = e^m·E[e^{−γ·rest of the gap} | its age x]. h ≥ 1 for k ≥ 1, whose hazard
    rises;
    else h falls from 1 to e^{m(1 − 1/k)}, and Ville's inequality pays for it. The gap around an instant is
    that of the stationary process, with E e^{−γ·rest} = (1 − e^{−m})λ/γ.

    Attributes:
        rate: epochs per slot.
        size: of one request.
        shape: of the gaps.
        batch: requests at an epoch.
        per_stage: whether sizes are drawn anew in each domain.
    """

    rate: float
    size: Size
    shape: float = 1.0
    batch: int = 1
    per_stage: bool = False

    @property
    def continuous(self) -> bool:
        """A renewal process knows no slots."""
        return True

    @property
    def max_size(self) -> float:
        """That of the sizes."""
        return self.size.max_size

    def log_gap(self, theta: float) -> float:
        """Gamma-distributed gaps; nan for batches."""
        return -self.shape * math.log1p(theta / (self.shape * self.rate)) if self.batch == 1 else math.nan

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
        hazard (new better than used), else (1/k − 1)/2 more (Brown's bound for falling hazards)."""
        more = max(1.0 / self.shape - 1.0, 0.0) / 2.0 if own else 0.0
        return self.size.barrier(broken / self.batch, self.rate, slope, float(own) + more)

    def log_rate(self, theta: Values) -> Values:
        """γ(θ)."""
        moment = self.batch * np.asarray(self.size.log_moment(theta))
        with np.errstate(over="ignore"):
            return (self.shape * self.rate * np.expm1(moment / self.shape))[()]

    def _penalty(self, moment: np.ndarray) -> np.ndarray:
        """−log inf h, of gaps with a falling hazard."""
        return moment * max(1.0 / self.shape - 1.0, 0.0)

    def log_burst(self, theta: Values) -> Values:
        """What the gap around an instant and the ages of gaps add, nats."""
        moment = self.batch * np.asarray(self.size.log_moment(theta))
        with np.errstate(all="ignore"):
            growth = np.asarray(self.log_rate(theta))
            instant = np.log(np.expm1(moment) * self.rate / growth)
            burst = np.maximum(np.nan_to_num(instant) + self._penalty(moment), 0.0)
        return np.where(np.isfinite(growth), burst, np.inf)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """A request begins with its own batch, and a fresh gap before it."""
        moment = self.batch * np.asarray(self.size.log_moment(theta))
        burst = np.asarray(self.log_burst(theta))
        with np.errstate(invalid="ignore"):
            return np.where(np.isfinite(burst), moment + self._penalty(moment) - burst, np.inf)[()]

    def stream(self, rng: np.random.Generator, slots: float) -> tuple[np.ndarray, np.ndarray]:
        """Times, in slots, and sizes of the requests of so many slots."""
        count = int(self.rate * slots + 6.0 * math.sqrt(self.rate * slots / min(self.shape, 1.0)) + 20)
        gaps = rng.gamma(self.shape, 1.0 / (self.shape * self.rate), count)
        times = np.repeat(np.cumsum(gaps), self.batch)
        times = times[times < slots]
        return times, self.size.sample(rng, len(times))

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Work per slot, shape `slots`, after a warm-up of a hundred epochs."""
        shape = (slots,) if isinstance(slots, int) else tuple(slots)
        warm = math.ceil(100.0 / self.rate)
        work = np.empty(shape)
        for row in work.reshape(-1, shape[-1]):
            times, sizes = self.stream(rng, warm + shape[-1])
            slot = np.floor(times).astype(np.int64) - warm
            row[:] = np.bincount(slot[slot >= 0], weights=sizes[slot >= 0], minlength=shape[-1])[: shape[-1]]
        return work
