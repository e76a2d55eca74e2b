"""The tail of one entry on a log axis: bound, simulation, audit and the promise they are held against."""

from __future__ import annotations

import math

from fedopt.report.curves import Reading, Tails
from fedopt.report.drawing import Drawing, axes
from fedopt.report.scales import Linear, Log
from fedopt.report.tables import number, power

WIDTH, HEIGHT = 340.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 14.0, 44.0


def tail_chart(name: str, who: str, tails: Tails, time: str) -> str:
    """The chart as SVG. `name` makes its ids unique, `who` names the entry in words."""
    drawing = Drawing(name, WIDTH, HEIGHT, f"Delay tail of {who}", describe(tails, time))
    lowest = math.floor(min(_levels(tails)) + 1e-9)
    y = Log(max(lowest, math.floor(math.log10(tails.epsilon)) - 3), 0.0, HEIGHT - BOTTOM, TOP)
    x = Linear(0.0, _furthest(tails), LEFT, WIDTH - RIGHT)
    axes(drawing, x, y, f"delay x ({time})", "P(delay > x)")
    level = math.log10(tails.epsilon)
    if tails.fixed > 0:
        drawing.rect(x.start, y.end, x(tails.fixed) - x.start, y.start - y.end, "fixed")
    drawing.line(x(tails.deadline), y(y.low), x(tails.deadline), y.end, "promise")
    drawing.line(x.start, y(level), x.end, y(level), "promise")
    bound = [(x(at), y(each)) for at, each in _within(tails.bound, x.high, y.low)]
    drawing.polyline(bound, "curve bound")
    fit = [(x(at), y(each)) for at, each in _within(tails.audit_fit, x.high, y.low)]
    drawing.polyline(fit, "curve audited")
    for readings, shape, style in (
        (tails.simulated, "circle", "simulated"),
        (tails.audited, "square", "audited"),
    ):
        for reading in readings:
            _measured(drawing, x, y, reading, shape, style)
    if tails.stated is not None and y.low <= tails.stated <= 0:
        drawing.mark("triangle", x(tails.deadline), y(tails.stated), "dot bound")
    drawing.mark("diamond", x(tails.deadline), y(level), "dot target", 3.5)
    return drawing.markup()


def describe(tails: Tails, time: str) -> str:
    """The chart in words."""
    parts = [
        f"Promised: later than {number(tails.deadline)} {time} with probability at most {tails.epsilon:.3g}."
    ]
    if tails.stated is not None:
        parts.append(f"Proven: at most {power(tails.stated)}.")
    parts += [_words("Simulated", reading, time) for reading in tails.simulated]
    parts += [_words("Audited", reading, time) for reading in tails.audited]
    return " ".join(parts)


def _words(kind: str, reading: Reading, time: str) -> str:
    return f"{kind}: later than {number(reading.at)} {time} with probability {power(reading.level)}."


def _measured(drawing: Drawing, x: Linear, y: Log, reading: Reading, shape: str, style: str) -> None:
    """A point and its interval, as far as they lie in the chart."""
    if reading.level_interval is not None and x.low <= reading.at <= x.high:
        low, high = (min(max(end, y.low), 0.0) for end in reading.level_interval)
        drawing.line(x(reading.at), y(low), x(reading.at), y(high), f"interval {style}")
        for end in (low, high):
            drawing.line(x(reading.at) - 3, y(end), x(reading.at) + 3, y(end), f"interval {style}")
    if reading.at_interval is not None and reading.level >= y.low:
        low, high = (min(max(end, x.low), x.high) for end in reading.at_interval)
        drawing.line(x(low), y(reading.level), x(high), y(reading.level), f"interval {style}")
        for end in (low, high):
            drawing.line(x(end), y(reading.level) - 3, x(end), y(reading.level) + 3, f"interval {style}")
    if x.low <= reading.at <= x.high and y.low <= reading.level <= 0:
        drawing.mark(shape, x(reading.at), y(reading.level), f"dot {style}", 3.2)


def _levels(tails: Tails) -> list[float]:
    """Levels that the chart should reach down to: a decade below the promise, and everything measured."""
    measured = [reading.level for reading in (*tails.simulated, *tails.audited)]
    return [math.log10(tails.epsilon) - 1.0, *measured]


def _furthest(tails: Tails) -> float:
    """The end of the delay axis: beyond the deadline, and everything measured that is not far beyond it."""
    ends = [tails.deadline * 1.05, *(at for at, _ in tails.bound)]
    for reading in (*tails.simulated, *tails.audited):
        ends += [reading.at, *(end for end in reading.at_interval or () if math.isfinite(end))]
    return min(max(ends) * 1.02, 3.0 * tails.deadline)


def _within(points: list[tuple[float, float]], right: float, bottom: float) -> list[tuple[float, float]]:
    """The part of a falling curve inside the chart, cut where it leaves it."""
    kept: list[tuple[float, float]] = []
    for at, level in points:
        if at <= right and level >= bottom:
            kept.append((at, level))
            continue
        if kept:
            last_at, last = kept[-1]
            parts = [1.0]
            if at > right:
                parts.append((right - last_at) / (at - last_at))
            if level < bottom:
                parts.append((bottom - last) / (level - last))
            part = min(parts)
            kept.append((last_at + part * (at - last_at), last + part * (level - last)))
        break
    return kept
