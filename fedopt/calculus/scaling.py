"""The least reservations along a profile over all forms: compiled, with the proof that goes with them."""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.floor import ville_floor
from fedopt.calculus.forms import BLOCK, BLOCK_VILLE, FINE, IMAGE, MONOTONE, VILLE
from fedopt.calculus.profile import scale_at_theta
from fedopt.calculus.search import BOUND, SCALE, best_of_form, cut_at, tried, workspace
from fedopt.kernels import formula

__all__ = ["least_scale", "least_scales"]


@formula
def least_scale(mask, path, guess, shape, cap, ceiling):
    """(c, form, θ, parameter, split): the least c at which R_i = min(c·s_i, cap_i) is proven; (+inf, −1, …)
    above `ceiling`.

    mask: allowed forms; guess: a θ; shape, cap: s_i > 0 and cap_i in work/slot, shape (L,).
    """
    models, arrival, impair, exponent, lag, window, biased, log_epsilon = path
    hops = impair.size
    # No form proves less than the floor of the path's worst domain: start there, and stop early if it is too
    # much.
    start, theta, limit = 0.0, guess, 0.0
    for i in range(hops):
        floor, at = ville_floor(
            models, arrival, impair[i], exponent[i], window, lag[i], biased, log_epsilon, theta
        )
        if floor > cap[i]:
            return math.inf, -1, guess, 0.0, 0
        if floor / shape[i] > start:
            start, theta = floor / shape[i], at
        limit = max(limit, cap[i] / shape[i])
    ceiling = min(ceiling, limit)
    if not start <= ceiling:
        return math.inf, -1, guess, 0.0, 0
    work = workspace(hops)
    scratch, rate, memo = work
    target = (shape, cap)
    best, chosen, parameter, split = ceiling, -1, 0.0, 0
    for form in (IMAGE, VILLE, BLOCK_VILLE, FINE, MONOTONE, BLOCK):
        if not tried(form, mask, hops):
            continue
        at, found, where = theta, 0.0, 0
        # Can this form improve on the best, or meet a tight ceiling, at all?  At rates far above what is
        # needed a bound may rise again, so a loose ceiling says nothing.
        if best < math.inf and (chosen >= 0 or best <= 1.5 * start):
            for i in range(hops):
                rate[i] = min(best * shape[i], cap[i])
            value, at, found, where = best_of_form(BOUND, form, path, (rate.copy(), cap), theta, 0.0, 0, work)
            if not value <= log_epsilon:
                continue
        # The search itself knows no ceiling and starts from the floor's θ: what is best at the ceiling may
        # be far off.
        memo[0], memo[1], memo[2] = min(best, 1.2 * start), limit, 0.0
        value, at, found, where = best_of_form(SCALE, form, path, target, theta, 0.0, 0, work)
        if value <= best and value < math.inf:
            cut = cut_at(hops, where)
            plain = VILLE if hops == 1 and (form in (IMAGE, BLOCK_VILLE)) else form
            value, _ = scale_at_theta(
                plain, path, at, found, cut, shape, cap, value, 0.0, ceiling, True, (scratch, rate)
            )
            if value < best or (chosen < 0 and value <= best):
                best, chosen, theta, parameter, split = value, form, at, found, where
    # The image's landscape has ridges: ask the bound itself whether a smaller scale is provable, in growing
    # steps.
    step = 1e-4 if mask >> IMAGE & 1 and hops > 1 and chosen >= 0 else 0.0
    for _ in range(20):
        if step < 1e-5:
            break
        for i in range(hops):
            rate[i] = min(best * (1.0 - step) * shape[i], cap[i])
        value, at, found, where = best_of_form(BOUND, IMAGE, path, (rate.copy(), cap), theta, 0.0, 0, work)
        if not value <= log_epsilon:
            step *= 0.2
            continue
        value, _ = scale_at_theta(
            IMAGE,
            path,
            at,
            found,
            cut_at(hops, where),
            shape,
            cap,
            best * (1.0 - step),
            0.0,
            ceiling,
            True,
            (scratch, rate),
        )
        if not value < best:
            break
        best, chosen, theta, parameter, split = value, IMAGE, at, found, where
        step *= 3.0
    if chosen < 0:
        return math.inf, -1, guess, 0.0, 0
    return best, chosen, theta, parameter, split


@formula
def least_scales(
    mask,
    models,
    arrival,
    impair,
    hops,
    exponent,
    lag,
    window,
    biased,
    log_epsilon,
    guess,
    shape,
    cap,
    ceiling,
):
    """`least_scale` for many paths at once, arrays padded to the longest path.

    mask, arrival, hops, window: (N,) integers; impair: (N, L) rows; exponent, lag, shape, cap: (N, L);
    biased: (N,)
    booleans; log_epsilon, guess, ceiling: (N,).  Returns scale, form, θ, parameter, split, each (N,).
    """
    count = arrival.size
    scale = np.empty(count)
    form = np.empty(count, dtype=np.int64)
    theta = np.empty(count)
    parameter = np.empty(count)
    split = np.empty(count, dtype=np.int64)
    for n in range(count):
        size = hops[n]
        path = (
            models,
            arrival[n],
            impair[n, :size],
            exponent[n, :size],
            lag[n, :size],
            window[n],
            biased[n],
            log_epsilon[n],
        )
        scale[n], form[n], theta[n], parameter[n], split[n] = least_scale(
            mask[n], path, guess[n], shape[n, :size], cap[n, :size], ceiling[n]
        )
    return scale, form, theta, parameter, split
