"""A table of any envelope on a fine θ grid; what interpolation loses is on the safe side."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedopt.laws.protocol import Law
from fedopt.laws.table import Table

__all__ = ["tabulate"]

POINTS = 800
DECADES = (-6.0, 3.0)
"""Range of θ·scale that is covered, scale = the model's 1/θ_max or its mean work."""


def tabulate(model: Law) -> Table:
    """`model` on a geometric grid, finer towards the end of its domain; ValueError if that is empty."""
    if isinstance(model, Table):
        return model
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
