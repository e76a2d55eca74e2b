"""The audit measured: coverage of its intervals and their cost; printed, never asserted.

pytest tests/bench/test_audit.py -m slow -s
"""

import time

import numpy as np
import pytest

from fedopt.audit import audit
from fedopt.audit.drift import find_drift
from fedopt.audit.sample import Collector, Sample, find_grid
from fedopt.audit.tails import deviance
from fedopt.audit.thresholds import choose
from fedopt.bench.audit import SERIES
from tests.audit.processes import autoregressive, tandem, tandem_quantile
from tests.audit.test_drift import late_more_often as more_late
from tests.audit.test_tails import LAWS, SAMPLES

REPLICATIONS = 300
EXTRA = {
    "tandem .7": (lambda rng, n: tandem(n, 0.7, int(rng.integers(1 << 31))), tandem_quantile(0.7)),
    "tandem .9": (lambda rng, n: tandem(n, 0.9, int(rng.integers(1 << 31))), tandem_quantile(0.9)),
    "gaussian AR(1) .9": (lambda rng, n: autoregressive(rng, n, 0.9), float(np.log(1000))),
    "exponential": (lambda rng, n: rng.exponential(size=n), float(np.log(1000))),
}


def whole(values):
    return Sample(values, np.arange(values.size), values.size, find_grid(values))


@pytest.mark.slow
def test_coverage_table():
    print(f"\n{'law':<20} {'covered':>8} {'below':>6} {'above':>6} {'naive':>6} {'clustering':>10}")
    for name, (draw, truth) in (LAWS | EXTRA).items():
        low = high = naive = 0
        clustering = []
        for seed in range(REPLICATIONS):
            tail = choose(whole(draw(np.random.default_rng([11, seed]), SAMPLES))).tail
            value = deviance(tail, truth, 0.001)
            missed = value > tail.critical(0.999, 0.95)
            low += missed and tail.quantile(0.999) < truth
            high += missed and tail.quantile(0.999) > truth
            naive += value <= 3.841
            clustering.append(tail.clustering)
        shares = [
            1 - (low + high) / REPLICATIONS,
            low / REPLICATIONS,
            high / REPLICATIONS,
            naive / REPLICATIONS,
        ]
        print(
            f"{name:<20} {shares[0]:8.1%} {shares[1]:6.1%} {shares[2]:6.1%} {shares[3]:6.1%} "
            f"{np.median(clustering):10.1f}"
        )


@pytest.mark.slow
def test_time():
    values = tandem(10_000_000, 0.85, 1)
    audit(values[:100_000])
    start = time.perf_counter()
    audit(values[:100_000])
    print(f"\n100,000 samples, the whole audit: {time.perf_counter() - start:.3f} s")
    start = time.perf_counter()
    tail = choose(whole(values[:100_000])).tail
    tail.quantile_interval(0.999, 0.95)
    print(f"100,000 samples, threshold, fit and p99.9 interval: {time.perf_counter() - start:.3f} s")
    start = time.perf_counter()
    audit(values)
    print(f"10 million samples, the whole audit: {time.perf_counter() - start:.2f} s")
    start = time.perf_counter()
    collector = Collector()
    for _ in range(10):
        collector.add(values)
    choose(collector.sample()).tail.quantile_interval(0.999, 0.95)
    print(
        f"100 million samples in bounded memory: {time.perf_counter() - start:.2f} s, "
        f"kept {collector._held:,}"
    )


@pytest.mark.slow
def test_peer_with_500_bootstraps():
    pyextremes = pytest.importorskip("pyextremes")
    pd = pytest.importorskip("pandas")
    values = tandem(SAMPLES, 0.55, 1)
    series = pd.Series(values, index=pd.date_range("2000-01-01", periods=values.size, freq="s"))
    start = time.perf_counter()
    model = pyextremes.EVA(series)
    model.get_extremes("POT", threshold=float(np.quantile(values, 0.95)), r="1s")
    model.fit_model(distribution="genpareto")
    period = 1000 / (365.2425 * 24 * 3600)
    found = model.get_return_value(period, return_period_size="365.2425D", alpha=0.95, n_samples=500)
    peer = time.perf_counter() - start
    tail = choose(whole(values)).tail
    tail.quantile_interval(0.999, 0.95)
    start = time.perf_counter()
    ours = choose(whole(values)).tail.quantile_interval(0.999, 0.95)
    took = time.perf_counter() - start
    print(
        f"\npyextremes {peer:.2f} s: {found[1]:.2f} to {found[2]:.2f}; "
        f"fedopt {took:.3f} s: {ours[0]:.2f} to {ours[1]:.2f}"
    )
    print(f"ratio {peer / took:.0f}; truth {tandem_quantile(0.55):.2f}")


def capped(seed, cap):
    return np.minimum(np.random.default_rng(seed).exponential(1.0, 50_000), cap)


def late_more_often(seed, stretches, share):
    return more_late(np.random.default_rng([21, seed]), stretches, share)


DRIFTS = {
    "exponential": lambda s: np.random.default_rng(s).exponential(1.0, 100_000),
    "M/M/1 .8": lambda s: SERIES["M/M/1 .8"][0](np.random.default_rng(s), 100_000),
    "M/M/1 .9": lambda s: SERIES["M/M/1 .9"][0](np.random.default_rng(s), 100_000),
    "GARCH": lambda s: SERIES["GARCH"][0](np.random.default_rng(s), 100_000),
    "capped at p95": lambda s: capped(s, 3.0),
    "capped at p99.75": lambda s: capped(s, 6.0),
    "1 in 1,000 more late, second half": lambda s: late_more_often(s, [(50_000, 100_000)], 0.001),
    "1 in 2,000 more late, second half": lambda s: late_more_often(s, [(50_000, 100_000)], 0.0005),
    "two excursions, 6 in 1,000 late": lambda s: late_more_often(
        s, [(20_000, 25_000), (70_000, 75_000)], 0.006
    ),
    "tandem .55, then .65 (half)": lambda s: np.concatenate(
        [tandem(50_000, 0.55, s), tandem(50_000, 0.65, s + 1000)]
    ),
    "tandem .55, .75 for a tenth, .55": lambda s: np.concatenate(
        [tandem(50_000, 0.55, s), tandem(10_000, 0.75, s + 1000), tandem(40_000, 0.55, s + 2000)]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(DRIFTS))
def test_drift_table(name):
    """Kinds found in 100 series at a stated false-alarm rate of 1 %."""
    kinds = []
    for seed in range(100):
        collector = Collector()
        collector.add(DRIFTS[name](seed))
        kinds.append(find_drift(collector.sample()).kind)
    print(name, *(f"{kind} {kinds.count(kind)}" for kind in sorted(set(kinds))))
