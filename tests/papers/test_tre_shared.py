"""One queue for all against reserved servers."""

import math

import numpy as np
import pytest

from fedopt.papers.tre import exact_quantile, exact_tail
from fedopt.papers.tre_shared import Shared, sample_quantiles
from fedopt.simulate.estimates import estimate

BASE = {"burst_length": 30.0, "service_rates": (1.0, 1.15, 1.25), "shares": (0.4, 0.6)}


def estimates(system, packets, trials, probability=0.999, seed=1, threads=None):
    """Mean sample quantiles of the first tenant: one queue for all, reserved servers."""
    found = sample_quantiles(system, packets, 0, trials, probability, seed, threads)
    return estimate(found[0]), estimate(found[1])


def steady(rates=(0.25, 0.45)):
    return Shared(calm=rates, burst=rates, burst_share=0.0, **BASE)


def test_without_bursts_both_worlds_are_jackson_tandems():
    """Long runs from empty: the sample quantile approaches that of the exact sum of exponentials."""
    shared, reserved = estimates(steady(), 200_000, 32, 0.99)
    own = tuple(0.4 * rate for rate in BASE["service_rates"])
    for found, exact in (
        (shared, exact_quantile(0.7, BASE["service_rates"], 0.99)),
        (reserved, exact_quantile(0.25, own, 0.99)),
    ):
        assert abs(found.mean - exact) < 3.5 * found.error + 0.003 * exact


def test_reservation_isolates_and_sharing_does_not():
    tails = []
    for factor in (1.0, 3.0):
        system = Shared.bursting((0.25, 0.45), (False, True), factor, 0.2, **BASE)
        tails.append(estimates(system, 6_000, 150, seed=3))
    (calm_shared, calm_own), (burst_shared, burst_own) = tails
    assert burst_shared.mean > 2 * calm_shared.mean
    assert abs(burst_own.mean - calm_own.mean) < 4 * math.hypot(burst_own.error, calm_own.error)


def test_bursts_keep_the_mean_rate():
    system = Shared.bursting((0.25, 0.45), (False, True), 3.0, 0.2, **BASE)
    mean = [0.8 * c + 0.2 * b for c, b in zip(system.calm, system.burst, strict=True)]
    assert mean == pytest.approx([0.25, 0.45])
    assert system.burst == pytest.approx((0.25, 1.35))


def test_identical_for_any_number_of_threads():
    system = Shared.bursting((0.25, 0.45), (False, True), 2.0, 0.2, **BASE)
    runs = [sample_quantiles(system, 1_000, 0, 40, 0.999, 2, threads=n) for n in (1, 2, 4)]
    assert all(np.array_equal(run, runs[0]) for run in runs)


@pytest.mark.parametrize(
    "change",
    [
        {"shares": (0.6, 0.6)},
        {"shares": (0.4,)},
        {"burst_share": 1.0},
        {"burst_length": 0.0},
        {"calm": (-1.0, 0.1)},
    ],
)
def test_nonsense_is_refused(change):
    with pytest.raises(ValueError, match=r"."):
        Shared(**{"calm": (0.2, 0.3), "burst": (0.2, 0.3), "burst_share": 0.1, **BASE, **change})
    with pytest.raises(ValueError, match="factor"):
        Shared.bursting((0.25, 0.45), (False, True), 6.0, 0.2, **BASE)


def test_exact_tail_where_rates_agree():
    """Erlang: three equal servers."""
    decay, t = 0.4, 10.0
    erlang = math.exp(-decay * t) * sum((decay * t) ** k / math.factorial(k) for k in range(3))
    assert exact_tail(t, 0.6, (1.0, 1.0, 1.0)) == pytest.approx(erlang)
    assert exact_tail(t, 0.6, (1.0, 1.0 + 1e-9, 1.0)) == pytest.approx(erlang, rel=1e-6)
    with pytest.raises(ValueError, match="load"):
        exact_quantile(1.1, (1.0,))
