import numpy as np
import pytest

from fedopt.audit.collector import Collector


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
    assert ties.sample().value.size <= 2000
    assert ties.samples == 20_000


def test_invalid_values_are_counted_and_left_out():
    collector = Collector()
    collector.add(np.array([1.0, np.nan, np.inf, 2.0]))
    assert collector.invalid == 2
    assert collector.sample().value.tolist() == [1.0, 2.0]


def test_too_small_a_memory_is_refused():
    with pytest.raises(ValueError, match="at least 1,000"):
        Collector(keep=10)
