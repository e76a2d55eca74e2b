"""Reading telemetry in chunks: CSV (gzip too), JSON lines or Parquet, with or without times, tenants and
domains.

Rows that cannot be used (no number where the delay should be, too few fields, not a number, infinite) are
counted, with the first of them quoted, and left out; a file with nothing usable in it is an error with a
reason.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from fedopt.errors import InputError

__all__ = ["Columns", "Telemetry", "TelemetryError", "read_telemetry"]

VALUE_NAMES = (
    "delay",
    "latency",
    "rtt",
    "sojourn",
    "response_time",
    "duration",
    "value",
    "delay_ms",
    "latency_ms",
    "rtt_ms",
)
TIME_NAMES = ("time", "timestamp", "ts", "time_ms", "pub_ms", "t")
GROUP_NAMES = ("tenant", "domain", "run")
CHUNK = 1 << 17
LONGEST_LINE = 1 << 20
MOST_GROUPS = 10_000


class TelemetryError(InputError):
    """A telemetry file that cannot be audited; the message names file, place and remedy."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns to use; None means: find it by its usual names (a time and groups may be
    absent).
    """

    value: str | None = None
    time: str | None = None
    groups: tuple[str, ...] | None = None


@dataclass
class Chunk:
    """Some consecutive rows: values (k,), times (k,) or None, and the label of the group of each row (k,) or
    None.
    """

    value: np.ndarray
    time: np.ndarray | None
    label: np.ndarray | None


@dataclass
class Telemetry:
    """A telemetry file: iterate over `chunks()`. After that `skipped` counts the unusable rows,
    `first_skipped` says why.
    """

    path: Path
    columns: Columns
    skipped: int = 0
    first_skipped: str | None = None
    rows: int = 0
    used: Columns = field(default_factory=Columns)

    def chunks(self) -> Iterator[Chunk]:
        """The usable rows in the order of the file. Raises TelemetryError."""
        try:
            kind = _kind(self.path)
            if kind == "parquet":
                yield from self._parquet()
            elif kind == "jsonl":
                yield from self._records(_json_rows(self.path, self))
            else:
                yield from self._csv()
        except OSError as error:
            raise TelemetryError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        except (UnicodeDecodeError, EOFError, zlib.error) as error:
            raise TelemetryError(f"{self.path}: neither text nor Parquet, or damaged: {error}") from error
        if self.rows == self.skipped:
            reason = f"; the first row: {self.first_skipped}" if self.first_skipped else ""
            raise TelemetryError(f"{self.path}: no usable row among {self.rows}{reason}")

    def skip(self, reason: str) -> None:
        """Count one unusable row."""
        self.rows += 1
        self.skipped += 1
        if self.first_skipped is None:
            self.first_skipped = reason

    def _records(self, rows: Iterator[dict[str, Any]]) -> Iterator[Chunk]:
        while batch := list(islice(rows, CHUNK)):
            yield self._row_by_row(batch)

    def _csv(self) -> Iterator[Chunk]:
        """Columns at once where every row of a batch is as it should be, row by row otherwise."""
        with _text(self.path) as text:
            names, rows = _csv_rows(text, self.path)
            while batch := list(islice(rows, CHUNK)):
                if self.used.value is None:
                    records = [dict(zip(names, row, strict=False)) for row in batch[:100]]
                    self.used = _resolve(self.columns, records[0], records, self.path)
                chunk = self._at_once(batch, names)
                yield chunk or self._row_by_row([dict(zip(names, row, strict=False)) for row in batch])

    def _at_once(self, batch: list[list[str]], names: list[str]) -> Chunk | None:
        wanted = [name for name in (self.used.value, self.used.time) if name is not None]
        try:
            columns = [np.array([row[names.index(name)] for row in batch], dtype=float) for name in wanted]
            places = [names.index(name) for name in self.used.groups or ()]
            labels = ["/".join([row[place] for place in places]) for row in batch] if places else None
        except (ValueError, IndexError):
            return None
        if not all(np.all(np.abs(column) <= 1e15) for column in columns):  # NaN included
            return None
        self.rows += len(batch)
        return Chunk(
            columns[0],
            columns[1] if len(columns) > 1 else None,
            None if labels is None else np.array(labels, dtype=object),
        )

    def _row_by_row(self, batch: Sequence[dict[str, Any]]) -> Chunk:
        if self.used.value is None:
            self.used = _resolve(self.columns, batch[0], batch, self.path)
        used = self.used
        values: list[float] = []
        times: list[float] = []
        labels: list[str] = []
        for row in batch:
            try:
                value = _number(row.get(str(used.value)))
                time = _time(row.get(used.time)) if used.time else 0.0
            except ValueError as error:
                self.skip(f"{error}")
                continue
            self.rows += 1
            values.append(value)
            times.append(time)
            if used.groups:
                labels.append("/".join(str(row.get(name)) for name in used.groups))
        return Chunk(
            np.array(values),
            np.array(times) if used.time else None,
            np.array(labels, dtype=object) if used.groups else None,
        )

    def _parquet(self) -> Iterator[Chunk]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise TelemetryError(
                f'{self.path}: Parquet needs the extra "telemetry": pip install "fedopt[telemetry]"'
            ) from error
        try:
            file = pq.ParquetFile(self.path)
            used: Columns | None = None
            for batch in file.iter_batches(batch_size=CHUNK):
                if used is None:
                    first = {
                        name: batch.column(name)[0].as_py() if batch.num_rows else None
                        for name in batch.schema.names
                    }
                    used = self.used = _resolve(self.columns, first, [first], self.path)
                value = _numbers(batch.column(str(used.value)))
                time = _numbers(batch.column(used.time)) if used.time else None
                good = np.isfinite(value) if time is None else np.isfinite(value) & np.isfinite(time)
                for _ in range(int((~good).sum())):
                    self.skip("not a finite number")
                self.rows += int(good.sum())
                label = None
                if used.groups:
                    columns = [batch.column(name).to_pylist() for name in used.groups]
                    label = np.array(
                        ["/".join(map(str, row)) for row in zip(*columns, strict=True)], dtype=object
                    )[good]
                yield Chunk(value[good], None if time is None else time[good], label)
        except pa.ArrowException as error:
            raise TelemetryError(
                f"{self.path}: not a Parquet file that can be read: {str(error)[:200]}"
            ) from error


def read_telemetry(path: str | Path, columns: Columns | None = None) -> Telemetry:
    """Open a telemetry file; nothing is read before `chunks()` is iterated."""
    return Telemetry(Path(path), columns or Columns())


def _kind(path: Path) -> str:
    with open(path, "rb") as stream:
        head = stream.read(4)
    if head == b"PAR1":
        return "parquet"
    with _text(path) as text:
        start = text.read(200).lstrip("\ufeff \t\r\n")
    return "jsonl" if start.startswith(("{", "[")) else "csv"


def _text(path: Path) -> IO[str]:
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return (
        gzip.open(path, "rt", encoding="utf-8-sig")
        if packed
        else open(path, encoding="utf-8-sig", newline="")
    )


def _csv_rows(text: IO[str], path: Path) -> tuple[list[str], Iterator[list[str]]]:
    """The columns' names and the rows; a file without a header of names gets names of its own."""
    first = text.readline(LONGEST_LINE)
    if not first.strip():
        raise TelemetryError(f"{path}: the file is empty or its first line is")
    delimiter = max(",;\t", key=first.count) if any(c in first for c in ",;\t") else ","
    header = next(csv.reader([first], delimiter=delimiter))
    names = [name.strip() for name in header]
    reader = csv.reader(_lines(text, path), delimiter=delimiter)
    if all(_is_number(name) for name in names):
        names = ["value"] if len(names) == 1 else [f"column{i + 1}" for i in range(len(names))]
        return names, chain([header], _sound(reader))
    if len(set(names)) < len(names):
        raise TelemetryError(
            f"{path}: two columns have the same name; the first line is {first.strip()[:200]!r}"
        )
    return names, _sound(reader)


