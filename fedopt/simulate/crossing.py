"""Where a decreasing function that is dear to evaluate crosses a level."""

from __future__ import annotations

import math
from collections.abc import Callable

_STEPS = 200  # far more than the bisections alone need
_APART = 3e-3
"""Relative distance between points whose chord counts as a slope: nearer ones may lie across a small step."""


def crossing(
    measure: Callable[[float], float],
    level: float,
    low: float,
    high: float,
    *,
    accuracy: float = 2e-3,
    narrow: float = 5e-5,
) -> tuple[float, float]:
    """(x, slope) where a decreasing measure on [low, high] meets a level, by chords kept in a bracket.

    measure: the logarithm of a probability, nearly linear in x but for small steps (work of one size makes
    them), above the level at ``low`` (not evaluated). Ends where it is within ``accuracy`` of the level, or
    at the upper end of a bracket that is ``narrow`` (relative). Returns (high, nan) where measure(high) is
    not below the level: nothing in the interval is.
    """
    value = measure(high)
    if not value <= level:
        return high, math.nan
    points = [(high, value)]
    at = 0.97 * high + 0.03 * low
    for step in range(_STEPS):
        value = measure(at)
        points.append((at, value))
        slope = _slope(points)
        if value > level:
            low = at
        else:
            high = at
        if abs(value - level) <= accuracy:
            return at, slope
        if high - low <= narrow * high:
            return high, slope
        at += (level - value) / slope
        if not low < at < high or step % 8 == 7:
            at = 0.5 * (low + high)
    return high, slope


def _slope(points: list[tuple[float, float]]) -> float:
    """Of the chord from the last point to the nearest one that is not too near (else to the farthest)."""
    at, value = points[-1]
    others = sorted(points[:-1], key=lambda point: abs(point[0] - at))
    far = next((point for point in others if abs(point[0] - at) >= _APART * at), others[-1])
    return min((far[1] - value) / (far[0] - at), -1e-9)
