"""The best θ, block length and image ratio of a form, for two goals; compiled.

BOUND: the least log-bound at given reservations.  SCALE: the least scale c of a profile R_i = min(c·s_i, cap_i) that meets ε.
For the convex forms the log-bound is convex in θ and the scale quasi-convex, both unimodal in log θ, so Brent's method
finds the global minimum.  The image's (θ, α) and the block length are searched, which can only make an answer larger
than need be, never wrong.

Arguments shared by all functions: path = (models, arrival, impair, exponent, lag, window, biased, log_epsilon) as in
`forms.at_theta`; target = (shape, cap), the profile, or for BOUND the reservations and anything; work = (scratch, rate, memo).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from fedopt.calculus.floor import ville_floor
from fedopt.calculus.forms import BLOCK, BLOCK_VILLE, FINE, IMAGE, MONOTONE, VILLE, at_theta
from fedopt.calculus.profile import approximate_scale, scale_at_theta

__all__ = [
    "BOUND",
    "SCALE",
    "best_bound",
    "best_of_form",
    "block_sizes",
    "least_scale",
    "least_scales",
    "workspace",
]

BOUND, SCALE = 0, 1

_GOLDEN = 0.3819660112501051


@njit(cache=True)
def block_sizes(window: int, hops: int) -> np.ndarray:
    """Block lengths worth trying: those that cut the window into 1, 2, … blocks without waste, and the smallest."""
    found = np.zeros(36, dtype=np.int64)
    count = 0
    for m in range(1, 13):
        for size in (window // m, window // m + 1, m):
            if size < 1 or size > window + 1:
                continue
            known = False
            for i in range(count):
                known = known or found[i] == size
            if not known:
                found[count] = size
                count += 1
    return found[:count]


@njit(cache=True)
def workspace(hops):
    """Work space for one path of L domains; memo: the scale found last, the ceiling of scales, the last slope."""
    return np.empty((4, hops + 1)), np.empty(hops), np.array([1.0, math.inf, 0.0])


@njit(cache=True)
def _objective(goal, form, path, target, theta, parameter, cut, work):
    """The goal's value at one θ and parameter; +inf where the form proves nothing."""
    shape, cap = target
    scratch, rate, memo = work
    if goal == BOUND:
        models, arrival, impair, exponent, lag, window, biased, _ = path
        return at_theta(
            form,
            models,
            arrival,
            impair,
            exponent,
            lag,
            window,
            biased,
            shape,
            theta,
            parameter,
            cut,
            scratch,
        )
    scale, slope = approximate_scale(
        form, path, theta, parameter, cut, shape, cap, memo[0], memo[2], memo[1], (scratch, rate)
    )
    if scale < math.inf:
        memo[0], memo[2] = scale, slope
    return scale


@njit(cache=True)
def _over_theta(goal, form, path, target, guess, parameter, cut, work):
    """(value, θ) least over θ from a starting θ; (+inf, guess) where no θ was found to prove anything."""
    x = math.log(guess)
    value = _objective(goal, form, path, target, guess, parameter, cut, work)
    tries = 0
    while value == math.inf:  # too large a θ: the admissible ones are an interval that begins at 0
        tries += 1
        if tries > 70:
            return math.inf, guess
        x -= 0.5
        value = _objective(goal, form, path, target, math.exp(x), parameter, cut, work)
    step = 0.25
    low, high = x - step, x + step
    at_low = _objective(goal, form, path, target, math.exp(low), parameter, cut, work)
    at_high = _objective(goal, form, path, target, math.exp(high), parameter, cut, work)
    while at_low < value:
        high, at_high = x, value
        x, value = low, at_low
        step *= 1.8
        low = x - step
        at_low = _objective(goal, form, path, target, math.exp(low), parameter, cut, work)
        if step > 60.0:
            break
    while at_high < value:
        low, at_low = x, value
        x, value = high, at_high
        step *= 1.8
        high = x + step
        at_high = _objective(goal, form, path, target, math.exp(high), parameter, cut, work)
        if step > 60.0:
            break
    # Brent's method on [low, high] with x inside.
    second, third = x, x
    at_second, at_third = value, value
    if at_low < at_high:
        second, at_second, third, at_third = low, at_low, high, at_high
    else:
        second, at_second, third, at_third = high, at_high, low, at_low
    move = before = high - low
    for _ in range(40):
        middle = 0.5 * (low + high)
        tolerance = 2e-5
        if abs(x - middle) <= 2.0 * tolerance - 0.5 * (high - low):
            break
        golden = True
        if abs(before) > tolerance and math.isfinite(at_second) and math.isfinite(at_third):
            r = (x - second) * (value - at_third)
            q = (x - third) * (value - at_second)
            p = (x - third) * q - (x - second) * r
            q = 2.0 * (q - r)
            if q > 0.0:
                p = -p
            q = abs(q)
            if abs(p) < abs(0.5 * q * before) and q * (low - x) < p < q * (high - x):
                before = move
                move = p / q
                if x + move - low < 2.0 * tolerance or high - x - move < 2.0 * tolerance:
                    move = tolerance if x < middle else -tolerance
                golden = False
        if golden:
            before = (low if x >= middle else high) - x
            move = _GOLDEN * before
        trial = x + (move if abs(move) >= tolerance else (tolerance if move > 0.0 else -tolerance))
        at_trial = _objective(goal, form, path, target, math.exp(trial), parameter, cut, work)
        if at_trial <= value:
            if trial >= x:
                low = x
            else:
                high = x
            third, at_third = second, at_second
            second, at_second = x, value
            x, value = trial, at_trial
        else:
            if trial < x:
                low = trial
            else:
                high = trial
            if at_trial <= at_second or second == x:
                third, at_third = second, at_second
                second, at_second = trial, at_trial
            elif at_trial <= at_third or third == x or third == second:
                third, at_third = trial, at_trial
    return value, math.exp(x)


