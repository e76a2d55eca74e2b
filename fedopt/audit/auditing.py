"""One audit from beginning to end: collect, count, fit the tail, judge the promise, look for drift."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import special

from fedopt.audit.counts import (
    Counted,
    count_above,
    count_top,
    empirical_quantile,
    extremal_index,
    few_clusters,
)
from fedopt.audit.document import (
    Audit,
    AuditError,
    Probability,
    Promise,
    Quantile,
    finite,
)
from fedopt.audit.drift import find_drift
from fedopt.audit.sample import Collector, Sample
from fedopt.audit.settings import Settings
from fedopt.audit.tails import SeriesTail, tail_above
from fedopt.audit.thresholds import Choice, choose, mean_residual_life
from fedopt.instance import load
from fedopt.plan import Plan
from fedopt.records.telemetry import MAX_GROUPS, Telemetry, TelemetryError, describe_failures

__all__ = ["Settings", "audit", "audit_telemetry", "judge", "promises_of", "samples_to_decide"]

MAX_SAMPLES = 10**15


def audit(values: np.ndarray, promise: Promise | None = None, settings: Settings | None = None) -> Audit:
    """Audit a series in time order, shape (n,). Raises ValueError where there is too little to fit."""
    settings = settings or Settings()
    collector = Collector(settings.keep)
    collector.add(np.asarray(values, dtype=float))
    return _of_collector(collector, promise, settings, "all", [], None)


def audit_telemetry(
    telemetry: Telemetry,
    promises: Mapping[str, Promise] | Promise | None = None,
    settings: Settings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Audit:
    """Audit a telemetry file: all of it, and each of its tenants, domains or runs, in one pass and bounded
    memory.

    promises: one for all, or by the name of the series ("all" for the whole). progress: called with the rows
    read. Raises TelemetryError where the file cannot be used.
    """
    settings = settings or Settings()
    whole = Collector(settings.keep)
    parts: dict[str, Collector] = {}
    clock = _Clock()
    for chunk in telemetry.chunks():
        values, labels = clock.sort(chunk.value, chunk.time, chunk.label)
        whole.add(values)
        if labels is not None:
            for label in dict.fromkeys(labels.tolist()):
                if label not in parts:
                    if len(parts) >= MAX_GROUPS:
                        raise TelemetryError(
                            f"{telemetry.path}: more than {MAX_GROUPS:,} groups; name fewer columns"
                        )
                    parts[label] = Collector(settings.keep)
                parts[label].add(values[labels == label])
        if progress is not None:
            progress(telemetry.rows)
    failures = describe_failures(telemetry)
    notes = [*telemetry.notes, *([failures] if failures else [])]
    if not telemetry.ordered:
        settings = replace(settings, independent=True)
    if clock.disordered:
        notes.append("The rows are not in order of time; dependence is judged in the order of the file.")

    def promised(name: str) -> Promise | None:
        return promises.get(name) if isinstance(promises, Mapping) else promises

    series: dict[str, Audit] = {}
    for label, collector in parts.items() if len(parts) > 1 else ():
        try:
            series[label] = _of_collector(
                collector, promised(label), settings, label, [], None, unit=telemetry.unit
            )
        except ValueError as error:
            notes.append(f"{label}: not audited: {error}")
    only = next(iter(parts)) if len(parts) == 1 else "all"
    try:
        promise = promised(only) or promised("all")
        return _of_collector(whole, promise, settings, only, notes, clock, series, telemetry.unit)
    except ValueError as error:
        raise TelemetryError(f"{telemetry.path}: {error}") from error


def promises_of(instance: Path | None, plan: Path | None) -> tuple[Mapping[str, Promise], str | None]:
    """Promises by tenant id, where there is one tenant only also under "all", and the instance's unit of
    time.

    Raises AuditError where a plan comes without its instance, or with another one (a plan holds no
    deadlines).
    """
    if instance is None:
        raise AuditError("a plan holds no deadlines; give the instance too")
    document = load(instance)
    promises = {t.id: Promise(deadline=t.slo.deadline, epsilon=t.slo.epsilon) for t in document.tenants}
    if plan is not None:
        answer = Plan.load(plan)
        if answer.instance.sha256 != document.sha256:
            raise AuditError(
                f"{plan} is not a plan for {instance}: the instance has changed or is another one"
            )
        for entry in answer.tenants:
            if entry.id in promises and not entry.admitted:
                del promises[entry.id]
            elif entry.id in promises and entry.log_bound is not None:
                promises[entry.id] = promises[entry.id].model_copy(update={"log_bound": entry.log_bound})
    if len(promises) == 1:
        promises["all"] = next(iter(promises.values()))
    unit = document.units.time
    return promises, {"slot": None, "µs": "us"}.get(unit, unit)


def _of_collector(
    collector: Collector,
    promise: Promise | None,
    settings: Settings,
    name: str,
    notes: Iterable[str],
    clock: _Clock | None,
    series: Mapping[str, Audit] | None = None,
    unit: str | None = None,
) -> Audit:
    sample = collector.sample(
        grid=settings.grid,
        rounding=settings.rounding,
        independent=settings.independent,
        cap=settings.censored_at,
    )
    deepest = 1 - max(p for p in settings.probabilities if p <= 0.999 or len(settings.probabilities) == 1)
    if promise is not None:
        deepest = promise.epsilon
    choice = _choice(sample, settings, 3 * deepest)
    tail = choice.tail
    chance = late = decide = None
    if promise is not None:
        counted = count_above(sample, promise.deadline)
        chance = _violation(counted, tail, promise.deadline, settings.confidence)
        late = judge(counted, promise.epsilon, settings.confidence)
        if late == "undecided":
            decide = samples_to_decide(counted, promise.epsilon, settings.confidence)
    position = sample.position[sample.above(tail.threshold)]
    wanted = list(settings.probabilities)
    if promise is not None and not any(math.isclose(1 - promise.epsilon, p, rel_tol=1e-9) for p in wanted):
        wanted.append(1 - promise.epsilon)
    quantiles = {_label(p): _quantile(sample, tail, p, settings.confidence) for p in sorted(wanted)}
    errors = tail.fit.standard_errors()
    drift = find_drift(sample, settings.false_alarms, promised=0.001 if promise is None else promise.epsilon)
    if clock is not None and drift.start is not None and drift.end is not None:
        times = {"start_time": clock.at(drift.start), "end_time": clock.at(drift.end - 1)}
        drift = drift.model_copy(update=times)
    inflate = 1.0 if settings.independent else math.sqrt(max(1.0, tail.clustering))
    return Audit(
        name=name,
        verdict=late,
        promise=promise,
        samples=sample.samples,
        lost=sample.lost,
        cap=sample.cap,
        unit=unit,
        mean=collector.mean,
        maximum=sample.maximum,
        grid=sample.grid.width,
        confidence=settings.confidence,
        threshold=tail.threshold,
        threshold_passed=choice.passed,
        exceedances=round(tail.excesses.total),
        shape=tail.fit.shape,
        shape_error=finite(errors[1] * inflate),
        scale=tail.fit.scale,
        scale_error=finite(errors[0] * inflate),
        extremal_index=extremal_index(position),
        clustering=tail.clustering,
        used_cosines=tail.used,
        quantiles=quantiles,
        violation=chance,
        samples_to_decide=decide,
        drift=drift,
        thresholds=list(choice.evidence),
        mean_residual_life=[(a, b, c, int(d)) for a, b, c, d in mean_residual_life(sample).tolist()],
        notes=[*notes, *_notes(sample, choice, quantiles, chance)],
        series=dict(series or {}),
    )


def judge(counted: Counted, epsilon: float, confidence: float) -> Literal["kept", "broken", "undecided"]:
    """broken: the lower end of the interval of P(late) exceeds ε; kept: the counts bound it by ε."""
    if counted.interval(confidence)[0] > epsilon:
        return "broken"
    return "kept" if counted.bounded(epsilon, confidence) else "undecided"


def samples_to_decide(counted: Counted, epsilon: float, confidence: float) -> int | None:
    """About how many samples would decide, if what was seen so far is typical; None where the share is ε."""
    degrees = counted.degrees
    quantile = 0.5 + confidence / 2
    z = special.stdtrit(degrees, quantile) if math.isfinite(degrees) else special.ndtri(quantile)
    caution = counted.caution(epsilon) if counted.share < epsilon else 1.0
    inflation = caution * max(counted.inflation, counted.slow[0] if counted.slow else 1.0)
    distance = (counted.share - epsilon) ** 2
    if not distance > 1e-6 * epsilon**2:
        return None
    needed = inflation * float(z) ** 2 * epsilon * (1 - epsilon) / distance
    if counted.count == 0:  # the upper end of nothing seen must come down to ε
        needed = -math.log((1 - confidence) / 2) * inflation * counted.alone / counted.inflation / epsilon
    return min(max(math.ceil(needed), counted.samples + 1), MAX_SAMPLES)


def _violation(counted: Counted, tail: SeriesTail, deadline: float, confidence: float) -> Probability:
    """P(delay > deadline) by the counts, and beside it what the fitted tail says."""
    return Probability(
        level=deadline,
        estimate=counted.share,
        interval=counted.interval(confidence),
        count=counted.count,
        clusters=counted.clusters,
        warning=few_clusters(counted) if counted.count else None,
        tail=tail.exceedance(deadline) if deadline > tail.threshold else None,
    )


def _choice(sample: Sample, settings: Settings, min_share: float) -> Choice:
    known = sample.descending[sample.lost :]
    if known.size == 0 or known[0] == known[-1]:
        raise ValueError("all values are equal or there are none: no tail to fit")
    if settings.threshold is None:
        return choose(sample, min_share=min_share)
    if settings.threshold < sample.floor:
        raise ValueError(
            f"the threshold {settings.threshold:g} lies below the values that were kept ({sample.floor:g})"
        )
    tail_above(sample, settings.threshold)  # names what is wrong with this threshold alone
    return choose(sample, [settings.threshold])


def _quantile(sample: Sample, tail: SeriesTail, probability: float, confidence: float) -> Quantile:
    """The counts where they bound a quantile from both sides; the fitted tail beyond them."""
    empirical, (low, high), counted = empirical_quantile(sample, probability, confidence)
    fitted = None
    if 1.1 * (1 - probability - sample.lost / sample.samples) < tail.rate:
        fitted = tail.quantile(probability)
    estimate, ends, warning = empirical, (low, high), few_clusters(counted)
    beyond = high is None and low != math.inf
    if beyond:
        nothing = count_top(sample, 0).interval(confidence)[1]
        reach = sample.samples * nothing / (1 - probability)
        warning = (
            f"extrapolated: the counts bound it from below only; about {reach:,.0f} samples would reach it"
        )
        if fitted is not None:
            tail_low, tail_high = tail.quantile_interval(probability, confidence)
            estimate = max(fitted, low or -math.inf)
            ends = (min(tail_low, low if low is not None else tail_low), max(tail_high, estimate))
    elif high is None:
        warning = None  # all that can be said is that it did not come back
    least = sample.cap if sample.cap is not None else sample.maximum
    at_least = math.isinf(estimate)
    return Quantile(
        estimate=least if at_least else estimate,
        interval=(least if ends[0] == math.inf else finite(ends[0]), finite(ends[1])),
        empirical=least if math.isinf(empirical) else empirical,
        empirical_interval=(least if low == math.inf else finite(low), finite(high)),
        method="tail" if beyond and fitted is not None else "counts",
        at_least=at_least,
        warning=warning,
        tail=finite(fitted),
    )


def _notes(
    sample: Sample, choice: Choice, quantiles: Mapping[str, Quantile], chance: Probability | None
) -> list[str]:
    notes = []
    tail = choice.tail
    if sample.cap is not None:
        notes.append(
            f"{sample.lost:,} requests reached {sample.cap:g} or did not come back; they count as late, and "
            "quantiles beyond are at least that (--censored-at 0: they are values like others)."
        )
    elif sample.lost:
        notes.append(f"{sample.lost:,} requests did not come back; they are late whatever the deadline.")
    if chance is not None and chance.tail is not None and not _within(chance.tail, chance.interval):
        notes.append(
            f"The fitted tail puts P(delay > {chance.level:g}) at {chance.tail:.3g}, the counts at "
            f"{chance.estimate:.3g}: the counts are used; the tail may be a mixture of two causes."
        )
    for name, row in quantiles.items():
        if row.tail is not None and not _within(row.tail, row.empirical_interval):
            notes.append(
                f"At {name} the fitted tail and the counts disagree: the counts are used; "
                "the tail may be a mixture of two causes."
            )
            break
    if not choice.passed:
        notes.append(
            "No candidate threshold passed its test; the one that fits best was taken. "
            "Look at the diagnostics."
        )
    if tail.fit.shape > 1:
        notes.append(
            "The shape is above 1 (infinite mean): more likely two causes of delay than one so heavy a tail."
        )
    if tail.fit.shape < -0.5:
        notes.append(
            "The shape is below −1/2: the tail has a near end point, and its interval is only approximate."
        )
    if tail.excesses.left.size < 10:
        notes.append(
            f"Only {tail.excesses.left.size} distinct values lie above the threshold: the rounding is coarse."
        )
    return notes


def _within(value: float, interval: tuple[float | None, float | None]) -> bool:
    low, high = interval
    return (low is None or value >= low) and (high is None or value <= high)


def _label(probability: float) -> str:
    return f"{probability:.12g}"


class _Clock:
    """Sorts rows by time within a chunk, notices disorder across chunks, and remembers some times."""

    def __init__(self) -> None:
        self.disordered = False
        self._last = -math.inf
        self._rows = 0
        self._marks: list[tuple[int, float]] = []

    def sort(
        self, value: np.ndarray, time: np.ndarray | None, label: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        if time is None or time.size == 0 or not np.isfinite(time).any():
            self._rows += value.size
            return value, label
        if np.isnan(time).any():  # a row without a time has that of the row before it
            place = np.maximum.accumulate(np.where(np.isnan(time), 0, np.arange(time.size)))
            time = np.where(np.isnan(time[place]), np.nanmin(time), time[place])
        if np.any(np.diff(time) < 0):
            if label is None:
                order = np.argsort(time, kind="stable")
                value, time = value[order], time[order]
            else:
                self.disordered = True
        if label is None and time[0] < self._last:
            self.disordered = True
        step = max(1, time.size // 64)
        self._marks.extend((self._rows + i, float(time[i])) for i in range(0, time.size, step))
        self._last = max(self._last, float(time[-1]))
        self._rows += value.size
        return value, label

    def at(self, position: int) -> float | None:
        """The time near a position, or None where there are no times or no order."""
        if not self._marks or self.disordered:
            return None
        places: Sequence[int] = [mark[0] for mark in self._marks]
        index = int(np.clip(np.searchsorted(places, position, side="right") - 1, 0, len(places) - 1))
        return self._marks[index][1]
