"""An envelope given as a table over θ."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["Table", "interpolate", "tabulate"]


def interpolate(grid: np.ndarray, values: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Piecewise linear values at θ of a quantity that is 0 at θ = 0; shapes (G,), (G,), any.

    Between 0 and the first positive point: proportional to θ. Above the last point +inf; below the most
    negative one its value; 0 for θ < 0 where the grid has no negative point.
    """
    positive = grid > 0.0
    nodes = np.concatenate([grid[~positive], [0.0], grid[positive]])
    heights = np.concatenate([values[~positive], [0.0], values[positive]])
    flat = theta.ravel()
    right = np.clip(np.searchsorted(nodes, flat, side="left"), 1, nodes.size - 1)
    span = nodes[right] - nodes[right - 1]
    with np.errstate(invalid="ignore"):
        step = (flat - nodes[right - 1]) / span * (heights[right] - heights[right - 1])
        inside = np.where(np.isfinite(heights[right]), heights[right - 1] + step, np.inf)
    result = np.where(flat > nodes[-1], np.inf, np.where(flat <= nodes[0], heights[0], inside))
    return result.reshape(theta.shape)


@dataclass(frozen=True, eq=False)
class Table(Law):
    """θρ and θσ (or θκ and θη) known on a grid, linear in between.

    Why that is sound: for an interval of n slots log E e^{θA} is convex in θ and 0 at θ = 0. A chord between
    two points lies above a convex function, and the table's values at its ends lie above the function's.
    Below the first positive point the chord starts at (0, 0), so both columns shrink in proportion to θ
    (Jensen's inequality says the same); above the last point nothing is known: +inf. Negative θ, which only
    i.i.d. work may use, are joined to (0, 0) in the same way; work is non-negative, so below the most
    negative point the log-moment is at most its value there.

    Attributes:
        grid: θ in 1/work, ascending, none of them 0, at least one positive; shape (G,).
        log_rates: θρ (θκ) in nats per slot, shape (G,); for θ < 0 the log-moment of a slot.
        log_bursts: θσ (θη) in nats, shape (G,).
        log_bias: correction for requests in nats, shape (G,), or None where none is known.
        monotone: declared, see `Impairment`.
        independent_increments: declared: disjoint slots are independent and equally distributed.
        iid: the same where not stated.
        max_size: the largest work of one request, nan where it is not known.
    """

    grid: np.ndarray
    log_rates: np.ndarray
    log_bursts: np.ndarray
    log_bias: np.ndarray | None = None
    monotone: bool = True
    independent_increments: bool = False
    iid: bool | None = None  # type: ignore[assignment]
    max_size: float = math.nan

    def __post_init__(self) -> None:
        for name in ("grid", "log_rates", "log_bursts", "log_bias"):
            values = getattr(self, name)
            if values is not None:
                array = np.array(values, float)
                array.setflags(write=False)
                object.__setattr__(self, name, array)
                if array.shape != (np.size(self.grid),) or np.isnan(array).any():
                    raise ValueError(f"{name} must hold one number for each point of the grid")
        if self.iid is None:
            object.__setattr__(self, "iid", self.independent_increments)
        ascending = bool(self.grid.size and np.all(np.diff(self.grid) > 0) and np.all(self.grid != 0))
        if not (ascending and self.grid[-1] > 0):
            raise ValueError("the grid must be ascending, without 0, and end with a positive θ")

    def beyond(self, peak: float) -> Table:
        """The table with one point more, far beyond its last θ_m, for work of at most `peak` a slot.

        A ≤ peak·n gives log E e^{θA} ≤ log E e^{θ_m A} + (θ − θ_m)·peak·n, which is linear in θ; a request,
        of at most `max_size`, in the same way.
        """
        step = (_FAR - 1.0) * self.theta_max
        bias = None
        if self.log_bias is not None:
            finite = math.isfinite(self.max_size)
            bias = np.append(self.log_bias, self.log_bias[-1] + step * self.max_size if finite else np.inf)
        return replace(
            self,
            grid=np.append(self.grid, _FAR * self.theta_max),
            log_rates=np.append(self.log_rates, self.log_rates[-1] + step * peak),
            log_bursts=np.append(self.log_bursts, self.log_bursts[-1]),
            log_bias=bias,
        )

    @property
    def theta_max(self) -> float:
        """The last point of the grid, included."""
        return float(self.grid[-1])

    @property
    def mean(self) -> float:
        """An upper bound on the mean work per slot: the least rate, because θ·mean ≤ θρ(θ) (Jensen)."""
        positive = self.grid > 0.0
        return float(np.min(self.log_rates[positive] / self.grid[positive]))

    def log_rate(self, theta: Values) -> Values:
        """Linear between grid points; for θ < 0 the log-moment where the work is i.i.d., else 0."""
        theta = np.asarray(theta, float)
        values = interpolate(self.grid, self.log_rates, theta)
        return (values if self.iid else np.where(theta < 0.0, 0.0, values))[()]

    def log_burst(self, theta: Values) -> Values:
        """Linear between grid points, for θ > 0."""
        return interpolate(self.grid, self.log_bursts, np.asarray(theta, float))[()]

    def request_log_bias(self, theta: Values) -> Values:
        """Linear between grid points; +inf where the table says nothing about requests."""
        theta = np.asarray(theta, float)
        if self.log_bias is None:
            return np.full(theta.shape, np.inf)[()]
        return interpolate(self.grid, self.log_bias, theta)[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Raises TypeError: a table bounds work, it is not a law that could be sampled."""
        raise TypeError(
            "a table of bounds is not a law of the work, so it cannot be sampled; state a model instead"
        )


_FAR = 1e4  # where a table of bounded work ends, in multiples of its last point
POINTS = 800
DECADES = (-6.0, 3.0)
"""Range of θ·scale that is covered, scale = the model's 1/θ_max or its mean work."""


def tabulate(model: Law) -> Table:
    """`model` on a geometric grid, finer towards the end of its domain; ValueError if that is empty.

    Laws that are equal by their values are tabulated once in a process.
    """
    if isinstance(model, Table):
        return model
    by_value = type(model).__hash__ not in (None, object.__hash__)
    return _remembered(model) if by_value else _tabulated(model)


@lru_cache(maxsize=256)
def _remembered(model: Law) -> Table:
    return _tabulated(model)


def _tabulated(model: Law) -> Table:
    grid = _grid(model)
    rates, bursts = np.asarray(model.log_rate(grid), float), np.asarray(model.log_burst(grid), float)
    usable = np.isfinite(rates) & np.isfinite(bursts)
    known = int(np.argmin(usable)) if not usable.all() else usable.size  # the domain is an interval from 0
    if known == 0:
        raise ValueError("the envelope is infinite for every θ tried")
    grid, rates, bursts = grid[:known], rates[:known], bursts[:known]
    bias = np.asarray(_bias(model, grid), float)
    below = -grid[::-1] if model.iid else grid[:0]
    nothing = np.zeros(below.size)
    return Table(
        np.concatenate([below, grid]),
        np.concatenate([np.asarray(model.log_moment(below), float) if below.size else nothing, rates]),
        np.concatenate([nothing, bursts]),
        None if np.isinf(bias).all() else np.concatenate([nothing, bias]),
        monotone=bool(model.monotone),
        independent_increments=bool(model.independent_increments),
        iid=bool(model.iid),
    )


def _bias(model: Any, grid: np.ndarray) -> np.ndarray:
    return model.request_log_bias(grid) if hasattr(model, "request_log_bias") else np.full(grid.shape, np.inf)


def _grid(model: Law) -> np.ndarray:
    nodes = getattr(model, "nodes", None)
    if nodes is not None:
        return np.asarray(nodes, float)
    limit = float(model.theta_max)
    if np.isfinite(limit):
        rising = limit * np.geomspace(1e-7, 0.5, POINTS // 2, endpoint=False)
        return np.concatenate([rising, limit * (1.0 - np.geomspace(0.5, 1e-9, POINTS // 2))])
    mean = float(model.mean)
    scale = 1.0 / mean if np.isfinite(mean) and mean > 0.0 else 1.0
    return scale * np.logspace(*DECADES, POINTS)
