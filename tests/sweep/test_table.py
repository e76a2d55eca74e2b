import json
import os

import pytest

from fedopt.sweep import Case, Row, SweepError, Table
from fedopt.sweep.table import record

CASES = [Case("a", None, (("slot", value),)) for value in (1, 2.5, [3, "x"])]
ROWS = [
    Row("optimal", 0.1 + 0.2, 1e-300, 0.0, 3, 0.5, 7, None),
    Row("infeasible", seconds=1.0, rounds=0, problem='says "no", twice\n'),
    Row("failed", problem="ValueError: odd"),
]
RECORDS = [record(case, row) for case, row in zip(CASES, ROWS, strict=True)]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_what_is_written_is_known_again_but_failures_are_tried_anew(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    table = Table(tmp_path / f"rows{suffix}")
    assert table.known(CASES) == {}
    table.write(RECORDS, last=True)
    assert table.known(CASES) == {CASES[0].key: ROWS[0], CASES[1].key: ROWS[1]}
    with pytest.raises(SweepError, match="holds 2 rows that this sweep does not ask for"):
        table.known(CASES[:1])


def test_columns(tmp_path):
    table = Table(tmp_path / "rows.json")
    table.write(RECORDS, last=True)
    first = json.loads(table.path.read_text())[0]
    assert list(first)[:5] == ["instance", "slot", "method", "guarantee", "objective"]
    assert first["cost"] == 0.1 + 0.2
    assert first["key"] == CASES[0].key


def test_a_table_is_replaced_whole_and_not_at_every_row(tmp_path):
    table = Table(tmp_path / "rows.csv")
    table.write(RECORDS[:1])
    before = os.stat(table.path).st_ino
    table.write(RECORDS[:2])  # too soon after the first
    assert os.stat(table.path).st_ino == before
    table.write(RECORDS, last=True)
    assert os.stat(table.path).st_ino != before
    assert os.listdir(tmp_path) == ["rows.csv"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.csv", "a,b\n1,2\n", "no table of a sweep"),
        ("rows.json", "{}", "cannot be read as a table"),
        ("rows.json", "[1", "cannot be read as a table"),
        ("rows.csv", f"key,status,cost\n{CASES[0].key},optimal,cheap\n", "cost is 'cheap'"),
    ],
)
def test_files_that_are_no_table(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SweepError, match=message):
        Table(path).known(CASES)
    assert path.read_text() == text


def test_other_suffixes(tmp_path):
    with pytest.raises(SweepError, match=r"ends in \.csv, \.json, \.parquet"):
        Table(tmp_path / "rows.xlsx")
