"""One measurement of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """What one case took.

    ``seconds`` is wall-clock time, ``peak_mb`` the largest memory of the process that ran the case (None
    where the system does not tell), ``gap`` the certified gap of a plan. ``ratio`` says how many times faster
    the case was than the row ``ratio_to``. ``more`` holds what only this suite knows, by name.
    """

    case: str
    seconds: float
    peak_mb: float | None = None
    gap: float | None = None
    ratio_to: str | None = None
    ratio: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The published JSON of a row."""
        return {
            "case": self.case,
            "seconds": self.seconds,
            "peak_mb": self.peak_mb,
            "gap": self.gap,
            "ratio_to": self.ratio_to,
            "ratio": self.ratio,
            **self.more,
        }
