"""One curve of a reproduced figure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    """Points of a curve with a 95 % confidence band, and the published values where there are any.

    Attributes:
        label: of the curve.
        x: abscissae.
        mean, low, high: estimate and band at each of them.
        published: the paper's values at the same abscissae (None where it states none), or None.
        x_label, y_label: of the axes.
        names: what the abscissae number, where they are no quantity.
    """

    label: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    published: tuple[float | None, ...] | None = None
    x_label: str = ""
    y_label: str = ""
    names: tuple[str, ...] = ()
