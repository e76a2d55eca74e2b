"""Where on the θ axis a path's envelopes are convex, so that a search for one valley finds the least."""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import formula
from fedopt.laws.compiled import TABLE

__all__ = ["pieces"]


@formula
def pieces(models, arrival, impair, exponent) -> np.ndarray:
    """Ends of the intervals of θ on which all tabulated envelopes of a path are convex, ascending: 0, every
    grid point at which a curve's slope falls, and the last point of the shortest table (+inf without one).

    A table bounds a convex function at its points only; its own chords may fall away from convexity there,
    and a search that knows one valley would stop in the first. Parametric models are convex throughout.

    arrival: row; impair, exponent: rows and Hölder exponents, shape (L,).
    """
    ends = np.empty(2 + models.curves.shape[1] * (impair.size + 1))
    ends[0], count, top = 0.0, 1, math.inf
    for hop in range(-1, impair.size):
        row = arrival if hop < 0 else impair[hop]
        scale = 1.0 if hop < 0 else exponent[hop]
        if row < 0 or models.rows[row, 0] != TABLE:
            continue
        start, stop = int(models.rows[row, 7]), int(models.rows[row, 8])
        top = min(top, models.curves[0, stop - 1] / scale)
        for n in range(start, stop - 1):
            theta = models.curves[0, n]
            if not theta > 0.0:
                continue
            broken = False
            for curve in range(1, 4 if hop < 0 else 3):
                here, after = models.curves[curve, n], models.curves[curve, n + 1]
                first = n == start or models.curves[0, n - 1] < 0.0
                left = 0.0 if first else models.curves[0, n - 1]
                before = 0.0 if first else models.curves[curve, n - 1]
                if not (here < math.inf and after < math.inf):
                    continue
                slope = (here - before) / (theta - left)
                fall = slope - (after - here) / (models.curves[0, n + 1] - theta)
                broken = broken or fall > 1e-12 * abs(slope)  # rounding of a straight line is no kink
            if broken:
                ends[count] = theta / scale
                count += 1
    ends[1:count].sort()
    while count > 1 and ends[count - 1] >= top:
        count -= 1
    ends[count] = top
    return ends[: count + 1].copy()
