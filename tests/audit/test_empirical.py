import math

import numpy as np
import pytest
from scipy import stats

from fedopt.audit.empirical import empirical_probability, empirical_quantile, share_interval
from fedopt.audit.rounding import find_grid
from fedopt.audit.tails import Sample
from tests.audit.processes import tandem, tandem_quantile


def sample(values, **options):
    return Sample(values, np.arange(values.size), values.size, find_grid(values), **options)


def test_independent_share_is_clopper_pearson():
    low, high = share_interval(3, 1000, 1.0, math.inf, 0.95)
    exact = stats.binomtest(3, 1000).proportion_ci(0.95, method="exact")
    assert (low, high) == (pytest.approx(exact.low), pytest.approx(exact.high))
    assert share_interval(0, 50, 1.0, math.inf, 0.9)[0] == 0.0
    assert share_interval(50, 50, 1.0, math.inf, 0.9)[1] == 1.0


def test_inflation_widens():
    narrow, wide = share_interval(100, 10_000, 1.0, 12, 0.95), share_interval(100, 10_000, 20.0, 12, 0.95)
    assert wide[0] < narrow[0] < 0.01 < narrow[1] < wide[1]


def test_quantile_and_its_interval_on_a_queue():
    values = tandem(100_000, 0.55, 4)
    estimate, (low, high) = empirical_quantile(sample(values), 0.99, 0.95)
    assert estimate == pytest.approx(np.quantile(values, 0.99), rel=1e-3)
    assert low < estimate < high
    assert low < tandem_quantile(0.55, 0.99) < high


def test_quantile_beyond_the_data_has_no_upper_end():
    values = np.random.default_rng(1).exponential(size=500)
    _, (_, high) = empirical_quantile(sample(values, independent=True), 0.9999, 0.95)
    assert high is None


def test_level_never_reached_has_share_zero_and_a_positive_upper_end():
    values = np.random.default_rng(2).exponential(size=5000)
    share, (low, high) = empirical_probability(sample(values), 100.0, 0.95)
    assert share == low == 0.0
    assert 0 < high < 0.01


def test_what_was_not_kept_cannot_be_told():
    values = np.random.default_rng(3).exponential(size=5000)
    top = np.sort(values)[-100:]
    cut = Sample(top, np.arange(100), 5000, find_grid(values), floor=float(top[0]) - 1e-9)
    with pytest.raises(ValueError, match="keep more"):
        empirical_quantile(cut, 0.5, 0.95)
    with pytest.raises(ValueError, match="were kept"):
        empirical_probability(cut, 0.1, 0.95)
