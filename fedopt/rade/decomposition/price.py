"""Exact decomposition of separable concave log-acceptance: bisection on the price of a unit of delay.

At price μ each domain takes the delay where its slope d log P/dτ falls to μ; the delays taken shrink as μ
grows, so one bisection finds the μ at which they add up to the SLA's delay. The same μ is the certificate:
by concavity no split is worth more than the tangents at the one found.
"""

from __future__ import annotations

import numpy as np

from fedopt.rade.decomposition.problem import Decomposition, Problem, project
from fedopt.rade.feedback import Array

_OUTER, _INNER = 30, 26


def by_price(problem: Problem) -> Decomposition:
    """The best split of every request, with its bound.

    Raises `ValueError` for models whose log P is not concave in the delay.
    """
    if not problem.acceptance.concave:
        raise ValueError("price bisection needs log P concave in the delay; use the grid for other models")
    top = np.minimum(problem.upper, problem.delay[:, None])
    bottom = np.broadcast_to(problem.lower, top.shape)
    at_top, at_bottom = problem.slopes(top), problem.slopes(bottom)
    low = np.log(np.maximum(at_top.min(axis=1), 1e-300))
    high = np.log(np.clip(at_bottom.max(axis=1), 1e-299, 1e300))
    small, large = bottom, top
    for _ in range(_OUTER):
        middle = (low + high) / 2
        delays = _demand(problem, np.exp(middle), small, large)
        over = delays.sum(axis=1) > problem.delay
        low, high = np.where(over, middle, low), np.where(over, high, middle)
        small = np.where(over[:, None], small, delays)
        large = np.where(over[:, None], delays, large)
    # the two ends of the bracket straddle the delay; go between them (exact where a slope is constant)
    total_small, total_large = small.sum(axis=1), large.sum(axis=1)
    share = np.clip((problem.delay - total_small) / np.maximum(total_large - total_small, 1e-300), 0.0, 1.0)
    delays = project(small + share[:, None] * (large - small), problem)
    return Decomposition(delays, problem.value(delays), tangent_bound(problem, delays))


def _demand(problem: Problem, price: Array, small: Array, large: Array) -> Array:
    """Delay that each domain takes at the price, known to lie between `small` and `large`."""
    low, high = small, large
    for _ in range(_INNER):
        middle = (low + high) / 2
        worth = problem.slopes(middle) > price[:, None]
        low, high = np.where(worth, middle, low), np.where(worth, high, middle)
    return (low + high) / 2


def tangent_bound(problem: Problem, delays: Array) -> Array:
    """No split is worth more than this if log P is concave: tangents at `delays`, best price among slopes."""
    slopes = problem.slopes(delays)
    value = problem.value(delays)
    low, high = problem.lower, np.minimum(problem.upper, problem.delay[:, None])
    bounds = []
    for price in np.moveaxis(slopes[:, None, :].repeat(1, 1)[:, 0, :], 1, 0):
        tilt = slopes - price[:, None]
        reach = np.where(tilt > 0, high - delays, low - delays)
        bounds.append(value + (tilt * reach).sum(axis=1))
    return np.asarray(np.min(bounds, axis=0))
