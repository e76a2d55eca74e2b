"""Records: telemetry, histories of answers and other tables, and the databases that fedopt keeps."""

from __future__ import annotations

import contextlib
import csv
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fedopt.plan.inspecting import Inspection

__all__ = ["database", "table"]

LEVELS = " ▁▂▃▄▅▆▇█"
BARS = 60


def table(path: Path, rows: int) -> Inspection:
    """Rows of delays, of answers to partial SLAs, or of anything else. Raises TelemetryError."""
    from fedopt.audit.telemetry import TelemetryError

    header = _header(path)
    if header is not None and {"domain", "delay", "throughput", "accepted"} <= set(header):
        return _history(path, rows)
    try:
        return _telemetry(path, rows)
    except TelemetryError:
        if header is None or len(header) < 2:
            raise
        return _columns(path, header)


def _telemetry(path: Path, rows: int) -> Inspection:
    from fedopt.audit import read_telemetry

    read = read_telemetry(path)
    parts, labels, first, last = [], Counter[str](), np.inf, -np.inf
    for chunk in read.chunks():
        parts.append(chunk.value)
        if chunk.label is not None:
            labels.update(chunk.label.tolist())
        if chunk.time is not None and chunk.time.size:
            first, last = min(first, float(chunk.time.min())), max(last, float(chunk.time.max()))
    values = np.concatenate(parts)
    levels = {"0.5": 0.5, "0.99": 0.99, "0.999": 0.999}
    quantiles = dict(zip(levels, np.quantile(values, list(levels.values())).tolist(), strict=True))
    facts = {
        "rows": read.rows,
        "skipped": read.skipped,
        "column": read.used.value,
        "groups": dict(labels.most_common()),
        "mean": float(values.mean()),
        "least": float(values.min()),
        "largest": float(values.max()),
        "quantiles": quantiles,
        "time": None if first > last else [first, last],
    }
    span = "" if first > last else f", times from {first:g} to {last:g}"
    skipped = f" {read.skipped:,} rows cannot be used ({read.first_skipped})." if read.skipped else ""
    told = ", ".join(f"p{100 * float(level):g} {value:.4g}" for level, value in quantiles.items())
    words = (
        f"Telemetry: {values.size:,} values in the column {read.used.value!r}{span}. Mean "
        f"{values.mean():.4g}, {told}, largest {values.max():.4g}.{skipped}"
    )
    lines = [Text(words), Text(f"\n{_bars(values)}\n{values.min():<.4g}{'':<50}{values.max():>.4g}")]
    if labels:
        shown = ", ".join(f"{name} {count:,}" for name, count in labels.most_common(rows))
        lines.append(Text(f"{len(labels)} series: {shown}"))
    return Inspection("telemetry", facts, Group(*lines))


def _history(path: Path, rows: int) -> Inspection:
    from fedopt.learn.history import History

    found = History.read(path, allow_thin=True)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("domain", "answers", "accepted"):
        shown.add_column(name, justify="left" if name == "domain" else "right")
    domains = {}
    for number, name in enumerate(found.names):
        counted = np.asarray(found.feedback.weight[number]) > 0
        accepted = np.asarray(found.feedback.accepted[number])[counted]
        domains[name] = {"answers": int(counted.sum()), "accepted": float(accepted.mean())}
    for name, row in list(domains.items())[:rows]:
        shown.add_row(name, f"{row['answers']:,}", f"{100 * row['accepted']:.3g} %")
    total = sum(int(row["answers"]) for row in domains.values())
    words = f"A history: {total:,} answers of {len(domains)} domains. fedopt decompose learns from it."
    notes = [Text(note) for note in found.thin]
    return Inspection(
        "history", {"domains": domains, "thin": list(found.thin)}, Group(Text(words), shown, *notes)
    )


def _columns(path: Path, header: list[str]) -> Inspection:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        count = sum(1 for row in csv.reader(stream) if row) - 1
    words = (
        f"A table of {count:,} rows with the columns {', '.join(header)}; none of them is a delay by its "
        "name. fedopt fit takes it as a request trace, fedopt audit --value COLUMN as telemetry."
    )
    return Inspection("table", {"rows": count, "columns": header}, Text(words))


def database(path: Path, rows: int) -> Inspection:
    """A state file of `fedopt operate`, or the jobs of `fedopt serve`. Raises StateError for another."""
    jobs = _jobs(path)
    if jobs is not None:
        told = ", ".join(f"{count:,} {state}" for state, count in jobs.items()) or "none"
        return Inspection("jobs", {"jobs": jobs}, Text(f"The jobs of a fedopt serve: {told}."))
    from fedopt.control.store import TABLES, Store

    with Store.read(path) as store:
        runs, identity = store.runs(), store.identity()
        counts = {name: len(store.rows(name)) for name in TABLES}
    told = ", ".join(f"{run} ({periods} periods)" for run, periods in list(runs.items())[:rows]) or "none"
    words = f"A state file of fedopt operate, scenario {identity.get('scenario', '?')}. Runs: {told}."
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("table")
    shown.add_column("rows", justify="right")
    for name, count in counts.items():
        shown.add_row(name, f"{count:,}")
    return Inspection("state", {"runs": runs, **identity, "tables": counts}, Group(Text(words), shown))


def _jobs(path: Path) -> dict[str, int] | None:
    """Jobs of a server by state; None where the database is another."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        names = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if {"jobs", "documents", "events"} <= names:
            return dict(connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state ORDER BY state"))
    return None


def _bars(values: np.ndarray) -> str:
    """The values' density as a line of bars; its height is the logarithm of the count, so tails show."""
    counts, _ = np.histogram(values, bins=BARS)
    heights = np.log1p(counts) / max(np.log1p(counts.max()), 1e-12) * (len(LEVELS) - 1)
    return "".join(LEVELS[round(height)] for height in heights)


def _header(path: Path) -> list[str] | None:
    """The names in the first line of a CSV file; None where it has none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            names = next(csv.reader(stream), None)
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    return None if not names else [name.strip() for name in names]
