"""The least scale of a path along a profile under the image form alone: a few Newton steps, for pruning.

At the least scale c the log-bound B(θ, α, c) meets log ε and is least in (θ, α), three equations that
Newton's
method solves from a neighbour's solution in some 30 evaluations.  What it returns is good to about 1e-5 and
proves nothing: whatever survives is sized by `calculus.scaling`, which does.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fedopt.calculus.image import image
from fedopt.envelopes.compiled import log_burst, request_log_bias

__all__ = ["ACCURACY", "image_scale"]

ACCURACY = 1e-4
"""A scale above (1 + ACCURACY) times a limit is taken to exceed it."""

_STEP = 1e-3
_FLATTEST, _STEEPEST = -9.0, 5.0  # of y = log(α − 1): nothing changes beyond


@njit(cache=True, error_model="numpy")
def _bound(path, shape, x, y, scale, work):
    """Log-bound minus log ε at θ = e^x, α = 1 + e^y and rates scale·shape."""
    models, arrival, impair, lag, window, biased, log_epsilon = path
    rate, charge, gamma, log_wall, cut = work
    hops = impair.size
    theta = math.exp(x)
    burst = log_burst(models, arrival, theta) - log_epsilon
    if biased:
        burst += request_log_bias(models, arrival, theta)
    for i in range(hops):
        rate[i] = scale * shape[i]
        burst += log_burst(models, impair[i], theta) + theta * rate[i] * lag[i]
        if i < hops - 1:
            charge[i] = theta * (1.0 + math.exp(y))
    if not burst < math.inf:
        return math.inf
    return burst + image(
        models,
        arrival,
        impair,
        cut[: hops + 1],
        charge[: hops - 1],
        rate[:hops],
        theta,
        window,
        1,
        gamma[: hops - 1],
        log_wall[: hops - 1],
        False,
    )


@njit(cache=True, error_model="numpy")
def _newton(path, shape, start, work):
    """`image_scale` from one start (c, x, y)."""
    scale, x, y = start[0], start[1], min(max(start[2], _FLATTEST), _STEEPEST)
    value, bend = np.empty(8), np.zeros(3)
    dearer, since = 0, 0
    for _ in range(40):
        # One call for all points: the centre, a scale a little higher, x and y a little higher, and, where
        # the second derivatives are to be had, the rest of a stencil.
        anew = bend[0] <= 0.0 or since >= 4
        failed = False
        for k in range(8 if anew else 4):
            dx = _STEP if k in (2, 6) else (-_STEP if k in (4, 7) else 0.0)
            dy = _STEP if k in (3, 6) else (-_STEP if k in (5, 7) else 0.0)
            ds = 1e-4 * scale if k == 1 else 0.0
            value[k] = _bound(path, shape, x + dx, y + dy, scale + ds, work)
            if not value[k] < math.inf:
                failed = True
                break
        if failed:  # not enough for any proof at this (θ, α): reserve more
            dearer += 1
            if dearer > 25:
                return math.nan, x, y
            scale *= 1.01 if dearer < 8 else 1.03
            if dearer % 5 == 0:
                x -= 0.05
            continue
        centre = value[0]
        fall = (value[1] - centre) / (1e-4 * scale)
        if not fall < 0.0:
            return math.nan, x, y
        if anew:
            since = 0
            bend[0] = (value[2] - 2.0 * centre + value[4]) / _STEP**2
            bend[1] = (value[3] - 2.0 * centre + value[5]) / _STEP**2
            bend[2] = (value[6] + value[7] + 2.0 * centre - value[2] - value[3] - value[4] - value[5]) / (
                2.0 * _STEP**2
            )
            slope_x = (value[2] - value[4]) / (2.0 * _STEP)
            slope_y = (value[3] - value[5]) / (2.0 * _STEP)
        else:
            slope_x = (value[2] - centre) / _STEP - 0.5 * _STEP * bend[0]
            slope_y = (value[3] - centre) / _STEP - 0.5 * _STEP * bend[1]
        since += 1
        determinant = bend[0] * bend[1] - bend[2] * bend[2]
        if bend[0] > 0.0 and determinant > 1e-9 * bend[0] * abs(bend[1]):
            move_x = -(bend[1] * slope_x - bend[2] * slope_y) / determinant
            move_y = -(bend[0] * slope_y - bend[2] * slope_x) / determinant
        else:
            move_x = -slope_x / bend[0] if bend[0] > 0.0 else -0.1 * math.copysign(1.0, slope_x)
            move_y = -0.3 * math.copysign(1.0, slope_y)
        if (y <= _FLATTEST and move_y < 0.0) or (y >= _STEEPEST and move_y > 0.0):  # flat beyond: θ alone
            move_y = 0.0
            move_x = -slope_x / bend[0] if bend[0] > 0.0 else -0.1 * math.copysign(1.0, slope_x)
        shrink = min(1.0, 0.25 / max(abs(move_x), 1e-12), 0.7 / max(abs(move_y), 1e-12))
        move_x, move_y = shrink * move_x, shrink * move_y
        gain = 0.5 * (slope_x * move_x + slope_y * move_y)
        move = -(centre + gain) / fall
        move = min(max(move, -0.1 * scale), 0.3 * scale)
        scale, x = scale + move, x + move_x
        y = min(max(y + move_y, _FLATTEST), _STEEPEST)
        if abs(move) <= 1e-5 * scale and abs(gain) <= 1e-5 * scale * -fall:
            return scale, x, y
    return math.nan, x, y


@njit(cache=True, error_model="numpy")
def image_scale(path, shape, last, work):
    """The least scale; nan where none was found.

    path: (models, arrival, impair (L,), lag (L,), window, biased, log_epsilon), L ≥ 2; shape: (L,) > 0;
    last: a
    neighbour's (c, x, y) with θ = e^x and α = 1 + e^y, replaced by this path's; work: rate, charge, gamma,
    log_wall of at least L, cut = 0, 1, 2, ….
    """
    start, scale = np.empty(3), math.nan
    for attempt in range(3):  # from the neighbour; then from milder walls, then from higher up
        start[:] = last
        if attempt > 0:
            start[0] = max(last[0], 1.0) * (1.02 if attempt == 1 else 1.3)
            start[1], start[2] = last[1] - 0.05, -2.0 * attempt
        scale, x, y = _newton(path, shape, start, work)
        if scale == scale:
            last[0], last[1], last[2] = scale, x, y
            break
    return scale
