"""The verdict on a promise P(delay > deadline) ≤ ε: kept, broken, or not decidable yet, and what would
decide it.
"""

from __future__ import annotations

import math
from typing import Literal

from scipy import stats

from fedopt.audit.document import Probability
from fedopt.audit.empirical import clustering_at, empirical_probability
from fedopt.audit.profile import deviance
from fedopt.audit.tails import Sample, SeriesTail

__all__ = ["judge", "samples_to_decide", "violation"]

MOST = 10**15


def violation(sample: Sample, tail: SeriesTail, deadline: float, confidence: float) -> Probability:
    """P(delay > deadline) with its interval: from the fitted tail where the deadline lies in it, else from
    the counts.

    Rounded data: a sample counts as late where its whole cell lies beyond the deadline; the fitted tail
    knows cells.
    """
    share, counted = empirical_probability(sample, deadline, confidence)
    if deadline > tail.threshold:
        estimate = tail.exceedance(deadline)
        interval = tail.probability_interval(deadline, confidence)
    else:
        estimate, interval = share, counted
    return Probability(
        level=deadline, estimate=estimate, interval=interval, empirical=share, empirical_interval=counted
    )


def judge(probability: Probability, epsilon: float) -> Literal["kept", "broken", "undecided"]:
    """kept: the upper end of the interval is at most ε; broken: the lower end exceeds it; else undecided."""
    low, high = probability.interval
    if high <= epsilon:
        return "kept"
    return "broken" if low > epsilon else "undecided"


def samples_to_decide(
    sample: Sample, tail: SeriesTail, deadline: float, epsilon: float, confidence: float
) -> int | None:
    """About how many samples would decide, if what was seen so far is typical; None where that cannot be
    told.

    The evidence (deviance) against P(delay > deadline) = ε grows in proportion to the number of samples.
    """
    if deadline > tail.threshold and epsilon < tail.rate:
        evidence = deviance(tail, deadline, epsilon)
        needed = tail.critical(1 - epsilon, confidence)
    else:
        count, inflation, degrees = clustering_at(sample, deadline)
        share = count / sample.samples
        evidence = (share - epsilon) ** 2 * sample.samples / max(epsilon * (1 - epsilon), 1e-300)
        quantile = stats.norm if math.isinf(degrees) else stats.t(degrees)
        needed = inflation * float(quantile.ppf(0.5 + confidence / 2)) ** 2
    if not evidence > 1e-6 * needed:
        return None
    return min(math.ceil(sample.samples * max(needed / evidence, 1.0)), MOST)
