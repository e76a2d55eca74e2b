"""The suites at their smallest sizes: rows as published. What they measure is not asserted."""

import pytest

from fedopt.bench import SUITES, UnknownSuite, bounds, central, run, simulation
from fedopt.bench.fresh_process import in_fresh_process
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
    assert row.gap is not None
    assert row.gap <= 1e-3
    assert row.peak_mb is None or row.peak_mb > 1


def test_sizes():
    assert central.parse_case("1000x4x12:20", 0.01) == central.Case(1000, 4, 12, 20, 0.01)
    assert central.parse_case("100x3x8").gap == central.CASES[0].gap
    assert central.parse_case("7x3x8").gap == 1e-3
    for wrong in ("100x3", "x3x8", "100x3x8:", "1e3x3x8"):
        with pytest.raises(ValueError, match="TENANTSxSTAGESxDOMAINS"):
            central.parse_case(wrong)


def test_a_suite_that_does_not_exist():
    with pytest.raises(UnknownSuite, match="did you mean 'bounds'") as caught:
        run("bound")
    assert caught.value.exit_code == 2
    assert set(SUITES) == {"bounds", "simulate", "central"}
