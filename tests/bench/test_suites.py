"""The suites at their smallest sizes: rows as published. What they measure is not asserted."""

import os
import time
from dataclasses import replace

import pytest

from fedopt.bench import (
    SUITES,
    Row,
    Settings,
    UnknownSuite,
    against,
    bounds,
    central,
    growth,
    run,
    simulation,
)
from fedopt.bench.against import enumerate_and_solve
from fedopt.bench.row import OutOfTime, ProcessDied, in_fresh_process
from fedopt.calculus.forms import FORMS

FIELDS = {"case", "seconds", "peak_mb", "gap", "ratio_to", "ratio"}


def test_bounds_has_all_forms_together_and_one_by_one():
    table = bounds.rows(bounds=20)
    assert {row.case for row in table} >= {"all forms", *FORMS, bounds.ONE_BY_ONE}
    assert all(row.seconds > 0 and row.to_dict().keys() >= FIELDS for row in table)
    assert {row.ratio_to for row in table} == {bounds.ONE_BY_ONE, None}


def test_simulation_stands_beside_the_peer_where_it_is_installed(monkeypatch):
    table = simulation.rows(packets=2_000, trials=2, peer_packets=200)
    assert [row.case for row in table][:2] == ["one thread", "all threads"]
    assert table[0].more["packets"] == 4_000
    monkeypatch.setattr(simulation, "peer", lambda packets: [])
    alone = simulation.rows(packets=2_000, trials=2, peer_packets=200)
    assert [(row.case, row.ratio_to) for row in alone] == [("one thread", None), ("all threads", None)]


def test_central_states_the_certified_gap_and_the_memory():
    (row,) = in_fresh_process(central.rows, central.Case(4, 2, 2))
    assert (row.case, row.more["status"]) == ("4x2x2", "optimal")
    assert 0.0 < row.gap < 0.1
    assert row.more["catalogue_gap"] <= 1e-3
    assert row.peak_mb is None or row.peak_mb > 1


def test_sizes():
    assert central.parse_case("1000x4x12:20", 0.01) == central.Case(1000, 4, 12, 20, 0.01)
    assert central.parse_case("100x3x8").gap == central.CASES[0].gap
    assert central.parse_case("7x3x8").gap == 1e-3
    full = central.parse_case("20x3x8x2:5@0.5")
    assert full == central.Case(20, 3, 8, kinds=5, offers=2, binding=0.5)
    assert all(central.parse_case(str(case)) == case for case in (*central.CASES, full))
    for wrong in ("100x3", "x3x8", "100x3x8:", "1e3x3x8", "2x3x8@2"):
        with pytest.raises(ValueError, match="TENANTSxSTAGESxDOMAINS"):
            central.parse_case(wrong)


def test_a_suite_that_does_not_exist():
    with pytest.raises(UnknownSuite, match="did you mean 'bounds'") as caught:
        run("bound")
    assert caught.value.exit_code == 2
    assert set(SUITES) == {
        "bounds",
        "simulate",
        "central",
        "against",
        "growth",
        "operate",
        "serve",
        "day",
        "federation",
        "admm",
        "audit",
        "learn",
    }


def test_a_measurement_may_raise_die_or_take_too_long():
    with pytest.raises(ZeroDivisionError):
        in_fresh_process(_odd, "raise")
    with pytest.raises(ProcessDied, match="code 7"):
        in_fresh_process(_odd, "die")
    with pytest.raises(OutOfTime, match=r"not done after 0\.5 seconds"):
        in_fresh_process(_odd, "sleep", limit=0.5)


def _odd(what):
    if what == "die":
        os._exit(7)
    if what == "sleep":
        time.sleep(60)
    return 1 / 0


def test_a_million_in_kinds_stands_beside_as_many_tenants(monkeypatch):
    def measure(function, case, *rest):
        return [Row(str(case), 2.0 if case.kinds else 3.0)]

    monkeypatch.setattr("fedopt.bench.suites.in_fresh_process", measure)
    cases = tuple(central.parse_case(text) for text in ("20x2x2", "1000x2x2:20", "1000x2x2:10"))
    first, second, third = run("central", Settings(cases))
    assert (second.ratio_to, second.ratio) == ("20x2x2", 1.5)
    assert first.ratio_to is third.ratio_to is None


def test_enumeration_finds_what_the_central_method_finds():
    instance = central.Case(6, 2, 3).instance(seed=1)
    theirs = enumerate_and_solve(instance, 1e-6, 60.0)
    plan, _ = central.measured(instance, gap=1e-6)
    assert theirs.status == "optimal"
    # its costs are tangents from below, ours the curves themselves
    assert plan.lower_bound <= theirs.cost * (1 + 1e-3)
    # reservations of any shape may cost less than the catalogue that is enumerated
    assert plan.lower_bound <= plan.cost <= theirs.cost * (1 + 1e-4)
    assert enumerate_and_solve(instance, 1e-6, 0.0).status == "limit"


def test_against_stops_an_opponent_at_the_first_size_that_it_fails():
    calls = []

    def measure(function, *given, limit):
        calls.append((function.__name__, *given[:2]))
        if function is against.theirs and given[1] == 5:
            raise OutOfTime("not done")
        status = "optimal" if given[1] != 20 else "limit"
        return [Row("row", 4.0 if function is against.theirs else 2.0, more={"status": status})]

    table = list(against.rows(sizes=(2, 5, 10), run=measure))
    opponents = [call for call in calls if call[0] == "theirs"]
    assert [call[1:] for call in opponents[:2]] == [("enumeration, HiGHS", 2), ("enumeration, HiGHS", 5)]
    assert ("theirs", "enumeration, HiGHS", 10) not in calls
    assert table[1].ratio == 2.0
    assert table[2].more == {"status": "limit", "problem": "not done"}
    assert "at least" in table[3].more["ratio_is"]
    assert table[4].ratio is None


def test_growth_fits_an_exponent_along_each_axis():
    def measure(function, axis, case, *rest):
        size = getattr(case, axis)
        return [Row("row", 3.0 * size**1.5, more={"axis": axis, "size": size})]

    table = list(growth.rows(quick=True, run=measure))
    found = {row.more["axis"]: row.more["exponent"] for row in table if "exponent" in row.more}
    assert found == {axis: pytest.approx(1.5) for axis in growth.AXES}
    assert [row.more["size"] for row in table if row.more["axis"] == "stages"] == [2, 3, 4]


def test_growth_measures_what_central_measures():
    (row,) = growth.measure("tenants", replace(growth.BASE, tenants=3, stages=2, domains=2), None, 0)
    assert (row.case, row.more["size"], row.more["status"]) == ("tenants: 3x2x2", 3, "optimal")


def test_serving_stands_beside_planning_in_process():
    pytest.importorskip("sse_starlette")
    from fedopt.bench import serving

    table = serving.rows(requests=8, jobs=2)
    assert all(row.seconds > 0 and row.to_dict().keys() >= FIELDS for row in table)
    assert {row.ratio_to for row in table} == {"in process", None}


def test_learning_suite(monkeypatch):
    pytest.importorskip("sklearn", reason="the optional extra `learn` is not installed")
    monkeypatch.setattr("fedopt.bench.suites.in_fresh_process", lambda measure, *given: measure(*given))
    rows = {row.case: row for row in run("learn", Settings(quick=True))}
    assert len(rows) == 5 + 5
    assert rows["decompose one request, certified"].ratio > 0
    assert 0 <= rows["paper: convex"].more["regret"] < 0.2
