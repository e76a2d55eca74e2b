"""Inline SVG by elements, and the scales of charts; everything that is written into a drawing is escaped.

A drawing is an image to assistive technology, with a title and a description; the numbers stand in a table
beside it. Colours are classes, so that the page's style decides them (light, dark, print).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FONT = 6.6
"""Width of a character at the drawings' font size, in drawing units; a little more than most fonts need."""


class Drawing:
    """An SVG of `width` × `height` drawing units (CSS pixels where the page has room for them)."""

    def __init__(self, name: str, width: float, height: float, title: str, description: str) -> None:
        self.width, self.height = width, height
        attributes = {
            "viewBox": f"0 0 {_number(width)} {_number(height)}",
            "width": _number(width),
            "height": _number(height),
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
        }
        self.root = ET.Element("svg", attributes)
        for kind, text in (("title", title), ("desc", description)):
            ET.SubElement(self.root, kind, {"id": f"{name}-{kind}"}).text = clean(text)

    def group(self, style: str = "", tip: str = "", **data: str) -> ET.Element:
        """A group; `tip` is shown where a pointer rests on it, `data` become data- attributes."""
        element = ET.SubElement(self.root, "g", _classed(style))
        for key, value in data.items():
            element.set(f"data-{key}", clean(value))
        if tip:
            ET.SubElement(element, "title").text = clean(tip)
        return element

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        style: str,
        *,
        radius: float = 0.0,
        into: ET.Element | None = None,
    ) -> None:
        """A rectangle; one of no width is left out."""
        if width <= 0 or height <= 0:
            return
        place = {"x": x, "y": y, "width": width, "height": height, "rx": radius}
        self._add(
            "rect", style, into, {key: _number(value) for key, value in place.items() if value or key != "rx"}
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, style: str, into: ET.Element | None = None
    ) -> None:
        """A straight line."""
        self._add("path", style, into, {"d": f"M{_number(x1)} {_number(y1)}L{_number(x2)} {_number(y2)}"})

    def polyline(
        self, points: Sequence[tuple[float, float]], style: str, into: ET.Element | None = None
    ) -> None:
        """A line through points; fewer than two draw nothing."""
        if len(points) > 1:
            steps = "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
            self._add("path", style, into, {"d": f"M{steps}"})

    def path(self, d: str, style: str, into: ET.Element | None = None, **attributes: str) -> None:
        """A path in SVG's own notation, made of numbers only."""
        self._add("path", style, into, {"d": d, **{k.replace("_", "-"): v for k, v in attributes.items()}})

    def mark(self, shape: str, x: float, y: float, style: str, size: float = 4.0) -> None:
        """A marker centred on a point: circle, diamond, square, triangle or cross."""
        s = size
        outlines: dict[str, Iterable[tuple[float, float]]] = {
            "diamond": ((0, -1.3 * s), (1.3 * s, 0), (0, 1.3 * s), (-1.3 * s, 0)),
            "square": ((-s, -s), (s, -s), (s, s), (-s, s)),
            "triangle": ((0, -1.2 * s), (1.1 * s, 0.9 * s), (-1.1 * s, 0.9 * s)),
        }
        if shape == "circle":
            self._add("circle", style, None, {"cx": _number(x), "cy": _number(y), "r": _number(s)})
        elif shape == "cross":
            self.line(x - s, y - s, x + s, y + s, style)
            self.line(x - s, y + s, x + s, y - s, style)
        else:
            corners = "L".join(f"{_number(x + dx)} {_number(y + dy)}" for dx, dy in outlines[shape])
            self._add("path", style, None, {"d": f"M{corners}Z"})

    def text(
        self,
        x: float,
        y: float,
        text: str,
        style: str = "",
        *,
        anchor: str = "start",
        into: ET.Element | None = None,
        turn: bool = False,
    ) -> None:
        """Text with its baseline at (x, y); `turn` reads upwards."""
        attributes = {"x": _number(x), "y": _number(y)}
        if anchor != "start":
            attributes["text-anchor"] = anchor
        if turn:
            attributes["transform"] = f"rotate(-90 {_number(x)} {_number(y)})"
        self._add("text", style, into, attributes).text = clean(text)

    def markup(self) -> str:
        """The SVG as markup, ready to stand in a page."""
        return ET.tostring(self.root, encoding="unicode")

    def _add(self, tag: str, style: str, into: ET.Element | None, attributes: dict[str, str]) -> ET.Element:
        return ET.SubElement(self.root if into is None else into, tag, {**_classed(style), **attributes})


