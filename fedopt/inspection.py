"""What a file of any kind that fedopt reads or writes holds, in words and a small picture.

The kind is told by the file's first bytes or by the fields that only a document of that kind has.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from fedopt.instance.errors import InstanceError
from fedopt.instance.reading import MAX_BYTES, read_fields
from fedopt.plan.inspecting import ROWS_SHOWN, Inspection
from fedopt.plan.inspecting import inspect as instance_or_plan

if TYPE_CHECKING:
    from fedopt.contracts import Contract

__all__ = ["inspect"]

Describe = Callable[[Path, int], Inspection]

TABLES = (".csv", ".tsv", ".gz", ".jsonl", ".ndjson", ".parquet")
"""Endings of files that hold rows."""

_SIGNED = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\s*")


def inspect(path: str | Path, rows: int = ROWS_SHOWN) -> Inspection:
    """Read a file of any kind that fedopt knows and describe it; lists are cut after `rows` rows.

    Raises the error of whoever reads that kind, with exit code 2, where the file is not what it seems to be.
    """
    path = Path(path)
    head = _head(path)
    if head.startswith(b"SQLite format 3\0"):
        return database(path, rows)
    if head.startswith(b"PAR1") or path.suffix.lower() in TABLES:
        return table(path, rows)
    if len(head) < MAX_BYTES and _SIGNED.fullmatch(head):
        return signed_contract(path, rows)
    fields = _fields(head, path)
    for needed, describe in FIELDS:
        if needed <= set(fields):
            return describe(path, rows)
    return instance_or_plan(path, rows)


def _head(path: Path) -> bytes:
    """The file's bytes, as many as a document may have."""
    try:
        with open(path, "rb") as stream:
            return stream.read(MAX_BYTES)
    except (OSError, ValueError):
        return b""  # whoever reads an instance says why


def _fields(content: bytes, path: Path) -> Mapping[str, Any]:
    """The fields of a mapping, empty where it is none: then the reader of instances says what is wrong."""
    try:
        fields, _ = read_fields(content, str(path), json_only=path.suffix.lower() == ".json")
    except InstanceError:
        return {}
    return fields


def contract(path: Path, rows: int) -> Inspection:
    """A contract that is not signed yet."""
    from fedopt.contracts.document import read_contract

    return _contract("contract", read_contract(path), "A contract that nobody has signed yet", {}, rows)


def signed_contract(path: Path, rows: int) -> Inspection:
    """A signed contract, as it says; whether that is true, `fedopt contract verify` tells."""
    from fedopt.contracts.document import ContractError, contract_of, read_token
    from fedopt.contracts.signing import header_of, unchecked_payload

    token = read_token(path)
    header = header_of(token)
    try:
        data = json.loads(unchecked_payload(token))
    except (ValueError, RecursionError) as error:
        raise ContractError("malformed", f"{path}: the payload is not JSON", bad_input=True) from error
    words = f"A signed contract (key {header['kid']}), not verified here: fedopt contract verify does that"
    found = contract_of(data, str(path))
    return _contract("signed contract", found, words, {"kid": header["kid"]}, rows)


def _contract(kind: str, found: Contract, words: str, more: dict[str, Any], rows: int) -> Inspection:
    from fedopt.instance.writing import plain

    model = plain(found.impairment)
    facts = {
        "subject": found.subject,
        "issuer": found.issuer,
        "version": found.version,
        "valid_from": found.valid_from,
        "valid_until": found.valid_until,
        "latency": found.latency,
        "latency_kind": found.latency_kind,
        "impairment": model,
        "max_rate": found.max_rate,
        **more,
    }
    text = (
        f"{words}. {found.issuer} promises {found.subject}, version {found.version}, from "
        f"{found.valid_from} to {found.valid_until}: a latency of {found.latency:g} {found.time_unit} "
        f"({found.latency_kind}), and an impairment of the model {model['model']}."
    )
    parts: list[Any] = [Text(text)]
    if model["model"] == "table":
        table = _table("θ", "κ", "η")
        for row in list(zip(model["theta"], model["kappa"], model["eta"], strict=True))[:rows]:
            table.add_row(*(f"{value:g}" for value in row))
        parts.append(table)
    return Inspection(kind, facts, Group(*parts))


