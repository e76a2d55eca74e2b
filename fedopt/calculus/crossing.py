"""The image form with credit for the arrivals that carry a path across its deadline; see `arrivals`.

Walls are charged as in `image`, at γ_i for which every term of e^{θA}F shrinks by ω a slot or more; ω is what
the main term shrinks by, if that is little.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.arrivals import (
    CELLS,
    EXPONENTIAL_SIZE,
    FINE_CELLS,
    FIXED_SIZE,
    crossing_factor,
    span,
)
from fedopt.calculus.image import image_prefactor, main_growth, plain_charges, set_charges, wall_root
from fedopt.calculus.overshoot import credited_charges
from fedopt.calculus.series import log_sum
from fedopt.kernels import formula
from fedopt.laws.compiled import (
    GAMMA,
    NONE,
    POISSON,
    POISSON_EXPONENTIAL,
    log_burst,
    log_rate,
    request_log_bias,
)

__all__ = ["best_at_crossing", "bound_at_crossing", "slack"]

_SLACK = 0.05
"""Greatest ω times the slots of the window."""


@formula
def slack(window) -> float:
    """The ω wanted: what the terms of e^{θA}F should shrink by in a slot for nearly all of the credit."""
    return _SLACK / (window + 1.0)


@formula
def _weight(groups, k, i, charge, gamma, theta) -> float:
    """Weight of group i's work in term k of F; k = 0: the main term, k ≥ 1: the image behind wall k − 1."""
    own = charge[i] if i < groups - 1 else theta
    if k > 0 and i == k - 1:
        return -gamma[i]
    if k > 0 and i == k:
        return own + gamma[i - 1]
    if i < k:
        return 0.0
    return own - (charge[i - 1] if i > 0 else 0.0)


@formula
def _jumps(models, impair, cut, charge, gamma, theta):
    """(mean number of jumps a slot in the term where it is greatest, size that none exceeds); +inf, +inf
    where every slot brings work or a law is not known."""
    groups = cut.size - 1
    most, size = 0.0, 0.0
    for k in range(groups):
        total = 0.0
        for i in range(groups):
            weight = _weight(groups, k, i, charge, gamma, theta)
            for d in range(cut[i], cut[i + 1]):
                row = impair[d]
                code = NONE if row < 0 else models.rows[row, 0]
                if code == NONE:
                    continue
                first, second = models.rows[row, 1], models.rows[row, 2]
                if code == POISSON:
                    total += first * math.exp(weight * second)
                    size = max(size, second)
                elif code == POISSON_EXPONENTIAL and weight * second < 1.0:
                    total += first / (1.0 - weight * second)
                    size = math.inf
                else:
                    return math.inf, math.inf
        most = max(most, total)
    return most, size


@formula
def _near(models, arrival, impair, cut, charge, gamma, theta, rate, window, ahead, biased, depth) -> float:
    """log of the most that any term of F puts on paths that end the window less than `depth` below zero.

    Chernoff's bound with all impairments of all domains added up; ahead: work by which a guardrail lifts z.
    """
    groups = cut.size - 1
    least = 0.0
    for step in range(1, 7):
        eta = 0.25 * step * theta
        start = eta * (ahead - rate * window + depth)
        if biased:
            start += request_log_bias(models, arrival, theta + eta) - request_log_bias(models, arrival, theta)
        worst = -math.inf
        for k in range(groups):
            total = 0.0
            for i in range(groups):
                weight = _weight(groups, k, i, charge, gamma, theta)
                for d in range(cut[i], cut[i + 1]):
                    total += log_rate(models, impair[d], weight + eta) - log_rate(models, impair[d], weight)
            worst = max(worst, total)
        value = start + window * worst
        if value < least:  # not where a moment is infinite
            least = value
    return least


