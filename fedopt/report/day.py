"""The report of a day of `fedopt operate`: cost, tenants, late requests and events over time, and verdicts.

Times are times: a period's number times its length, in the largest unit of which the day has two.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import fedopt
from fedopt.control.sessions import sessions
from fedopt.control.settings import SETTINGS
from fedopt.control.store import Store
from fedopt.control.summary import summarize
from fedopt.report.drawing import Drawing, Linear, axes, clean
from fedopt.report.given import ReportError
from fedopt.report.page import assets, template
from fedopt.report.tables import Column, Table, number, per_cent

__all__ = ["Clock", "render_day"]

WIDTH, HEIGHT = 940.0, 210.0
LEFT, RIGHT, TOP, BOTTOM = 130.0, 20.0, 14.0, 44.0
LANE = 24.0

SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}

LANES = (
    ("above-epsilon", "above ε", "target", "diamond"),
    ("failed", "domain failed", "target", "cross"),
    ("recovered", "domain recovered", "audited", "square"),
    ("contract", "contract changed", "simulated", "triangle"),
    ("audit", "audit", "simulated", "circle"),
    ("learned", "risk learned", "audited", "circle"),
    ("refused", "tenant refused", "target", "cross"),
    ("suspended", "tenant suspended", "target", "cross"),
    ("arrived", "tenant arrived", "bound", "circle"),
    ("left", "tenant left", "bound", "square"),
)
"""Kinds of events with their words, style and marker, the gravest first."""

GRAVE = ("above-epsilon", "failed", "refused", "suspended", "contract")

COUNTED = (
    *("tenants", "placed", "moved", "refused", "suspended"),
    *("cost", "lower_bound", "gap", "requests", "late", "disclosed", "received"),
)
"""Columns of the table of periods."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Clock:
    """Turns periods into time: `step` is the length of a period in `unit`."""

    step: float
    unit: str

    @classmethod
    def of(cls, length: str, periods: int) -> Clock:
        """From a length such as "900000 ms"; in slots or without a length, periods are counted."""
        value, _, unit = length.partition(" ")
        if unit not in SECONDS:
            return cls(1.0, "period")
        seconds = float(value) * SECONDS[unit]
        for name, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
            if seconds * periods >= 2 * size:
                return cls(seconds / size, name)
        return cls(seconds, "s")

    def at(self, period: float) -> float:
        """The time at which a period begins."""
        return period * self.step

    def text(self, period: int) -> str:
        """That time in print."""
        return str(period) if self.unit == "period" else f"{self.at(period):.4g} {self.unit}"


def render_day(store: Store, run: str = "", written: datetime | None = None) -> str:
    """The page of one run of a state file as HTML; by default of its first run.

    Raises ReportError where there is no such run, or no template engine.
    """
    known = store.runs()
    if not known or (run and run not in known):
        raise ReportError(f"there is no run {run!r}; there are {', '.join(known) or 'none'}")
    run = run or ("fedopt" if "fedopt" in known else next(iter(known)))
    identity = store.identity()
    periods = store.rows("periods", run)
    clock = Clock.of(identity.get("period", ""), len(periods))
    events = store.rows("events", run)
    alerts = [event for event in events if event["kind"] in GRAVE]
    summary = next(row for row in summarize(store) if row.run == run)
    late = sum(row["late"] for row in periods) / max(sum(row["requests"] for row in periods), 1.0)
    facts = [
        ("Run", run),
        ("Periods", f"{len(periods)} of {identity['periods']}"),
        ("A period is", identity.get("period", "–")),
        ("Mean cost of a period", number(summary.cost, 6)),
        ("Largest certified gap", per_cent(summary.gap)),
        ("Tenants admitted, refused", f"{summary.admitted:,}, {summary.refused:,}"),
        ("Promises kept, undecided, broken", f"{summary.kept}, {summary.undecided}, {summary.broken}"),
        ("Requests late", f"{late:.2g}"),
        ("Payments less refunds", f"{summary.received / 100:,.2f}"),
        ("Alerts", f"{len(alerts):,}"),
    ]
    provenance = [
        ("Scenario", identity["scenario"]),
        ("SHA-256 of the scenario", identity["scenario_sha256"]),
        ("SHA-256 of the instance", identity["instance_sha256"]),
        ("Seed", identity["seed"]),
        *([("Written on", written.strftime("%Y-%m-%d %H:%M %Z").strip())] if written else []),
        ("Written by", f"fedopt {fedopt.__version__}"),
    ]
    page = template("day.html").render(
        title=f"{identity['scenario']}: a day of {run}",
        facts=facts,
        charts=_charts(clock, periods),
        lanes=_lanes(clock, len(periods), events),
        tables=[
            _events(clock, events),
            _sessions(store, run),
            _audits(clock, store, run),
            _periods(clock, periods),
        ],
        runs=_runs(store) if len(known) > 1 else None,
        provenance=provenance,
        **assets(),
    )
    return clean(page)


