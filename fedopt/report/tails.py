"""Tail curves of an entry: proven, simulated and audited P(delay > x), as log10 over x.

The proven curve takes the least bound at every deadline, at the entry's reservations. The minplus bounds
may count whole slots of the window, so the curve is a staircase of steps of whole slots, one of which begins
at the promised deadline; as bounds only fall with the deadline, it lies on or above every bound in between.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fedopt.calculus import forms, minplus, paper, split
from fedopt.plan.basis import total_log_bound
from fedopt.plan.guarantees import FORMS
from fedopt.report.drawing import Drawing, Linear, Log, axes
from fedopt.report.given import Given, Measured
from fedopt.report.tables import number, power

if TYPE_CHECKING:
    from fedopt.audit.document import Audit
    from fedopt.calculus.path import Path
    from fedopt.plan.document import TenantPlan
    from fedopt.plan.paths import Paths


POINTS = 40
AUDIT_POINTS = 40
LOG10 = math.log(10.0)


@dataclass(frozen=True)
class Reading:
    """A measured point of a tail: P(delay > at) = 10^level, with intervals along one of the axes."""

    at: float
    level: float
    at_interval: tuple[float, float] | None = None
    level_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Tails:
    """All that is known about one entry's tail; x in units of time, levels as log10 of probabilities.

    `bound` is a staircase of corners, `stated` the plan's own log10-bound at the deadline. `audit_fit` is the
    fitted tail above its threshold, `missing` says in words why a curve is not there.
    """

    deadline: float
    epsilon: float
    fixed: float
    bound: list[tuple[float, float]]
    stated: float | None
    simulated: list[Reading]
    audited: list[Reading]
    audit_fit: list[tuple[float, float]]
    missing: list[str]


def tails(given: Given, paths: Paths | None, entry: TenantPlan) -> Tails | None:
    """The tail curves of an admitted entry; None where nobody says what it was promised."""
    promise = given.promise(entry)
    if promise is None or not entry.admitted:
        return None
    deadline, epsilon = promise
    missing = []
    bound: list[tuple[float, float]] = []
    fixed = 0.0
    if paths is None or given.instance is None:
        missing.append("the bound's curve needs the instance")
    elif not all(entry.reservations.get(domain, 0.0) > 0 for domain, _ in entry.hops()):
        missing.append("the plan reserves no rate in some domain of the path, so nothing is proven")
    elif entry.form == "paper-local":
        missing.append("the paper's local formula bounds no end-to-end delay, so there is no curve")
    else:
        path, rates = paths.entry(entry), paths.rates(entry)
        fixed = deadline - (path.deadline - float(path.latencies.sum())) * given.instance.slot
        bound = _bound(path, rates, entry, given.plan.guarantee, deadline, fixed, given.instance.slot)
    if entry.learned:
        risk = math.fsum(promise.risk for promise in entry.learned.values())
        missing.append(
            f"not a theorem alone: {risk:.2g} of the bound was learned of {', '.join(entry.learned)}"
        )
    simulated = given.simulated(entry)
    audit = given.audited(entry)
    if simulated is None:
        missing.append("not simulated")
    if audit is None:
        missing.append("not audited")
    return Tails(
        deadline=deadline,
        epsilon=epsilon,
        fixed=fixed,
        bound=bound,
        stated=None if entry.log_bound is None else entry.log_bound / LOG10,
        simulated=[] if simulated is None else _readings(simulated.quantiles, simulated.violation, deadline),
        audited=[] if audit is None else _audited(audit),
        audit_fit=[] if audit is None else _fit(audit, epsilon),
        missing=missing,
    )


def log_bound_at(path: Path, rates: np.ndarray, entry: TenantPlan, guarantee: str, deadline: float) -> float:
    """The least natural log-bound that the guarantee proves at another deadline (in slots), same rates."""
    moved = replace(path, deadline=deadline)
    family, _, form = guarantee.partition(":")
    if entry.form == "split" and entry.theta is not None:
        return moved.total(float(split.log_bound(split.terms(moved, entry.theta), rates)[0][0]))
    if entry.form == "paper-path" or family == "paper-path":
        return moved.total(paper.least_path(moved, rates)[0])
    bound = minplus.evaluate(moved, rates, forms.bit(form) if form in FORMS else forms.ALL).log_bound
    if (
        entry.form in FORMS and entry.theta is not None
    ):  # a search ends near the best; the plan's own proof counts
        own = minplus.Evaluation(bound, entry.form, entry.theta, entry.block, entry.parameters)
        with contextlib.suppress(TypeError, ValueError):  # parameters that no proof has: the check names them
            bound = min(bound, minplus.verify(moved, rates, own))
    return bound


def _bound(
    path: Path,
    rates: np.ndarray,
    entry: TenantPlan,
    guarantee: str,
    deadline: float,
    fixed: float,
    slot: float,
) -> list[tuple[float, float]]:
    """Corners of the staircase, from the least delay there is to half again the queueing that is allowed."""
    room = max(deadline - fixed, slot) / slot
    step = max(1, math.ceil(1.5 * room / POINTS))
    before = int(min(room, max(path.window, 0.0)) // step)
    corners: list[tuple[float, float]] = []
    level = 0.0
    for k in range(-before, int(0.5 * room // step) + 2):
        window = path.window + k * step
        proven = log_bound_at(path, rates, entry, guarantee, path.deadline - path.window + window)
        value = total_log_bound(proven, entry)
        at = deadline + (window - path.window) * slot
        below = min(level, value / LOG10) if math.isfinite(value) else level
        corners += [(at, level), (at, below)]
        level = below
    return corners


def _readings(quantiles: dict[str, Measured], violation: Measured, deadline: float) -> list[Reading]:
    found = [
        Reading(each.estimate, math.log10(1 - float(p)), at_interval=each.interval)
        for p, each in quantiles.items()
        if float(p) < 1
    ]
    low, high = violation.interval
    if high > 0:
        floor = math.log10(high) - 2
        level = math.log10(violation.estimate) if violation.estimate > 0 else floor
        ends = (math.log10(low) if low > 0 else floor, math.log10(high))
        found.append(Reading(deadline, level, level_interval=ends))
    return sorted(found, key=lambda reading: reading.at)


def _audited(audit: Audit) -> list[Reading]:
    found = []
    for p, quantile in audit.quantiles.items():
        low, high = quantile.interval
        ends = (quantile.estimate if low is None else low, math.inf if high is None else high)
        found.append(Reading(quantile.estimate, math.log10(1 - float(p)), at_interval=ends))
    return sorted(found, key=lambda reading: reading.at)


def _fit(audit: Audit, epsilon: float) -> list[tuple[float, float]]:
    """The fitted generalised Pareto tail: ζ(1 + ξ(x−u)/β)^(−1/ξ) above the threshold u."""
    rate = audit.exceedances / max(audit.samples, 1)
    if not (0 < rate <= 1 and audit.scale > 0):
        return []
    lowest = min(epsilon, *(1 - float(p) for p in audit.quantiles), rate) / 3
    levels = np.geomspace(rate, lowest, AUDIT_POINTS)
    ratio = np.log(rate / levels)
    growth = ratio if abs(audit.shape) < 1e-9 else np.expm1(audit.shape * ratio) / audit.shape
    return [
        (audit.threshold + audit.scale * float(g), math.log10(float(p)))
        for g, p in zip(growth, levels, strict=True)
    ]


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
