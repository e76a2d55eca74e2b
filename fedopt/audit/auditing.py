"""One audit from beginning to end: collect, choose the threshold, fit, bound the quantiles, judge, look for
drift.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedopt.audit.collector import KEEP, Collector
from fedopt.audit.dependence import intervals_extremal_index, k_gaps_extremal_index
from fedopt.audit.document import Audit, DriftReport, Promise, Quantile, ThresholdRow, finite
from fedopt.audit.drift import Drift, find_drift
from fedopt.audit.empirical import empirical_quantile
from fedopt.audit.rounding import Rounding
from fedopt.audit.tails import Sample, SeriesTail, tail_above
from fedopt.audit.telemetry import MOST_GROUPS, Telemetry, TelemetryError
from fedopt.audit.thresholds import Choice, choose, mean_residual_life
from fedopt.audit.verdict import judge, samples_to_decide, violation

__all__ = ["Settings", "audit", "audit_sample", "audit_telemetry"]

FEW_CLUSTERS = 10
DIRECTIONS: dict[int, Literal["heavier", "lighter", "none"]] = {1: "heavier", 0: "none", -1: "lighter"}


@dataclass(frozen=True)
class Settings:
    """How to audit.

    probabilities: quantiles wanted; confidence: of every two-sided interval; threshold: fixed instead of
    chosen, in the data's unit; grid: width of the rounding grid (None: find it, 0: none) and the way of
    rounding; independent: treat the samples as independent of each other; false_alarms: rate of the drift
    test; keep: values held in memory.
    """

    probabilities: tuple[float, ...] = (0.99, 0.999, 0.9999)
    confidence: float = 0.95
    threshold: float | None = None
    grid: float | None = None
    rounding: Rounding = "nearest"
    independent: bool = False
    false_alarms: float = 0.01
    keep: int = KEEP

    def __post_init__(self) -> None:
        if not self.probabilities or not all(0 < p < 1 for p in self.probabilities):
            raise ValueError("probabilities of quantiles lie between 0 and 1")
        if not 0.5 <= self.confidence < 1 or not 0 < self.false_alarms < 0.5:
            raise ValueError("the confidence lies in [0.5, 1), the false-alarm rate in (0, 0.5)")


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
                    if len(parts) >= MOST_GROUPS:
                        raise TelemetryError(
                            f"{telemetry.path}: more than {MOST_GROUPS:,} groups; name fewer columns"
                        )
                    parts[label] = Collector(settings.keep)
                parts[label].add(values[labels == label])
        if progress is not None:
            progress(telemetry.rows)
    notes = []
    if telemetry.skipped:
        notes.append(
            f"{telemetry.skipped:,} of {telemetry.rows:,} rows were unusable and left out; "
            f"the first: {telemetry.first_skipped}"
        )
    if clock.disordered:
        notes.append("The rows are not in order of time; dependence is judged in the order of the file.")

    def promised(name: str) -> Promise | None:
        return promises.get(name) if isinstance(promises, Mapping) else promises

    series: dict[str, Audit] = {}
    for label, collector in parts.items() if len(parts) > 1 else ():
        try:
            series[label] = _of_collector(collector, promised(label), settings, label, [], None)
        except ValueError as error:
            notes.append(f"{label}: not audited: {error}")
    only = next(iter(parts)) if len(parts) == 1 else "all"
    try:
        return _of_collector(whole, promised(only) or promised("all"), settings, only, notes, clock, series)
    except ValueError as error:
        raise TelemetryError(f"{telemetry.path}: {error}") from error


def audit_sample(
    sample: Sample,
    promise: Promise | None = None,
    settings: Settings | None = None,
    name: str = "all",
    mean: float = math.nan,
) -> Audit:
    """Audit what a collector kept. Raises ValueError where there is too little to fit."""
    settings = settings or Settings()
    return _report(sample, promise, settings, name, mean, [], None, {})


def _of_collector(
    collector: Collector,
    promise: Promise | None,
    settings: Settings,
    name: str,
    notes: Iterable[str],
    clock: _Clock | None,
    series: Mapping[str, Audit] | None = None,
) -> Audit:
    sample = collector.sample(
        grid=settings.grid, rounding=settings.rounding, independent=settings.independent
    )
    notes = list(notes)
    if collector.invalid:
        notes.append(f"{collector.invalid:,} values were not finite and left out.")
    return _report(sample, promise, settings, name, collector.mean, notes, clock, dict(series or {}))


def _report(
    sample: Sample,
    promise: Promise | None,
    settings: Settings,
    name: str,
    mean: float,
    notes: list[str],
    clock: _Clock | None,
    series: dict[str, Audit],
) -> Audit:
    deepest = 1 - max(p for p in settings.probabilities if p <= 0.999 or len(settings.probabilities) == 1)
    if promise is not None:
        deepest = promise.epsilon
    choice = _choice(sample, settings, 3 * deepest)
    tail = choice.tail
    chance = late = decide = None
    if promise is not None:
        chance = violation(sample, tail, promise.deadline, settings.confidence)
        late = judge(chance, promise.epsilon)
        if late == "undecided":
            decide = samples_to_decide(sample, tail, promise.deadline, promise.epsilon, settings.confidence)
    position = sample.position[sample.above(tail.threshold)]
    quantiles = {_label(p): _quantile(sample, tail, p, settings.confidence) for p in settings.probabilities}
    errors = tail.fit.standard_errors()
    inflate = 1.0 if settings.independent else math.sqrt(max(1.0, tail.clustering))
    return Audit(
        name=name,
        verdict=late,
        promise=promise,
        samples=sample.samples,
        mean=mean if math.isfinite(mean) else float(sample.value.mean()),
        maximum=float(sample.value.max()),
        grid=sample.grid.width,
        confidence=settings.confidence,
        threshold=tail.threshold,
        threshold_passed=choice.passed,
        exceedances=round(tail.excesses.total),
        shape=tail.fit.shape,
        shape_error=finite(errors[1] * inflate),
        scale=tail.fit.scale,
        scale_error=finite(errors[0] * inflate),
        extremal_index=intervals_extremal_index(position),
        k_gaps=k_gaps_extremal_index(position, sample.samples)[0],
        clustering=tail.clustering,
        used_cosines=tail.used,
        quantiles=quantiles,
        violation=chance,
        samples_to_decide=decide,
        drift=_drift(find_drift(sample, settings.false_alarms), sample, clock),
        thresholds=[_row(row) for row in choice.evidence],
        mean_residual_life=[(a, b, c, int(d)) for a, b, c, d in mean_residual_life(sample).tolist()],
        notes=notes + _warnings(sample, choice, quantiles),
        series=series,
    )


def _choice(sample: Sample, settings: Settings, least_share: float) -> Choice:
    if sample.value.size == 0 or sample.descending[0] == sample.descending[-1]:
        raise ValueError("all values are equal or there are none: no tail to fit")
    if settings.threshold is None:
        return choose(sample, least_share=least_share)
    if settings.threshold < sample.floor:
        raise ValueError(
            f"the threshold {settings.threshold:g} lies below the values that were kept ({sample.floor:g})"
        )
    tail_above(sample, settings.threshold)  # names what is wrong with this threshold alone
    return choose(sample, [settings.threshold])


def _quantile(sample: Sample, tail: SeriesTail, probability: float, confidence: float) -> Quantile:
    counted, ends = empirical_quantile(sample, probability, confidence)
    if 1.1 * (1 - probability) < tail.rate:
        low, high = tail.quantile_interval(probability, confidence)
        return Quantile(
            estimate=tail.quantile(probability),
            interval=(finite(low), finite(high)),
            empirical=counted,
            empirical_interval=ends,
            method="tail",
        )
    return Quantile(
        estimate=counted, interval=ends, empirical=counted, empirical_interval=ends, method="counts"
    )


def _row(row: object) -> ThresholdRow:
    names = (
        "threshold",
        "exceedances",
        "shape",
        "scale",
        "modified_scale",
        "clustering",
        "critical",
        "accepted",
    )
    return ThresholdRow(
        **{name: getattr(row, name) for name in names},
        shape_error=finite(getattr(row, "shape_error", None)),
        statistic=finite(getattr(row, "statistic", None)),
    )


def _drift(drift: Drift, sample: Sample, clock: _Clock | None) -> DriftReport:
    def when(position: int | None) -> float | None:
        return clock.at(position) if clock is not None and position is not None else None

    return DriftReport(
        kind=drift.kind,
        direction=DIRECTIONS[drift.direction],
        start=drift.start,
        end=drift.end,
        start_time=when(drift.start),
        end_time=when(drift.end - 1 if drift.end else None),
        load_ratio=finite(drift.load_ratio),
        statistic=drift.statistic,
        critical=finite(drift.critical),
        cells=drift.cells,
        false_alarm_rate=drift.level,
    )


def _warnings(sample: Sample, choice: Choice, quantiles: Mapping[str, Quantile]) -> list[str]:
    notes = []
    tail = choice.tail
    for name, row in quantiles.items():
        low, high = row.empirical_interval
        if (high is not None and row.estimate > 1.5 * high) or (low is not None and row.estimate < low / 1.5):
            notes.append(
                f"At {name} the fitted tail and the counts disagree; the tail may be a mixture of two causes."
            )
            break
    clusters = tail.excesses.total / max(tail.clustering, 1.0)
    if not choice.passed:
        notes.append(
            "No candidate threshold passed its test; the one that fits best was taken. "
            "Look at the diagnostics."
        )
    if clusters < FEW_CLUSTERS and not sample.independent:
        notes.append(
            f"The exceedances form only about {clusters:.0f} independent clusters; "
            f"intervals need {FEW_CLUSTERS} or more "
            "to cover as stated. Collect a longer series."
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
        if time is None or time.size == 0:
            self._rows += value.size
            return value, label
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