Series = tuple[str, str, str, Sequence[tuple[int, float | None]]]
"""Words, style, marker, and values by period."""


def _charts(clock: Clock, periods: Sequence[Row]) -> list[tuple[list[tuple[str, str, str]], str, str]]:
    """(legend, heading, SVG) of what changes over the day."""

    def values(name: str) -> list[tuple[int, float | None]]:
        return [(row["period"], row[name]) for row in periods]

    late = [(row["period"], row["late"] / row["requests"] if row["requests"] else None) for row in periods]
    wanted: list[tuple[str, str, list[Series]]] = [
        (
            "Cost",
            "cost of a period",
            [
                ("proven lower bound", "lower", "triangle", values("lower_bound")),
                ("cost", "cost", "circle", values("cost")),
            ],
        ),
        ("Tenants", "tenants served", [("tenants served", "gap", "circle", values("tenants"))]),
        ("Late requests", "share late", [("share of requests that were late", "cost", "circle", late)]),
    ]
    found = []
    for heading, label, series in wanted:
        drawn = _chart(clock, f"day-{heading.split()[0].lower()}", heading, label, series)
        found.append(([(style, shape, words) for words, style, shape, _ in series], heading, drawn))
    return found


def _chart(clock: Clock, name: str, title: str, label: str, series: Sequence[Series]) -> str:
    known = [
        [(clock.at(at), value) for at, value in points if value is not None and math.isfinite(value)]
        for _, _, _, points in series
    ]
    every = [value for points in known for _, value in points]
    if not every:
        return ""
    words = "; ".join(
        f"{what} from {number(points[0][1])} to {number(points[-1][1])}"
        for (what, *_), points in zip(series, known, strict=True)
        if points
    )
    drawing = Drawing(name, WIDTH, HEIGHT, f"{title} over the day", f"{words}.")
    last = max(at for points in known for at, _ in points) + clock.step
    low, high = min(0.0, *every), max(every) or 1.0
    x = Linear(0.0, last, LEFT, WIDTH - RIGHT)
    y = Linear(low, high + 0.06 * (high - low), HEIGHT - BOTTOM, TOP)
    axes(drawing, x, y, clock.unit, label, x_ticks=8, y_ticks=4, whole=clock.unit == "period")
    for (_, style, shape, _), points in zip(series, known, strict=True):
        # a period's value holds until the next begins
        steps = [(x(at + d), y(value)) for at, value in points for d in (0.0, clock.step)]
        drawing.polyline(steps, f"curve {style}")
        for at, value in points if len(points) <= 60 else []:
            drawing.mark(shape, x(at + clock.step / 2), y(value), f"dot {style}", 3.0)
    return drawing.markup()


def _lanes(clock: Clock, periods: int, events: Sequence[Row]) -> str:
    """Events over the day, a lane for each kind that happened."""
    counts: Counter[tuple[str, int]] = Counter((event["kind"], event["period"]) for event in events)
    lanes = [lane for lane in LANES if any(kind == lane[0] for kind, _ in counts)]
    if not lanes:
        return ""
    words = "; ".join(
        f"{words}: {sum(count for (kind, _), count in counts.items() if kind == name)}"
        for name, words, *_ in lanes
    )
    height = TOP + LANE * len(lanes) + BOTTOM
    drawing = Drawing("day-events", WIDTH, height, "Events over the day", f"{words}.")
    x = Linear(0.0, clock.at(periods), LEFT, WIDTH - RIGHT)
    bottom = height - BOTTOM
    for value, label in x.ticks(8, whole=clock.unit == "period"):
        drawing.line(x(value), TOP, x(value), bottom, "grid")
        drawing.text(x(value), bottom + 17, label, "tick", anchor="middle")
    drawing.text((LEFT + WIDTH - RIGHT) / 2, bottom + 34, clock.unit, "label", anchor="middle")
    for at, (name, said, style, shape) in enumerate(lanes):
        y = TOP + LANE * (at + 0.5)
        drawing.text(LEFT - 10, y + 4, said, "tick", anchor="end")
        drawing.line(LEFT, y, WIDTH - RIGHT, y, "grid")
        for (kind, period), count in counts.items():
            if kind == name:
                place = x(clock.at(period + 0.5))
                drawing.mark(shape, place, y, f"dot {style}" if shape != "cross" else "axis", 4.0)
                if count > 1:
                    drawing.text(place + 6, y - 4, str(count), "tick")
    return drawing.markup()


