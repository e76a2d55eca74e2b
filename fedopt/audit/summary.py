"""An audit in words."""

from __future__ import annotations

from fedopt.audit.document import Audit, Probability, Quantile

__all__ = ["summary"]


def summary(audit: Audit) -> str:
    """A few lines for people: verdict, quantiles with intervals, drift, and what to know about them."""
    lines = [_head(audit)]
    lines.append(
        f"  tail: {audit.exceedances:,} of {audit.samples:,} samples above {audit.threshold:g}, "
        f"shape {audit.shape:.3f}, scale {audit.scale:.4g}"
        + (f", values rounded to {audit.grid:g}" if audit.grid else "")
    )
    lines.append(
        f"  dependence: counts vary {audit.clustering:.1f} times as much as independent ones, "
        f"extremal index {audit.extremal_index:.2f}"
    )
    lines.extend(_quantile(name, row, audit.confidence) for name, row in audit.quantiles.items())
    if audit.violation is not None and audit.promise is not None:
        lines.extend(_chance(audit.violation, audit.promise.epsilon, audit.samples))
    if audit.verdict == "undecided":
        needed = audit.samples_to_decide
        lines.append(
            f"  about {needed:,} samples would decide"
            if needed
            else "  no number of samples can be told that would decide"
        )
    drift = audit.drift
    if drift.kind in ("transient", "systematic"):
        times = (
            f", time {drift.start_time:g} to {drift.end_time:g}"
            if drift.start_time is not None and drift.end_time is not None
            else ""
        )
        lines.append(
            f"  drift: {drift.kind}, {drift.direction} from sample {drift.start:,} to {drift.end:,}{times} "
            f"(false-alarm rate {drift.false_alarm_rate:g})"
        )
    elif drift.kind == "unknown":
        lines.append("  drift: the series is too short for its correlation to tell")
    lines.extend(f"  note: {note}" for note in audit.notes)
    for part in audit.series.values():
        p999 = part.quantiles.get("0.999") or next(iter(part.quantiles.values()))
        lines.append(f"  {part.name}: {part.verdict or 'no promise'}; {_ends(p999)}; drift {part.drift.kind}")
    return "\n".join(lines)


def _head(audit: Audit) -> str:
    if audit.verdict is None:
        return f"{audit.name}: audited, nothing was promised"
    words = {
        "kept": "the promise is kept",
        "broken": "the promise is BROKEN",
        "undecided": "not decidable yet",
    }
    return f"{audit.name}: {words[audit.verdict]} (each way at {0.5 + audit.confidence / 2:.1%} confidence)"


def _chance(chance: Probability, epsilon: float, samples: int) -> list[str]:
    low, high = chance.interval
    text = (
        f"  P(delay > {chance.level:g}): {chance.count:,} of {samples:,}, {chance.estimate:.3g} "
        f"({low:.3g} to {high:.3g}); promised {epsilon:g}"
    )
    if chance.tail is not None and chance.tail_interval is not None:
        text += "; the fitted tail alone: {:.3g} ({:.3g} to {:.3g})".format(
            chance.tail, *chance.tail_interval
        )
    return [text] + ([f"  !! not to be relied on: {chance.warning}"] if chance.warning else [])


def _quantile(name: str, row: Quantile, confidence: float) -> str:
    text = f"  p{100 * float(name):.10g}: {_ends(row)} [{confidence:.0%}] by {_method(row)}"
    if row.method == "tail":
        low, high = ("?" if end is None else f"{end:.5g}" for end in row.empirical_interval)
        text += f"; counts alone: {row.empirical:.5g} ({low} to {high})"
    elif row.tail is not None:
        text += f"; the fitted tail: {row.tail:.5g}"
    return text + (f"\n  !! {row.warning}" if row.warning else "")


def _method(row: Quantile) -> str:
    return "the fitted tail" if row.method == "tail" else "counts"


def _ends(row: Quantile) -> str:
    low, high = ("?" if end is None else f"{end:.5g}" for end in row.interval)
    return f"{'at least ' if row.at_least else ''}{row.estimate:.5g} ({low} to {high})"
