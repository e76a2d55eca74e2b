"""One tenant on one path: everything a guarantee needs to know, in slots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

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
    def exponents(self) -> np.ndarray:
        """Equal Hölder exponents, shape ``(L,)``: m in a group of m dependent domains, 1 elsewhere."""
        values = np.ones(len(self))
        for group in self.dependent:
            values[list(group)] = len(group)
        return _frozen(values, float)


def groups(length: int, pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """Join pairs of positions that may be dependent into disjoint groups: their connected components."""
    parent = list(range(length))

    def root(node: int) -> int:
        while parent[node] != node:
            node = parent[node]
        return node

    for left, right in pairs:
        parent[root(left)] = root(right)
    members: dict[int, list[int]] = {}
    for node in range(length):
        members.setdefault(root(node), []).append(node)
    return tuple(tuple(group) for group in members.values() if len(group) > 1)


def _frozen(values: object, kind: type) -> np.ndarray:
    array: np.ndarray = np.array(values, dtype=kind)
    array.setflags(write=False)
    return array
