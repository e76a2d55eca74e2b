import numpy as np
import pytest

from fedopt.audit import Promise, Settings, audit
from fedopt.audit.presenting import summary
from tests.audit.processes import tandem, tandem_quantile


@pytest.fixture(scope="module")
def values():
    return tandem(100_000, 0.55, 7)


@pytest.mark.parametrize(("factor", "verdict"), [(1.6, "kept"), (0.6, "broken"), (1.0, "undecided")])
def test_verdict_by_distance_of_the_deadline(values, factor, verdict):
    result = audit(values, Promise(deadline=factor * tandem_quantile(0.55), epsilon=0.001))
    assert result.verdict == verdict
    assert verdict == "undecided" or result.samples_to_decide is None
    assert result.violation.interval[0] <= result.violation.estimate <= result.violation.interval[1]


def test_a_deadline_below_the_threshold_is_judged_by_counts(values):
    result = audit(values, Promise(deadline=float(np.median(values)), epsilon=0.4))
    assert result.verdict == "broken"
    assert result.violation.tail is None


def test_more_samples_are_asked_for_nearer_to_the_edge(values):
    row = audit(values).quantiles["0.999"]
    reach = row.interval[1] - row.estimate
    near, far = (
        audit(values, Promise(deadline=row.estimate + part * reach, epsilon=0.001)) for part in (0.3, 0.8)
    )
    assert near.verdict == far.verdict == "undecided"
    assert near.samples_to_decide > 2 * far.samples_to_decide > 200_000


def test_wrong_verdicts_are_rare():
    truth = tandem_quantile(0.55)
    wrong = sum(
        audit(tandem(30_000, 0.55, 50 + seed), Promise(deadline=0.98 * truth, epsilon=0.001)).verdict
        == "kept"
        for seed in range(24)
    )
    assert wrong <= 4  # at most 2.5 % each


def fitted_to(draw, deadline, epsilon=0.001):
    return audit(draw, Promise(deadline=deadline, epsilon=epsilon))


def test_requests_cut_off_by_a_timeout_break_a_promise_below_it():
    rng = np.random.default_rng(7)
    values = np.minimum(np.where(rng.random(20_000) < 0.003, np.inf, rng.gamma(2.0, 2.0, 20_000)), 30.0)
    found = fitted_to(values, 29.9)
    assert found.verdict == "broken"
    assert found.cap == 30.0
    assert found.violation.count == np.count_nonzero(values == 30.0)
    assert found.quantiles["0.999"].at_least
    assert found.quantiles["0.999"].estimate == 30.0
    assert "p99.9: at least 30" in summary(found)


def test_a_second_mode_is_judged_by_its_counts():
    rng = np.random.default_rng(7)
    body = rng.lognormal(1.0, 0.7, 50_000)
    values = np.where(rng.random(50_000) < 0.001, 300.0 + rng.normal(0, 3, 50_000), body)
    found = fitted_to(values, 250.0)
    assert found.verdict == "undecided"
    assert found.violation.estimate == np.mean(values > 250)
    assert found.quantiles["0.999"].empirical == pytest.approx(297, abs=6)
    assert any("counts are used" in note for note in found.notes)


def test_one_hang_decides_nothing():
    values = np.random.default_rng(8).exponential(10.0, 2001)
    values[1000] = 1e6
    found = fitted_to(values, 150.0)
    assert found.verdict == "undecided"
    low, high = found.violation.interval
    assert low == pytest.approx(1.27e-5, rel=0.01)
    assert high == pytest.approx(2.78e-3, rel=0.01)


@pytest.mark.parametrize("share", [0.0003, 0.001])
def test_hangs_are_neither_called_kept_nor_broken_beyond_the_stated_level(share):
    """Exponential delays of which some hang: the exact intervals err at most 2.5 % each way."""
    wrong = 0
    for seed in range(60):
        rng = np.random.default_rng([9, seed])
        values = np.where(rng.random(5000) < share, 1e4, rng.exponential(1.0, 5000))
        promised = share * (1.0 if seed % 2 else 1.0001)
        verdict = audit(values, Promise(deadline=1000.0, epsilon=promised)).verdict
        wrong += verdict == ("broken" if seed % 2 else "kept")
    assert wrong <= 6  # 60 draws at 2.5 %: more happens with probability 0.001


def test_samples_to_decide_are_those_that_an_exact_interval_needs():
    independent = Settings(independent=True)
    promise = Promise(deadline=50.0, epsilon=0.001)
    found = audit(np.random.default_rng(10).exponential(1.0, 1000), promise, independent)
    assert found.verdict == "undecided"
    assert found.samples_to_decide == pytest.approx(3689, abs=10)
    assert audit(np.random.default_rng(10).exponential(1.0, 3700), promise, independent).verdict == "kept"


def test_too_few_late_requests_to_show_dependence_are_judged_with_twice_the_variance():
    found = fitted_to(np.random.default_rng(10).exponential(1.0, 1000), 50.0)
    assert found.samples_to_decide == pytest.approx(2 * 3689, abs=20)
    assert fitted_to(np.random.default_rng(10).exponential(1.0, 3700), 50.0).verdict == "undecided"
    assert fitted_to(np.random.default_rng(10).exponential(1.0, 7400), 50.0).verdict == "kept"
