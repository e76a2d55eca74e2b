"""The state file: whole periods or none, one scenario a file, reading that cannot write."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from fedopt.control.store import TABLES, PeriodRecord, StateError, Store, column_types, packed
from fedopt.control.summary import export_parquet, plot_trade_off

IDENTITY = {"scenario": "x", "seed": "0"}


def _record(period: int, events: int = 1) -> PeriodRecord:
    record = PeriodRecord(period, carry={"plan": {"n": period}})
    for number in range(events):
        record.add("events", period, number, "kind", "subject", "detail")
    record.add("settlements", period, 5, packed({"period": period}))
    return record


def test_a_period_is_all_or_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db", IDENTITY) as store:
        store.commit("fedopt", _record(0))
        before = store.fingerprint()
        torn = _record(1)
        torn.add("events", 1, 0, "kind", "the same key", "again")
        with pytest.raises(sqlite3.IntegrityError):
            store.commit("fedopt", torn)
        assert store.fingerprint() == before
        assert store.carry("fedopt") == {"period": 0, "plan": {"n": 0}}
        store.commit("fedopt", _record(1, events=3))
        assert store.runs() == {"fedopt": 2}
        assert len(store.rows("events", "fedopt")) == 4


@pytest.mark.parametrize("period", [0, 2])
def test_periods_follow_each_other(tmp_path: Path, period: int) -> None:
    with Store.open(tmp_path / "s.db", IDENTITY) as store:
        store.commit("fedopt", _record(0))
        with pytest.raises(StateError, match="does not follow"):
            store.commit("fedopt", _record(period))


def test_a_file_holds_one_scenario(tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    Store.open(file, IDENTITY).close()
    Store.open(file, IDENTITY).close()
    with pytest.raises(StateError, match="seed differ"):
        Store.open(file, IDENTITY | {"seed": "1"})
    other = tmp_path / "notes.db"
    other.write_text("no database, but text that is long enough to be looked at" * 20, encoding="utf-8")
    with pytest.raises(StateError, match="not a state file"):
        Store.open(other, IDENTITY)
    with pytest.raises(StateError, match="not a state file"):
        Store.read(other)
    with pytest.raises(StateError, match="there is no state file"):
        Store.read(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_reading_cannot_write_and_questions_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    with Store.open(file, IDENTITY) as store:
        store.commit("fedopt", _record(0))
        store.commit("fedopt", _record(1))
    with Store.read(file) as store:
        assert store.identity() == IDENTITY
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            store.commit("fedopt", _record(2))
        assert [row["period"] for row in store.select("settlements", run="fedopt")] == [0, 1]
        assert store.select("settlements", period=1) == [
            {"run": "fedopt", "period": 1, "received": 5, "settlement": {"period": 1}}
        ]
        assert len(store.select("events", limit=1)) == 1
        for table, asked, message in (
            ("carry; DROP TABLE meta", {}, "there is no table"),
            ("settlements", {"tenant": "x"}, "no column 'tenant'"),
            ("settlements", {"run": "y"}, "there is no run"),
        ):
            with pytest.raises(StateError, match=message):
                store.select(table, **asked)  # type: ignore[arg-type]


def test_every_table_becomes_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    with Store.open(tmp_path / "s.db", IDENTITY) as store:
        store.commit("fedopt", _record(0))
        files = export_parquet(store, tmp_path / "out")
        assert {file.stem for file in files} == set(TABLES)
        rows = parquet.read_table(tmp_path / "out" / "settlements.parquet").to_pylist()
        assert rows == [{"run": "fedopt", "period": 0, "received": 5, "settlement": '{"period": 0}'}]
        empty = parquet.read_table(tmp_path / "out" / "answers.parquet").schema
        assert [str(empty.field(name).type) for name in ("run", "period", "asked")] == [
            "string",
            "int64",
            "double",
        ]


def test_columns_of_every_table() -> None:
    for table in TABLES:
        kinds = column_types(table)
        assert kinds["run"] == "TEXT"
        assert set(kinds.values()) <= {"TEXT", "INTEGER", "REAL", "BLOB"}


def test_a_plot_needs_two_weights(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.db", IDENTITY) as store, pytest.raises(StateError, match="two values"):
        plot_trade_off(store, tmp_path / "v.png")
