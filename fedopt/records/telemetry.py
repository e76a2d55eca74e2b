"""Delays from a record: value, time and group of every request; what did not come back is +inf."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.records.formats import Format, format_of
from fedopt.records.source import RecordError, Source
from fedopt.records.units import SECONDS, dates, numbers, plain_name, unit_in_name

if TYPE_CHECKING:
    from pandas import DataFrame, Series

__all__ = ["MAX_GROUPS", "Chunk", "Columns", "Telemetry", "TelemetryError", "find_time", "read_telemetry"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


VALUE_NAMES = _words(
    "delay latency rtt sojourn response_time responsetime elapsed elapsed_time e2e e2e_latency e2el "
    "end_to_end_latency total_latency total_time request_time request_latency http_req_duration duration "
    "time_taken round_trip_time wall_time rt ttft time_to_first_token value"
)
TIME_NAMES = _words(
    "time timestamp ts date_time datetime date start_time start started_at begin request_start_time "
    "created_at pub t end_timestamp end_time"
)
GROUP_NAMES = _words("tenant domain run")
MAX_GROUPS = 10_000
FAILED_FLAGS = _words("failed failure error err timeout timed_out is_error has_error")
SUCCESS_FLAGS = _words("success ok succeeded expected_response accepted_response")
STATUSES = _words("status status_code statuscode code http_status response_code outcome result state")
NO = {"", *_words("0 0.0 false no none null nan - ok success <na>")}
FAILED_WORDS = _words(
    "timeout timed_out time_out error failed failure fail lost dropped cancelled canceled aborted "
    "unavailable deadline_exceeded resource_exhausted internal unknown exception refused unreachable"
)
FAILED_CODES = (0, 408, 429, 499)


class TelemetryError(RecordError):
    """Telemetry that cannot be audited; the message names file, place and remedy."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns to use; None means: find it by the format or by its usual names.

    unit: the unit in which delays are wanted; None: the one that the record states. ignore_failed: leave out
    requests that did not come back instead of counting them as late.
    """

    value: str | None = None
    time: str | None = None
    groups: tuple[str, ...] | None = None
    unit: str | None = None
    ignore_failed: bool = False


@dataclass
class Chunk:
    """Some consecutive requests: delays (k,), times (k,) or None, and the label of the group of each (k,) or
    None.

    A delay of +inf: the request did not come back. A time of NaN: it has none.
    """

    value: np.ndarray
    time: np.ndarray | None
    label: np.ndarray | None


@dataclass
class Telemetry:
    """A record of delays: iterate over `chunks()`.

    Attributes, after that
    ----------------------
    rows
        Requests read.
    failed
        Why requests count as late or were left out, with how many of each.
    first_failed
        The first of them, in words.
    unit, time_unit
        Units of the delays and of the times (seconds for date-times); None: the record states none.
    used
        The columns that were used. ordered: whether rows have an order in time.
    notes
        What was guessed, and what a reader must know.
    """

    path: Path
    columns: Columns
    rows: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    first_failed: str | None = None
    unit: str | None = None
    time_unit: str | None = None
    used: Columns = field(default_factory=Columns)
    ordered: bool = True
    notes: list[str] = field(default_factory=list)

    def chunks(self) -> Iterator[Chunk]:
        """The requests in the order of the file. Raises TelemetryError."""
        try:
            yield from self._chunks()
        except TelemetryError:
            raise
        except RecordError as error:
            raise TelemetryError(str(error)) from error
        except OSError as error:
            raise TelemetryError(f"{self.path}: cannot be read: {error.strerror or error}") from error
        except (UnicodeDecodeError, EOFError, zlib.error) as error:
            raise TelemetryError(f"{self.path}: neither text nor Parquet, or damaged: {error}") from error

    def _chunks(self) -> Iterator[Chunk]:
        source = Source(self.path)
        form = format_of(source)
        self.ordered = form.ordered
        if form.note:
            self.notes.append(f"{form.name}: {form.note}.")
        usable = 0
        for frame in form.frames(source):
            if frame.empty:
                continue
            if self.used.value is None:
                self._resolve(form, frame)
            chunk = self._chunk(form, frame)
            usable += int(np.isfinite(chunk.value).sum())
            yield chunk
        if source.unusable:
            self._fail(
                np.ones(source.unusable, dtype=bool), "rows that cannot be read", source.first_unusable
            )
            self.rows += source.unusable
            if not self.columns.ignore_failed:
                yield Chunk(np.full(source.unusable, np.inf), None, None)
        if usable == 0:
            reason = f"; the first row: {self.first_failed}" if self.first_failed else ""
            raise TelemetryError(f"{self.path}: no usable row among {self.rows}{reason}")

    def _chunk(self, form: Format, frame: DataFrame) -> Chunk:
        used = self.used
        value, _ = self._delays(form, frame[str(used.value)])
        self.rows += len(frame)
        failed = np.zeros(len(frame), dtype=bool)
        for name, mask in _failures(frame, used):
            self._fail(mask & ~failed, f"by the column {name!r}", None)
            failed |= mask
        for mask, reason in (
            (np.isnan(value), "without a usable delay"),
            (np.isinf(value), "with an infinite delay"),
            (value < 0, "with a negative delay"),
        ):
            fresh = mask & ~failed
            if fresh.any():
                cell = frame[str(used.value)].iloc[int(np.argmax(fresh))]
                self._fail(fresh, reason, f"{cell!r:.60} is no delay")
                failed |= fresh
        value = np.where(failed, np.inf, value)
        time = dates(frame[used.time])[0] if used.time else None
        label = _labels(frame, used.groups) if used.groups else None
        if self.columns.ignore_failed and failed.any():
            value = value[~failed]
            time = None if time is None else time[~failed]
            label = None if label is None else label[~failed]
        return Chunk(value, time, label)

    def _fail(self, mask: np.ndarray, reason: str, first: str | None) -> None:
        count = int(mask.sum())
        if count:
            self.failed[reason] += count
            self.first_failed = self.first_failed or first or f"a request failed {reason}"

    def _delays(self, form: Format, column: Series) -> tuple[np.ndarray, str | None]:
        """Delays in the unit wanted, and that unit."""
        stated = unit_in_name(str(column.name)) or form.unit
        value, unit = numbers(column, stated or self.unit)
        if self.columns.unit is not None and unit is not None and unit != self.columns.unit:
            return value * (SECONDS[unit] / SECONDS[self.columns.unit]), self.columns.unit
        return value, unit

    def _resolve(self, form: Format, frame: DataFrame) -> None:
        names = [str(name) for name in frame.columns]
        frame.columns = names
        wanted = self.columns
        time = _need(wanted.time, names, self.path) or find_time(form, names)
        value = _need(wanted.value, names, self.path)
        if value is None:
            value, guessed = self._find_value(form, frame, names, time)
            if guessed:
                self.notes.append(guessed)
        if wanted.groups is not None:
            groups = tuple(str(_need(name, names, self.path)) for name in wanted.groups)
        else:
            usual = form.groups if form.groups is not None else GROUP_NAMES
            by_name = {name.casefold(): name for name in names}
            groups = tuple(by_name[n] for n in usual if n in by_name and by_name[n] not in (value, time))
        self.used = Columns(value, time if time != value else None, groups)
        if self.used.time is not None:
            self.time_unit = time_unit(form, self.used.time, dates(frame[self.used.time])[1] is not None)
        found, self.unit = self._delays(form, frame[value])
        if self.unit is None and wanted.unit is not None:
            self.unit = wanted.unit
        if (
            not np.isfinite(found).any()
            and len(frame) < 1000
            and wanted.value is None
            and np.isnan(found).all()
        ):
            raise TelemetryError(
                f"{self.path}: no usable row: the column {value!r} holds no number; "
                f"the columns are {_listed(names)}"
            )

    def _find_value(
        self, form: Format, frame: DataFrame, names: Sequence[str], time: str | None
    ) -> tuple[str, str | None]:
        """The column of delays, and a sentence where it is a guess."""
        for name in form.value:
            if name in names:
                others = [other for other in form.value if other in names and other != name]
                told = f" (--value {' or '.join(others)} for another)" if others else ""
                return name, f"{form.name}: delays are those of {name!r}{told}." if others else None
        plain: dict[str, str] = {}
        for name in names:
            if name != time:
                plain.setdefault(plain_name(name), name)
                plain.setdefault(plain_name(name.rpartition(".")[2]), name)
        known = list(dict.fromkeys(plain[name] for name in VALUE_NAMES if name in plain))
        usable = [name for name in known if np.isfinite(numbers(frame[name], None)[0]).any()]
        if usable:
            if len(usable) == 1:
                return usable[0], None
            rest = ", ".join(map(repr, usable[1:4]))
            return usable[0], (
                f"Delays are taken from the column {usable[0]!r}; {rest} could be meant too (--value)."
            )
        if known:
            return known[0], None
        numeric = [
            name for name in names if name != time and np.isfinite(numbers(frame[name], None)[0]).mean() > 0.5
        ]
        if len(numeric) != 1:
            raise TelemetryError(
                f"{self.path}: which column holds the delays? Name it (--value); "
                f"the columns are {_listed(names)}"
            )
        return numeric[0], (
            None
            if numeric[0] == "value"
            else f"Delays are taken from {numeric[0]!r}, the only column of numbers."
        )


def read_telemetry(path: str | Path, columns: Columns | None = None) -> Telemetry:
    """Open a record of delays; nothing is read before `chunks()` is iterated."""
    return Telemetry(Path(path), columns or Columns())


def find_time(form: Format, names: Sequence[str]) -> str | None:
    """The column of times: the format's own, or one by its usual names."""
    if form.time is not None and form.time in names:
        return form.time
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault(plain_name(name), name)
        plain.setdefault(plain_name(name.lstrip("@").rpartition(".")[2]), name)
    return next((plain[name] for name in TIME_NAMES if name in plain), None)


