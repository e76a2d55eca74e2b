"""What the runs of a state file come to: one row a run, with the confidence that it was earned with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedopt.operate.store import Store
from fedopt.operate.verdicts import verdicts

__all__ = ["Row", "summarize", "table", "trade_off"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Row:
    """One run.

    kept, undecided, broken: admitted tenants whose share of late requests over their whole stay lies at or
    below ε, around it, or above it, by intervals at 95 % with periods as the independent parts. cost: mean
    of the periods; gap: largest certified gap of a period's plan, None where plans carry no certificate.
    planned, patched: periods that were planned anew, or in which the plan was patched; moved: tenants that
    were given another path or other rates. disclosed: numbers that crossed a domain's boundary. received:
    payments less refunds, in cents.
    """

    run: str
    periods: int
    admitted: int
    refused: int
    kept: int
    undecided: int
    broken: int
    late: float
    cost: float
    gap: float | None
    planned: int
    patched: int
    moved: int
    disclosed: int
    received: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def summarize(store: Store) -> list[Row]:
    """A row for every run, in the order of their first period."""
    runs = dict.fromkeys(row["run"] for row in store.rows("periods", where="period = 0"))
    return [_row(store, run) for run in runs]


def _row(store: Store, run: str) -> Row:
    periods = store.rows("periods", run)
    members = store.rows("members", run)
    epsilon = {row["tenant"]: row["epsilon"] for row in members if row["admitted"]}
    place = {name: i for i, name in enumerate(epsilon)}
    sent = np.zeros((len(place), len(periods)))
    late = np.zeros_like(sent)
    for row in store.rows("tallies", run):
        sent[place[row["tenant"]], row["period"]] = row["sent"]
        late[place[row["tenant"]], row["period"]] = row["late"]
    found = verdicts(sent, late, np.array(list(epsilon.values())), CONFIDENCE) if place else []
    gaps = [row["gap"] for row in periods if row["gap"] is not None]
    requests = float(sum(row["requests"] for row in periods))
    return Row(
        run=run,
        periods=len(periods),
        admitted=len(place),
        refused=sum(not row["admitted"] for row in members),
        kept=found.count("kept"),
        undecided=found.count("undecided"),
        broken=found.count("broken"),
        late=float(sum(row["late"] for row in periods)) / requests if requests else 0.0,
        cost=float(np.mean([row["cost"] for row in periods])),
        gap=max(gaps) if gaps else None,
        planned=sum(row["mode"] == "planned" for row in periods),
        patched=sum(row["mode"] == "patched" for row in periods),
        moved=sum(row["moved"] for row in periods),
        disclosed=sum(row["disclosed"] for row in periods),
        received=sum(row["received"] for row in periods),
    )


def broken_tenants(store: Store, run: str) -> list[tuple[str, float, float, float]]:
    """(tenant, share of late requests, ε, requests) of the admitted whose promise broke."""
    tallies: dict[str, list[tuple[float, float]]] = {}
    for row in store.rows("tallies", run):
        tallies.setdefault(row["tenant"], []).append((row["sent"], row["late"]))
    found = []
    for member in store.rows("members", run):
        parts = np.array(tallies.get(member["tenant"], [(0.0, 0.0)]))
        (verdict,) = verdicts(parts[None, :, 0], parts[None, :, 1], np.array([member["epsilon"]]), CONFIDENCE)
        if verdict == "broken":
            total = parts.sum(axis=0)
            found.append((member["tenant"], total[1] / total[0], member["epsilon"], total[0]))
    return found


def trade_off(store: Store) -> list[dict[str, float]]:
    """Cost against backlog in V: a row for each run that names a V, ascending."""
    rows = []
    for run in store.runs():
        _, named, v = run.partition(" V=")
        if named:
            periods = store.rows("periods", run)
            rows.append(
                {
                    "v": float(v),
                    "cost": float(np.mean([row["cost"] for row in periods])),
                    "late_backlog": float(np.mean([row["late_backlog"] for row in periods])),
                    "cost_backlog": float(np.mean([row["cost_backlog"] for row in periods])),
                    "late": sum(r["late"] for r in periods) / max(sum(r["requests"] for r in periods), 1.0),
                }
            )
    return sorted(rows, key=lambda row: row["v"])


HEADINGS: Mapping[str, str] = {
    "run": "run",
    "admitted": "admitted",
    "refused": "refused",
    "kept": "kept",
    "undecided": "undecided",
    "broken": "broken",
    "late": "late",
    "cost": "cost",
    "gap": "gap",
    "planned": "planned",
    "patched": "patched",
    "moved": "moved",
    "disclosed": "numbers",
    "received": "received",
}


def table(rows: list[Row]) -> str:
    """The rows as a plain table."""
    lines = [list(HEADINGS.values())]
    for row in rows:
        shown = row.to_dict() | {
            "late": f"{row.late:.2e}",
            "cost": f"{row.cost:.6g}",
            "gap": "–" if row.gap is None else f"{100 * row.gap:.2g} %",
            "received": f"{row.received / 100:.2f}",
        }
        lines.append([str(shown[name]) for name in HEADINGS])
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    text = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.append("")
    text.append(
        f"kept, undecided, broken: late requests of each admitted tenant's whole stay against its ε, "
        f"{CONFIDENCE:.0%} intervals over periods."
    )
    return "\n".join(text)
