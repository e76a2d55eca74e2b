"""How audits are made: what a user may set, and the numbers that steer the method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["KEEP", "METHOD", "Method", "Rounding", "Settings"]

Rounding = Literal["nearest", "down", "up"]
KEEP = 1 << 21


@dataclass(frozen=True)
class Settings:
    """How to audit.

    probabilities: quantiles wanted; confidence: of every two-sided interval; threshold: fixed instead of
    chosen, in the data's unit; grid: width of the rounding grid (None: find it, 0: none) and the way of
    rounding; independent: treat the samples as independent of each other; false_alarms: rate of the drift
    test; keep: values held in memory; censored_at: values at least as large are only known to be late (None:
    a pile of equal values at the largest shows the level; 0: there is none).
    """

    probabilities: tuple[float, ...] = (0.99, 0.999, 0.9999)
    confidence: float = 0.95
    threshold: float | None = None
    grid: float | None = None
    rounding: Rounding = "nearest"
    independent: bool = False
    false_alarms: float = 0.01
    keep: int = KEEP
    censored_at: float | None = None

    def __post_init__(self) -> None:
        if not self.probabilities or not all(0 < p < 1 for p in self.probabilities):
            raise ValueError("probabilities of quantiles lie between 0 and 1")
        if not 0.5 <= self.confidence < 1 or not 0 < self.false_alarms < 0.5:
            raise ValueError("the confidence lies in [0.5, 1), the false-alarm rate in (0, 0.5)")


@dataclass(frozen=True)
class Method:
    """Numbers of the method. None is fitted to a series; those of the counts were chosen once so that the
    coverage in the documentation holds.

    Attributes
    ----------
    reference_clusters
        Clusters from which sizes are learned; the level is lowered until so many reach it.
    trusted_clusters
        Clusters below which an interval is marked.
    clustered, dependent
        Mean size of clusters, and inflation of the long-run variance, that are no accident (the second lies
        two standard errors of 64 cosines above 1).
    telling
        Late requests below which dependence cannot be seen in them.
    caution, few_caution
        By how much more the variance of dependent data, and that of few clusters, is inflated before a
        promise is called kept: few and small clusters, come by luck, tell a small variance too.
    cosines, fewest_cosines, most_cosines
        Cosine transforms behind a long-run variance: of dependent data, at least, of independent data.
    threshold_share, comfortable, most_excesses, fewest_excesses, threshold_ratio
        Candidates for the threshold: the lowest exceeded by this share of the samples, or by this many of few
        samples; never by more or fewer than these; each exceeded by this share of the one below.
    few_levels, threshold_level, largest_shape
        Counts at which the highest levels are compared with the fit, the level of that test, and the shape
        beyond which a threshold is taken only where no other fits.
    drift_cells, cell_lengths, count_cells, fewest_counted, draws
        Cells of the drift test, correlation lengths in each, cells and exceedances of its test at the
        promised quantile, and random orders behind its critical values.
    segments, segment_cells, segment_cosines
        Stretches in which dependence is measured against their own means, and its cells and cosines in each.
    table_points, largest_factor, largest_headroom, accuracy
        Tilts of a recalibrated table, the largest factor and the largest share of rates tried, and how near
        to the least.
    looked_at, smallest_pile
        Values in which a rounding grid is sought, and equal ones at the largest that make a cap.
    """

    reference_clusters: int = 30
    trusted_clusters: int = 20
    clustered: float = 1.25
    dependent: float = 1.36
    telling: int = 8
    caution: float = 1.4
    few_caution: float = 2.0
    cosines: int = 12
    fewest_cosines: int = 6
    most_cosines: int = 64
    threshold_share: float = 0.05
    comfortable: int = 200
    most_excesses: int = 100_000
    fewest_excesses: int = 30
    threshold_ratio: float = 0.7
    few_levels: tuple[int, ...] = (5, 10, 20, 40)
    threshold_level: float = 0.05
    largest_shape: float = 1.0
    drift_cells: tuple[int, ...] = (12, 16, 24, 32, 48, 64)
    cell_lengths: int = 20
    count_cells: int = 16
    fewest_counted: int = 30
    draws: int = 4000
    segments: int = 8
    segment_cells: int = 256
    segment_cosines: int = 8
    table_points: int = 48
    largest_factor: float = 64.0
    largest_headroom: float = 16.0
    accuracy: float = 1e-3
    looked_at: int = 20_000
    smallest_pile: int = 5


METHOD = Method()
