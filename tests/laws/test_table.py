"""Tables: linear interpolation that is an upper bound, at both signs of θ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.laws import GammaWork, Table, log_burst, log_rate, pack, request_log_bias
from fedopt.laws.table import tabulate


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    st.lists(st.floats(-3.0, 0.95).filter(lambda t: abs(t) > 1e-3), min_size=1, max_size=12, unique=True),
    st.floats(0.1, 3.0),
)
def test_a_table_of_a_convex_log_moment_is_an_upper_bound(points, shape):
    law = GammaWork(shape, 1.0)
    grid = np.array(sorted({*points, 0.97}))
    table = Table(grid, law.log_rate(grid), np.zeros(grid.size), independent_increments=True)
    packed = pack([table])
    theta = np.concatenate([np.linspace(-5, 0.97, 80), grid, [0.0, 1e-12]])
    values = table.log_rate(theta)
    assert np.all(values >= law.log_rate(theta) - 1e-12)
    np.testing.assert_allclose(table.log_rate(grid), law.log_rate(grid), rtol=1e-12)
    assert [log_rate(packed, 0, t) for t in theta] == pytest.approx(list(values), rel=1e-12, abs=1e-14)
    assert table.log_rate(0.98) == log_rate(packed, 0, 0.98) == np.inf


def test_below_the_first_point_both_columns_shrink_with_theta():
    table = Table([0.5, 1.0], [0.2, 0.5], [0.1, 0.3], [0.4, 1.0])
    packed = pack([Table([9.0], [1.0], [1.0]), table])
    for theta in (1e-6, 0.1, 0.5):
        assert table.log_rate(theta) == pytest.approx(0.4 * theta)
        assert log_burst(packed, 1, theta) == pytest.approx(0.2 * theta)
        assert request_log_bias(packed, 1, theta) == pytest.approx(0.8 * theta)
    assert table.log_burst(0.75) == pytest.approx(0.2)
    assert request_log_bias(packed, 0, 0.5) == np.inf


def test_negative_theta_counts_only_for_independent_work():
    points, values = [-1.0, 0.5], [-0.3, 0.3]
    free = Table(points, values, [0.0, 0.0], independent_increments=True)
    tied = Table(points, values, [0.0, 0.0])
    packed = pack([free, tied])
    assert free.log_rate(-0.5) == log_rate(packed, 0, -0.5) == pytest.approx(-0.15)
    assert free.log_rate(-7.0) == log_rate(packed, 0, -7.0) == pytest.approx(-0.3)
    assert tied.log_rate(-0.5) == log_rate(packed, 1, -0.5) == 0.0
    assert free.mean == pytest.approx(0.6)


def test_bad_tables_are_refused():
    for grid in ([0.5, 0.4], [0.0, 0.5], [-1.0], []):
        with pytest.raises(ValueError, match="grid"):
            Table(grid, [0.1] * len(grid), [0.0] * len(grid))
    with pytest.raises(ValueError, match="log_rates"):
        Table([0.5], [0.1, 0.2], [0.0])
    with pytest.raises(TypeError, match="cannot be sampled"):
        Table([0.5], [0.1], [0.0]).sample(np.random.default_rng(0), 5)


def test_tabulating_a_law_costs_little_and_errs_upwards():
    law = GammaWork(0.7, 0.5)
    table = tabulate(law)
    theta = 2.0 * np.concatenate(
        [-np.geomspace(1e-5, 0.9, 50), np.geomspace(1e-5, 0.9, 50), 1 - np.geomspace(1e-6, 0.1, 30)]
    )
    loss = table.log_rate(theta) - law.log_rate(theta)
    assert np.all(loss >= -1e-12)
    assert np.all(loss <= 1e-3 * (np.abs(law.log_rate(theta)) + 1e-9))


def test_beyond_its_end_a_table_of_bounded_work_is_the_straight_line():
    """Bernoulli work of at most 2 a slot, tabulated up to θ = 1: an upper bound at every θ."""
    grid, theta = np.array([0.25, 0.5, 1.0]), np.array([0.3, 1.0, 1.5, 4.0, 200.0])

    def exact(t):
        return np.logaddexp(np.log(0.7), np.log(0.3) + 2.0 * t)

    short = Table(grid, exact(grid), np.full(3, 0.1), 1.5 * grid, max_size=1.5)
    table = short.beyond(2.0)
    assert np.isinf(short.log_rate(1.5))
    assert table.log_rate(grid) == pytest.approx(short.log_rate(grid), rel=1e-12)
    assert (table.log_rate(theta) >= exact(theta) - 1e-9).all()
    assert table.log_rate(4.0) == pytest.approx(exact(1.0) + 6.0, rel=1e-12)
    assert table.log_burst(200.0) == pytest.approx(0.1)
    assert table.request_log_bias(3.0) == pytest.approx(1.5 + 3.0)
    packed = pack([table])
    assert log_rate(packed, 0, 4.0) == pytest.approx(float(table.log_rate(4.0)), rel=1e-9)
