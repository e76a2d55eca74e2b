"""Reading a record (request trace or service log) into work per slot, ready for fitting.

Times are numbers in the instance's unit of time, or ISO date-times, which are converted to it. Work is a
weighted sum of columns (so that token counts become work), or one per row. A time-of-day window keeps the
slots inside it; what lies between two windows is a gap that no interval may cross, so a record is a list of
gap-free segments.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedopt.errors import InputError

UNITS = {"ns": 1e9, "us": 1e6, "ms": 1e3, "s": 1.0, "min": 1 / 60, "h": 1 / 3600}
"""How many of a unit of time make a second."""
MOST_SLOTS = 50_000_000


class RecordError(InputError):
    """A record that cannot be read or used; the message names the file and the place."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Consecutive slots without a gap: work per slot and requests per slot, both of shape ``(slots,)``."""

    work: np.ndarray
    requests: np.ndarray


@dataclass(frozen=True, eq=False)
class Record:
    """Gap-free segments in order of time, in slots."""

    segments: tuple[Segment, ...]

    @property
    def slots(self) -> int:
        """Slots in all segments."""
        return sum(segment.work.size for segment in self.segments)

    @property
    def requests(self) -> float:
        """Requests in all segments."""
        return float(sum(segment.requests.sum() for segment in self.segments))

    @property
    def mean(self) -> float:
        """Mean work per slot."""
        return float(sum(segment.work.sum() for segment in self.segments)) / max(self.slots, 1)

    @property
    def deviation(self) -> float:
        """Standard deviation of the work of a slot."""
        return float(np.concatenate([segment.work for segment in self.segments]).std())

    def split(self, share: float) -> tuple[Record, Record]:
        """The first ``share`` of the slots, and the rest."""
        if not 0 < share < 1:
            raise ValueError(f"share must lie strictly between 0 and 1, got {share}")
        cut = round(self.slots * share)
        first, second, seen = [], [], 0
        for segment in self.segments:
            size = segment.work.size
            keep = min(max(cut - seen, 0), size)
            if keep:
                first.append(Segment(segment.work[:keep], segment.requests[:keep]))
            if keep < size:
                second.append(Segment(segment.work[keep:], segment.requests[keep:]))
            seen += size
        return Record(tuple(first)), Record(tuple(second))


