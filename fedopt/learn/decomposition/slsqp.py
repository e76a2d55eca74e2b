"""The paper's decomposition: a coarse grid search, then sequential quadratic programming."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from fedopt.learn.decomposition.grid import on_grid
from fedopt.learn.decomposition.problem import Decomposition, Problem, project


def by_slsqp(problem: Problem, points: int = 11) -> Decomposition:
    """Decompose request after request: the best of a grid with `points` per domain, polished by SLSQP."""
    start = on_grid(problem, points=points, windows=0)
    delays = start.delay.copy()
    for i in range(problem.requests):
        single = Problem(
            problem.acceptance,
            problem.rows[i : i + 1],
            problem.delay[i : i + 1],
            problem.throughput[i : i + 1],
            problem.lower,
            problem.upper,
        )
        scale = problem.delay[i] / problem.domains

        def risk(x: np.ndarray, single: Problem = single, scale: float = scale) -> float:
            return -float(single.value(x[None] * scale)[0])

        def slope(x: np.ndarray, single: Problem = single, scale: float = scale) -> np.ndarray:
            return np.asarray(
                np.nan_to_num(-single.slopes(x[None] * scale)[0] * scale, posinf=1e6, neginf=-1e6)
            )

        high = np.minimum(problem.upper, problem.delay[i])
        found = minimize(
            risk,
            delays[i] / scale,
            jac=slope,
            method="SLSQP",
            bounds=list(zip(problem.lower / scale, high / scale, strict=True)),
            constraints={"type": "eq", "fun": lambda x: x.sum() - problem.domains, "jac": np.ones_like},
            options={"maxiter": 100, "ftol": 1e-10},
        )
        polished = project(found.x[None] * scale, single)
        if single.value(polished)[0] > start.log_probability[i]:
            delays[i] = polished[0]
    return Decomposition(delays, problem.value(delays))
