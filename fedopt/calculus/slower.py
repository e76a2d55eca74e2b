"""The least bound over slower servers: delay only falls when a server gets faster, so R' ≤ R proves it for R.

At fixed θ a form may be larger at larger rates: a rate-latency T costs θRT, block and image pay where rates
differ. Each rate in turn is lowered to where the form is least, by golden section; any point is a proof.
"""

from __future__ import annotations

import math

from fedopt.calculus.forms import at_theta
from fedopt.kernels import formula

__all__ = ["STARTS", "least_at_slower", "starting_point"]

STARTS = 5

_GOLDEN = 0.6180339887498949
_SWEEPS, _STEPS, _PROBE = 3, 14, 1e-4


@formula
def starting_point(start, rate, lag, out) -> None:
    """Lowered rates (L,) number `start` < STARTS, from where a search may reach what it misses at `rate`.

    The rates themselves; all lowered to the smallest; each to the smallest of those behind it, where
    overshoot credit applies. Where there are guardrails, which cost θRT however fast they are, two more: no
    rate far above the smallest. Equal to `rate` where there is nothing to try.
    """
    hops = rate.size
    least = rate.min()
    out[:] = rate
    if start == 1:
        out[:] = least
    elif start >= 3 and lag.max() > 0.0:
        for i in range(hops):
            out[i] = min(rate[i], (1.4 if start == 3 else 2.2) * least)
    if start == 2 or start == 3:
        for i in range(hops - 2, -1, -1):
            out[i] = min(out[i], out[i + 1])


@formula
def least_at_slower(
    form, models, arrival, impair, exponent, lag, window, biased, rate, start, theta, parameter, cut, scratch,
    slow,
) -> float:  # fmt: skip
    """The least value met of a form at rates ≤ `rate`; those rates into `slow`, shape (L,), work/slot.

    start: rates ≤ `rate` from which each in turn is lowered or raised. Other arguments as in
    `forms.at_theta`.
    """
    hops = rate.size
    slow[:] = start
    best = math.inf
    # One loop around one evaluation (every call is compiled into its caller): the start (i = −1), then sweeps
    # in which each rate in turn is probed below and above, and searched where that is better.
    for sweep in range(_SWEEPS):
        before = best
        for i in range(-1 if sweep == 0 else 0, hops):
            low, high, kept = 0.0, 1.0, 1.0 if i < 0 else slow[i]
            left = right = value = math.inf
            at_left = at_right = math.inf
            phase = 0  # probe below, probe above, then golden section
            for _ in range(1 if i < 0 else _STEPS):
                if i < 0:
                    pass
                elif phase == 0:
                    slow[i] = kept * (1.0 - _PROBE)
                elif phase == 1:
                    if not kept < rate[i]:
                        break
                    slow[i] = min(kept * (1.0 + _PROBE), rate[i])
                elif phase == 2:
                    slow[i] = left
                elif phase == 3:
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
                    best = value
                    break
                better = value < best
                if better:
                    best, kept = value, slow[i]
                if phase >= 2:
                    if slow[i] == left:
                        at_left = value
                    else:
                        at_right = value
                    phase = min(phase + 1, 4)
                elif better or best == math.inf:
                    low, high = (0.0, kept) if phase == 0 else (kept, rate[i])
                    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
                    phase = 2
                elif phase == 1:
                    break
                else:
                    phase = 1
            if i >= 0:
                slow[i] = kept
        if sweep > 0 and not best < before - 1e-10 * abs(before):
            break
    return best
