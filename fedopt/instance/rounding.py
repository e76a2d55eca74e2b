"""Numbers of few digits, so that generated files can be read."""

from __future__ import annotations

import math


def rounded(value: float, digits: int = 3) -> float:
    """`value` to that many significant digits."""
    return float(f"{value:.{digits}g}")


def rounded_up(value: float, digits: int = 3) -> float:
    """The least number of that many significant digits that is not below `value` ≥ 0."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    result = float(f"{math.ceil(value / step * (1 - 1e-12)) * step:.{digits}g}")
    return result if result >= value else float(f"{result + step:.{digits}g}")
