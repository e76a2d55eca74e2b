"""The table of a sweep as a file, CSV, JSON or Parquet: whole at any time, and readable again to go on."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedopt.storage import write_atomically
from fedopt.sweep.cases import RESULTS, Case, Row, SweepError

__all__ = ["SUFFIXES", "Table", "record"]

SUFFIXES = (".csv", ".json", ".parquet")

SECONDS_BETWEEN = 1.0
"""A table is written again at most this often, and no more than a twentieth of the time goes into it."""


def record(case: Case, row: Row) -> dict[str, Any]:
    """The columns of a row: what was asked, then what came of it."""
    return {
        "instance": case.name,
        **dict(case.changes),
        "method": case.method,
        "guarantee": case.guarantee,
        "objective": case.objective,
        **row.to_dict(),
        "key": case.key,
    }


class Table:
    """The file of a sweep; its suffix says how it is written.

    Rows stand in the order of the cases. The file is replaced as a whole, so that a reader, or a sweep that
    goes on after an interruption, never meets half a row. Raises SweepError for another suffix, and
    for Parquet without pyarrow.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise SweepError(f"{path}: a table is written to a file that ends in {', '.join(SUFFIXES)}")
        self.path = path
        self.suffix = path.suffix.lower()
        self._next = 0.0
        if self.suffix == ".parquet":
            _pyarrow()

    def known(self, cases: Sequence[Case]) -> dict[str, Row]:
        """The rows that the file holds of these cases and that need no second try, by key.

        Raises SweepError for a file that is no table of a sweep, or that holds rows of other cases, which
        going on would lose.
        """
        if not self.path.exists():
            return {}
        records = self._read()
        if any("key" not in found or "status" not in found for found in records):
            raise SweepError(f"{self.path}: is no table of a sweep, so there is nothing to go on from")
        asked = {case.key for case in cases}
        others = sum(found["key"] not in asked for found in records)
        if others:
            raise SweepError(
                f"{self.path}: holds {others} rows that this sweep does not ask for; name another --out, or "
                "ask for them too"
            )
        rows = {str(found["key"]): _row(found, self.path) for found in records}
        return {key: row for key, row in rows.items() if row.settled}

    def write(self, records: Sequence[dict[str, Any]], last: bool = False) -> None:
        """Write the rows there are; between the first and the last time only when some time has passed."""
        started = time.monotonic()
        if not last and started < self._next:
            return
        write_atomically(self.path, self._text(records))
        spent = time.monotonic() - started
        self._next = started + max(SECONDS_BETWEEN, 20.0 * spent)

    def _text(self, records: Sequence[dict[str, Any]]) -> str | bytes:
        if self.suffix == ".json":
            return json.dumps(list(records), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        names = list(dict.fromkeys(name for found in records for name in found))
        if self.suffix == ".csv":
            stream = io.StringIO()
            writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _cell(value) for name, value in found.items()} for found in records)
            return stream.getvalue()
        pyarrow, parquet = _pyarrow()
        columns = {name: _column([found.get(name) for found in records]) for name in names}
        buffer = io.BytesIO()
        parquet.write_table(pyarrow.table(columns), buffer)
        return buffer.getvalue()

    def _read(self) -> list[dict[str, Any]]:
        try:
            if self.suffix == ".json":
                records = json.loads(self.path.read_text(encoding="utf-8"))
                if not (isinstance(records, list) and all(isinstance(found, dict) for found in records)):
                    raise ValueError("no list of rows")
                return records
            if self.suffix == ".csv":
                with self.path.open(encoding="utf-8", newline="") as stream:
                    return list(csv.DictReader(stream))
            _, parquet = _pyarrow()
            return list(parquet.read_table(self.path).to_pylist())
        except (OSError, ValueError, UnicodeDecodeError, csv.Error) as error:
            raise SweepError(f"{self.path}: cannot be read as a table: {error}") from error


def _row(found: dict[str, Any], path: Path) -> Row:
    fields: dict[str, Any] = {}
    for name, kind in RESULTS.items():
        value = found.get(name)
        try:
            fields[name] = None if value is None or value == "" else kind(value)
        except (TypeError, ValueError):
            raise SweepError(f"{path}: {name} is {value!r}, which no sweep writes") from None
    return Row(**fields)


def _cell(value: Any) -> Any:
    """Numbers and texts as they are, anything else as JSON."""
    if value is None:
        return ""
    return (
        value if isinstance(value, int | float | str) and not isinstance(value, bool) else json.dumps(value)
    )


def _column(values: list[Any]) -> list[Any]:
    """Values of one type for a typed column: whole numbers beside others become floats, mixtures JSON."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and kinds <= {int, float, str, bool}:
        return values
    if kinds <= {int, float}:
        return [None if value is None else float(value) for value in values]
    return [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise SweepError("a Parquet table needs pyarrow: pip install 'fedopt[telemetry]'") from error
    return pyarrow, parquet