def key(path: Path, rows: int) -> Inspection:
    """A signing key; a private half is never shown."""
    from fedopt.contracts.document import read_json
    from fedopt.contracts.signing import public_key

    members = read_json(path)
    private = "d" in members
    kid, issuer, _ = public_key({name: value for name, value in members.items() if name != "d"})
    half = "private signing key: keep it where it is" if private else "public signing key, to be shared"
    facts = {"kid": kid, "issuer": issuer, "private": private}
    return Inspection("key", facts, Text(f"The {half}. It is {issuer}'s, {kid}."))


def audit(path: Path, rows: int) -> Inspection:
    """An audit: the verdict and the quantiles, series by series."""
    from fedopt.audit import Audit
    from fedopt.audit.presenting import summary

    found = Audit.load(path)
    facts = {
        "name": found.name,
        "verdict": found.verdict,
        "samples": found.samples,
        "confidence": found.confidence,
        "quantiles": {name: row.estimate for name, row in found.quantiles.items()},
        "series": {name: part.verdict for name, part in found.series.items()},
    }
    return Inspection("audit", facts, Text("An audit of telemetry.\n" + _cut(summary(found), 3 * rows)))


def simulation(path: Path, rows: int) -> Inspection:
    """A simulation: the tenants' violation probabilities beside their promises."""
    from fedopt.report import read_simulation

    found = read_simulation(path)
    verdicts = Counter(tenant.verdict for tenant in found.tenants)
    facts = {
        "tenants": len(found.tenants),
        "verdicts": dict(verdicts),
        "seed": found.seed,
        "trials": found.trials,
        "confidence": found.confidence,
        "skipped": len(found.skipped),
    }
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "nothing simulated"
    words = (
        f"A simulation of {len(found.tenants)} entries in {found.trials} trials (seed {found.seed}): {told}."
    )
    table = _table("tenant", "deadline", "ε", "simulated", "interval", "verdict")
    for tenant in found.tenants[:rows]:
        low, high = tenant.violation.interval
        table.add_row(
            tenant.id,
            f"{tenant.deadline:g}",
            f"{tenant.epsilon:g}",
            f"{tenant.violation.estimate:.2e}",
            f"{low:.1e} to {high:.1e}",
            tenant.verdict,
        )
    return Inspection("simulation", facts, Group(Text(words), table, *_more(len(found.tenants), rows)))


def settlement(path: Path, rows: int) -> Inspection:
    """A settlement: what each domain receives."""
    from fedopt.audit.settlement import summary
    from fedopt.report import read_settlement

    found = read_settlement(path)
    facts = {
        "period": found.period,
        "rule": found.rule,
        "guarantee": found.guarantee,
        "net": found.net,
        "received": found.received,
        "conserved": found.conserved,
    }
    return Inspection("settlement", facts, Text(_cut(summary(found), rows)))


def scenario(path: Path, rows: int) -> Inspection:
    """A scenario: its clock and what happens on it."""
    from fedopt.control.scenario import load_scenario

    found, instance = load_scenario(path)
    unit = instance.units.time
    groups = ("streams", "intents", "traffic", "degradations", "failures", "reissues", "hidden")
    counts = {name: len(getattr(found, name)) for name in groups}
    facts = {
        "name": found.name,
        "instance": instance.name,
        "periods": found.periods,
        "period": found.period,
        "unit": unit,
        **counts,
    }
    happens = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing happens"
    words = (
        f"A scenario: {found.name}. {found.periods:,} periods of {found.period:g} {unit} on the instance "
        f"{instance.name}: {happens}."
    )
    lines = [Text(words)]
    spans = [*found.degradations, *found.failures]
    width = 60
    for span in sorted(spans, key=lambda one: one.from_)[:rows]:
        start = math.floor(span.from_ / found.periods * width)
        length = max(1, round((span.until - span.from_) / found.periods * width))
        kind = type(span).__name__.lower()
        lines.append(
            Text(f"  {'·' * start}{'█' * length}{'·' * (width - start - length)}  {kind} {span.domain}")
        )
    return Inspection("scenario", facts, Group(*lines))


