"""Anderson's mixture and the balance of penalties, on problems whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.federated.dual import Residuals, answered_prices, balanced
from fedopt.federated.rounds import Anderson
from fedopt.federated.settings import Settings, SettingsError


def iterations(accelerator, matrix, offset, most=400):
    fixed = np.linalg.solve(np.eye(len(offset)) - matrix, offset)
    w = np.zeros(len(offset))
    for k in range(most):
        image = matrix @ w + offset
        w = image if accelerator is None else accelerator.next(w, image)
        if np.linalg.norm(w - fixed) < 1e-8:
            return k
    return most


def test_anderson_needs_a_fraction_of_the_iterations_of_a_slow_map():
    rng = np.random.default_rng(2)
    basis, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    matrix = basis @ np.diag([0.97, 0.9, 0.6, 0.3, 0.1, -0.5]) @ basis.T
    offset = rng.standard_normal(6)
    plain = iterations(None, matrix, offset, 2000)
    fast = iterations(Anderson(memory=5), matrix, offset, 2000)
    assert plain > 400
    assert fast < plain / 4


def test_anderson_falls_back_where_mixing_does_not_help():
    accelerator = Anderson(memory=3)
    accelerator.next(np.zeros(2), np.ones(2))
    worse = accelerator.next(np.ones(2), np.array([9.0, 9.0]))  # the residual grew: memory dropped
    assert worse.tolist() == [9.0, 9.0]
    accelerator.reset()
    assert accelerator.next(np.zeros(2), np.array([3.0, 4.0])).tolist() == [3.0, 4.0]


def test_penalties_follow_the_lagging_residual():
    assert balanced(Residuals(1.0, 0.1)) == 2.0
    assert balanced(Residuals(0.1, 1.0)) == 0.5
    assert balanced(Residuals(0.3, 0.2)) == 1.0
    same = np.array([1.0, 2.0])
    assert Residuals.of(same, same, same, same, same) == Residuals(0.0, 0.0)


def test_residuals_do_not_depend_on_units():
    x, z, before, p, rho = (np.array(v) for v in ([1.0, 2.0], [1.1, 1.7], [1.0, 1.5], [3.0, 1.0], [0.5, 2.0]))
    one = Residuals.of(x, z, before, p, rho)
    work, money = 1e3, 1e-2
    two = Residuals.of(x * work, z * work, before * work, p * money / work, rho * money / work**2)
    assert two.primal == pytest.approx(one.primal)
    assert two.dual == pytest.approx(one.dual)


def test_no_price_falls_below_zero():
    assert answered_prices(*(np.array([v]) for v in (1.0, 0.5, 2.0, 3.0))).tolist() == [0.0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("penalty", 0.0), ("over_relaxation", 2.0), ("noise", 1.0), ("staleness", -1), ("most_rounds", 0)],
)
def test_switches_out_of_range_are_named(name, value):
    with pytest.raises(SettingsError, match=name):
        Settings(**{name: value})
