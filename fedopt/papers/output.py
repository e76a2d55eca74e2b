"""Reproduced figures as files: CSV for programs, PNG for people, one of each per figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedopt.papers.series import Series
from fedopt.storage import write_atomically


class PlotExtraMissing(ImportError):
    """matplotlib is not installed; the message names the extra that brings it."""

    exit_code = 2


def as_rows(series: Sequence[Series]) -> list[dict[str, Any]]:
    """One row per point: series, x, mean, low, high and, where the paper states one, the published value."""
    rows = []
    for curve in series:
        published = curve.published or (None,) * len(curve.x)
        columns = zip(curve.x, curve.mean, curve.low, curve.high, published, strict=True)
        for x, mean, low, high, value in columns:
            point = {"x": x, "mean": mean, "low": low, "high": high, "published": value}
            rows.append({"series": curve.label, **point})
    return rows


def as_document(series: Sequence[Series]) -> list[dict[str, Any]]:
    """The JSON of a figure: per series its label, axes, x, mean, low, high and what was published."""
    document = []
    for curve in series:
        entry: dict[str, Any] = {
            "label": curve.label,
            "x_label": curve.x_label,
            "y_label": curve.y_label,
            "x": list(curve.x),
            "mean": list(curve.mean),
            "low": list(curve.low),
            "high": list(curve.high),
        }
        if curve.published is not None:
            entry["published"] = list(curve.published)
        document.append(entry)
    return document


def write_csv(path: Path, series: Sequence[Series]) -> None:
    """Write a figure's points as CSV, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["series", "x", "mean", "low", "high", "published"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_rows(series))
    write_atomically(path, text.getvalue())


def write_markdown(path: Path, series: Sequence[Series]) -> None:
    """Write a figure as tables, one for each set of abscissae, atomically; ± is half of a band's width."""
    tables: dict[tuple[Any, ...], list[Series]] = {}
    for curve in series:
        tables.setdefault((curve.x_label, curve.x, curve.names), []).append(curve)
    text = []
    for (label, points, names), curves in tables.items():
        rows = [[label, *(curve.label for curve in curves)], ["---"] * (1 + len(curves))]
        rows += [
            [name, *(_with_band(curve, place) for curve in curves)]
            for place, name in enumerate(names or [f"{x:g}" for x in points])
        ]
        text.append("".join(f"| {' | '.join(row)} |\n" for row in rows))
    write_atomically(path, "\n".join(text))


def _with_band(curve: Series, place: int) -> str:
    """A point as a cell of a table."""
    mean, half = curve.mean[place], (curve.high[place] - curve.low[place]) / 2
    return f"{mean:.4g}" if not half > 0 else f"{mean:.4g} ± {half:.1g}"


def write_png(path: Path, series: Sequence[Series], title: str) -> None:
    """Draw a figure, one panel per pair of axes, bands as shades and published values as crosses.

    Raises PlotExtraMissing where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotExtraMissing("drawing needs matplotlib: install fedopt[plot]") from error
    panels: dict[tuple[str, str], list[Series]] = {}
    for curve in series:
        panels.setdefault((curve.x_label, curve.y_label), []).append(curve)
    figure = Figure(figsize=(6.4 * len(panels), 4.8), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, ((x_label, y_label), curves) in zip(axes, panels.items(), strict=True):
        for curve in curves:
            (line,) = axis.plot(curve.x, curve.mean, marker="o", markersize=3, label=curve.label)
            if curve.low != curve.high:
                axis.fill_between(
                    curve.x, curve.low, curve.high, color=line.get_color(), alpha=0.2, linewidth=0
                )
            if curve.published is not None:
                points = [(x, y) for x, y in zip(curve.x, curve.published, strict=True) if y is not None]
                label = f"{curve.label}, published"
                axis.plot(*zip(*points, strict=True), "x", color=line.get_color(), label=label)
        positive = [value for curve in curves for value in curve.mean if value > 0]
        if positive and max(positive) > 20 * min(positive):
            axis.set_yscale("log")
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    figure.suptitle(title)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    write_atomically(path, drawn.getvalue())


def as_text(name: str, series: Sequence[Series]) -> str:
    """A figure as a plain table: a line per series and point."""
    lines = [name]
    for curve in series:
        lines.append(
            f"  {curve.label} ({curve.y_label} against {curve.x_label})" if curve.x_label else curve.label
        )
        published = curve.published or (None,) * len(curve.x)
        names = curve.names or [f"{x:<8g}" for x in curve.x]
        for name, mean, low, high, value in zip(
            names, curve.mean, curve.low, curve.high, published, strict=True
        ):
            band = "" if low == high else f"  [{low:.6g}, {high:.6g}]"
            stated = "" if value is None else f"  published {value:g}"
            lines.append(f"    {name} {mean:.6g}{band}{stated}")
    return "\n".join(lines)
