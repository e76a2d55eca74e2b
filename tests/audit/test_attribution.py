import numpy as np
import pytest

from fedopt.audit.attribution import Segment, attribute, report_segment
from tests.audit.processes import RATES, segments

SHARE = 0.02


def reports(load, degraded, samples, seed):
    rates = RATES.copy()
    rates[1] *= degraded
    delays = segments(samples, load, seed, rates)
    levels = -np.log(SHARE) / (RATES - load)
    return {f"d{k}": report_segment(delays[k], levels[k], SHARE) for k in range(3)}


@pytest.mark.parametrize("load", [0.55, 0.85])
def test_a_domain_ten_percent_slower_is_named(load):
    named = [
        {blame.domain for blame in attribute(reports(load, 0.9, 20_000, seed)) if blame.named}
        for seed in range(40)
    ]
    assert sum("d1" in names for names in named) >= 38
    assert sum(bool(names - {"d1"}) for names in named) <= 6


def test_nobody_is_named_without_a_cause():
    named = sum(any(b.named for b in attribute(reports(0.7, 1.0, 20_000, seed))) for seed in range(40))
    assert named <= 6


def test_finding_is_ordered_and_shares_add_up():
    findings = attribute(reports(0.55, 0.85, 20_000, 3))
    assert findings[0].domain == "d1"
    assert findings[0].confidence > 0.95
    assert sum(blame.share for blame in findings) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"share": 0.0},
        {"counts": (1,) * 4, "excess": (0.0,) * 4},
        {"counts": (-1,) * 8},
        {"excess": (float("nan"),) * 8},
    ],
)
def test_impossible_reports_are_refused(change):
    report = {"share": 0.1, "size": 100, "counts": (5,) * 8, "excess": (0.5,) * 8} | change
    with pytest.raises(ValueError, match=r"report holds|lie between|finite"):
        Segment(**report)


def test_a_segment_too_short_is_refused():
    with pytest.raises(ValueError, match="every batch"):
        report_segment(np.ones(5), 1.0, 0.1)