def intent(path: Path, rows: int) -> Inspection:
    """An intent: what a service needs."""
    from fedopt.control.intents import load_intent

    found = load_intent(path)
    facts = found.model_dump(mode="json", by_alias=True, exclude_unset=True)
    traffic = f"traffic like {found.like}" if found.like else "traffic of its own"
    accuracy = "" if found.min_accuracy is None else f", an accuracy of at least {found.min_accuracy:g}"
    words = (
        f"An intent: {found.id} ({found.service}). Answers within {found.answers.within} for "
        f"{100 * found.answers.share:g} % of the {found.answers.of}{accuracy}; {traffic}. fedopt intent "
        "resolves it on an instance."
    )
    return Inspection("intent", facts, Text(words))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number == 0 else "right")
    return table


def _cut(text: str, lines: int) -> str:
    """The text's first lines, and how many more there are."""
    all_lines = text.splitlines()
    if len(all_lines) <= lines:
        return text
    return "\n".join([*all_lines[:lines], f"… {len(all_lines) - lines} more lines"])


def _more(count: int, rows: int) -> list[Text]:
    return [Text(f"… {count - rows} more")] if count > rows else []


FIELDS: tuple[tuple[set[str], Describe], ...] = (
    ({"status", "method", "guarantee"}, instance_or_plan),
    ({"verdict", "samples", "exceedances"}, audit),
    ({"lines", "net", "rule"}, settlement),
    ({"tenants", "trials", "seed"}, simulation),
    ({"kty", "kid", "issuer"}, key),
    ({"issuer", "domain", "offer"}, contract),
    ({"instance", "periods"}, scenario),
    ({"answers", "id"}, intent),
)
"""The fields that only a document of one kind has, and who describes it; what has none of them is an
instance.
"""


LEVELS = " ▁▂▃▄▅▆▇█"
BARS = 60


def table(path: Path, rows: int) -> Inspection:
    """Rows of delays, of answers to partial SLAs, or of anything else. Raises TelemetryError."""
    from fedopt.records import TelemetryError

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
    from fedopt.records import read_telemetry

    read = read_telemetry(path)
    parts, labels, first, last = [], Counter[str](), np.inf, -np.inf
    for chunk in read.chunks():
        parts.append(chunk.value)
        if chunk.label is not None:
            labels.update(chunk.label.tolist())
        if chunk.time is not None and chunk.time.size:
            first, last = min(first, float(chunk.time.min())), max(last, float(chunk.time.max()))
    everything = np.concatenate(parts)
    values = everything[np.isfinite(everything)]
    levels = {"0.5": 0.5, "0.99": 0.99, "0.999": 0.999}
    quantiles = dict(zip(levels, np.quantile(values, list(levels.values())).tolist(), strict=True))
    facts = {
        "rows": read.rows,
        "failed": read.failed.total(),
        "column": read.used.value,
        "groups": dict(labels.most_common()),
        "mean": float(values.mean()),
        "least": float(values.min()),
        "largest": float(values.max()),
        "quantiles": quantiles,
        "time": None if first > last else [first, last],
    }
    span = "" if first > last else f", times from {first:g} to {last:g}"
    failed = f" {read.failed.total():,} did not come back ({read.first_failed})." if read.failed else ""
    told = ", ".join(f"p{100 * float(level):g} {value:.4g}" for level, value in quantiles.items())
    words = (
        f"Telemetry: {values.size:,} values in the column {read.used.value!r}{span}. Mean "
        f"{values.mean():.4g}, {told}, largest {values.max():.4g}.{failed}"
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
