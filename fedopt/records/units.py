"""Units in the names of columns and in their cells, numbers with decimal commas, dates with time zones."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

__all__ = ["SECONDS", "dates", "numbers", "plain_name", "unit_in_name", "unit_of"]

SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
"""Seconds in each unit of time."""

SPELLINGS = {
    "ns": "nanoseconds nanosecond nanos nano nsec ns",
    "us": "microseconds microsecond micros usec us µs μs",
    "ms": "milliseconds millisecond millis milli msec msecs ms",
    "s": "seconds second secs sec s",
    "min": "minutes minute mins min",
    "h": "hours hour hrs hr h",
}
_UNITS = {word: unit for unit, words in SPELLINGS.items() for word in words.split()}
_IN_NAME = re.compile(r"[\s_\-.\[(]+([a-zµμ]+)[\])]*$", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(Ns|Us|Ms|Millis|Micros|Nanos|Sec|Secs|Seconds)$")
_CELL = re.compile(r"^[-+]?(\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?\s*([a-zµμ]+)$", re.IGNORECASE)
_PARTS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(h|ms|min|m|s|us|µs|μs|ns)", re.IGNORECASE)
MAX_MAGNITUDE = 1e18


def unit_of(word: str) -> str | None:
    """The unit of time that a word spells, or None."""
    return _UNITS.get(word.strip().casefold())


def unit_in_name(name: str) -> str | None:
    """The unit that a column's name ends with: latency_ms, latency(ms), "duration [s]", elapsedMs."""
    found = _IN_NAME.search(name.strip()) or _CAMEL.search(name.strip())
    return unit_of(found.group(1)) if found else None


def plain_name(name: str) -> str:
    """A column's name in lower case with underscores and without its unit, for looking it up."""
    text = name.strip()
    if unit_in_name(text) is not None:
        text = (_IN_NAME if _IN_NAME.search(text) else _CAMEL).sub("", text)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return re.sub(r"[^a-z0-9]+", "_", text.casefold()).strip("_")


def numbers(column: Any, unit: str | None) -> tuple[np.ndarray, str | None]:
    """A column as numbers, NaN where a cell holds none, and the unit they are in.

    Parameters
    ----------
    column
        A pandas series of numbers, durations or text; text may carry units (7.2ms, 1m3.5s) and decimal
        commas.
    unit
        The unit of cells that carry none; None: not known. Cells with units are converted to it, or to ms.
    """
    import pandas as pd

    if pd.api.types.is_timedelta64_dtype(column):
        unit = unit or "ms"
        return column.dt.total_seconds().to_numpy(dtype=float) / SECONDS[unit], unit
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        return np.where(np.abs(values) <= MAX_MAGNITUDE, values, np.where(values > 0, np.inf, np.nan)), unit
    text = column.astype("string").str.strip()
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    odd = np.flatnonzero(np.isnan(values) & text.notna().to_numpy())
    if odd.size:
        cells = {}
        for cell in dict.fromkeys(text.iloc[odd].tolist()):
            cells[cell] = _cell(cell)
        found = [cells[cell] for cell in text.iloc[odd].tolist()]
        if unit is None and any(spelled is not None for _, spelled in found):
            unit = "ms"
        for place, (value, spelled) in zip(odd.tolist(), found, strict=True):
            values[place] = value if spelled is None or unit is None else value / SECONDS[unit]
    return np.where(values <= MAX_MAGNITUDE, values, np.where(values > 0, np.inf, np.nan)), unit


def _cell(text: str) -> tuple[float, str | None]:
    """The number in a cell and, where the cell names a unit, "s" (the number is then in seconds)."""
    plain = text.replace("\u2212", "-")
    if re.fullmatch(r"[-+]?\d+,\d+", plain) or re.fullmatch(r"[-+]?\d{1,3}(\.\d{3})+,\d+", plain):
        plain = plain.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", plain):
        plain = plain.replace(",", "")
    else:
        plain = re.sub(r"(?<=\d),(?=\d+\s*[a-zµμ]+$)", ".", plain, flags=re.IGNORECASE)
    try:
        return float(plain), None
    except ValueError:
        pass
    single = _CELL.fullmatch(plain)
    if single and unit_of(single.group(2)):
        return float(plain[: single.start(2)]) * SECONDS[str(unit_of(single.group(2)))], "s"
    if _PARTS.sub("", plain).strip() == "" and plain:
        names = {"m": "min"}
        return sum(
            float(value) * SECONDS[str(unit_of(names.get(word.casefold(), word)))]
            for value, word in _PARTS.findall(plain)
        ), "s"
    return np.nan, None


def dates(column: Any) -> tuple[np.ndarray, float | None]:
    """Times: numbers as they stand, date-times as seconds since 1970 in UTC; NaN where a cell is neither.

    The second value is the offset of the first time zone written, in seconds (None for plain numbers): clock
    time is UTC plus offset.
    """
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(column):
        moments, offset = column, 0.0
        if getattr(column.dt, "tz", None) is not None and column.notna().any():
            offset = float(column.dropna().iloc[0].utcoffset().total_seconds())
            moments = column.dt.tz_convert("UTC").dt.tz_localize(None)
        return _epoch(moments), offset
    values, _ = numbers(column, None)
    if len(column) == 0 or np.isfinite(values).mean() > 0.5:
        return values, None
    text = column.astype("string").str.strip()
    first = text.dropna()
    moments = None
    for form in ("ISO8601", "%d/%b/%Y:%H:%M:%S %z", "%d.%m.%Y %H:%M:%S", "mixed"):
        try:
            moments = pd.to_datetime(
                text, utc=True, format=form, errors="raise" if form != "mixed" else "coerce"
            )
            break
        except (ValueError, OverflowError):
            continue
    zone = re.search(r"([+-])(\d\d):?(\d\d)$", first.iloc[0]) if len(first) else None
    offset = 0.0
    if zone and ":" in first.iloc[0]:
        offset = (1 if zone.group(1) == "+" else -1) * (
            3600.0 * int(zone.group(2)) + 60.0 * int(zone.group(3))
        )
    if moments is None or moments.isna().all():
        return np.full(len(column), np.nan), None
    return _epoch(moments.dt.tz_localize(None)), offset


def _epoch(moments: Any) -> np.ndarray:
    values = moments.astype("datetime64[ns]").to_numpy()
    seconds = values.astype(np.int64) / 1e9
    return np.where(np.isnat(values), np.nan, seconds)
