import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedopt.report.accounts import ledger_tables
from fedopt.report.tables import Column, Table, number, power, script_json


@given(
    st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
)
def test_data_reads_back_and_cannot_end_its_element(document):
    text = script_json(document)
    assert json.loads(text) == document
    assert not set(text) & set("<>&")
    assert text.isascii()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0.0, "0"), (1234567.8, "1,234,568"), (0.00012345, "0.0001234"), (float("inf"), "∞"),
        (float("nan"), "–"), (-2.5, "-2.5"), (3e12, "3e+12"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_probabilities_do_not_underflow():
    assert power(-2.0) == "0.01"
    assert power(-4.0) == "0.0001"
    assert power(-400.3) == "5.01e-401"
    assert power(-1e300) == "10^-1e+300"
    assert power(1e300) == "1 or more"


def test_only_the_first_rows_stand_in_the_document():
    table = Table("t", "c", [Column("a")], [[str(k)] for k in range(120)])
    assert len(table.first) == 50
    assert len(json.loads(table.data())["rows"]) == 120


def test_a_ledger_of_any_shape_becomes_tables():
    ledger = {
        "rounds": 12,
        "fields_disclosed": ["price", "load"],
        "boundaries": {"opA": {"numbers": 30, "bytes": 240}, "opB": {"numbers": 20, "bytes": 160.0}},
        "messages": [{"round": 1, "to": "opA"}, {"round": 2, "to": "opB", "masked": True}],
    }
    plain, boundaries, messages = ledger_tables(ledger)
    assert plain.rows == [["rounds", "12"], ["fields disclosed", "price, load"]]
    assert boundaries.rows == [["opA", "30", "240"], ["opB", "20", "160"]]
    assert [column.numeric for column in boundaries.columns] == [False, True, True]
    assert messages.rows == [["1", "opA", "–"], ["2", "opB", "yes"]]
    assert ledger_tables({}) == []


def test_a_ledger_of_a_federated_run_shows_totals_and_boundaries():
    told = {"load": 12, "value": 3}
    record = {
        "operator": "opA",
        "rounds": 3,
        "messages": 8,
        "numbers": 15,
        "bytes": 1234,
        "told": told,
        "asked": {},
    }
    ledger = {"totals": {"rounds": 3, "numbers": 1500}, "boundaries": [record]}
    totals, boundaries = ledger_tables(ledger)
    assert totals.rows == [["totals: rounds", "3"], ["totals: numbers", "1,500"]]
    assert boundaries.rows == [["opA", "3", "8", "15", "1,234", "load: 12, value: 3", "–"]]
    assert [column.style for column in boundaries.columns] == ["", *["number"] * 4, "wide", "wide"]
