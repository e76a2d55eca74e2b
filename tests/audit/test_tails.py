"""Coverage of the 95 % interval for p99.9: the number that everything else rests on."""

import numpy as np
import pytest
from scipy import stats

from fedopt.audit import Settings, audit
from fedopt.audit.sample import Sample, find_grid
from fedopt.audit.tails import deviance
from fedopt.audit.thresholds import choose
from tests.audit.processes import autoregressive, tandem, tandem_quantile

SAMPLES = 100_000
LAWS = {
    "pareto": (lambda rng, n: (1 - rng.random(n)) ** (-1 / 3), 10.0),
    "gpd": (lambda rng, n: stats.genpareto(0.2).ppf(rng.random(n)), float(stats.genpareto(0.2).ppf(0.999))),
    "log-normal": (lambda rng, n: np.exp(rng.standard_normal(n)), float(np.exp(stats.norm.ppf(0.999)))),
    "weibull": (lambda rng, n: rng.weibull(0.5, n), float(np.log(1000) ** 2)),
    "tandem .55": (lambda rng, n: tandem(n, 0.55, int(rng.integers(1 << 31))), tandem_quantile(0.55)),
    "tandem .85": (lambda rng, n: tandem(n, 0.85, int(rng.integers(1 << 31))), tandem_quantile(0.85)),
    "rounded tandem .55": (
        lambda rng, n: np.round(tandem(n, 0.55, int(rng.integers(1 << 31)))),
        tandem_quantile(0.55),
    ),
}


def covered(law, replications):
    draw, truth = LAWS[law]
    hits = 0
    for seed in range(replications):
        values = draw(np.random.default_rng([11, seed]), SAMPLES)
        tail = choose(Sample(values, np.arange(SAMPLES), SAMPLES, find_grid(values))).tail
        hits += deviance(tail, truth, 0.001) <= tail.critical(0.999, 0.95)
    return hits


def test_exact_quantiles_of_the_tandem():
    assert tandem_quantile(0.55) + 1.5 == pytest.approx(22.032779, abs=1e-5)
    assert tandem_quantile(0.85) + 1.5 == pytest.approx(55.303440, abs=1e-5)


@pytest.mark.parametrize("law", ["tandem .55", "tandem .85", "log-normal"])
def test_interval_covers_the_truth(law):
    # With true coverage 92 % or more, fewer than 31 of 40 happen with probability below 0.002.
    assert covered(law, 40) >= 31


@pytest.mark.slow
@pytest.mark.parametrize("law", list(LAWS))
def test_coverage_lies_between_92_and_98_percent(law):
    hits = covered(law, 300)
    error = 300 * np.sqrt(0.95 * 0.05 / 300)
    assert 0.92 * 300 - error <= hits <= 0.98 * 300 + error


def test_deviance_and_interval_say_the_same():
    values = tandem(SAMPLES, 0.55, 1)
    tail = choose(Sample(values, np.arange(SAMPLES), SAMPLES, find_grid(values))).tail
    low, high = tail.quantile_interval(0.999, 0.95)
    critical = tail.critical(0.999, 0.95)
    for end in (low, high):
        assert deviance(tail, end, 0.001) == pytest.approx(critical, rel=0.02)


def test_dependence_widens_the_interval_and_independence_can_be_declared():
    values = tandem(SAMPLES, 0.85, 3)
    aware = audit(values).quantiles["0.999"].interval
    naive = audit(values, settings=Settings(independent=True)).quantiles["0.999"].interval
    assert aware[1] - aware[0] > 5 * (naive[1] - naive[0])


def test_inflation_of_independent_samples_is_near_one():
    rng = np.random.default_rng(8)
    found = []
    for _ in range(20):
        values = rng.exponential(size=20_000)
        sample = Sample(values, np.arange(20_000), 20_000, find_grid(values))
        found.append(choose(sample).tail.inflation(0.999))
    assert 1.0 <= np.mean(found) < 1.3


def test_clustering_of_an_autoregressive_series_is_seen():
    values = autoregressive(np.random.default_rng(2), SAMPLES, 0.9)
    tail = choose(Sample(values, np.arange(SAMPLES), SAMPLES, find_grid(values))).tail
    assert 4 < tail.clustering < 16
    assert tail.used <= 12
