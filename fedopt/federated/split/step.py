"""One hop under the split guarantee, as its domain sees it: the least margin for given shares, and the domain
step over the shares. In nats and slots; compiled.

A domain of effective rate s serves work of rate ρ with the margin x = θ(s − ρ) > 0, a = θρ. With y slots, a
share e of the violation probability and the burst B that arrives (nats), it keeps its promise if

    (x + a)·y + log e − φ(x) ≥ N,      N = −log ε + K + B,      φ(x) = −log(1 − e^{−x}),

and it adds at most β + φ(z) to the burst if its margin is at least the z ≤ x that it states, β its base
burst. Solved for y the promise is y ≥ (N − log e + φ(x))/(x + a), jointly convex also in the margins before,
of which B is a sum of φ's (split.md). So the least margin is a convex function of (y, e, z).
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import kernel

__all__ = ["HOP", "REFUSED", "least_margins", "share_steps"]

REFUSED = -1.0
"""Stands for a margin where none will do."""

HOP = (
    "cost",
    "load",
    "need",
    "spent",
    "room",
    "most",
    *("time", "risk", "margin"),
    *("price_time", "price_risk", "price_margin"),
    *("pull_time", "pull_risk", "pull_margin"),
)
"""The columns of a table of hops: money per nat of margin, a, N, slots that latency takes, slots in all, the
largest x; the shares proposed, their prices, their penalties."""

_COST, _LOAD, _NEED, _SPENT, _ROOM, _MOST = range(6)
_SHARES, _PRICES, _PULLS = 6, 9, 12
_HALVINGS = 100
_SAFE = 1e-12


@kernel
def _phi(x: float) -> float:
    return -math.log(-math.expm1(-x)) if x > 0.0 else math.inf


@kernel
def _margin(hop: np.ndarray, slots: float, risk: float, state: float) -> float:
    """The least x that suffices for so many slots, a share of the risk and a stated margin."""
    need, load, most = hop[_NEED] - math.log(risk), hop[_LOAD], hop[_MOST]
    low = state
    if not (slots > 0.0 and low <= most):
        return REFUSED
    high = max(low, 1e-6)
    while (high + load) * slots - _phi(high) < need and high < most:
        low, high = high, 2.0 * high
    high = min(high, most)
    if not (high + load) * slots - _phi(high) >= need:
        return REFUSED
    if (low + load) * slots - _phi(low) >= need:
        return min(low * (1.0 + _SAFE), most)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if (middle + load) * slots - _phi(middle) >= need:
            high = middle
        else:
            low = middle
    return min(high * (1.0 + _SAFE), most)


@kernel
def least_margins(hops: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The least margin of each hop at shares (N, 3) of time, risk and margin; REFUSED where none will do.

    hops: (N, len(HOP)), of which shares, prices and penalties are not looked at.
    """
    answer = np.empty(len(hops))
    for n in range(len(hops)):
        hop = hops[n]
        slots = hop[_ROOM] * shares[n, 0] - hop[_SPENT]
        answer[n] = _margin(hop, slots, shares[n, 1], shares[n, 2])
    return answer


@kernel
def _best_shares(x: float, hop: np.ndarray, answer: np.ndarray) -> float:
    """The best shares at the margin x, into `answer`; the slope of the least objective in x.

    With the multiplier m of the promise the time share is linear in m and the risk share the root of a
    quadratic; what they leave of the promise grows with m and is concave, so Newton's steps from 0 never
    overshoot. The margin stated is x: stating all there is costs nothing.
    """
    pull_time, pull_risk, pull_margin = hop[_PULLS], hop[_PULLS + 1], hop[_PULLS + 2]
    t0 = hop[_SHARES] + hop[_PRICES] / pull_time
    e0 = hop[_SHARES + 1] + hop[_PRICES + 1] / pull_risk
    wanted = hop[_SHARES + 2] + hop[_PRICES + 2] / pull_margin
    weight = (x + hop[_LOAD]) * hop[_ROOM]
    right = hop[_NEED] + _phi(x) + (x + hop[_LOAD]) * hop[_SPENT]
    m, t, e = 0.0, t0, e0
    if not (e0 > 0.0 and weight * t0 + math.log(e0) >= right):
        m = 1e-300
        if not e0 > 1e-12:  # start where the logarithm is finite
            m = 1e-24 * pull_risk
        for _ in range(200):
            root = math.sqrt(e0 * e0 + 4.0 * m / pull_risk)
            # of the two forms of the root the one that does not cancel
            e = 0.5 * (e0 + root) if e0 >= 0.0 else 2.0 * m / pull_risk / (root - e0)
            t = t0 + m * weight / pull_time
            short = right - weight * t - math.log(e)
            step = short / (weight * weight / pull_time + 1.0 / (pull_risk * root * e))
            m += step
            if not step > 1e-14 * m:
                break
    held = max(pull_margin * (wanted - x), 0.0)  # what it would be worth to state more than there is
    answer[0], answer[1], answer[2] = t, e, x
    slots = hop[_ROOM] * t - hop[_SPENT]
    return hop[_COST] - m * (slots + 1.0 / math.expm1(x)) - held


@kernel
def share_steps(hops: np.ndarray) -> np.ndarray:
    """The domain step of each hop: its best shares (N, 3); the proposed ones where no margin is allowed.

    minimise  cost·x − prices·S + ½ Σ penalties (S − proposed)²  over x ≤ most and S = (t, e, z) such that x
    suffices for y = room·t − spent, e and z. The least over S is convex in x; x is found by bisection. The
    third share answered is x: stating a margin up to it costs nothing, and where z < x its price is zero.
    """
    answer = np.empty((len(hops), 3))
    for n in range(len(hops)):
        hop, best = hops[n], answer[n]
        if not hop[_MOST] > 0.0:
            best[:] = hop[_SHARES : _SHARES + 3]
            continue
        low, high = 0.0, min(1e-3, hop[_MOST])
        while high < hop[_MOST] and _best_shares(high, hop, best) < 0.0:
            low, high = high, min(2.0 * high, hop[_MOST])
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            if _best_shares(middle, hop, best) >= 0.0:
                high = middle
            else:
                low = middle
        _best_shares(high, hop, best)
    return answer
