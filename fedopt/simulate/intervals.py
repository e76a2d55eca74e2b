"""Confidence intervals for tail probabilities and quantiles of dependent delays.

Delays within a trial depend on each other; trials do not. The variance of a ratio is taken between trials
(linearised), which turns the sample into an *effective* number of independent requests, and the exact
binomial interval of Clopper and Pearson is applied to that number (Korn and Graubard 1998, the "survey"
interval). Quantiles follow by Woodruff's inversion (1952): the interval of the tail probability, read on the
delay axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, t


@dataclass(frozen=True)
class Share:
    """A probability with its confidence interval and the effective number of independent observations behind
    it.
    """

    estimate: float
    low: float
    high: float
    effective: float


def clopper_pearson(hits: float, count: float, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided exact binomial interval; ``hits`` and ``count`` may be effective numbers, not whole."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    side = (1 - confidence) / 2
    low = float(beta.ppf(side, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - side, hits + 1, count - hits)) if hits < count else 1.0
    return low, high


def design_effect(hits: np.ndarray, totals: np.ndarray) -> float:
    """How many times larger the variance of Σhits/Σtotals is than that of independent observations; at least
    1.

    Both shaped ``(trials,)``. 1 where nothing can be said (no hits, only hits or a single trial).
    """
    share = hits.sum() / totals.sum()
    trials = hits.size
    if trials < 2 or share <= 0 or share >= 1:
        return 1.0
    residual = hits - share * totals
    variance = trials / (trials - 1) * float((residual**2).sum()) / float(totals.sum()) ** 2
    return max(1.0, variance * float(totals.sum()) / (share * (1 - share)))


def tail_share(
    delays: np.ndarray, beyond: int, confidence: float = 0.95, count: float | None = None
) -> Share:
    """P(delay > ``beyond`` slots) from delay counts of shape ``(trials, bins)``.

    ``count`` is how many observations the total weight stands for (default: the weight itself, right for
    counts of requests or instants). Where hardly any trial has a hit, the design effect is taken at the
    longest delay that at least half of the trials have exceeded: clusters of late requests are alike at
    neighbouring levels.
    """
    totals = delays.sum(axis=1)
    weight = float(totals.sum())
    if weight <= 0:
        return Share(float("nan"), 0.0, 1.0, 0.0)
    hits = delays[:, beyond + 1 :].sum(axis=1)
    share = float(hits.sum()) / weight
    trials = totals.size
    level = hits
    if (hits > 0).sum() < max(2, trials // 2):
        beyond_each = np.cumsum(delays[:, ::-1], axis=1)[:, ::-1]
        enough = (beyond_each > 0).sum(axis=0) >= max(2, trials // 2)
        longest = int(np.nonzero(enough)[0].max(initial=0))
        level = beyond_each[:, longest]
    observations = weight if count is None else float(count)
    # the spread between trials measures the variance itself: weights need not be counts
    effective = observations / design_effect(
        level * (observations / weight), totals * (observations / weight)
    )
    if trials > 1:
        # the variance is itself estimated from few trials: one standard error more of it, and Student's t
        side = 1 - (1 - confidence) / 2
        effective /= 1 + float(np.sqrt(2 / (trials - 1)))
        effective *= float((t.ppf(side, max(effective, 2.0)) / t.ppf(side, trials - 1)) ** 2)
    effective = max(effective, 1.0)
    low, high = clopper_pearson(share * effective, effective, confidence)
    return Share(share, low, high, effective)


def quantile_slots(delays: np.ndarray, probability: float) -> int:
    """The least number of slots w with P(delay > w) ≤ 1 − probability, from pooled counts of any shape (…,
    bins).
    """
    pooled = delays.reshape(-1, delays.shape[-1]).sum(axis=0)
    late = np.append(np.cumsum(pooled[:0:-1])[::-1], 0.0)  # nothing is later than the last, to the last digit
    return int(np.argmax(late <= (1 - probability) * pooled.sum() * (1 + 1e-12)))


def quantile_interval(
    delays: np.ndarray, probability: float, confidence: float = 0.95, count: float | None = None
) -> tuple[int, int, int]:
    """(estimate, low, high) of a delay quantile in slots, by Woodruff's inversion."""
    estimate = quantile_slots(delays, probability)
    pooled = delays.sum(axis=0)
    share = tail_share(delays, estimate, confidence, count)
    nominal = 1 - probability
    # around the nominal level, with the effective number found at the estimate
    low, high = clopper_pearson(nominal * share.effective, share.effective, confidence)
    return estimate, quantile_slots(pooled, 1 - high), quantile_slots(pooled, 1 - low)
