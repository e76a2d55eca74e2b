"""The compiled random variates against their laws."""

import numpy as np
import pytest
from scipy import stats

from fedopt.simulate import streams

COUNT = 400_000


def drawn(kind, shape, child):
    out = np.empty(COUNT)
    start, step = streams.streams(20240501, 1, child)[0]
    streams.fill(start, step, kind, float(shape), out)
    return out


@pytest.mark.parametrize(
    ("kind", "shape", "law"),
    [
        (0, 1, stats.uniform()),
        (1, 1, stats.expon()),
        (2, 1, stats.norm()),
        (3, 0.4, stats.gamma(0.4)),
        (3, 1.0, stats.gamma(1.0)),
        (3, 3.3, stats.gamma(3.3)),
    ],
)
def test_continuous_law(kind, shape, law):
    x = drawn(kind, shape, kind)
    assert stats.kstest(x, law.cdf).pvalue > 1e-3
    for tail in (1e-2, 1e-3, 1e-4):
        seen = (x > law.isf(tail)).sum()
        assert abs(seen - COUNT * tail) < 4.5 * np.sqrt(COUNT * tail)


@pytest.mark.parametrize("mean", [0.3, 4.0, 11.9, 12.5, 60.0])
def test_poisson_counts(mean):
    x = drawn(4, mean, 9)
    law = stats.poisson(mean)
    low, high = law.ppf(1e-3), law.isf(1e-3)
    values = np.arange(low, high + 1)
    expected = law.pmf(values) * COUNT
    seen = np.array([(x == v).sum() for v in values])
    chi2 = ((seen - expected) ** 2 / expected).sum()
    assert stats.chi2(values.size).sf(chi2) > 1e-4
    assert abs(x.var() - mean) < 5 * mean * np.sqrt(2 / COUNT) + 5 * np.sqrt(mean / COUNT)


def test_a_variate_is_a_function_of_its_place():
    start, step = streams.streams(3, 1)[0]
    long, short = np.empty(1000), np.empty(10)
    streams.fill(start, step, 1, 1.0, long)
    streams.fill(start, step, 1, 1.0, short)
    assert np.array_equal(long[:10], short)


def test_streams_do_not_depend_on_the_block_they_are_made_in():
    whole = streams.streams(7, 10)
    assert np.array_equal(whole[4:], streams.streams(7, 6, 4))
    assert len({tuple(row) for row in whole}) == 10
    assert (whole[:, 1] % 2 == 1).all()


def test_neighbouring_words_and_streams_are_uncorrelated():
    a, b = drawn(2, 1, 20), drawn(2, 1, 21)
    for x, y in ((a, b), (a[1:], a[:-1]), (a[2:], a[:-2]), (a**2, b**2)):
        assert abs(np.corrcoef(x, y)[0, 1]) < 4.5 / np.sqrt(COUNT)
