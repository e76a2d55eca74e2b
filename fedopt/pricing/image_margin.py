"""The least margin of a path over its floors under the plain image form: Newton's method, for pruning.

Two functions of (x, y) = (log θ, log(α − 1)) bound the margin m from below: m_B, at which the log-bound meets
log ε, and m_E, at which work does not grow.  The least margin is the least of max(m_B, m_E).  Both are
followed by quadratic models whose curvatures a neighbour's solution brings along; a step solves the two
models' minimax problem.  Two hops end where m_B = m_E, longer paths mostly at the minimum of m_B.

What is returned is good to about 1e-5 of a rate (tests/pricing/test_image_margin.py holds it against a search
without derivatives) and proves nothing: whatever survives is sized at the (θ, α) found, exactly.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.calculus.image_slopes import image_slopes, slopes_workspace
from fedopt.kernels import formula

__all__ = ["ACCURACY", "image_margin", "margin_workspace", "neighbour"]

ACCURACY = 3e-5
"""A margin that exceeds a limit by this share of the rate is taken to exceed it."""

_FLATTEST, _STEEPEST = -9.0, 5.0  # of y: nothing changes beyond
_DIFFERENCE = 1e-3  # for the curvatures
_FRESH = 10  # a neighbour's entries before its γ


def neighbour(hops: int, margin: float, theta: float, alpha: float) -> np.ndarray:
    """A first solution to start from: (m, x, y), the curvatures xx, yy, xy of B and of E, whether these are
    known, and the γ (0: unknown)."""
    start = np.zeros(_FRESH + max(hops - 1, 0))
    start[:3] = margin, math.log(theta), math.log(max(alpha - 1.0, 1e-4))
    return start


@formula
def margin_workspace(hops: int) -> tuple:
    """What `image_margin` writes to, for paths of up to so many domains."""
    return slopes_workspace(hops), np.empty(hops), np.empty(8), np.empty(8)


@formula
def _curvatures(path, margin, last, gamma, here, there, slopes, saved) -> bool:
    """xx, yy, xy of B and of E into last, by differences of slopes; False where they are not defined."""
    x, y = last[1], last[2]
    saved[: gamma.size] = gamma
    if not image_slopes(path, x + _DIFFERENCE, y, margin, gamma, there, slopes):
        return False
    for k in range(2):
        last[3 + 3 * k] = (there[4 * k + 1] - here[4 * k + 1]) / _DIFFERENCE
        last[5 + 3 * k] = 0.5 * (there[4 * k + 2] - here[4 * k + 2]) / _DIFFERENCE
    gamma[:] = saved[: gamma.size]
    if not image_slopes(path, x, y + _DIFFERENCE, margin, gamma, there, slopes):
        return False
    gamma[:] = saved[: gamma.size]
    for k in range(2):
        last[4 + 3 * k] = (there[4 * k + 2] - here[4 * k + 2]) / _DIFFERENCE
        last[5 + 3 * k] += 0.5 * (there[4 * k + 1] - here[4 * k + 1]) / _DIFFERENCE
    return True


@formula
def _downhill(slope_x, slope_y, xx, yy, xy):
    """A step of Newton's method, or a plain one where the curvature is of the wrong sign: y apart from x,
    whose curvatures differ by orders of magnitude."""
    if not xx > 0.0:
        return -math.copysign(0.1, slope_x), -math.copysign(0.5, slope_y)
    remaining = yy - xy * xy / xx
    slope = slope_y - xy * slope_x / xx
    if remaining > 0.0 and remaining > 1e-3 * abs(yy):
        move = -slope / remaining
    else:
        move = -math.copysign(0.7, slope)
    move = min(max(move, -1.0), 1.0)
    return -(slope_x + xy * move) / xx, move


@formula
def _minimax(here, last, unit):
    """(dx, dy, change of the margin, gain over staying) of the two models' minimax problem."""
    sign_b, sign_e = -1.0 / here[3], -1.0 / here[7]
    b, b_x, b_y = sign_b * here[0], sign_b * here[1], sign_b * here[2]
    e, e_x, e_y = sign_e * here[4], sign_e * here[5], sign_e * here[6]
    b_xx, b_yy, b_xy = sign_b * last[3], sign_b * last[4], sign_b * last[5]
    e_xx, e_yy, e_xy = sign_e * last[6], sign_e * last[7], sign_e * last[8]
    low, high, weight = 0.0, 1.0, 1.0
    dx = dy = to_b = to_e = 0.0
    for k in range(30):
        other = 1.0 - weight
        dx, dy = _downhill(
            weight * b_x + other * e_x,
            weight * b_y + other * e_y,
            weight * b_xx + other * e_xx,
            weight * b_yy + other * e_yy,
            weight * b_xy + other * e_xy,
        )
        dy = min(max(dy, _FLATTEST - last[2]), _STEEPEST - last[2])
        shrink = min(1.0, 0.3 / max(abs(dx), 1e-12))
        dx, dy = shrink * dx, shrink * dy
        to_b = b + b_x * dx + b_y * dy + 0.5 * (b_xx * dx * dx + b_yy * dy * dy) + b_xy * dx * dy
        to_e = e + e_x * dx + e_y * dy + 0.5 * (e_xx * dx * dx + e_yy * dy * dy) + e_xy * dx * dy
        if (k == 0 and to_e <= to_b) or abs(to_e - to_b) <= 1e-8 * unit:
            break
        if k > 0 and to_e > to_b:
            high = weight
        elif k > 0:
            low = weight
        weight = 0.5 * (low + high)
    move = max(to_b, to_e)
    return dx, dy, move, max(b, e) - move


