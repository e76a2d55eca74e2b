from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.instance import InstanceError, Linear, Offer, OwnCost, Piecewise, Quadratic


def test_values_and_slopes() -> None:
    assert Linear(rate=2, fixed=1).variable(3) == 6
    assert Quadratic(rate=2, quad=0.5).variable(4) == 16
    assert Quadratic(rate=2, quad=0.5).marginal(4) == 6
    cost = Piecewise(points=[[0, 1], [2, 3], [4, 9]])
    assert cost.fixed == 1
    np.testing.assert_allclose(cost.variable(np.array([0, 1, 2, 3, 4, 6])), [0, 1, 2, 5, 8, 14])
    np.testing.assert_allclose(cost.marginal(np.array([0, 1, 2, 3, 9])), [1, 1, 3, 3, 3])
    assert isinstance(cost.variable(1.5), float)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([[0, 0], [1, 5], [2, 6]], "convex"),
        ([[0, 5], [1, 4]], "decrease"),
        ([[1, 0], [2, 4]], "rate 0"),
        ([[0, 0], [2, 4], [2, 5]], "ascend"),
        ([[0, 0]], "empty|at least|points"),
        ([[0, 0], [1, -1]], "at least 0"),
    ],
)
def test_piecewise_costs_that_are_none(points: list[list[float]], said: str) -> None:
    with pytest.raises(InstanceError, match=said):
        Piecewise(points=points)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 5)), min_size=1, max_size=6), st.floats(0, 3))
def test_piecewise_costs_are_convex_and_rise(steps: list[tuple[float, float]], fixed: float) -> None:
    slopes = np.cumsum([slope for _, slope in steps])
    rates = np.cumsum([0.0, *(width for width, _ in steps)])
    costs = fixed + np.cumsum([0.0, *(w * s for (w, _), s in zip(steps, slopes, strict=True))])
    cost = Piecewise(points=list(zip(rates.tolist(), costs.tolist(), strict=True)))
    z = np.linspace(0, 2 * rates[-1], 101)
    value = cost.variable(z)
    assert value[0] == 0
    assert np.all(np.diff(value) >= -1e-9)
    assert np.all(np.diff(value, 2) >= -1e-7)
    assert np.all(value >= cost.marginal(z[30]) * (z - z[30]) + value[30] - 1e-7)


def test_a_users_own_cost() -> None:
    class Exponential:
        fixed = 0.5

        def variable(self, z: float) -> float:
            return float(np.expm1(z))

        def marginal(self, z: float) -> float:
            return float(np.exp(z))

    own = Exponential()
    assert isinstance(own, OwnCost)
    assert Offer(id="o", cost=own).cost is own
    with pytest.raises(InstanceError, match="cost"):
        Offer(id="o", cost=object())
