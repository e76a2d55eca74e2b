"""Kept, broken or undecided: late requests of independent parts (batches, periods) against ε, many at once.

The intervals are those of `fedopt.simulate.estimates.tail_share` for two bins, on time and late: the spread
between the parts turns their requests into an effective number of independent ones, to which the exact
binomial interval applies.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.stats import beta, t

__all__ = ["Verdict", "intervals", "verdicts"]

Verdict = Literal["kept", "broken", "undecided"]


def intervals(
    sent: np.ndarray, late: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(share, low, high) of late requests for n rows of m parts each; sent, late: shape (n, m).

    Parts without requests count for nothing. A row that sent nothing has the interval [0, 1].
    """
    sent, late = np.asarray(sent, float), np.asarray(late, float)
    total = sent.sum(axis=1)
    parts = (sent > 0).sum(axis=1)
    safe = np.where(total > 0, total, 1.0)
    share = late.sum(axis=1) / safe
    residual = ((late - share[:, None] * sent) ** 2).sum(axis=1)
    spread = np.maximum(parts / np.maximum(parts - 1, 1) * residual / safe**2, 0.0)
    mixed = (share > 0) & (share < 1) & (parts > 1)
    effect = np.where(mixed, spread * total / np.where(mixed, share * (1 - share), 1.0), 1.0)
    effective = total / np.maximum(effect, 1.0)
    side = 1 - (1 - confidence) / 2
    several = parts > 1
    degrees = np.maximum(parts - 1, 1)
    shrunk = effective / (1 + np.sqrt(2 / degrees))
    shrunk = shrunk * (t.ppf(side, np.maximum(shrunk, 2.0)) / t.ppf(side, degrees)) ** 2
    effective = np.maximum(np.where(several, shrunk, effective), 1.0)
    hits = share * effective
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, beta.ppf(tail, hits, effective - hits + 1), 0.0)
        high = np.where(
            hits < effective, beta.ppf(1 - tail, hits + 1, np.maximum(effective - hits, 1e-300)), 1.0
        )
    nothing = total <= 0
    return np.where(nothing, np.nan, share), np.where(nothing, 0.0, low), np.where(nothing, 1.0, high)


def verdicts(
    sent: np.ndarray, late: np.ndarray, epsilon: np.ndarray, confidence: float = 0.95
) -> list[Verdict]:
    """kept where the whole interval lies at or below ε, broken where it lies above, else undecided."""
    _, low, high = intervals(sent, late, confidence)
    return [
        "broken" if bottom > limit else "kept" if top <= limit else "undecided"
        for bottom, top, limit in zip(low, high, np.asarray(epsilon, float), strict=True)
    ]
