"""The domain step as a cvxpy program: the same private problem, stated in one piece.

The step of `domain` is faster; this one is what an operator starts from whose costs or constraints are its
own. It is parametrised (DPP), so rounds re-solve it without rebuilding: the penalty enters by its square
root, because a product of two parameters would not be DPP.
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
import numpy.typing as npt

from fedopt.instance import Domain, Linear, Piecewise, Quadratic

__all__ = ["DomainProgram"]

Floats = npt.NDArray[np.float64]


class DomainProgram:
    """minimise Σ v_o(z_o) − p·z + ½‖√ρ∘z − √ρ∘x‖² subject to w·z ≤ C, z ≥ 0.

    Raises TypeError for a cost curve that is none of linear, quadratic and piecewise.
    """

    def __init__(self, domain: Domain) -> None:
        count = len(domain.offers)
        self._loads = cp.Variable(count, nonneg=True)
        self._prices = cp.Parameter(count)
        self._root = cp.Parameter(count, nonneg=True)
        self._target = cp.Parameter(count)
        cost = cp.sum([_cost(offer.cost, self._loads[i]) for i, offer in enumerate(domain.offers)])
        near = cp.sum_squares(cp.multiply(self._root, self._loads) - self._target)
        factor = np.array([offer.work_factor for offer in domain.offers])
        self._problem = cp.Problem(
            cp.Minimize(cost - self._prices @ self._loads + 0.5 * near),
            [factor @ self._loads <= domain.capacity],
        )

    def step(self, loads: Floats, prices: Floats, penalties: Floats) -> Floats:
        """The loads z of the domain step, to Clarabel's tolerance."""
        self._prices.value = np.asarray(prices, float)
        self._root.value = np.sqrt(penalties)
        self._target.value = np.sqrt(penalties) * loads
        self._problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        return np.maximum(np.asarray(self._loads.value, float), 0.0)


def _cost(curve: Any, z: Any) -> Any:
    if isinstance(curve, Linear):
        return curve.rate * z
    if isinstance(curve, Quadratic):
        return curve.rate * z + curve.quad * cp.square(z)
    if isinstance(curve, Piecewise):
        points, slopes = curve.points, curve.slopes
        starts = zip(points, slopes, strict=False)
        return cp.maximum(*[s * (z - x) + (y - curve.fixed) for (x, y), s in starts], 0.0)
    raise TypeError(f"a {type(curve).__name__} cost has no form in this program")
