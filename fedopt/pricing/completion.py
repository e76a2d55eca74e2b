"""The mildest way to complete a path: for each stage and window, the offers that may hold its place in a
bound.

The image form meets a domain only through ℓ(η) = Λ(η) − η(floor + m): at η = −γ against the wall behind it,
at η > 0 against the one before.  A position held by a set of offers takes the least ℓ of the set at every η,
so what the form then proves no choice of them can beat.  The margin m moves all ℓ alike, so which are least
does not depend on it, and few are: offers whose ℓ is nowhere the least on a grid of η are left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fedopt.kernels import formula
from fedopt.laws.compiled import log_rate

__all__ = ["Completions", "completions"]

_RATIOS = np.geomspace(0.002, 16.0, 40)
"""|η| in multiples of the floors' θ."""

_NEGLIGIBLE = 1e-6
"""Of a rate: an offer that is the least by no more than this is left out."""


class Completions(NamedTuple):
    """Sets of offers by window and stage.

    first: int64[G, 2S+1], where the sets of a window start, for each stage that of η < 0 and that of η > 0,
    and where the last ends; row: int64[N]; floor: float64[N]; lag, lagged: float64[G, S+1], the least Σ T and
    Σ floor·T of the stages from each on.
    """

    first: np.ndarray
    row: np.ndarray
    floor: np.ndarray
    lag: np.ndarray
    lagged: np.ndarray


@formula
def completions(models, first, row, lag, floor, theta):
    """The `Completions` of offers numbered stage by stage.

    first: int64[S+1], where each stage starts; row: int64[M]; lag: float64[M]; floor: float64[G, M], +inf
    where an offer is of no use; theta: about where bounds are least.
    """
    grid, stages = floor.shape[0], first.size - 1
    starts = np.zeros((grid, 2 * stages + 1), dtype=np.int64)
    slots, lagged = np.zeros((grid, stages + 1)), np.zeros((grid, stages + 1))
    rows, floors = np.empty(2 * floor.size, dtype=np.int64), np.empty(2 * floor.size)
    moment = np.empty((2, row.size, _RATIOS.size))
    for side in range(2):
        for o in range(row.size):
            for k in range(_RATIOS.size):
                eta = (-1.0 if side == 0 else 1.0) * _RATIOS[k] * theta
                moment[side, o, k] = log_rate(models, row[o], eta)
    needed = np.zeros(row.size, dtype=np.bool_)
    count = 0
    for g in range(grid):
        for s in range(stages):
            for side in range(2):
                starts[g, 2 * s + side] = count
                needed[:] = False
                for k in range(_RATIOS.size):
                    eta = (-1.0 if side == 0 else 1.0) * _RATIOS[k] * theta
                    least, at, kept = math.inf, -1, math.inf
                    for o in range(first[s], first[s + 1]):
                        if floor[g, o] < math.inf:
                            value = moment[side, o, k] - eta * floor[g, o]
                            if needed[o]:
                                kept = min(kept, value)
                            if value < least:
                                least, at = value, o
                    if at >= 0 and kept - least > _NEGLIGIBLE * abs(eta) * floor[g, at]:
                        needed[at] = True
                for o in range(first[s], first[s + 1]):
                    if needed[o]:
                        rows[count], floors[count] = row[o], floor[g, o]
                        count += 1
            slots[g, s] = lagged[g, s] = math.inf
            for o in range(first[s], first[s + 1]):
                if floor[g, o] < math.inf:
                    slots[g, s] = min(slots[g, s], lag[o])
                    lagged[g, s] = min(lagged[g, s], floor[g, o] * lag[o])
        starts[g, 2 * stages] = count
        for s in range(stages - 1, -1, -1):
            slots[g, s] += slots[g, s + 1]
            lagged[g, s] += lagged[g, s + 1]
    return Completions(starts, rows[:count].copy(), floors[:count].copy(), slots, lagged)