@formula
def _newton(path, last, unit, work, precision) -> float:
    """`image_margin` from one start."""
    slopes, saved, here, there = work
    walls = (path[2][0].size - 3) // 2
    gamma = last[_FRESH : _FRESH + walls]
    margin, first_x, first_y = last[0], last[1], last[2]
    age, failures, large, before = 0, 0, False, 0.0
    met, met_x, met_y, met_margin = False, 0.0, 0.0, 0.0
    for k in range(40):
        good = image_slopes(path, last[1], last[2], margin, gamma, here, slopes)
        if not good or not here[3] < 0.0:
            failures += 1
            if failures > 25:
                break
            gamma[:] = 0.0
            last[9] = 0.0
            if met and failures % 4 != 0:  # back towards the last point that had a value
                last[1], last[2] = 0.5 * (last[1] + met_x), 0.5 * (last[2] + met_y)
                margin = 0.5 * (margin + met_margin)
            else:
                margin += (0.02 if failures < 8 else 0.04) * (unit + margin)
                if failures % 5 == 0:
                    last[1] -= 0.05
            continue
        met, met_x, met_y, met_margin = True, last[1], last[2], margin
        slow = k > 0 and age > 0 and abs(here[1]) > 0.3 * abs(before)
        before = here[1]
        if last[9] == 0.0 or large or slow or age >= 4:
            if not _curvatures(path, margin, last, gamma, here, there, slopes, saved):
                failures += 1
                if failures > 25:
                    break
                gamma[:] = 0.0
                last[1] -= 0.02
                continue
            last[9], age = 1.0, 0
        age += 1
        rate = unit + max(margin, 0.0)
        dx, dy, move, gain = _minimax(here, last, rate)
        large = abs(dx) > 0.02 or abs(dy) > 0.25 or abs(move) > 0.01 * rate
        far = abs(move) > 0.15 * rate
        if far:
            move = math.copysign(0.15 * rate, move)
        margin += move
        last[1] += dx
        last[2] += dy
        if (
            not far
            and abs(move) <= precision * rate
            and abs(gain) <= (1.0 if k > 0 else 0.1) * precision * rate
        ):
            last[0] = margin
            return margin
    last[1], last[2] = first_x, first_y
    last[9] = 0.0
    for i in range(walls):
        gamma[i] = 0.0
    return math.nan


@formula
def image_margin(path, last, unit, work, precision=1e-5) -> float:
    """The least margin, in work/slot; nan where none was found.

    path: as `image_slopes` takes it, L ≥ 2; last: a `neighbour`'s solution for as many hops, replaced by this
    path's where one is found; unit: about the rate of a domain; work: `margin_workspace` of at least L;
    precision: of a rate, at which it ends.
    """
    first_margin, first_x = last[0], last[1]
    for attempt in range(4):  # from the neighbour; then from small margins and ever larger tilts
        if attempt > 0:
            last[0], last[1], last[2] = (0.05, 0.1, 0.2)[attempt - 1] * unit, first_x + 0.3 * attempt, -1.0
        margin = _newton(path, last, unit, work, precision)
        if margin == margin:
            return margin
    last[0], last[1] = first_margin, first_x
    return math.nan
