"""The best θ of the guarantees in which it is a free parameter: a grid that covers it, a search between."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from fedopt.calculus.path import Path
from fedopt.calculus.theta_pieces import pieces
from fedopt.laws import Table, pack

__all__ = ["least_over_theta", "theta_grid"]

Floats = npt.NDArray[np.float64]


def theta_grid(path: Path, count: int = 40) -> Floats:
    """Geometric grid of `count` values of θ (1/work, ascending) around the one that decides a path's bounds.

    With θ_0 such that the load θ(ρ + max κ) equals log(1/ε) per slot of the deadline, the grid runs from
    θ_0/8 to 200 L θ_0, cut off just below the largest θ at which all envelopes are finite. Empty where there
    is none. Points at which a tabulated envelope is not convex are among the grid's.
    """

    path = path.fluid

    def load(theta: float) -> float:
        with np.errstate(all="ignore"):
            kappa = max(
                float(i.kappa(p * theta)) for i, p in zip(path.impairments, path.exponents, strict=True)
            )
            value = theta * (float(path.arrival.rho(theta)) + kappa)
        return value if math.isfinite(value) else math.inf

    target = -path.log_epsilon / max(path.window, 1.0)
    centre = _crossing(load, max(target, 1e-12))
    top = _crossing(load, 1e12)
    if not math.isfinite(load(centre)):
        return np.empty(0)
    high = min(200.0 * len(path) * centre, top * (1 - 1e-6))
    kinks = _kinks(path)
    kinks = kinks[kinks <= top * (1.0 + 1e-8)]  # `top` is found by bisection
    if len(kinks) > count // 2:
        kinks = kinks[np.linspace(0, len(kinks) - 1, count // 2).astype(int)]
    even = np.geomspace(min(centre / 8.0, high / 8.0), high, count - len(kinks))
    return np.sort(np.concatenate([even, kinks]))


def _kinks(path: Path) -> Floats:
    """θ at which a tabulated envelope of the path is not convex, and the shortest table's last point."""
    if not any(isinstance(law, Table) for law in (path.arrival, *path.impairments)):
        return np.empty(0)
    models = pack([path.arrival, *path.impairments])
    ends = pieces(models, 0, np.arange(1, len(path) + 1), np.array(path.exponents))
    return ends[1:]


def least_over_theta(
    values: Callable[[Floats], Floats], grid: npt.ArrayLike, refine: bool = True
) -> tuple[float, float]:
    """(least value, θ) of a vectorised function over a grid, then between the points around its best one.

    (+inf, nan) where the function is infinite on the whole grid.
    """
    points = np.sort(np.atleast_1d(np.asarray(grid, dtype=float)))
    found = values(points) if points.size else np.empty(0)
    if not np.any(np.isfinite(found)):
        return math.inf, math.nan
    at = int(np.argmin(np.where(np.isnan(found), np.inf, found)))
    best = (float(found[at]), float(points[at]))
    if not refine or points.size == 1:
        return best
    ends = (math.log(points[max(at - 1, 0)]), math.log(points[min(at + 1, points.size - 1)]))

    def value(log_theta: float) -> float:
        here = float(values(np.array([math.exp(log_theta)]))[0])
        return here if math.isfinite(here) else 1e300

    search = minimize_scalar(value, bounds=ends, method="bounded", options={"xatol": 1e-9})
    return min(best, (float(search.fun), math.exp(float(search.x))))


def _crossing(load: Callable[[float], float], target: float) -> float:
    """The θ in [1e-12, 1e12] up to which an increasing load stays at or below the target (bisection in log
    θ).
    """
    low, high = math.log(1e-12), math.log(1e12)
    if load(math.exp(high)) <= target:
        return math.exp(high)
    while high - low > 1e-9:
        middle = 0.5 * (low + high)
        if load(math.exp(middle)) <= target:
            low = middle
        else:
            high = middle
    return math.exp(low)
