import numpy as np
import pytest

from fedopt.audit.counts import (
    CELLS,
    cosine_transforms,
    extremal_index,
    frequencies,
)


def max_autoregressive(rng, samples, a):
    """X_t = max(a X_{t−1}, (1−a) Z_t), unit Fréchet: extremal index 1 − a exactly."""
    noise = (1 - a) / rng.exponential(size=samples)
    series = np.empty(samples)
    series[0] = noise[0] / (1 - a)
    for i in range(1, samples):
        series[i] = max(a * series[i - 1], noise[i])
    return series


@pytest.mark.parametrize("index", [0.3, 0.6])
def test_extremal_index_of_a_max_autoregressive_series(index):
    series = max_autoregressive(np.random.default_rng(1), 100_000, 1 - index)
    position = np.flatnonzero(series > np.quantile(series, 0.99))
    assert extremal_index(position) == pytest.approx(index, abs=0.08)


def test_independent_exceedances_have_index_one():
    position = np.flatnonzero(np.random.default_rng(2).random(100_000) > 0.99)
    assert extremal_index(position) > 0.9


def test_cosine_transforms_have_the_long_run_variance():
    rng = np.random.default_rng(3)
    phi = 0.5
    power = []
    for _ in range(60):
        noise = rng.standard_normal(CELLS * 8 + 100)
        series = np.empty_like(noise)
        series[0] = 0.0
        for i in range(1, noise.size):
            series[i] = phi * series[i - 1] + noise[i]
        cells = series[100:].reshape(CELLS, 8).sum(axis=1)
        power.append(np.mean(cosine_transforms(cells - cells.mean())[:12] ** 2))
    expected = CELLS * 8 / (1 - phi) ** 2
    assert np.mean(power) == pytest.approx(expected, rel=4 / np.sqrt(60 * 6))


def test_fewer_frequencies_for_longer_correlation():
    rng = np.random.default_rng(4)
    white = cosine_transforms(rng.standard_normal(CELLS))
    used, inflation = frequencies(100_000, white, float(CELLS))
    assert used == 64
    assert inflation < 2
    used, _ = frequencies(100_000, white * 60, float(CELLS))
    assert 6 <= used < 12
