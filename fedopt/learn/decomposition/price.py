"""Exact decomposition of separable concave log-acceptance: bisection on the price of a unit of delay.

At price μ each domain takes the delay where its slope d log P/dτ falls to μ; the delays taken shrink as μ
grows, so one bisection finds the μ at which they add up to the SLA's delay. The same μ is the certificate:
by concavity no split is worth more than the tangents at the one found.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedopt.learn.decomposition.grid import on_grid
from fedopt.learn.decomposition.problem import Decomposition, Problem, project
from fedopt.learn.feedback import Array

_OUTER, _INNER, _NEWTON = 30, 26, 5
_SETTLED = 1e-8
"""Certified gap, in log-probability, at which a split counts as the best."""


def by_price(problem: Problem) -> Decomposition:
    """The best split of every request, with its bound.

    Newton's method on the condition that all slopes equal one price comes first, from the best split on a
    coarse grid; the requests for which the certificate does not confirm it are bisected.

    Raises `ValueError` for models whose log P is not concave in the delay.
    """
    if not problem.acceptance.concave:
        raise ValueError("price bisection needs log P concave in the delay; use the grid for other models")
    delays = _newton(problem, on_grid(problem, points=32, windows=1).delay)
    bound = tangent_bound(problem, delays)
    open_ = np.flatnonzero(~(bound - problem.value(delays) <= _SETTLED))
    if open_.size:
        rest = replace(
            problem,
            rows=problem.rows[open_],
            delay=problem.delay[open_],
            throughput=problem.throughput[open_],
        )
        delays[open_] = _bisect(rest)
        bound = tangent_bound(problem, delays)
    return Decomposition(delays, problem.value(delays), bound)


def _newton(problem: Problem, delays: Array) -> Array:
    """Move delay between the domains until their slopes agree; a step that does not help is not taken."""
    value = problem.value(delays)
    upper = np.minimum(problem.upper, problem.delay[:, None])
    h = 1e-5 * problem.delay[:, None]
    for _ in range(_NEWTON):
        slope = problem.slopes(delays)
        curve = (problem.slopes(delays + h) - problem.slopes(delays - h)) / (2 * h)
        ease = 1.0 / np.maximum(-curve, 1e-9)
        mean = (slope * ease).sum(axis=1) / ease.sum(axis=1)
        fixed = ((delays <= problem.lower + h) & (slope < mean[:, None])) | (
            (delays >= upper - h) & (slope > mean[:, None])
        )
        ease = np.where(fixed, 0.0, ease)
        price = (slope * ease).sum(axis=1) / np.maximum(ease.sum(axis=1), 1e-300)
        moved = project(delays + (slope - price[:, None]) * ease, problem)
        gained = problem.value(moved)
        better = gained > value
        delays = np.where(better[:, None], moved, delays)
        value = np.where(better, gained, value)
    return delays


def _bisect(problem: Problem) -> Array:
    """Bisection on the price, for any concave slopes."""
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
    return project(small + share[:, None] * (large - small), problem)


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
    for price in slopes.T:
        tilt = slopes - price[:, None]
        reach = np.where(tilt > 0, high - delays, low - delays)
        bounds.append(value + (tilt * reach).sum(axis=1))
    return np.asarray(np.min(bounds, axis=0))
