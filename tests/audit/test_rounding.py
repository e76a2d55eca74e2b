import numpy as np
import pytest

from fedopt.audit.rounding import Grid, find_grid


@pytest.mark.parametrize("width", [1.0, 0.5, 0.1, 0.001, 20.0])
def test_grid_of_rounded_values_is_found(width):
    values = np.round(np.random.default_rng(1).exponential(30 * width, 10_000) / width) * width
    assert find_grid(values).width == pytest.approx(width)


def test_continuous_values_have_no_grid():
    assert find_grid(np.random.default_rng(2).exponential(size=1000)).width == 0.0
    assert find_grid(np.array([])).width == 0.0
    assert find_grid(np.ones(100)).width == 0.0


def test_fine_rounding_without_ties_does_not_count():
    values = np.round(np.random.default_rng(3).exponential(size=1000), 9)
    assert find_grid(values).width == 0.0


@pytest.mark.parametrize(("rounding", "edge"), [("nearest", 4.5), ("down", 5.0), ("up", 4.0)])
def test_lower_edge_of_a_cell(rounding, edge):
    assert Grid(1.0, rounding).lower_edges(np.array([5.0]))[0] == edge
