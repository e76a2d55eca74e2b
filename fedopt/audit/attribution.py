"""Federated audit: each domain reports on its own segment only; the broker says who caused an end-to-end
breach.

A domain cuts its segment's delays into batches much longer than their correlation and reports, per batch,
how many exceeded its own reference level (the 1 − s quantile that its contract or its history promises) and
by how much in all: three numbers a batch, no delay, no rate, no envelope. The broker compares every domain's
batches with the domain's own reference share and spread, studentised over batches, and names the domains
whose excess is significant together with a confidence; correlation within a segment only widens the spread
between batches, and so the test stays honest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

__all__ = ["Blame", "Segment", "attribute", "report_segment"]

FEWEST_BATCHES = 8


@dataclass(frozen=True)
class Segment:
    """What a domain reports: its reference share of exceedances, samples per batch, and per batch the
    exceedances and the sum of their excesses (in units of the reference level, so that no scale is revealed).
    """

    share: float
    size: int
    counts: tuple[int, ...]
    excess: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.excess) or len(self.counts) < FEWEST_BATCHES:
            raise ValueError(f"a report holds at least {FEWEST_BATCHES} batches, with an excess for each")
        if not 0 < self.share < 1 or self.size < 1 or min(self.counts) < 0 or max(self.counts) > self.size:
            raise ValueError("counts lie between 0 and the batch size, the share between 0 and 1")
        if not all(math.isfinite(e) and e >= 0 for e in self.excess):
            raise ValueError("excesses are finite and not negative")


@dataclass(frozen=True)
class Blame:
    """The broker's finding on one domain.

    statistic: studentised excess of exceedances over the reference; p_value: one-sided; confidence: 1 − p
    after Bonferroni over the domains; share: its part of all excess above the references (0 where it has
    none); named: whether the confidence reaches the level asked for.
    """

    domain: str
    statistic: float
    p_value: float
    confidence: float
    share: float
    named: bool


def report_segment(delays: np.ndarray, level: float, share: float, batches: int = 24) -> Segment:
    """A domain's report on its own delays in time order, shape (n,): `level` is exceeded with probability
    `share` when all is well.
    """
    delays = np.asarray(delays, dtype=float)
    size = delays.size // batches
    if size < 1 or not level > 0:
        raise ValueError("there must be a delay for every batch, and the level must be positive")
    table = delays[: size * batches].reshape(batches, size)
    excess = np.maximum(table - level, 0.0).sum(axis=1) / level
    return Segment(share, size, tuple(int(c) for c in (table > level).sum(axis=1)), tuple(excess.tolist()))


def attribute(reports: Mapping[str, Segment], confidence: float = 0.95) -> list[Blame]:
    """Who caused a breach: one finding per domain, the most suspicious first."""
    findings = []
    surplus = {}
    for domain, report in reports.items():
        shares = np.array(report.counts) / report.size
        statistic = _studentised(shares, report.share)
        surplus[domain] = max(float(shares.mean()) - report.share, 0.0) / report.share
        p_value = float(stats.t.sf(statistic, shares.size - 1))
        findings.append((domain, statistic, p_value))
    total = sum(surplus.values())
    level = (1 - confidence) / max(len(findings), 1)
    return sorted(
        (
            Blame(
                domain,
                statistic,
                p_value,
                max(0.0, 1 - p_value * len(findings)),
                surplus[domain] / total if total > 0 else 0.0,
                p_value <= level,
            )
            for domain, statistic, p_value in findings
        ),
        key=lambda blame: blame.p_value,
    )


def _studentised(shares: Sequence[float] | np.ndarray, reference: float) -> float:
    """The mean's distance from the reference in standard errors over batches, on the square-root scale of
    counts.
    """
    roots = np.sqrt(np.asarray(shares))
    # E√share lies below √E share by about variance/(8 reference^{3/2}); what is left out is in the blamed
    # one's favour.
    error = float(roots.std(ddof=1)) / math.sqrt(roots.size)
    difference = float(roots.mean()) - math.sqrt(reference)
    if error == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / error
