"""What changed from one plan to another: totals, reservations by domain, tenants on other paths."""

from __future__ import annotations

from collections import defaultdict

from fedopt.plan.document import Plan
from fedopt.report.tables import Column, Table, number

__all__ = ["difference_tables"]


def difference_tables(before: Plan, after: Plan) -> list[Table]:
    """Tables of what differs from `before` to `after`; domains and tenants that are alike are left out."""
    return [_totals(before, after), _domains(before, after), _paths(before, after)]


def _changes(name: str, caption: str, what: str, rows: list[tuple[str, float | None, float | None]]) -> Table:
    steps = [None if old is None or new is None else new - old for _, old, new in rows]
    return Table(
        name,
        caption,
        [Column(what), Column("before", True), Column("after", True), Column("change", True)],
        [
            [title, number(old, 6), number(new, 6), "–" if step is None else f"{step:+.4g}"]
            for (title, old, new), step in zip(rows, steps, strict=True)
        ],
        keys={1: [old for _, old, _ in rows], 2: [new for _, _, new in rows], 3: steps},
    )


def _totals(before: Plan, after: Plan) -> Table:
    rows: list[tuple[str, float | None, float | None]] = [
        ("cost", before.cost, after.cost),
        ("lower bound", before.lower_bound, after.lower_bound),
        ("tenants served", float(before.admitted), float(after.admitted)),
        ("reserved", _reserved(before), _reserved(after)),
    ]
    return _changes("difference-totals", "Totals", "total", rows)


def _reserved(plan: Plan) -> float:
    return sum(domain.reserved for domain in plan.domains)


def _domains(before: Plan, after: Plan) -> Table:
    old = {domain.id: domain.reserved for domain in before.domains}
    new = {domain.id: domain.reserved for domain in after.domains}
    rows = [
        (name, old.get(name), new.get(name))
        for name in dict.fromkeys([*old, *new])
        if abs(old.get(name, 0.0) - new.get(name, 0.0)) > 1e-9 * max(1.0, old.get(name, 0.0))
    ]
    return _changes("difference-domains", "Domains whose reservation changed", "domain", rows)


def _paths(before: Plan, after: Plan) -> Table:
    old, new = _ways(before), _ways(after)
    moved = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    return Table(
        "difference-tenants",
        "Tenants that take other paths",
        [Column("tenant"), Column("before", wide=True), Column("after", wide=True)],
        [[name, old.get(name, "–"), new.get(name, "–")] for name in moved],
    )


def _ways(plan: Plan) -> dict[str, str]:
    """By tenant its paths with the number of identical tenants on each, in words."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for entry in plan.tenants:
        counts[entry.id][" → ".join(entry.path) if entry.admitted else "not served"] += entry.count
    return {
        name: "; ".join(f"{count} × {way}" for way, count in sorted(ways.items()))
        for name, ways in counts.items()
    }