def _sound(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    """The rows that are not empty; one that the reader refuses comes as a row without fields."""
    while True:
        try:
            for row in reader:
                if row:
                    yield row
            return
        except csv.Error:
            yield []


def _lines(text: IO[str], path: Path) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE):
        if len(line) >= LONGEST_LINE:
            raise TelemetryError(
                f"{path}: a line of more than {LONGEST_LINE:,} characters; this is no telemetry"
            )
        yield line.replace("\0", "")


def _json_rows(path: Path, telemetry: Telemetry) -> Iterator[dict[str, Any]]:
    with _text(path) as text:
        for number, line in enumerate(_lines(text, path), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                telemetry.skip(f"line {number} is not JSON: {line.strip()[:80]!r}")
                continue
            if isinstance(row, dict):
                yield row
            elif isinstance(row, int | float) and not isinstance(row, bool):
                yield {"value": row}
            else:
                telemetry.skip(f"line {number} is not a JSON object")


def _resolve(wanted: Columns, first: dict[str, Any], batch: Sequence[dict[str, Any]], path: Path) -> Columns:
    names = list(first)

    def need(name: str) -> str:
        if name not in names:
            raise TelemetryError(
                f"{path}: there is no column {name!r}; the columns are {', '.join(map(repr, names[:20]))}"
            )
        return name

    lowered = {name.casefold(): name for name in names}
    value = (
        need(wanted.value) if wanted.value else next((lowered[n] for n in VALUE_NAMES if n in lowered), None)
    )
    time = need(wanted.time) if wanted.time else next((lowered[n] for n in TIME_NAMES if n in lowered), None)
    if value is None:
        numeric = [n for n in names if n != time and any(_is_number(row.get(n)) for row in batch[:100])]
        if len(numeric) != 1:
            raise TelemetryError(
                f"{path}: which column holds the delays? Name it; "
                f"the columns are {', '.join(map(repr, names[:20]))}"
            )
        value = numeric[0]
    if wanted.groups is not None:
        groups = tuple(need(name) for name in wanted.groups)
    else:
        groups = tuple(lowered[n] for n in GROUP_NAMES if n in lowered and lowered[n] not in (value, time))
    return Columns(value, time if time != value else None, groups)


def _is_number(value: Any) -> bool:
    try:
        _number(value)
    except ValueError:
        return False
    return True


def _number(value: Any) -> float:
    if value is None or isinstance(value, bool | list | dict):
        raise ValueError(f"{value!r:.60} is no number")
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{value!r:.60} is no number") from error
    if not math.isfinite(number) or abs(number) > 1e15:
        raise ValueError(f"{value!r:.60} is not a finite number")
    return number


def _time(value: Any) -> float:
    """A number as it stands, or an ISO 8601 date and time as seconds."""
    try:
        return _number(value)
    except ValueError:
        return float(np.datetime64(str(value).strip().removesuffix("Z"), "us").astype(np.int64)) / 1e6


def _numbers(column: Any) -> np.ndarray:
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    elif not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.array([_number(v) if _is_number(v) else math.nan for v in column.to_pylist()], dtype=float)
    values = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=float)
    return (
        np.where(np.abs(values) <= 1e15, values, math.nan) if not pa.types.is_integer(column.type) else values
    )
