"""Whole requests in continuous time: what hand-overs and slots cost the bounds of a fluid in slots.

A domain that forwards whole begins with a request when the domain before has finished it. If a request is
late there are times s_1 ≤ … ≤ s_L and requests m_2 ≤ … ≤ m_L, none that arrived before s_1 or after it, with

    Σ_i S_i(s_i, s_{i+1}) < A(s_1, t) + Σ B_{m_i},

one B for every domain but the last that forwards whole. So every bound of a fluid holds with σ + h·b, b the
largest size of a request and h the number of these domains; where sizes have no bound, b + slope·x for a
request
that arrived x before, but for the probability that one is larger. Proof: docs/explanation/whole-requests.md.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from fedopt.errors import InputError
from fedopt.laws.protocol import Law

__all__ = ["Handover", "PoolDelays", "UnknownSize", "handover", "pool_delays", "slots_lost"]


_TILTS = np.geomspace(1e-3, 0.999, 200)  # of the largest
_SLOPES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 6.0)  # mean sizes of a request a deadline
_SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8)  # of ε, for requests above the barrier


class UnknownSize(InputError):
    """Requests are handed over whole, or served at the speed of one, but nothing bounds their size."""


@dataclass(frozen=True)
class Handover:
    """What a hand-over of a request that arrived x slots ago is charged: `size` + `slope`·x, work.

    `log_broken` is the natural log of the probability that some request is larger, −inf where none can be.
    """

    size: float = 0.0
    slope: float = 0.0
    log_broken: float = -math.inf


@dataclass(frozen=True)
class PoolDelays:
    """What pools of servers, each of the speed of one request, add to a delay: work at that speed.

    A pool whose servers are not all busy has fewer requests than servers, so its backlog is at most that of
    one server of all their rates and a largest request for every server but one: less than `between`, the
    largest size, at one request's speed until a request begins. It takes as much again until it and all
    before it are done, for the pool hands requests on in order. In the last domain the request's own work
    counts instead: it is larger than `own` with the probability `exceeded`, which is taken off ε.
    """

    between: float
    own: float
    exceeded: float

    def delays(self, per_speed: np.ndarray, last: np.ndarray, slotted: bool) -> np.ndarray:
        """Slots by which domains delay, of 1/speed ``(L,)`` in slots/work (0: no pool); last: where paths
        end."""
        found = per_speed * (self.between + np.where(last, self.own, self.between))
        return np.ceil(found - 1e-9) if slotted else found


def pool_delays(law: Law, epsilon: float, own: bool) -> PoolDelays:
    """The delays in pools of a tenant's requests; a quarter of ε may go to the largest of them.

    Raises UnknownSize where nothing bounds their size.
    """
    if not math.isfinite(law.max_size):
        raise UnknownSize(
            "nothing bounds the size of its requests, which a pool serves at the speed of one; state a "
            "maximum of its sizes"
        )
    size, exceeded = law.own_size(0.25 * epsilon) if own else (0.0, 0.0)
    return PoolDelays(law.max_size, size, exceeded)


def handover(law: Law, deadline: float, log_epsilon: float, own: bool, hops: int) -> Handover:
    """The charge of a hand-over on paths of `hops` domains.

    Where sizes have a bound, that. Else the slope and the part of ε that pays for larger requests are those,
    of a small grid, at which a single domain without impairment would need the lowest rate for the whole
    deadline (slots) with hops − 1 hand-overs.

    own: whether the promise is about requests, of which the last one counts itself. Raises UnknownSize where
    the law does not say how large its requests are.
    """
    if hops == 1:
        return Handover()
    if math.isfinite(law.max_size):
        return Handover(law.max_size)
    best, least = None, math.inf
    if law.max_size == math.inf and law.mean_size > 0.0:
        theta = law.theta_max * _TILTS
        rate = np.asarray(law.log_rate(theta)) / theta
        bias = np.asarray(law.request_log_bias(theta)) if own else 0.0
        for part, share in itertools.product(_SLOPES, _SHARES):
            slope, log_broken = part * law.mean_size / deadline, log_epsilon + math.log(share)
            size = max(law.barrier(math.exp(log_broken), slope, own), 0.0)
            cost = theta * (hops - 1) * size + bias - log_epsilon - math.log1p(-share)
            needed = float(np.maximum(rate + (hops - 1) * slope, cost / (theta * deadline)).min())
            if needed < least:
                best, least = Handover(size, slope, log_broken), needed
    if best is None:
        raise UnknownSize(
            "nothing bounds the size of its requests, which domains hand over whole; state request_size, or "
            "forwarding: cut-through for links whose packets are far smaller than a request"
        )
    return best


def slots_lost(slot_start: bool, hops: int) -> int:
    """Slots by which a bound in slots falls short of a deadline in continuous time.

    One a hand-over, which waits for the next slot; one for the last slot, which may have only begun at the
    deadline; and one for requests that arrive inside of a slot.
    """
    return hops if slot_start else hops + 1
