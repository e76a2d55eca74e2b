"""Servers in a row, in slots: what the oracles of this folder are asked about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Tandem:
    """One flow through L domains.

    arrival, impairments: envelope objects (ρ, σ; κ, η); rates: R_i, work/slot; latencies: T_i, slots;
    guardrail: True where T_i belongs to a rate-latency server, False for a pure delay; deadline in slots.
    """

    arrival: Any
    impairments: tuple[Any, ...]
    rates: tuple[float, ...]
    latencies: tuple[float, ...]
    guardrail: tuple[bool, ...]
    deadline: float

    @property
    def lags(self) -> np.ndarray:
        """Latencies of the rate-latency servers, 0 elsewhere."""
        return np.where(self.guardrail, self.latencies, 0.0)

    @property
    def window(self) -> int:
        """Whole slots after all pure delays."""
        pure = sum(t for t, kind in zip(self.latencies, self.guardrail, strict=True) if not kind)
        return math.floor(self.deadline - pure + 1e-9)


def plain(arrival: Any, impairments: Any, rates: Any, window: int, lags: Any = None) -> Tandem:
    """A tandem without latencies, or with rate-latency ones."""
    size = len(impairments)
    lags = [0.0] * size if lags is None else list(lags)
    return Tandem(arrival, tuple(impairments), tuple(rates), tuple(lags), (True,) * size, float(window))
