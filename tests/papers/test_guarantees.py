"""What a guarantee costs: the prototype's table within its stated accuracy, and studies that go on."""

import json
import math

import numpy as np
import pytest

from fedopt.papers import guarantee_cases as cases
from fedopt.papers import guarantees
from fedopt.simulate.slot_work import slot_work
from fedopt.simulate.slots import SlotPath, simulate


@pytest.mark.parametrize("name", list(cases.TABLE))
def test_least_rates_agree_with_the_prototype(name):
    least, error = cases.least_rate(cases.TABLE[name], 4_000, seed=1)
    known = cases.PROTOTYPE[name]["least"]
    assert abs(least - known) < 0.01 * known + 3 * error
    assert error < 2e-3 * least


def test_a_least_rate_is_one_in_plain_simulation():
    """Requests counted at the least rate of case A for ε = 1e-2 violate it once in a hundred."""
    case = cases.Case(cases.CASE_A.arrivals, cases.CASE_A.impairments, 21, 1e-2, (2, 3, 4))
    least, error = cases.least_rate(case, 8_000, seed=2)
    laws = tuple(slot_work(model) for model in (case.arrivals, *case.impairments))
    run = simulate(SlotPath(laws[0], laws[1:], np.full(3, least)), 60_000, trials=48, seed=3)
    shares = run.requests[:, 22:].sum(axis=1) / run.requests.sum(axis=1)
    spread = shares.std(ddof=1) / math.sqrt(shares.size)
    slope = 20 * 1e-2 / least  # a rough dP/dR: an error of 1 % in the rate is one of 20 % in P
    assert abs(shares.mean() - 1e-2) < 3.5 * math.hypot(spread, slope * error)


@pytest.mark.parametrize("name", ["A", "B", "B with 2 domains"])
def test_proven_rates_agree_with_the_prototype(name):
    known = cases.PROTOTYPE[name]
    case = cases.TABLE[name]
    for guarantee, form in (
        ("paper-path", "paper-path"),
        ("minplus:fine", "fine"),
        ("minplus:ville", "ville"),
    ):
        assert cases.proven_rate(case, guarantee) == pytest.approx(known[form] * known["least"], rel=0.015)


def test_the_order_of_guarantees():
    case = cases.CASE_A
    rates = [cases.proven_rate(case, g) for g in ("simulated", "minplus", "minplus:fine", "paper-path")]
    assert rates == sorted(rates)


def test_a_study_goes_on_where_it_ended(tmp_path):
    record = tmp_path / "cases.json"
    told = []
    studies = guarantees.figures(record, lambda done, total: told.append((done, total)))
    first = studies["hops"](trials=500, seed=3, quick=True)
    kept = json.loads(record.read_text())
    assert len(kept) == 2
    assert told == [(0, 2), (1, 2)]
    # one case forgotten, the other spoilt: what is kept is believed, what is missing is measured again
    forgotten, spoilt = kept
    again = {spoilt: {**kept[spoilt], "least": 1.0}}
    record.write_text(json.dumps(again))
    second = guarantees.figures(record)["hops"](trials=500, seed=3, quick=True)
    assert second[0].mean[0] == first[0].mean[0]
    assert second[0].mean[1] == 1.0
    assert json.loads(record.read_text())[forgotten] == kept[forgotten]


@pytest.mark.slow
def test_whole_requests_are_a_study_too(tmp_path):
    """Names instead of numbers, and what is reserved over what is needed; quick: three systems."""
    record = tmp_path / "cases.json"
    series = guarantees.figures(record)["whole"](trials=60, seed=1, quick=True)
    ratio = series[-1]
    assert ratio.label == "reserved over least rate"
    assert len(ratio.names) == 3
    assert all(high > 1.0 for high in ratio.high)
    assert len(json.loads(record.read_text())) == 3
    assert series[1].label == "load"
    assert all(0.2 <= load <= 0.95 for load in series[1].mean)


def test_series_of_a_study():
    """The least rate, then a curve a guarantee: no theorem below what is needed."""
    series = guarantees.figures()["epsilon"](seed=1, quick=True)
    assert [curve.label for curve in series] == ["least rate", *cases.GUARANTEES]
    assert series[0].x == (2.0, 3.0)
    for curve in series[1:]:
        for low, mean, high in zip(curve.low, curve.mean, curve.high, strict=True):
            assert low < mean < high
            assert curve.label == "simulated" or high > 1.0


def test_a_spoilt_record_is_named(tmp_path):
    record = tmp_path / "cases.json"
    record.write_text("{")
    with pytest.raises(ValueError, match=r"cases\.json: not a record"):
        guarantees.figures(record)
