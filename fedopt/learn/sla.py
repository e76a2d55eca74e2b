"""The end-to-end SLA that is to be decomposed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from fedopt.errors import InputError


class SLAError(InputError):
    """An SLA that cannot be read."""


@dataclass(frozen=True)
class SLA:
    """Delays add up along the domains, the throughput is the least of theirs.

    Attributes:
        delay: end-to-end delay, in the history's unit of time, more than 0.
        throughput: in the history's unit, at least 0.
    """

    delay: float
    throughput: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.delay) and self.delay > 0):
            raise SLAError(f"the SLA's delay must be a positive number, not {self.delay}")
        if not (math.isfinite(self.throughput) and self.throughput >= 0):
            raise SLAError(f"the SLA's throughput must be a number of at least 0, not {self.throughput}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `delay=100,throughput=0.5`."""
        values = assignments(text, "--sla delay=100,throughput=0.5")
        unknown = sorted(set(values) - {"delay", "throughput"})
        if unknown:
            raise SLAError(f"an SLA has a delay and a throughput, not {', '.join(unknown)}")
        if "delay" not in values:
            raise SLAError("an SLA needs a delay, for example --sla delay=100,throughput=0.5")
        return cls(**values)


def assignments(text: str, example: str) -> dict[str, float]:
    """Read `name=number` pairs separated by commas; raises `SLAError` with the example in its message."""
    values: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, separator, number = (piece.strip() for piece in part.rpartition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not separator or not name or math.isnan(value):
            raise SLAError(f"cannot read {part!r}: expected name=number, for example {example}")
        if name in values:
            raise SLAError(f"{name!r} is given twice")
        values[name] = value
    return values
