"""Batched decomposition of any models: exact on a grid by dynamic programming, then finer grids around it.

Σ log P is separable and the delays add up, so the best split on a grid is a max-plus convolution: exact for
every function, concave or not, any number of domains, in N K²/2 steps. Two windows around the optimum,
each eight times finer, remove what the grid has lost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedopt.kernels import kernel
from fedopt.learn.decomposition.problem import Decomposition, Problem, project
from fedopt.learn.feedback import Array

_REFINE = 8


@kernel
def allocate(table: Array, budget: int) -> tuple[NDArray[np.int64], Array]:
    """Best k with Σ k_n = budget of Σ table[r, n, k_n], for every request r.

    Returns the chosen cells (R, N) and their value (R,). A budget that cannot be spent gives −inf.
    """
    requests, domains, points = table.shape
    cells = np.zeros((requests, domains), dtype=np.int64)
    best = np.empty(requests)
    width = budget + 1
    value = np.empty((domains, width))
    choice = np.zeros((domains, width), dtype=np.int64)
    for r in range(requests):
        for b in range(width):
            value[0, b] = table[r, 0, b] if b < points else -np.inf
            choice[0, b] = b
        for n in range(1, domains):
            start = budget if n == domains - 1 else 0
            for b in range(start, width):
                top, at = -np.inf, 0
                for k in range(max(0, b - n * (points - 1)), min(b, points - 1) + 1):
                    candidate = value[n - 1, b - k] + table[r, n, k]
                    if candidate > top:
                        top, at = candidate, k
                value[n, b] = top
                choice[n, b] = at
        best[r] = value[domains - 1, budget]
        left = budget
        for n in range(domains - 1, -1, -1):
            cells[r, n] = choice[n, left]
            left -= choice[n, left]
    return cells, best


def on_grid(problem: Problem, points: int = 64, windows: int = 2, bound: bool = False) -> Decomposition:
    """Decompose every request on a grid of `points` delays per domain, then `windows` times finer.

    With `bound` a certificate comes too: log P is non-decreasing in the delay, so rounding every partial
    delay up to the grid can only help, and the best rounded-up split bounds all splits.
    """
    free = problem.delay - problem.lower.sum()
    step = np.maximum(free, 0.0) / (points - 1)
    grid = problem.lower[:, None] + step[:, None, None] * np.arange(points)
    table = problem.table(grid)
    cells, value = allocate(table, points - 1)
    delays = problem.lower + step[:, None] * cells
    hopeless = ~(value > -1e29)
    if hopeless.any():
        delays[hopeless] = problem.equal()[hopeless]
    offsets = np.arange(-_REFINE - 1, _REFINE + 2)
    for _ in range(windows):
        step = step / _REFINE
        window = delays[:, :, None] + step[:, None, None] * offsets
        fine = problem.table(window)
        cells, _ = allocate(fine, (_REFINE + 1) * problem.domains)
        moved = delays + step[:, None] * (cells - _REFINE - 1)
        delays = np.where(hopeless[:, None], delays, moved)
    delays = project(delays, problem)
    upper = _rounded_up(problem, table) if bound else None
    return Decomposition(delays, problem.value(delays), upper)


def _rounded_up(problem: Problem, table: Array) -> Array:
    """Upper bound on any split: each delay rounded up costs at most N − 1 further cells in all."""
    extra = problem.domains - 1
    wide = np.concatenate([table, np.repeat(table[:, :, -1:], extra, axis=2)], axis=2)
    wide = np.maximum.accumulate(wide, axis=2)
    return np.asarray(allocate(wide, table.shape[2] - 1 + extra)[1])