@njit(cache=True)
def _over_image(goal, path, target, guess, alpha, cut, work, spread):
    """(value, θ, α) of the image form by Nelder–Mead in (log θ, log(α−1)), from a starting point."""
    first = _objective(goal, IMAGE, path, target, guess, alpha, cut, work)
    tries = 0
    while first == math.inf:  # too large a θ
        tries += 1
        if tries > 40:
            return math.inf, guess, alpha
        guess *= 0.7
        first = _objective(goal, IMAGE, path, target, guess, alpha, cut, work)
    point = np.empty((3, 2))
    value = np.empty(3)
    point[:, 0] = math.log(guess)
    point[:, 1] = math.log(max(alpha - 1.0, 1e-6))
    point[1, 0] += 0.5 * spread
    point[2, 1] += spread
    for k in range(3):
        value[k] = _objective(
            goal, IMAGE, path, target, math.exp(point[k, 0]), 1.0 + math.exp(point[k, 1]), cut, work
        )
    trial = np.empty(2)
    for _ in range(60):
        best, worst = 0, 0
        for k in range(1, 3):
            if value[k] < value[best]:
                best = k
            if value[k] >= value[worst]:
                worst = k
        if best == worst:
            worst = (best + 1) % 3
        size = max(np.abs(point[0] - point[1]).max(), np.abs(point[0] - point[2]).max())
        if size < 2e-3 or (
            math.isfinite(value[worst]) and value[worst] - value[best] < 1e-8 * abs(value[best])
        ):
            break
        other = 3 - best - worst
        centre = 0.5 * (point[best] + point[other])
        trial[:] = centre + (centre - point[worst])
        at_trial = _objective(
            goal, IMAGE, path, target, math.exp(trial[0]), 1.0 + math.exp(trial[1]), cut, work
        )
        if at_trial < value[best]:
            far = centre + 2.0 * (centre - point[worst])
            at_far = _objective(
                goal, IMAGE, path, target, math.exp(far[0]), 1.0 + math.exp(far[1]), cut, work
            )
            if at_far < at_trial:
                trial[:] = far
                at_trial = at_far
            point[worst] = trial
            value[worst] = at_trial
        elif at_trial < value[other]:
            point[worst] = trial
            value[worst] = at_trial
        else:
            if at_trial < value[worst]:
                point[worst] = trial
                value[worst] = at_trial
            near = centre + 0.5 * (point[worst] - centre)
            at_near = _objective(
                goal, IMAGE, path, target, math.exp(near[0]), 1.0 + math.exp(near[1]), cut, work
            )
            if at_near < value[worst]:
                point[worst] = near
                value[worst] = at_near
            else:
                for k in range(3):
                    if k != best:
                        point[k] = 0.5 * (point[k] + point[best])
                        value[k] = _objective(
                            goal,
                            IMAGE,
                            path,
                            target,
                            math.exp(point[k, 0]),
                            1.0 + math.exp(point[k, 1]),
                            cut,
                            work,
                        )
    best = 0
    for k in range(1, 3):
        if value[k] < value[best]:
            best = k
    return value[best], math.exp(point[best, 0]), 1.0 + math.exp(point[best, 1])


@njit(cache=True)
def cut_at(hops, split):
    """The image's groups: single domains (split = 0), or two groups of which the second begins at domain `split`."""
    return np.arange(hops + 1) if split == 0 else np.array([0, split, hops])


