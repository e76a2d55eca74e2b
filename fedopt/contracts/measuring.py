"""A domain's contract from its own service telemetry: (κ, η)(θ) that bound its impairment with a stated
confidence.

The telemetry is the work taken away per slot (priority work that arrived). For windows of 1, 2, 4, … slots
the moment E exp(θ I) is estimated by the mean over the windows of the series, with an upper confidence limit
from equally weighted cosines (serial dependence included) and Student's t, shared among all (θ, window)
pairs by Bonferroni. κ is the growth of the log-moment between the two longest windows, η what the shorter
ones need on top. A θ is published only where the mean is not ruled by a few windows, for there neither the
estimate nor its limit can be trusted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fedopt.contracts.document import Evidence
from fedopt.instance.impairments import TableImpairment

__all__ = ["Measured", "measure_impairment"]

COSINES = 12
LARGEST_WEIGHT = 0.02
FEWEST_WINDOWS = 200
FEWEST_LENGTHS = 4


@dataclass(frozen=True)
class Measured:
    """The measured envelope as a table, its evidence, and the θ that were asked for but could not be
    supported.
    """

    impairment: TableImpairment
    evidence: Evidence
    refused: tuple[float, ...]


def measure_impairment(
    work: np.ndarray,
    thetas: np.ndarray,
    *,
    slot: float = 1.0,
    confidence: float = 0.95,
    independent_increments: bool = False,
    negative: bool = False,
) -> Measured:
    """Measure an envelope from the work per slot, shape (n,), at the tilts `thetas` (1/work, positive,
    ascending).

    slot: length in units of time; independent_increments: declare the slots independent (then one window is
    enough and η is 0); negative: measure the log-moment at −θ too, which only the image form uses and only
    independent slots allow. Raises ValueError where the series is too short or no θ can be supported.
    """
    work = np.asarray(work, dtype=float)
    if work.ndim != 1 or work.size < FEWEST_WINDOWS or not np.all(np.isfinite(work)) or work.min() < 0:
        raise ValueError(f"the work per slot is a series of at least {FEWEST_WINDOWS} numbers, none negative")
    thetas = np.asarray(thetas, dtype=float)
    if thetas.size == 0 or thetas.min() <= 0 or np.any(np.diff(thetas) <= 0):
        raise ValueError("the tilts must be positive and ascending")
    longest = 0 if independent_increments else int(math.log2(work.size / FEWEST_WINDOWS))
    windows = [1 << k for k in range(min(longest, 10) + 1)]
    sides = np.concatenate([-thetas[::-1], thetas]) if negative and independent_increments else thetas
    share = (1 - confidence) / (sides.size * len(windows))
    rows: list[tuple[float, float, float]] = []
    refused = []
    for theta in sides:
        log_moments = _log_moments(work, float(theta), windows, share)
        if log_moments is None:
            refused.append(float(theta))
            continue
        rows.append((float(theta), *_line(log_moments, np.array(windows[: log_moments.size]), float(theta))))
    if not any(row[0] > 0 for row in rows):
        raise ValueError("no θ can be supported: the series is too short for the tilts asked for")
    table = TableImpairment(
        theta=tuple(row[0] for row in rows),
        kappa=tuple(max(row[1], 0.0) / slot for row in rows),
        eta=tuple(max(row[2], 0.0) for row in rows),
        monotone=True,
        independent_increments=independent_increments,
    )
    evidence = Evidence(
        method="windowed moments, cosine t-limits, Bonferroni", slots=int(work.size), confidence=confidence
    )
    return Measured(table, evidence, tuple(refused))


def _log_moments(work: np.ndarray, theta: float, windows: list[int], share: float) -> np.ndarray | None:
    """Upper limits of the log-moments over rising windows, as many as the series supports; None where those
    are too few, or their growth per slot still rises by more than a tenth: then κ of longer windows cannot
    be told.
    """
    found: list[float] = []
    for window in windows:
        limit = _upper_log_moment(work, theta, window, share)
        if limit is None:
            break
        found.append(limit)
    if len(windows) == 1:
        return np.array(found) if found else None
    if len(found) < FEWEST_LENGTHS:
        return None
    slopes = np.diff(found) / np.diff(windows[: len(found)])
    return np.array(found) if slopes[-1] <= 1.1 * slopes[-2] else None


def _upper_log_moment(work: np.ndarray, theta: float, window: int, share: float) -> float | None:
    """log of an upper confidence limit of E exp(θ·work of `window` slots); None where a few windows rule the
    mean.
    """
    count = work.size // window
    exponent = theta * work[: count * window].reshape(count, window).sum(axis=1)
    largest = float(exponent.max())
    values = np.exp(exponent - largest)
    mean = float(values.mean())
    if values.max() > LARGEST_WEIGHT * values.sum():
        return None
    time = (np.arange(count) + 0.5) / count
    cosines = math.sqrt(2) * np.cos(np.pi * np.outer(np.arange(1, COSINES + 1), time))
    deviation = math.sqrt(float(np.mean((cosines @ values) ** 2))) / count
    deviation = max(deviation, float(values.std()) / math.sqrt(count))
    return largest + math.log(mean + float(stats.t.isf(share, COSINES)) * deviation)


def _line(log_moments: np.ndarray, windows: np.ndarray, theta: float) -> tuple[float, float]:
    """The line κ·window + η (work per slot, work) that lies above all log-moments/θ, steepest part from the
    end.
    """
    if windows.size == 1:
        return log_moments[0] / theta, 0.0
    slopes = np.diff(log_moments) / (theta * np.diff(windows))
    kappa = max(float(slopes[-1]), float(log_moments[-1] / (theta * windows[-1])) * 0.5, 0.0)
    return kappa, float(np.max(log_moments / theta - kappa * windows))
