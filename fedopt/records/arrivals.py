"""Arrivals from a record: when each request came, and the work it brought."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedopt.records.formats import format_of
from fedopt.records.source import RecordError, Source
from fedopt.records.telemetry import find_time, time_unit
from fedopt.records.units import SECONDS, dates, numbers

if TYPE_CHECKING:
    from pandas import Series

__all__ = ["Arrivals", "read_arrivals"]


@dataclass(frozen=True, eq=False)
class Arrivals:
    """The requests of a record in order of time.

    Attributes
    ----------
    times
        Shape (k,), ascending, in the unit asked for.
    work
        Work of each request; shape (k,).
    calendar
        Clock time of the first request in seconds since 1970, by the time zone written; None for plain
        numbers.
    notes
        What was guessed.
    """

    times: np.ndarray
    work: np.ndarray
    calendar: float | None
    notes: tuple[str, ...] = ()


def read_arrivals(
    path: str | Path,
    *,
    time: str | None = None,
    work: Mapping[str, float] | None = None,
    unit: str | None = "s",
) -> Arrivals:
    """Read when requests came and what work they brought.

    Parameters
    ----------
    time
        Column of times; default: the format's own, one by its usual names, or the first.
    work
        Work per unit of each column; default one work a request.
    unit
        Unit of the times returned, and of times that are plain numbers and state none. None: it is not known;
        only plain numbers can be read, as they stand.

    Raises
    ------
    RecordError
        If the file cannot be read, a column is missing, or a time or amount of work cannot be used.
    """
    path = Path(path)
    if unit is not None and unit not in SECONDS:
        raise RecordError(f"{path}: the unit must be one of {', '.join(SECONDS)}, not {unit!r}")
    source = Source(path)
    times: list[np.ndarray] = []
    works: list[np.ndarray] = []
    notes: list[str] = []
    calendar: float | None = None
    factor, seen, used = 1.0, 0, time
    try:
        form = format_of(source)
        for frame in form.frames(source):
            frame.columns = [str(name) for name in frame.columns]
            names = list(frame.columns)
            for name in (*([time] if time else []), *(work or {})):
                if name not in names:
                    raise RecordError(f"{path}: has no column {name!r}; its columns are {', '.join(names)}")
            if used is None:
                used = find_time(form, names)
                if used is None:
                    used = names[0]
                    notes.append(f"Times are taken from {used!r}, the first column.")
            moments, offset = dates(frame[used])
            if not seen:
                stated = time_unit(form, used, offset is not None)
                if unit is None and offset is not None:
                    raise RecordError(
                        f"{path}: times are date-times; state them in the instance's unit of time"
                    )
                factor = SECONDS[stated] / SECONDS[unit] if stated and unit else 1.0
                if offset is not None:
                    calendar = offset
            line = seen + (2 if form.name == "delimited text" else 1)
            _refuse(
                path,
                line,
                ~np.isfinite(moments),
                "the time is neither a number nor one of date-times",
                frame[used],
            )
            amounts = np.zeros(len(frame)) if work else np.ones(len(frame))
            for name, weight in (work or {}).items():
                column, _ = numbers(frame[name], None)
                _refuse(path, line, np.isnan(column), "not a number where work is expected", frame[name])
                _refuse(
                    path,
                    line,
                    ~(column >= 0) | np.isinf(column),
                    "work must be finite and not negative",
                    frame[name],
                )
                amounts += weight * column
            seen += len(frame)
            times.append(moments)
            works.append(amounts)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise RecordError(f"{path}: neither text nor Parquet, or damaged: {error}") from error
    if source.unusable:
        raise RecordError(f"{path}: {source.first_unusable}")
    if seen < 2:
        raise RecordError(f"{path}: holds {seen} rows; at least two are needed")
    moment, amount = np.concatenate(times), np.concatenate(works)
    order = np.argsort(moment, kind="stable")
    moment, amount = moment[order], amount[order]
    if calendar is not None:
        calendar += float(moment[0])
        moment = moment - moment[0]
    return Arrivals(moment * factor, amount, calendar, tuple(notes))


def _refuse(path: Path, line: int, bad: np.ndarray, reason: str, cells: Series) -> None:
    if bad.any():
        place = int(np.argmax(bad))
        raise RecordError(f"{path}: line {line + place}: {reason}: {cells.iloc[place]!r:.60}")
