"""The best θ, block length and image ratio of a form, for two goals; compiled.

BOUND: the least log-bound at given reservations.  SCALE: the least scale c of a profile R_i = min(c·s_i,
cap_i) that meets ε. For the convex forms the log-bound is convex in θ and the scale quasi-convex, both
unimodal in log θ, so Brent's method finds the global minimum: on each piece of the θ axis on which the
tabulated envelopes are convex (`theta_pieces`), for a table need not be convex over all of it.  The image's
(θ, α) and the block length are searched, which can only make an answer larger than need be, never wrong.

Arguments shared by all functions: path = (models, arrival, impair, exponent, lag, window, biased,
log_epsilon) as in `forms.at_theta`; target = (shape, cap), the profile, or for BOUND the reservations and
anything; work = (scratch, rate, memo).
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.forms import BLOCK, BLOCK_VILLE, FINE, IMAGE, MONOTONE, VILLE, at_theta
from fedopt.calculus.profile import scale_at_theta
from fedopt.calculus.theta_pieces import pieces
from fedopt.kernels import formula

__all__ = [
    "BOUND",
    "SCALE",
    "best_bound",
    "best_of_form",
    "block_sizes",
    "cut_at",
    "tried",
    "workspace",
]

BOUND, SCALE = 0, 1

_GOLDEN = 0.3819660112501051


@formula
def block_sizes(window: int, hops: int) -> np.ndarray:
    """Block lengths worth trying: those that cut the window into 1, 2, … blocks without waste, and the
    smallest."""
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


@formula
def workspace(hops):
    """Work space for one path of L domains; memo: the scale found last, the ceiling of scales, the last
    slope."""
    return np.empty((4, hops + 1)), np.empty(hops), np.array([1.0, math.inf, 0.0])


@formula
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
    scale, slope = scale_at_theta(
        form, path, theta, parameter, cut, shape, cap, memo[0], memo[2], memo[1], False, (scratch, rate)
    )
    if scale < math.inf:
        memo[0], memo[2] = scale, slope
    return scale


# The searches below are written as one loop around one evaluation, with a phase that says what the value is
# for: every call
# of a compiled function is compiled into its caller, so one call keeps both the code and its compilation
# short.

BELOW, ABOVE, START, LEFT, RIGHT, BRENT = range(6)


@formula
def _start(tries: int, goal: int) -> float:
    """Factor on the first guess of θ after a number of failures: smaller for bounds, both ways for scales."""
    if goal == BOUND or tries > 24:
        return 0.7 ** (tries if goal == BOUND else tries - 12)
    return 0.7 ** ((tries + 1) // 2) if tries % 2 == 1 else 1.4 ** (tries // 2)


@formula
def _over_theta(goal, form, path, target, guess, parameter, cut, work):
    """(value, θ) least over θ from a starting θ, by bracketing and Brent's method in log θ on each piece of
    the axis; (+inf, guess) where no θ proves anything."""
    ends = pieces(path[0], path[1], path[2], path[3])
    best, chosen = math.inf, guess
    for piece in range(ends.size - 1):
        lower, upper = ends[piece], ends[piece + 1]
        start = guess
        if not lower < start < upper:
            start = 0.9 * upper if upper < math.inf else 1.1 * lower
            if lower > 0.0 and upper < math.inf:
                start = math.sqrt(lower * upper)
        value, theta = _on_piece(goal, form, path, target, start, lower, upper, parameter, cut, work)
        if value < best:
            best, chosen = value, theta
    return best, chosen


@formula
def _on_piece(goal, form, path, target, guess, lower, upper, parameter, cut, work):
    """`_over_theta` between two ends, where the objective has one valley; the ends are tried too."""
    tolerance = 2e-5
    phase, tries, step = (START if lower == 0.0 and upper == math.inf else BELOW), 0, 0.25
    x, value = math.log(guess), math.inf
    low = high = second = third = x
    at_low = at_high = at_second = at_third = math.inf
    move = before = 0.0
    trial = x
    at_ends, end = math.inf, guess
    for _ in range(204):
        theta = math.exp(trial)
        if phase < START:
            theta = lower if phase == BELOW else upper
        at_trial = math.inf
        if 0.0 < theta < math.inf and lower <= theta <= upper:
            at_trial = _objective(goal, form, path, target, theta, parameter, cut, work)
        if phase < START:
            if at_trial < at_ends:
                at_ends, end = at_trial, theta
            phase += 1
            continue
        if phase == START:
            if at_trial == math.inf:
                tries += 1
                if tries > 60:
                    return at_ends, end
                if lower > 0.0 and upper < math.inf:  # evenly over a bounded piece
                    trial = math.log(lower) + (tries / 61.0) * math.log(upper / lower)
                else:
                    trial = math.log(guess) + math.log(_start(tries, goal))
                continue
            x, value = trial, at_trial
            low, high, at_high = x - step, x + step, math.nan
            phase, trial = LEFT, low
            continue
        if phase == LEFT:
            at_low = at_trial
            if at_low < value and step < 60.0:
                high, at_high, x, value = x, value, low, at_low
                step *= 1.8
                low = x - step
                trial = low
                continue
            phase = RIGHT
            if math.isnan(at_high):
                trial = high
                continue
            at_trial = at_high
        if phase == RIGHT:
            at_high = at_trial
            if at_high < value and step < 60.0:
                low, at_low, x, value = x, value, high, at_high
                step *= 1.8
                high = x + step
                trial = high
                continue
            phase = BRENT
            move = before = high - low
            if at_low < at_high:
                second, at_second, third, at_third = low, at_low, high, at_high
            else:
                second, at_second, third, at_third = high, at_high, low, at_low
        elif at_trial <= value:  # Brent: a better point
            if trial >= x:
                low = x
            else:
                high = x
            third, at_third, second, at_second, x, value = second, at_second, x, value, trial, at_trial
        else:
            if trial < x:
                low = trial
            else:
                high = trial
            if at_trial <= at_second or second == x:
                third, at_third, second, at_second = second, at_second, trial, at_trial
            elif at_trial <= at_third or third in (x, second):
                third, at_third = trial, at_trial
        middle = 0.5 * (low + high)
        if abs(x - middle) <= 2.0 * tolerance - 0.5 * (high - low):
            break
        golden = True
        if abs(before) > tolerance and math.isfinite(at_second) and math.isfinite(at_third):
            r = (x - second) * (value - at_third)
            q = (x - third) * (value - at_second)
            p = (x - third) * q - (x - second) * r
            q = 2.0 * (q - r)
            p = -p if q > 0.0 else p
            q = abs(q)
            if abs(p) < abs(0.5 * q * before) and q * (low - x) < p < q * (high - x):
                before, move = move, p / q
                if x + move - low < 2.0 * tolerance or high - x - move < 2.0 * tolerance:
                    move = tolerance if x < middle else -tolerance
                golden = False
        if golden:
            before = (low if x >= middle else high) - x
            move = _GOLDEN * before
        if abs(move) < tolerance:
            move = tolerance if move > 0.0 else -tolerance
        trial = x + move
    return (value, math.exp(x)) if value <= at_ends else (at_ends, end)


REFLECT, EXPAND, CONTRACT, SHRINK = 3, 4, 5, 6


@formula
def _over_image(goal, path, target, guess, alpha, cut, work, spread):
    """(value, θ, α) of the image form by Nelder–Mead in (log θ, log(α−1)), from a starting point; −α stays
    −α."""
    side, alpha = (-1.0, -alpha) if alpha < 0.0 else (1.0, alpha)
    point, value = np.empty((3, 2)), np.full(3, math.inf)
    trial, reflected, centre = np.empty(2), np.empty(2), np.empty(2)
    at_reflected = math.inf
    trial[0], trial[1] = math.log(guess), math.log(max(alpha - 1.0, 1e-6))
    phase, tries, best, worst, other = 0, 0, 0, 0, 0
    for _ in range(240):
        at_trial = _objective(
            goal, IMAGE, path, target, math.exp(trial[0]), side * (1.0 + math.exp(trial[1])), cut, work
        )
        if phase < 3:  # the first simplex
            if phase == 0 and at_trial == math.inf:
                tries += 1
                if tries > 120:
                    return math.inf, guess, side * alpha
                trial[0] = math.log(guess) + math.log(_start(tries // 4, goal))
                turn = (
                    tries % 4
                )  # the ratio matters too: near 1 with bad walls, large where the last domain is clean
                trial[1] = (
                    math.log(alpha - 1.0)
                    if turn == 0
                    else (-2.0 if turn == 1 else (-7.0 if turn == 2 else 1.6))
                )
                continue
            point[phase], value[phase] = trial, at_trial
            phase += 1
            if phase < 3:
                trial[:] = point[0]
                trial[phase - 1] += 0.5 * spread if phase == 1 else spread
                continue
        elif phase == REFLECT:
            if at_trial < value[best]:
                reflected[:], at_reflected = trial, at_trial
                trial[:] = 3.0 * centre - 2.0 * point[worst]
                phase = EXPAND
                continue
            if at_trial < value[other]:
                point[worst], value[worst] = trial, at_trial
            else:
                if at_trial < value[worst]:
                    point[worst], value[worst] = trial, at_trial
                trial[:] = 0.5 * (centre + point[worst])
                phase = CONTRACT
                continue
        elif phase == EXPAND:
            if at_trial < at_reflected:
                point[worst], value[worst] = trial, at_trial
            else:
                point[worst], value[worst] = reflected, at_reflected
        elif phase == CONTRACT:
            if at_trial < value[worst]:
                point[worst], value[worst] = trial, at_trial
            else:
                point[worst] = 0.5 * (point[worst] + point[best])
                point[other] = 0.5 * (point[other] + point[best])
                trial[:] = point[other]
                phase = SHRINK
                continue
        else:  # SHRINK, then the worst point too
            if phase == SHRINK:
                value[other] = at_trial
                trial[:] = point[worst]
                phase = SHRINK + 1
                continue
            value[worst] = at_trial
        best, worst = 0, 0
        for k in range(1, 3):
            if value[k] < value[best]:
                best = k
            if value[k] >= value[worst]:
                worst = k
        if best == worst:
            worst = (best + 1) % 3
        other = 3 - best - worst
        size = max(np.abs(point[0] - point[1]).max(), np.abs(point[0] - point[2]).max())
        if size < (2e-3 if goal == BOUND else 8e-3) or value[worst] - value[best] < 1e-8 * abs(value[best]):
            break
        centre[:] = 0.5 * (point[best] + point[other])
        trial[:] = 2.0 * centre - point[worst]
        phase = REFLECT
    return value[best], math.exp(point[best, 0]), side * (1.0 + math.exp(point[best, 1]))


@formula
def cut_at(hops, split):
    """The image's groups: single domains (split = 0), two groups of which the second begins at domain `split`
    > 0, or the first −`split` domains in one group and all others by themselves; −1: single domains, with
    tapered charges (of a parameter −α)."""
    if split == 0:
        return np.arange(hops + 1)
    if split > 0:
        return np.array([0, split, hops])
    cut = np.arange(-split - 1, hops + 1)
    cut[0] = 0
    return cut


@formula
def best_of_form(goal, form, path, target, guess, parameter, split, work):
    """(value, θ, parameter, split) least of one form, from a starting θ.

    A parameter > 0 (block length, or image ratio with its `split`) is kept, or for the image searched
    nearby; otherwise it is searched from scratch.
    """
    hops = path[2].size
    if form == IMAGE and hops > 1:
        fresh = -1.0 <= parameter <= 1.0
        best, theta, alpha = math.inf, guess, 2.0 if fresh else parameter
        bar, first, equal = math.inf, theta, alpha  # the best with equal charges: where other searches begin
        chosen = split
        promising = 0.1 if goal == BOUND else 0.004
        # worth trying: groups as given, then tapered charges, then two groups, then the first two in one
        last = hops - 1 if fresh and hops > 2 else 0
        more = 0 if last == 0 else (1 if hops == 3 else 2)
        for k in range(last + more + 1):
            s = split if k == 0 else (-1 if k == 1 else (k - 1 if k <= last + 1 else -2))
            at, start = theta, alpha
            if k > 0 and bar < math.inf:  # worth a search only where they nearly win unsearched
                cut, value = cut_at(hops, s), math.inf
                for attempt in range(2):  # merged groups often want a ratio near 1 and a smaller θ
                    tilt, ratio = (first, equal) if attempt == 0 else (0.97 * first, 1.02)
                    if s == -1:  # tapered charges begin higher
                        tilt = (1.005 + 0.01 * attempt) * first
                        ratio = -1.0 - (0.5 * hops + attempt) * (equal - 1.0)
                    trial = _objective(goal, IMAGE, path, target, tilt, ratio, cut, work)
                    if trial < value:
                        value, at, start = trial, tilt, ratio
                if value > bar + promising * (1.0 if goal == BOUND else bar):
                    continue
            spread = 0.1 if not fresh else (0.5 if k == 0 else 0.2)
            value, at, ratio = _over_image(goal, path, target, at, start, cut_at(hops, s), work, spread)
            if s != -1 and value < bar:
                bar, first, equal = value, at, ratio
            if value < best:
                best, theta, alpha, chosen = value, at, ratio, s
        return best, theta, alpha, chosen
    if (form in (BLOCK, BLOCK_VILLE)) and hops > 1:
        given = parameter >= 1.0
        sizes = block_sizes(path[5], hops)
        if sizes.size == 0 and not given:  # not a slot is left
            return math.inf, guess, 1.0, 0
        best, theta, chosen = math.inf, guess, parameter if given else 0.0
        whole = cut_at(hops, 0)
        size, sweeps = chosen if given else float(sizes[0]), 0
        for k in range(1, 40):  # θ at one length, then the best length at that θ, until neither moves
            value, at = _over_theta(
                goal, form, path, target, theta if sweeps > 0 else guess, size, whole, work
            )
            improved = value < best
            if improved:
                best, theta, chosen = value, at, size
            if given or sweeps == 6:
                break
            # A bound of no use is least where θ vanishes, from where no other length looks better: try some.
            if best == math.inf or (goal == BOUND and best >= 0.0 and k < 8 and sweeps == 0):
                if k >= sizes.size:
                    break
                size = float(sizes[k])
                continue
            if not improved and sweeps > 0:
                break
            sweeps += 1
            # The least log-bound at the reservations found tells lengths apart even where stability binds.
            reserved = target[0] if goal == BOUND else np.minimum(best * (1.0 + 1e-9) * target[0], target[1])
            least, better = math.inf, chosen
            for i in range(sizes.size):
                value = _objective(
                    BOUND, form, path, (reserved, reserved), theta, float(sizes[i]), whole, work
                )
                if value < least:
                    least, better = value, float(sizes[i])
            if better == chosen:
                break
            size = better
        return best, theta, max(chosen, 1.0), 0
    plain = VILLE if form in (IMAGE, BLOCK_VILLE) else form
    value, theta = _over_theta(goal, plain, path, target, guess, 1.0, cut_at(hops, 0), work)
    return value, theta, 1.0, 0


@formula
def tried(form, mask, hops):
    """Whether a form is worth trying: allowed, and not known to be no better than another allowed one.

    Monotone is never below ville at the same θ (log(e^Δ − 1) < Δ); of one domain image, ville and
    block-ville are one.
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


@formula
def best_bound(mask, path, rate):
    """(log-bound, form, θ, parameter, split): the least over all forms of the mask at the given
    reservations, (L,).

    (+inf, −1, nan, 0, 0) where none proves anything.
    """
    hops = rate.size
    work = workspace(hops)
    target = (rate, rate)
    best, chosen, theta, parameter, split = math.inf, -1, math.nan, 0.0, 0
    guess = 1.0
    for form in (VILLE, IMAGE, BLOCK_VILLE, FINE, MONOTONE, BLOCK):
        if not tried(form, mask, hops):
            continue
        value, at, found, where = best_of_form(BOUND, form, path, target, guess, 0.0, 0, work)
        if value < best:
            best, chosen, theta, parameter, split = value, form, at, found, where
            if value < 0.0:  # a bound of no use is least where θ vanishes: not a place to start from
                guess = at
    return best, chosen, theta, parameter, split