def read_record(
    path: str | Path,
    *,
    slot: float,
    time_column: str | None = None,
    work: Mapping[str, float] | None = None,
    time_unit: str = "s",
    of_day: tuple[float, float] | None = None,
) -> Record:
    """Read a CSV file with a header.

    Args:
        path: the file.
        slot: length of a slot, in units of time.
        time_column: name of the column of times; default the first column.
        work: work per unit of each column, e.g. ``{"ContextTokens": 0.001, "GeneratedTokens": 0.02}``;
            default
            one work per row.
        time_unit: unit that date-times are converted to, and that numbers are in (ns, us, ms, s, min, h).
        of_day: hours (from, to) of the day to keep; needs date-times. A window that ends before it starts
            runs
            over midnight.

    Raises:
        RecordError: if the file cannot be read or holds no usable row.
    """
    path = Path(path)
    if not slot > 0 or time_unit not in UNITS:
        raise RecordError(f"{path}: slot must be positive and the unit one of {', '.join(UNITS)}")
    times, works, calendar = _columns(path, time_column, dict(work or {}), time_unit)
    order = np.argsort(times, kind="stable")
    times, works = times[order], works[order]
    start = times[0]
    span = (times[-1] - start) / slot
    if span >= MOST_SLOTS:
        raise RecordError(f"{path}: spans {span:.3g} slots, more than {MOST_SLOTS}; choose a longer slot")
    place = np.floor((times - start) / slot).astype(np.int64)
    per_slot = np.bincount(place, weights=works)
    requests = np.bincount(place).astype(float)
    if of_day is None:
        return Record((Segment(per_slot, requests),))
    if calendar is None:
        raise RecordError(f"{path}: a time-of-day window needs date-times, the record has plain numbers")
    seconds = calendar + np.arange(per_slot.size) * slot / UNITS[time_unit]
    hour = (seconds / 3600.0) % 24.0
    low, high = of_day
    inside = (hour >= low) & (hour < high) if low <= high else (hour >= low) | (hour < high)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    segments = tuple(
        Segment(per_slot[a:b], requests[a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True)
    )
    if not segments:
        raise RecordError(f"{path}: no slot lies in the time-of-day window")
    return Record(segments)


def of_rates(record: Record, rate: float, slot: float) -> Record:
    """From a log of the rate that was available (mean of the rows of a slot) to the work that was lost to
    ``rate``.

    Slots without a row take the rate of the slot before. ``rate`` and the record's work are work per unit of
    time; the result is work per slot.
    """
    segments = []
    for segment in record.segments:
        with np.errstate(invalid="ignore"):
            available = segment.work / segment.requests
        known = np.isfinite(available)
        last = np.maximum.accumulate(np.where(known, np.arange(available.size), 0))
        available = np.where(known[last], available[last], rate)
        segments.append(Segment(np.maximum(rate - available, 0.0) * slot, np.ones(available.size)))
    return Record(tuple(segments))


def _columns(
    path: Path, time_column: str | None, work: dict[str, float], unit: str
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Times in ``unit``, work per row, and the first date-time in epoch seconds (None for numbers)."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.reader(stream)
            header = [name.strip() for name in next(rows, [])]
            if not header:
                raise RecordError(f"{path}: is empty; a record is a CSV file with a header")
            for name in (*([time_column] if time_column else []), *work):
                if name not in header:
                    raise RecordError(f"{path}: has no column {name!r}; its columns are {', '.join(header)}")
            at = header.index(time_column) if time_column else 0
            of = [(header.index(name), weight) for name, weight in work.items()]
            stamps: list[str] = []
            works: list[float] = []
            for line, row in enumerate(rows, start=2):
                if not row:
                    continue
                try:
                    stamps.append(row[at].strip())
                    works.append(sum(weight * float(row[i]) for i, weight in of) if of else 1.0)
                except (ValueError, IndexError):
                    raise RecordError(f"{path}: line {line}: not a number where work is expected") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    if len(stamps) < 2:
        raise RecordError(f"{path}: holds {len(stamps)} rows; an envelope needs at least two")
    times, calendar = _times(path, stamps, unit)
    amounts = np.array(works)
    if not np.isfinite(amounts).all() or (amounts < 0).any():
        bad = int(np.flatnonzero(~np.isfinite(amounts) | (amounts < 0))[0])
        raise RecordError(f"{path}: row {bad + 1}: work must be finite and not negative")
    return times, amounts, calendar


def _times(path: Path, stamps: Sequence[str], unit: str) -> tuple[np.ndarray, float | None]:
    try:
        times = np.array([float(stamp) for stamp in stamps])
        calendar = None
    except ValueError:
        try:
            moments = np.array(
                [stamp.replace(" ", "T").rstrip("Z") for stamp in stamps], dtype="datetime64[ns]"
            )
        except ValueError as error:
            raise RecordError(f"{path}: times are neither numbers nor ISO date-times: {error}") from None
        if np.isnat(moments).any():
            raise RecordError(
                f"{path}: row {int(np.flatnonzero(np.isnat(moments))[0]) + 1}: no time"
            ) from None
        first = moments.min()
        times = (moments - first).astype(np.int64) / 1e9 * UNITS[unit]
        calendar = float(first.astype(np.int64)) / 1e9
    if not np.isfinite(times).all():
        bad = int(np.flatnonzero(~np.isfinite(times))[0])
        raise RecordError(f"{path}: row {bad + 1}: the time is not finite")
    return times, calendar


def parse_hour(text: str) -> float:
    """ "HH:MM" as hours. Raises RecordError for anything else."""
    hours, _, minutes = text.partition(":")
    try:
        value = float(hours) + float(minutes or 0) / 60
    except ValueError:
        value = math.nan
    if not 0 <= value <= 24:
        raise RecordError(f"{text!r} is not a time of day; write HH:MM")
    return value