def time_unit(form: Format, column: str, dated: bool) -> str | None:
    """The unit of a column of times: seconds for date-times, what its name or the format says for numbers."""
    if dated:
        return "s"
    return unit_in_name(column) or (form.time_unit if form.time == column else None)


def _need(name: str | None, names: Sequence[str], path: Path) -> str | None:
    if name is not None and name not in names:
        raise TelemetryError(f"{path}: there is no column {name!r}; the columns are {_listed(names)}")
    return name


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:20]))


def _labels(frame: DataFrame, groups: Sequence[str]) -> np.ndarray:
    columns = [frame[name].astype(str) for name in groups]
    label = columns[0]
    for column in columns[1:]:
        label = label + "/" + column
    return np.asarray(label.to_numpy(dtype=object))


def _failures(frame: DataFrame, used: Columns) -> Iterator[tuple[str, np.ndarray]]:
    """Columns that tell failures, each with the mask of the requests that failed by it."""
    import pandas as pd

    for name in frame.columns:
        if name in (used.value, used.time) or name in (used.groups or ()):
            continue
        plain = plain_name(str(name))
        column = frame[name]
        if plain in FAILED_FLAGS or plain in SUCCESS_FLAGS:
            no = column.astype("string").str.strip().str.casefold().fillna("").isin(NO).to_numpy(dtype=bool)
            if plain in SUCCESS_FLAGS:
                text = column.astype("string").str.strip().str.casefold().fillna("true")
                yield str(name), text.isin({"false", "0", "0.0", "no"}).to_numpy(dtype=bool)
            else:
                yield str(name), ~no
        elif plain in STATUSES:
            codes = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
            http = np.nanmax(codes, initial=0.0) >= 100
            failed = (codes >= 500) | (np.isin(codes, FAILED_CODES) if http else codes < 0)
            if not pd.api.types.is_numeric_dtype(column):
                words = (
                    column.astype("string").str.strip().str.casefold().str.replace(r"[\s-]+", "_", regex=True)
                )
                failed |= words.str.startswith(tuple(FAILED_WORDS)).fillna(False).to_numpy(dtype=bool)
            yield str(name), failed


def describe_failures(found: Telemetry) -> str | None:
    """How many requests did not come back, and how that is known; None where all did."""
    total = found.failed.total()
    if not total:
        return None
    parts: list[Any] = [f"{count:,} {reason}" for reason, count in found.failed.most_common(4)]
    verb = "were left out" if found.columns.ignore_failed else "count as late"
    return f"{total:,} of {found.rows:,} requests {verb}: {'; '.join(parts)}."