def axes(
    drawing: Drawing,
    x: Linear,
    y: Linear | Log,
    x_title: str,
    y_title: str,
    *,
    x_ticks: int = 5,
    y_ticks: int = 6,
    whole: bool = False,
) -> None:
    """Grid lines, tick labels and titles of a chart whose scales already know their place."""
    for value, label in y.ticks(y_ticks):
        drawing.line(x.start, y(value), x.end, y(value), "grid")
        drawing.text(x.start - 6, y(value) + 4, label, "tick", anchor="end")
    for value, label in x.ticks(x_ticks, whole=whole):
        drawing.line(x(value), y.start, x(value), y.start + 4, "axis")
        drawing.text(x(value), y.start + 17, label, "tick", anchor="middle")
    drawing.line(x.start, y.start, x.end, y.start, "axis")
    drawing.text((x.start + x.end) / 2, y.start + 34, x_title, "label", anchor="middle")
    drawing.text(12, (y.start + y.end) / 2, y_title, "label", anchor="middle", turn=True)


def fitted(text: str, width: float) -> str:
    """The text cut to about `width` drawing units, an ellipsis in its middle where it is too long."""
    most = max(4, int(width / FONT))
    if len(text) <= most:
        return text
    head = (most - 1 + 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def clean(text: str) -> str:
    """The text without characters that neither XML nor UTF-8 can hold; they are shown as �."""
    return "".join(
        c if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff") else "�"
        for c in text
    )


def _classed(style: str) -> dict[str, str]:
    return {"class": style} if style else {}


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value % 1 else str(int(value))


@dataclass(frozen=True)
class Linear:
    """Maps [low, high] linearly to [start, end] drawing units; a range of no width is widened."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return self.start + (self.end - self.start) * (value - self.low) / span

    def ticks(self, wanted: int = 5, *, whole: bool = False) -> list[tuple[float, str]]:
        """About `wanted` round values inside the range, with their labels; `whole`: whole numbers only."""
        step = round_step((self.high - self.low) / max(wanted, 1))
        if whole:
            step = max(1.0, math.ceil(step))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        power = math.floor(math.log10(step) + 1e-9)
        digits = max(0, (1 if abs(step / 10.0**power - 2.5) < 1e-9 else 0) - power)
        return [(k * step, _label(k * step, digits)) for k in range(first, last + 1)]


@dataclass(frozen=True)
class Log:
    """Maps log10 values in [low, high] to [start, end]; values are given as log10, so nothing underflows."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, exponent: float) -> float:
        span = (self.high - self.low) or 1.0
        return self.start + (self.end - self.start) * (exponent - self.low) / span

    def ticks(self, wanted: int = 7) -> list[tuple[float, str]]:
        """Whole decades (or every few of them), with labels such as 10⁻³."""
        first, last = math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9)
        step = max(1, -(-(last - first) // max(wanted, 1)))
        decades = [k for k in range(first, last + 1) if (last - k) % step == 0]
        return [(float(k), decade(k)) for k in decades]


def round_step(rough: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `rough`; 1 where rough is no
    positive number."""
    if not (math.isfinite(rough) and rough > 0):
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power >= rough * (1 - 1e-9))


def decade(exponent: int) -> str:
    """A power of ten in print: 1, 0.1 and 0.01 as such, others as 10 with a raised exponent."""
    if exponent in (0, -1, -2):
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _label(value: float, digits: int) -> str:
    text = f"{value:,.{min(digits, 9)}f}"
    return "0" if float(text.replace(",", "")) == 0 else text
