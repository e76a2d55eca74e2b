import numpy as np
import pytest

from fedopt.audit import Promise, audit
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
    assert result.violation.estimate == result.violation.empirical


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
