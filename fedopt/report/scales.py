"""Scales of charts: from data to drawing units, with ticks at round numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
