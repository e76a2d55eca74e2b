import numpy as np
import pytest

from fedopt.audit.sample import Collector, Grid, Sample, find_cap, find_grid


def test_keeps_the_largest_with_their_places():
    values = np.random.default_rng(1).exponential(size=50_000)
    collector = Collector(keep=1000)
    for chunk in np.array_split(values, 37):
        collector.add(chunk)
    sample = collector.sample()
    assert sample.samples == 50_000
    assert 1000 <= sample.value.size <= 2000
    assert np.array_equal(values[sample.position], sample.value)
    assert np.all(np.diff(sample.position) > 0)
    assert np.array_equal(np.sort(sample.value), np.sort(values)[-sample.value.size :])
    assert collector.mean == pytest.approx(values.mean())


def test_memory_is_bounded_whatever_the_length():
    collector = Collector(keep=1000)
    rng = np.random.default_rng(2)
    for _ in range(200):
        collector.add(rng.random(5000))
        assert collector._held <= 2000
    assert collector.samples == 1_000_000


def test_rising_series_and_ties_at_the_top():
    rising = Collector(keep=1000)
    rising.add(np.arange(20_000.0))
    assert rising.sample().value.max() == 19_999
    ties = Collector(keep=1000)
    ties.add(np.ones(20_000))
    ties.add(np.zeros(20_000))
    assert ties.sample(cap=0).value.size == 20_000
    assert ties.samples == 40_000


def test_values_that_are_not_finite_are_late():
    collector = Collector()
    collector.add(np.array([1.0, np.nan, np.inf, 2.0]))
    sample = collector.sample()
    assert collector.lost == sample.lost == 2
    assert sample.value.tolist() == [1.0, np.inf, np.inf, 2.0]
    assert sample.maximum == 2.0
    assert collector.mean == 1.5
    assert sample.count_above(1e300) == 2


@pytest.mark.parametrize("decimals", [12, 0])
def test_a_pile_at_the_largest_value_is_a_cap(decimals):
    rng = np.random.default_rng(5)
    values = np.round(rng.gamma(2.0, 4.0, 20_000), decimals)
    assert find_cap(values) is None
    assert find_cap(np.minimum(values, 30.0)) == 30.0
    collector = Collector()
    collector.add(np.minimum(values, 30.0))
    assert collector.sample().lost == np.count_nonzero(values >= 30.0)
    assert collector.sample(cap=0).lost == 0
    assert collector.sample(cap=20.0).lost == np.count_nonzero(values >= 20.0)


@pytest.mark.parametrize("seed", range(40))
def test_counts_and_rounded_tails_are_no_caps(seed):
    rng = np.random.default_rng([6, seed])
    draws = rng.poisson(rng.uniform(0.2, 20), 5000), np.round(rng.exponential(rng.uniform(1, 30), 5000))
    assert [find_cap(draw.astype(float)) for draw in draws] == [None, None]


def test_episodes_begin_where_the_median_is_crossed():
    values = np.array([0.0, 5, 9, 0, 0, 7, 0, 0, 6, 8, 0, 1])
    labels, first = Sample(values, np.arange(12), 12, Grid(0.0)).episodes
    assert labels.tolist() == [0, 2, 1, 2, 0, 3][: labels.size]
    assert first.tolist() == [1, 2, 3, 6][: first.size]


def test_too_small_a_memory_is_refused():
    with pytest.raises(ValueError, match="at least 1,000"):
        Collector(keep=10)


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