@njit(cache=True)
def best_of_form(goal, form, path, target, guess, parameter, split, work):
    """(value, θ, parameter, split) least of one form, from a starting θ.

    A parameter > 0 (block length, or image ratio with its `split`) is kept, or for the image searched nearby; otherwise
    it is searched from scratch.
    """
    hops = path[2].size
    window = path[5]
    whole = cut_at(hops, 0)
    if form == IMAGE and hops > 1:
        fresh = parameter <= 1.0
        alpha = 2.0 if fresh else parameter
        spread = 0.6 if fresh else 0.1
        value, theta, alpha = _over_image(goal, path, target, guess, alpha, cut_at(hops, split), work, spread)
        if fresh and hops > 2:
            for s in range(1, hops):
                pair = cut_at(hops, s)
                other = _objective(goal, IMAGE, path, target, theta, alpha, pair, work)
                if other < value + 0.03 * abs(value) or value == math.inf:
                    other, at, a = _over_image(goal, path, target, theta, alpha, pair, work, 0.3)
                    if other < value:
                        value, theta, alpha, split = other, at, a, s
        return value, theta, alpha, split
    if (form == BLOCK or form == BLOCK_VILLE) and hops > 1:
        if parameter >= 1.0:
            value, theta = _over_theta(goal, form, path, target, guess, parameter, whole, work)
            return value, theta, parameter, 0
        sizes = block_sizes(window, hops)
        best, theta, chosen = math.inf, guess, 1.0
        for k in range(sizes.size):  # a first θ, from the first length that proves anything
            best, theta = _over_theta(goal, form, path, target, guess, float(sizes[k]), whole, work)
            if best < math.inf:
                chosen = float(sizes[k])
                break
        for _ in range(4):
            better = chosen
            for k in range(sizes.size):
                value = _objective(goal, form, path, target, theta, float(sizes[k]), whole, work)
                if value < best:
                    best, better = value, float(sizes[k])
            if better == chosen:
                break
            chosen = better
            value, at = _over_theta(goal, form, path, target, theta, chosen, whole, work)
            if value < best:
                best, theta = value, at
        return best, theta, chosen, 0
    plain = VILLE if form == IMAGE or form == BLOCK_VILLE else form
    value, theta = _over_theta(goal, plain, path, target, guess, 1.0, whole, work)
    return value, theta, 1.0, 0


@njit(cache=True)
def _tried(form, mask, hops):
    """Whether a form is worth trying: allowed, and not known to be no better than another allowed one.

    Monotone is never below ville at the same θ (log(e^Δ − 1) < Δ); of one domain image, ville and block-ville are one.
    """
    if not mask >> form & 1:
        return False
    if form == MONOTONE and mask >> VILLE & 1:
        return False
    if hops == 1:
        if form == IMAGE and mask >> VILLE & 1:
            return False
        if form == BLOCK_VILLE and (mask >> VILLE & 1 or mask >> IMAGE & 1):
            return False
    return True


@njit(cache=True)
def best_bound(mask, path, rate):
    """(log-bound, form, θ, parameter, split): the least over all forms of the mask at the given reservations, (L,).

    (+inf, −1, nan, 0, 0) where none proves anything.
    """
    hops = rate.size
    work = workspace(hops)
    target = (rate, rate)
    best, chosen, theta, parameter, split = math.inf, -1, math.nan, 0.0, 0
    guess = 1.0
    for form in (VILLE, IMAGE, BLOCK_VILLE, FINE, MONOTONE, BLOCK):
        if not _tried(form, mask, hops):
            continue
        value, at, found, where = best_of_form(BOUND, form, path, target, guess, 0.0, 0, work)
        if value < best:
            best, chosen, theta, parameter, split = value, form, at, found, where
            guess = at
    return best, chosen, theta, parameter, split


@njit(cache=True)
def least_scale(mask, path, guess, shape, cap, ceiling):
    """(c, form, θ, parameter, split): the least c at which R_i = min(c·s_i, cap_i) is proven; (+inf, −1, …) above `ceiling`.

    mask: allowed forms; guess: a θ; shape, cap: s_i > 0 and cap_i in work/slot, shape (L,).
    """
    models, arrival, impair, exponent, lag, window, biased, log_epsilon = path
    hops = impair.size
    # No form proves less than the floor of the path's worst domain: start there, and stop early if it is too much.
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
    best, chosen, parameter, split = math.inf, -1, 0.0, 0
    memo[1] = ceiling
    for form in (IMAGE, VILLE, BLOCK_VILLE, FINE, MONOTONE, BLOCK):
        if not _tried(form, mask, hops):
            continue
        at, found, where = theta, 0.0, 0
        if chosen >= 0:  # can this form improve at all?
            for i in range(hops):
                rate[i] = min(best * shape[i], cap[i])
            value, at, found, where = best_of_form(BOUND, form, path, (rate.copy(), cap), theta, 0.0, 0, work)
            if not value <= log_epsilon:
                continue
        memo[0], memo[2] = min(best, min(1.2 * start, ceiling)), 0.0
        value, at, found, where = best_of_form(SCALE, form, path, target, at, found, where, work)
        if value < best:
            cut = cut_at(hops, where)
            plain = VILLE if hops == 1 and (form == IMAGE or form == BLOCK_VILLE) else form
            value = scale_at_theta(plain, path, at, found, cut, shape, cap, value, ceiling, (scratch, rate))
            if value < best:
                best, chosen, theta, parameter, split = value, form, at, found, where
    return best, chosen, theta, parameter, split


@njit(cache=True, parallel=True)
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

    mask, arrival, hops, window: (N,) integers; impair: (N, L) rows; exponent, lag, shape, cap: (N, L); biased: (N,)
    booleans; log_epsilon, guess, ceiling: (N,).  Returns scale, form, θ, parameter, split, each (N,).
    """
    count = arrival.size
    scale = np.empty(count)
    form = np.empty(count, dtype=np.int64)
    theta = np.empty(count)
    parameter = np.empty(count)
    split = np.empty(count, dtype=np.int64)
    for n in prange(count):
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
