import math

import numpy as np
import pytest
from scipy import stats

from fedopt.audit.counts import count_above, empirical_quantile, few_clusters, share_interval
from fedopt.audit.sample import Sample, find_grid
from tests.audit.processes import autoregressive, tandem, tandem_quantile


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
    estimate, (low, high), _ = empirical_quantile(sample(values), 0.99, 0.95)
    assert estimate == pytest.approx(np.quantile(values, 0.99), rel=1e-3)
    assert low < estimate < high
    assert low < tandem_quantile(0.55, 0.99) < high


def test_quantile_beyond_the_data_has_no_upper_end():
    values = np.random.default_rng(1).exponential(size=500)
    _, (_, high), _ = empirical_quantile(sample(values, independent=True), 0.9999, 0.95)
    assert high is None


def test_level_never_reached_has_share_zero_and_a_positive_upper_end():
    values = np.random.default_rng(2).exponential(size=5000)
    counted = count_above(sample(values), 100.0)
    low, high = counted.interval(0.95)
    assert counted.share == low == 0.0
    assert 0 < high < 0.01


def test_what_was_not_kept_cannot_be_told():
    values = np.random.default_rng(3).exponential(size=5000)
    top = np.sort(values)[-100:]
    cut = Sample(top, np.arange(100), 5000, find_grid(values), floor=float(top[0]) - 1e-9)
    with pytest.raises(ValueError, match="keep more"):
        empirical_quantile(cut, 0.5, 0.95)
    with pytest.raises(ValueError, match="were kept"):
        count_above(cut, 0.1)


def queue(rng, samples, load):
    """Sojourn times in an M/M/1 queue of service rate 1; P(sojourn > t) = e^{−(1−load)t}."""
    work = rng.exponential(size=samples + 20_000)
    steps = np.concatenate([[0.0], work[:-1]]) - rng.exponential(1 / load, work.size)
    walk = np.cumsum(steps)
    return (walk - np.minimum.accumulate(np.minimum(walk, 0.0)) + work)[20_000:]


SERIES = {
    "exponential": (lambda rng, n: rng.exponential(size=n), lambda p: -math.log(1 - p)),
    "queue .8": (lambda rng, n: queue(rng, n, 0.8), lambda p: -math.log(1 - p) / 0.2),
    "queue .9": (lambda rng, n: queue(rng, n, 0.9), lambda p: -math.log(1 - p) / 0.1),
    "queue .95": (lambda rng, n: queue(rng, n, 0.95), lambda p: -math.log(1 - p) / 0.05),
    "autoregressive": (lambda rng, n: autoregressive(rng, n, 0.9), lambda p: -math.log(1 - p)),
}


@pytest.mark.parametrize("name", list(SERIES))
@pytest.mark.parametrize("probability", [0.99, 0.999, 0.9999])
def test_the_interval_of_a_share_covers_the_truth(name, probability):
    draw, quantile = SERIES[name]
    covered = 0
    for seed in range(60):
        counted = count_above(sample(draw(np.random.default_rng([31, seed]), 30_000)), quantile(probability))
        low, high = counted.interval(0.95)
        covered += (low <= 1 - probability <= high) or few_clusters(counted) is not None
    assert covered >= 50  # true coverage 92 %: fewer happen with probability 0.004


def test_widths_grow_with_dependence_and_shrink_with_samples():
    widths = []
    for load, samples in [(0.5, 100_000), (0.9, 100_000), (0.9, 400_000)]:
        values = queue(np.random.default_rng(3), samples, load)
        low, high = count_above(sample(values), math.log(100) / (1 - load)).interval(0.95)
        widths.append(high - low)
    assert widths[0] < widths[2] < widths[1]


def test_a_few_clusters_are_named_and_the_samples_that_would_do():
    counted = count_above(sample(queue(np.random.default_rng(4), 20_000, 0.95)), 140.0)
    assert "samples would hold" in few_clusters(counted) or "record longer" in few_clusters(counted)
    rare = count_above(sample(np.random.default_rng(5).exponential(size=20_000)), 9.0)
    assert few_clusters(rare) is None


def test_every_interval_has_a_width():
    rng = np.random.default_rng(6)
    for size in (2, 10, 500, 2001):
        values = rng.exponential(size=size)
        values[rng.integers(size)] = 1e6
        for level in (-1.0, float(np.median(values)), 1e5, 1e7):
            low, high = count_above(sample(values), level).interval(0.95)
            assert 0 <= low < high <= 1
