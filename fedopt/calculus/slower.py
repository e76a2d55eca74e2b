"""The least bound over slower servers: delay only falls when a server gets faster, so R' ≤ R proves it for R.

At fixed θ a form may be larger at larger rates: a rate-latency T costs θRT, block and image pay where rates
differ. Each rate in turn is lowered to where the form is least, by golden section; any point is a proof.
"""

from __future__ import annotations

import math

from numba import njit

from fedopt.calculus.forms import at_theta

__all__ = ["least_at_slower"]

_GOLDEN = 0.6180339887498949
_SWEEPS, _STEPS = 3, 24


@njit(cache=True, error_model="numpy")
def least_at_slower(
    form, models, arrival, impair, exponent, lag, window, biased, rate, theta, parameter, cut, scratch, slow
) -> float:
    """The least value met of a form at rates ≤ `rate`; those rates into `slow`, shape (L,), work/slot.

    Other arguments as in `forms.at_theta`.
    """
    hops = rate.size
    slow[:] = rate
    best = math.inf
    for sweep in range(_SWEEPS):
        before = best
        for i in range(-1, hops):
            # i = −1: the point itself, and in the first sweep all rates lowered to the smallest
            low, high, kept = (0.0, 1.0, 1.0) if i < 0 else (0.0, slow[i], slow[i])
            left = right = value = math.inf
            at_left = at_right = math.inf
            for step in range(_STEPS):
                if i < 0:
                    if step == 2 or (step == 1 and sweep > 0):
                        break
                    if step == 1:
                        slow[:] = rate.min()
                elif step == 0:
                    slow[i] = kept * (1.0 - 1e-4)
                elif step == 1:
                    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
                    slow[i] = left
                elif step == 2:
                    slow[i] = right
                elif at_left <= at_right:
                    high, right, at_right = right, left, at_left
                    left = high - _GOLDEN * (high - low)
                    slow[i] = left
                else:
                    low, left, at_left = left, right, at_right
                    right = low + _GOLDEN * (high - low)
                    slow[i] = right
                value = at_theta(
                    form, models, arrival, impair, exponent, lag, window, biased, slow, theta, parameter, cut,
                    scratch,
                )  # fmt: skip
                if i < 0:
                    if value < best:
                        best = value
                    elif step == 1:
                        slow[:] = rate
                    continue
                if step == 0 and not value < best:
                    break
                if value < best:
                    best, kept = value, slow[i]
                if step > 0:
                    if slow[i] == left:
                        at_left = value
                    else:
                        at_right = value
            if i >= 0:
                slow[i] = kept
        if not best < before - 1e-10 * abs(before):
            break
    return best