@formula
def _image(
    models, arrival, impair, cut, charge, rate, theta, window, ahead, biased, gamma, log_wall, cells
) -> float:
    """Log-bound without the burst terms, as `image` gives it, with credit for arrivals; +inf where it gives
    none.

    Needs rates that do not fall along the path. ahead: Σ R_iT_i of rate-latency
    guardrails and what hand-overs add, work; biased: whether the promise is about requests; other arguments
    as in `image`.
    """
    groups = cut.size - 1
    free = log_rate(models, arrival, theta)
    main = main_growth(models, impair, cut, charge, rate, theta)
    shrink = min(-(free + main), slack(window))
    code = NONE if arrival < 0 else models.rows[arrival, 0]
    if not shrink > 0.0 or (code != POISSON and code != POISSON_EXPONENTIAL and code != GAMMA):
        return math.inf
    first, second = models.rows[arrival, 1], models.rows[arrival, 2]
    kind, size, requests = FIXED_SIZE, second, first * math.exp(theta * second)
    if code != POISSON:
        if code == GAMMA and first != math.floor(first):
            return math.inf
        kind, size = EXPONENTIAL_SIZE, second / (1.0 - theta * second)
        requests = -first if code == GAMMA else first / (1.0 - theta * second)
    guess = 1.2 * theta
    for i in range(groups - 1):
        guess = wall_root(models, impair, cut, charge, rate, theta, i, -free - shrink, 1.05 * guess)
        gamma[i] = guess
        if gamma[i] <= 0.0:
            return math.inf
    jumps, jump = _jumps(models, impair, cut, charge, gamma, theta)
    drain = rate[0] - models.rows[arrival, 12]  # what whole requests add flows in steadily
    if not drain > 0.0:
        return math.inf
    factor, middle, ceiling = crossing_factor(theta, drain, kind, size, requests, jumps, jump, shrink, cells)
    total = window * main + free + main
    if groups == 1:
        plain = total
    else:
        plain_charges(charge, gamma, log_wall)
        plain = total
        for i in range(groups - 1):
            plain = log_sum(plain, log_wall[i] - window * (free + shrink))
        credited_charges(models, impair, cut, charge, rate, theta, gamma, log_wall)
        for i in range(groups - 1):
            total = log_sum(total, log_wall[i] - window * (free + shrink))
    total += math.log(factor)
    # κ is more than the factor only on paths that end the window near the crossing
    for step in range(2):
        more = middle - factor if step == 0 else ceiling - middle
        if more > 0.0:
            depth = span(requests) * size + rate[0] if step == 0 else size
            near = 0.0
            if jumps < math.inf:
                near = _near(
                    models, arrival, impair, cut, charge, gamma, theta, rate[0], window, ahead, biased, depth
                )
            total = log_sum(total, plain + near + math.log(more))
    return total - image_prefactor(charge, gamma, theta, log_wall)


@formula
def bound_at_crossing(
    models, arrival, impair, lag, window, biased, rate, theta, ratio, cut, cells=FINE_CELLS
) -> float:
    """Natural-log bound on P(W > deadline), by the image form with credit for arrivals; +inf without any.

    ratio: a/θ or −a/θ as in `image.set_charges`; cut: groups as in `image`, [0, L] for one group (ville);
    cells: of the grid, per size of a request; other arguments as in `at_theta`.
    """
    if window < 0 or not theta > 0.0:
        return math.inf
    groups = cut.size - 1
    burst = log_burst(models, arrival, theta)
    if biased:
        burst += request_log_bias(models, arrival, theta)
    group_rate = np.full(groups, math.inf)
    ahead = 0.0
    for g in range(groups):
        for i in range(cut[g], cut[g + 1]):
            burst += log_burst(models, impair[i], theta)
            group_rate[g] = min(group_rate[g], rate[i])
        if g > 0 and group_rate[g] < group_rate[g - 1]:
            return math.inf
        for i in range(cut[g], cut[g + 1]):
            ahead += group_rate[g] * lag[i]
    burst += theta * ahead
    ahead += models.rows[arrival, 13] if arrival >= 0 else 0.0
    if not burst < math.inf:
        return math.inf
    charge = np.empty(groups - 1)
    set_charges(ratio, theta, charge)
    gamma, log_wall = np.empty(groups - 1), np.empty(groups - 1)
    return burst + _image(
        models, arrival, impair, cut, charge, group_rate, theta, window, ahead, biased, gamma, log_wall, cells
    )


@formula
def best_at_crossing(models, arrival, impair, lag, window, biased, rate, theta, ratio, cut):
    """(log-bound, θ): the least met at tilts around one that is best without credit for arrivals.

    Below it, mostly: the terms of e^{θA}F must shrink a little.
    """
    path = (models, arrival, impair, lag, window, biased, rate)
    best, centre, middle, step = math.inf, 0.995, 0.995, 0.005
    # first the middle, then three times both its sides, each time nearer, last the best on the fine grid: one
    # loop around one call, which is compiled into its caller
    for k in range(8):
        at = centre
        if 0 < k < 7:
            middle = centre if k % 2 == 1 else middle
            at = middle - step if k % 2 == 1 else middle + step
        cells = CELLS if k < 7 else FINE_CELLS
        value = bound_at_crossing(*path, at * theta, ratio, cut, cells)
        if k == 7:
            best = value
        elif value < best:
            best, centre = value, at
        step *= 0.4 if k > 0 and k % 2 == 0 else 1.0
    return best, centre * theta
