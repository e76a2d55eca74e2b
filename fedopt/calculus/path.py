"""One tenant on one path: everything a guarantee needs to know, in slots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fedopt.calculus.whole import Handover, PoolDelays, handover, pool_delays, slots_lost
from fedopt.laws import NoImpairment, WholeRequests, own_arrival, own_impairment

if TYPE_CHECKING:
    from fedopt.laws import Arrival, Impairment


@dataclass(frozen=True, eq=False)
class Path:
    """A tenant's arrivals, the servers it crosses in order, and what it was promised.

    All times are in slots, all rates in work per slot.

    Attributes:
        arrival: the tenant's arrival envelope (σ, ρ)(θ).
        impairments: one impairment envelope (η, κ)(θ) a domain, in path order.
        latencies: latency of each domain in slots, shape ``(L,)``.
        rate_latency: shape ``(L,)``; True where the latency belongs to a rate-latency guardrail, False
            where it is a pure delay (propagation, fixed processing).
        deadline: the promised delay in slots, the delays of the links already subtracted (pure delays of
            the domains are not).
        log_epsilon: natural logarithm of the allowed violation probability.
        per_request: True where the promise is about requests, False where it is about instants.
        dependent: groups of positions (0-based) whose impairments may depend on each other; domains in no
            group are independent of all others. Groups do not overlap.
        within_slot: whether only work of the same slot depends, and every domain of a group brings i.i.d.
            work: then the fine form, whose domains use disjoint slots, needs no exponents.
        whole: None: a fluid in slots, as the formulas of the forms have it. Else, for each domain, whether it
            hands requests over whole; the path is then one of whole requests in continuous time, and bounds
            are those of its `fluid`.
        speeds: work per slot of one request in a domain that is a pool of servers, 0 elsewhere, shape
            ``(L,)``; by default no domain is one. A pool has no impairment.
        pools: what pools add to delays; by default as `whole.pool_delays` has it.
        handover: what a hand-over is charged; by default as `whole.handover` has it for this path.
        slotted: whether time must be cut into slots, because a law speaks of them; by default what the
            path's own laws say.
        rounding: slots by which link delays grow where they are rounded up to whole slots.
        broken: of a `fluid`: natural log of what its ε leaves out, requests larger than hand-overs are
        charged.

    Raises:
        ValueError: if shapes do not agree, a latency is negative, log_epsilon is positive or groups overlap.
    """

    arrival: Arrival
    impairments: tuple[Impairment, ...]
    latencies: np.ndarray
    rate_latency: np.ndarray
    deadline: float
    log_epsilon: float
    per_request: bool = True
    dependent: tuple[tuple[int, ...], ...] = ()
    within_slot: bool = False
    whole: tuple[bool, ...] | None = None
    speeds: np.ndarray | None = None
    pools: PoolDelays | None = None
    handover: Handover | None = None
    slotted: bool | None = None
    rounding: float = 0.0
    broken: float = -math.inf

    def __post_init__(self) -> None:
        object.__setattr__(self, "impairments", tuple(self.impairments))
        object.__setattr__(self, "latencies", _frozen(self.latencies, float))
        object.__setattr__(self, "rate_latency", _frozen(self.rate_latency, bool))
        object.__setattr__(self, "dependent", tuple(tuple(group) for group in self.dependent))
        length = len(self.impairments)
        if length == 0 or self.latencies.shape != (length,) or self.rate_latency.shape != (length,):
            raise ValueError("a path needs one latency and one latency kind for each of its impairments")
        if not np.all(self.latencies >= 0):
            raise ValueError("latencies must be zero or positive")
        if not self.log_epsilon <= 0:
            raise ValueError("log_epsilon must be zero or negative")
        members = [position for group in self.dependent for position in group]
        if len(set(members)) != len(members) or any(not 0 <= m < length for m in members):
            raise ValueError("dependent groups must be disjoint sets of positions on the path")

    def __len__(self) -> int:
        return len(self.impairments)

    @cached_property
    def delay_latencies(self) -> np.ndarray:
        """Latencies of the pure delays, zero elsewhere; slots, shape ``(L,)``."""
        return _frozen(np.where(self.rate_latency, 0.0, self.latencies), float)

    @cached_property
    def guardrail_latencies(self) -> np.ndarray:
        """Latencies of the rate-latency guardrails, zero elsewhere; slots, shape ``(L,)``."""
        return _frozen(np.where(self.rate_latency, self.latencies, 0.0), float)

    @cached_property
    def window(self) -> float:
        """The deadline less all pure delays, in slots (real, possibly negative)."""
        return float(self.deadline - self.delay_latencies.sum())

    @cached_property
    def slots(self) -> int:
        """Whole slots in the window: the n of the slot-counting forms (negative: nothing is possible)."""
        return math.floor(self.window + 1e-9)

    @cached_property
    def fluid(self) -> Path:
        """The path of a fluid in slots whose bounds hold for this one's whole requests; see `whole`.

        Raises UnknownSize where requests are handed over whole and nothing bounds their size.
        """
        if self.whole is None:
            return self
        law = own_arrival(self.arrival)
        if law.per_stage:  # no fluid has work that is another in each domain
            return replace(self, arrival=WholeRequests(law), deadline=-1.0, whole=None, speeds=None)
        laws = [law, *(own_impairment(impairment) for impairment in self.impairments)]
        slotted = self.slotted if self.slotted is not None else not all(own.continuous for own in laws)
        speeds = np.zeros(len(self)) if self.speeds is None else np.asarray(self.speeds, float)
        count = sum(whole and not speed for whole, speed in zip(self.whole[:-1], speeds[:-1], strict=True))
        cost, broken = self.handover, -math.inf
        if count == 0:
            cost = Handover()
        elif cost is None:
            cost = handover(law, self.deadline, self.log_epsilon, self.per_request, len(self))
        lost, latencies = 1.0, self.latencies
        if slotted:
            lost = self.rounding + slots_lost(law.slot_start, len(self))
            rounded = np.ceil(self.latencies - 1e-9)
            latencies = np.where(self.rate_latency, self.latencies, rounded)
        if speeds.any():
            pools = self.pools or pool_delays(law, math.exp(self.log_epsilon), self.per_request)
            per_speed = np.divide(1.0, speeds, out=np.zeros(len(self)), where=speeds > 0.0)
            last = np.arange(len(self)) == len(self) - 1
            lost += float(pools.delays(per_speed, last, slotted).sum())
            if speeds[-1] and pools.exceeded:
                broken = math.log(pools.exceeded)
        broken = float(np.logaddexp(broken, cost.log_broken))
        return Path(
            WholeRequests(law, count * cost.size, count * cost.slope, not slotted),
            self.impairments,
            latencies,
            self.rate_latency,
            self.deadline - lost,
            log_difference(self.log_epsilon, broken),
            self.per_request,
            self.dependent,
            self.within_slot,
            broken=broken,
        )

    @property
    def by_requests(self) -> bool:
        """Whether sizes are drawn anew in each domain, so that only the form of whole requests can hold."""
        return self.whole is not None and own_arrival(self.arrival).per_stage

    @property
    def store_and_forward(self) -> bool:
        """Whether that form holds: no impairment, no pool, no guardrail's latency, all handed on whole,
        promised to requests."""
        idle = all(isinstance(impairment, NoImpairment) for impairment in self.impairments)
        plain = self.speeds is None or not np.any(self.speeds)
        whole = self.whole is not None and all(self.whole[:-1])
        return idle and plain and whole and self.per_request and not self.guardrail_latencies.any()

    def total(self, log_bound: float) -> float:
        """A bound of the `fluid`, and the probability that a request is larger than a hand-over is charged;
        natural logs."""
        return float(np.logaddexp(log_bound, self.fluid.broken))

    @cached_property
    def exponents(self) -> np.ndarray:
        """Equal Hölder exponents, shape ``(L,)``: m in a group of m dependent domains, 1 elsewhere."""
        values = np.ones(len(self))
        for group in self.dependent:
            values[list(group)] = len(group)
        return _frozen(values, float)


def log_difference(first: float, second: float) -> float:
    """log(e^first − e^second), −inf where nothing is left."""
    if second == -math.inf:
        return first
    return first + math.log(-math.expm1(second - first)) if second < first else -math.inf


def groups(labels: Sequence[object]) -> tuple[tuple[int, ...], ...]:
    """The positions that share a label other than None, of each label that several share."""
    members: dict[object, list[int]] = {}
    for position, label in enumerate(labels):
        if label is not None:
            members.setdefault(label, []).append(position)
    return tuple(tuple(group) for group in members.values() if len(group) > 1)


def _frozen(values: object, kind: type) -> np.ndarray:
    array: np.ndarray = np.array(values, dtype=kind)
    array.setflags(write=False)
    return array
