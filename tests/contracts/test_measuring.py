import math

import numpy as np
import pytest
from scipy.signal import lfilter

from fedopt.contracts.measuring import measure_impairment

THETAS = np.array([0.2, 0.5, 1.0])


def test_measured_envelope_bounds_the_true_log_moment_at_its_confidence():
    mean, held = 0.3, 0
    for seed in range(60):
        work = np.random.default_rng(seed).exponential(mean, 20_000)
        table = measure_impairment(work, THETAS, independent_increments=True).impairment
        truth = [-math.log(1 - theta * mean) / theta for theta in table.theta]
        held += all(kappa >= value for kappa, value in zip(table.kappa, truth, strict=True))
    assert held >= 52  # 95 % of 60 is 57; fewer than 52 has probability below 0.5 %


def test_negative_side_is_measured_for_independent_slots():
    work = np.random.default_rng(1).exponential(0.3, 50_000)
    table = measure_impairment(work, THETAS, independent_increments=True, negative=True).impairment
    assert table.theta[:3] == (-1.0, -0.5, -0.2)
    for theta, kappa in zip(table.theta, table.kappa, strict=True):
        assert kappa == pytest.approx(-math.log(1 - theta * 0.3) / theta, rel=0.05)


def test_correlated_work_needs_more_than_its_slots_say():
    rng = np.random.default_rng(2)
    level = np.exp(0.5 * lfilter([math.sqrt(1 - 0.95**2)], [1, -0.95], rng.standard_normal(100_000)))
    work = rng.exponential(0.3 * level)
    table = measure_impairment(work, np.array([0.02, 0.05])).impairment
    assert not table.independent_increments
    windows = work[: 100_000 // 64 * 64].reshape(-1, 64).sum(axis=1)
    for theta, kappa, eta in zip(table.theta, table.kappa, table.eta, strict=True):
        assert theta * (64 * kappa + eta) >= math.log(np.mean(np.exp(theta * windows)))


def test_tilts_that_a_few_slots_rule_are_refused():
    work = np.random.default_rng(3).exponential(1.0, 5000)
    measured = measure_impairment(work, np.array([0.1, 0.95]), independent_increments=True)
    assert measured.refused == (0.95,)
    assert measured.evidence.slots == 5000


@pytest.mark.parametrize(
    ("work", "thetas"),
    [
        (np.ones(10), THETAS),
        (-np.ones(1000), THETAS),
        (np.full(1000, np.nan), THETAS),
        (np.ones(1000), np.array([0.5, 0.1])),
    ],
)
def test_impossible_input_is_refused(work, thetas):
    with pytest.raises(ValueError, match=r"series|tilts"):
        measure_impairment(work, thetas)
