"""Reading a record (request trace or service log) into work per slot, ready for fitting.

Times are numbers in the instance's unit of time, or ISO date-times, which are converted to it. Work is a
weighted sum of columns (so that token counts become work), or one per row. A time-of-day window keeps the
slots inside it; what lies between two windows is a gap that no interval may cross, so a record is a list of
gap-free segments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedopt.records import RecordError, read_arrivals
from fedopt.records.units import SECONDS

UNITS = {unit: 1 / seconds for unit, seconds in SECONDS.items()}
"""How many of a unit of time make a second."""
MOST_SLOTS = 50_000_000


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
    """Read a record of requests: any file that `fedopt.records` knows.

    Args:
        path: the file.
        slot: length of a slot, in units of time.
        time_column: name of the column of times; default the usual one of the format.
        work: work per unit of each column, e.g. ``{"ContextTokens": 0.001, "GeneratedTokens": 0.02}``;
            default one work per row.
        time_unit: unit that times are converted to, and that numbers are in where nothing says otherwise.
        of_day: hours (from, to) of the day to keep, as clocks showed them; needs date-times. A window that
        ends
            before it starts runs over midnight.

    Raises:
        RecordError: if the file cannot be read or holds no usable row.
    """
    path = Path(path)
    if not slot > 0 or time_unit not in UNITS:
        raise RecordError(f"{path}: slot must be positive and the unit one of {', '.join(UNITS)}")
    read = read_arrivals(path, time=time_column, work=work, unit=time_unit)
    times, works, calendar = read.times, read.work, read.calendar
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