def _events(clock: Clock, events: Sequence[Row]) -> Table:
    said = {name: words for name, words, *_ in LANES}
    return Table(
        "day-events-table",
        "Everything that happened, in order",
        [
            Column("time", True),
            Column("period", True),
            Column("event"),
            Column("of"),
            Column("detail", wide=True),
        ],
        [
            [
                clock.text(event["period"]),
                str(event["period"]),
                str(said.get(event["kind"], event["kind"])),
                event["subject"],
                event["detail"],
            ]
            for event in events
        ],
        keys={at: [float(event["period"]) for event in events] for at in (0, 1)},
    )


def _sessions(store: Store, run: str) -> Table:
    found = sessions(store, run)
    return Table(
        "day-tenants",
        f"Admitted tenants over their whole sessions; intervals at {SETTINGS.session_confidence:.0%}",
        [
            Column("tenant"),
            Column("periods", True),
            Column("requests", True),
            Column("late", True),
            Column("ε", True),
            Column("P(late) between"),
            Column("proven"),
            Column("verdict"),
        ],
        [
            [
                one.tenant,
                str(one.periods),
                f"{one.sent:,.0f}",
                f"{one.share:.2g}",
                f"{one.epsilon:g}",
                f"{one.interval[0]:.2g} and {one.interval[1]:.2g}",
                "yes" if one.proven else "no",
                str(one.verdict),
            ]
            for one in found
        ],
        keys={
            1: [float(one.periods) for one in found],
            2: [one.sent for one in found],
            3: [one.share for one in found],
            4: [one.epsilon for one in found],
        },
    )


def _audits(clock: Clock, store: Store, run: str) -> Table:
    rows = store.rows("audits", run)
    return Table(
        "day-audits",
        "Audits of tenants that cross a degraded offer",
        [Column("time", True), Column("offer"), Column("tenant"), Column("verdict")],
        [
            [clock.text(row["period"]), row["subject"], row["tenant"], str(row["verdict"] or "–")]
            for row in rows
        ],
        keys={0: [float(row["period"]) for row in rows]},
    )


def _periods(clock: Clock, periods: Sequence[Row]) -> Table:
    return Table(
        "day-periods",
        "Periods; money received in cents",
        [
            Column("time", True),
            Column("period", True),
            Column("plan"),
            *(Column(name.replace("_", " "), True) for name in COUNTED),
        ],
        [
            [
                clock.text(row["period"]),
                str(row["period"]),
                row["mode"],
                *(number(row[name], 6) for name in COUNTED),
            ]
            for row in periods
        ],
        keys={
            0: [float(row["period"]) for row in periods],
            1: [float(row["period"]) for row in periods],
            **{at: [row[name] for row in periods] for at, name in enumerate(COUNTED, 3)},
        },
    )


def _runs(store: Store) -> Table:
    rows = summarize(store)
    return Table(
        "day-runs",
        "All runs of the state file",
        [
            Column("run"),
            Column("mean cost", True),
            Column("admitted", True),
            Column("kept", True),
            Column("undecided", True),
            Column("broken", True),
            Column("late", True),
        ],
        [
            [
                row.run,
                number(row.cost, 6),
                str(row.admitted),
                str(row.kept),
                str(row.undecided),
                str(row.broken),
                f"{row.late:.2g}",
            ]
            for row in rows
        ],
        keys={
            1: [row.cost for row in rows],
            2: [float(row.admitted) for row in rows],
            3: [float(row.kept) for row in rows],
            4: [float(row.undecided) for row in rows],
            5: [float(row.broken) for row in rows],
            6: [row.late for row in rows],
        },
    )
