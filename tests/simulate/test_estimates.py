"""Intervals that respect dependence: coverage on data whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from fedopt.simulate import estimates as intervals


def clustered(rng, trials, clusters, size, probability):
    """Delay counts whose late requests (bin 9) come in clusters of ``size``: truth ``probability``."""
    delays = np.zeros((trials, 10))
    hits = rng.binomial(clusters, probability, trials) * size
    delays[:, 9] = hits
    delays[:, 2] = clusters * size - hits
    return delays


@pytest.mark.parametrize("size", [1, 20])
def test_coverage_with_clusters(size):
    rng = np.random.default_rng(size)
    covered = 0
    for _ in range(400):
        share = intervals.tail_share(clustered(rng, 24, 2000 // size, size, 0.01), 5)
        covered += share.low <= 0.01 <= share.high
    # an exact interval covers at least 95 %; four standard errors of 400 draws below
    assert covered >= 400 * 0.95 - 4 * np.sqrt(400 * 0.05 * 0.95)


def test_naive_interval_would_not_cover():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        delays = clustered(rng, 24, 100, 20, 0.01)
        low, high = intervals.clopper_pearson(delays[:, 9].sum(), delays.sum())
        covered += low <= 0.01 <= high
    assert covered < 200 * 0.6


def test_clopper_pearson_is_the_textbook_interval():
    low, high = intervals.clopper_pearson(3, 50, 0.9)
    assert stats.binom.sf(2, 50, low) == pytest.approx(0.05)
    assert stats.binom.cdf(3, 50, high) == pytest.approx(0.05)
    assert intervals.clopper_pearson(0, 100)[0] == 0
    assert intervals.clopper_pearson(100, 100)[1] == 1
    with pytest.raises(ValueError, match="confidence"):
        intervals.clopper_pearson(1, 2, 1.0)


def test_no_hits_still_bounds_and_takes_clusters_into_account():
    rng = np.random.default_rng(5)
    single = clustered(rng, 24, 1000, 1, 0.1)
    grouped = clustered(rng, 24, 50, 20, 0.1)
    shares = []
    for delays in (single, grouped):
        moved = np.zeros((24, 20))
        moved[:, :10] = delays  # nothing beyond slot 12, late requests at slot 9
        shares.append(intervals.tail_share(moved, 12))
    assert shares[0].estimate == shares[1].estimate == 0
    assert 0 < shares[0].high < shares[1].high < 0.05
    assert shares[1].effective < shares[0].effective / 5


def test_quantiles():
    delays = np.zeros((4, 50))
    delays[:, :40] = 25.0
    assert intervals.quantile_slots(delays, 0.5) == 19
    assert intervals.quantile_slots(delays, 1.0) == 39
    estimate, low, high = intervals.quantile_interval(delays, 0.9)
    assert low <= estimate <= high
    assert estimate == 35


def test_quantile_interval_covers():
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(200):
        # AR(1)-like clusters: each value repeated 10 times
        values = np.repeat(rng.geometric(0.1, (16, 200)), 10, axis=1)
        delays = np.stack([np.bincount(np.minimum(row, 199), minlength=200) for row in values]).astype(float)
        _, low, high = intervals.quantile_interval(delays, 0.99)
        truth = int(stats.geom.ppf(0.99, 0.1))
        covered += low <= truth <= high
    assert covered >= 200 * 0.95 - 4 * np.sqrt(200 * 0.05 * 0.95)


def test_weights_that_are_no_counts():
    rng = np.random.default_rng(9)
    delays = clustered(rng, 24, 2000, 1, 0.01)
    plain = intervals.tail_share(delays, 5)
    scaled = intervals.tail_share(delays * 0.01, 5, count=delays.sum())
    assert scaled.low == pytest.approx(plain.low)
    assert scaled.high == pytest.approx(plain.high)
    assert np.isnan(intervals.tail_share(np.zeros((3, 10)), 2).estimate)


def test_the_ends_of_a_quantile_are_in_order_however_weights_round():
    rng = np.random.default_rng(3)
    for _ in range(200):
        delays = rng.random((8, 50)) * rng.uniform(1e-3, 1e3)
        assert intervals.quantile_slots(delays, 1.0) == 49
        for probability in (0.5, 0.99, 0.9999):
            estimate, low, high = intervals.quantile_interval(delays, probability, count=20.0)
            assert low <= estimate <= high
