"""Choosing the threshold, with the evidence: specification tests, parameter stability, mean residual life.

The lowest threshold is taken above which the generalised Pareto law predicts how often all higher candidate
levels are exceeded. The differences between counts and predictions are smooth functions of the data, so that
their variances come
from the same cosines as everything else: the test is honest about serial dependence, which tests for
independent samples (Anderson–Darling, Cramér–von Mises) are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fedopt.audit.counts import count_above
from fedopt.audit.document import ThresholdRow, finite
from fedopt.audit.sample import Sample
from fedopt.audit.settings import METHOD
from fedopt.audit.tails import SeriesTail, tail_above

__all__ = ["Choice", "candidates", "choose", "mean_residual_life"]


@dataclass(frozen=True)
class Choice:
    """The tail above the chosen threshold, and the candidates, lowest first.

    passed: False where no candidate fits, and the one that fits best was taken.
    """

    tail: SeriesTail
    evidence: tuple[ThresholdRow, ...]
    chosen: int
    passed: bool


def candidates(sample: Sample, min_share: float = 0.003) -> list[float]:
    """Candidate thresholds, lowest first: from 5 % of the samples (more in small samples, at most 20 %; at
    most 100,000 exceedances) down in steps of 0.7 to 30 exceedances, and not below `min_share` of the
    samples as long as one is left.
    """
    share = max(METHOD.threshold_share, min(0.2, METHOD.comfortable / sample.samples))
    most = max(float(METHOD.most_excesses), 2 * min_share * sample.samples)
    count = min(share * sample.samples, most, 0.9 * (sample.value.size - sample.lost))
    levels: list[float] = []
    least = max(METHOD.fewest_excesses, min(min_share * sample.samples, count))
    while count >= least and len(levels) < 40:
        level = sample.upper(sample.lost + int(count))
        if not levels or level > levels[-1]:
            levels.append(level)
        count *= METHOD.threshold_ratio
    return levels


def choose(sample: Sample, levels: Sequence[float] | None = None, min_share: float = 0.003) -> Choice:
    """Fit at every candidate and take the lowest that passes, one with a shape of at most 1 before any other.

    levels: thresholds to choose from, ascending; None takes `candidates`. min_share: about three times 1 −
    p of the quantile that matters. Raises ValueError where there is too little to fit.
    """
    tails: list[SeriesTail] = []
    for level in candidates(sample, min_share) if levels is None else levels:
        try:
            tails.append(tail_above(sample, level))
        except ValueError:
            continue
    if not tails:
        raise ValueError(
            f"too little data for a tail: {sample.samples} samples, "
            f"of which at least {METHOD.fewest_excesses} distinct "
            "ones must lie above a threshold that at most a fifth exceeds"
        )
    few = []
    for level in map(sample.upper, (sample.lost + number for number in METHOD.few_levels)):
        counted = count_above(sample, level)
        few.append((level, counted.count - sample.lost, counted.inflation))
    evidence = tuple(_evidence(tails, index, few) for index in range(len(tails)))
    fitting = [i for i, row in enumerate(evidence) if row.accepted]
    # A delay has a finite mean; a shape above 1 shows a threshold below a second cause of delay.
    usual = [i for i in fitting if evidence[i].shape <= METHOD.largest_shape]
    chosen = next(iter(usual or fitting), None)
    if chosen is not None:
        return Choice(tails[chosen], evidence, chosen, True)
    best = int(np.argmin([(row.statistic or math.inf) / row.critical for row in evidence]))
    return Choice(tails[best], evidence, best, False)


def _evidence(
    tails: Sequence[SeriesTail], index: int, few: Sequence[tuple[float, int, float]]
) -> ThresholdRow:
    tail = tails[index]
    found: list[float | None] = [
        _against(tail, higher) for higher in tails[index + 1 :] if _worth_checking(tail, higher)
    ]
    found += [_against_few(tail, *level) for level in few]
    statistics = [value for value in found if value is not None]
    statistic = max(statistics, default=None)
    critical = float(stats.t.ppf(1 - METHOD.threshold_level / (2 * max(len(statistics), 1)), tail.used))
    return ThresholdRow(
        threshold=tail.threshold,
        exceedances=round(tail.excesses.total),
        shape=tail.fit.shape,
        shape_error=finite(tail.fit.standard_errors()[1]),
        scale=tail.fit.scale,
        modified_scale=tail.fit.scale - tail.fit.shape * tail.threshold,
        clustering=tail.clustering,
        statistic=finite(statistic),
        critical=critical,
        accepted=statistic is None or statistic <= critical,
    )


def _worth_checking(tail: SeriesTail, higher: SeriesTail) -> bool:
    return higher.threshold > tail.threshold and higher.excesses.total >= 10 * max(1.0, higher.clustering)


def _against(tail: SeriesTail, higher: SeriesTail) -> float:
    """Studentised difference between the counted and the predicted exceedances of a higher candidate.

    By the spread of the difference, which tests the law; and by that of the count, which a prediction worth
    having must
    not miss: a low threshold among strongly dependent data may know the tail less well than the counts
    themselves.
    """
    survival = float(tail.fit.survival(higher.threshold - tail.threshold))
    difference = higher.rate - tail.rate * survival
    weights = tail.probability_weights(higher.threshold)
    series = higher.transforms[0] / tail.samples - weights @ tail.transforms
    spread = math.sqrt(float(np.mean(series[: tail.used] ** 2)))
    counted = math.sqrt(float(np.mean(higher.transforms[0, : higher.used] ** 2))) / tail.samples
    return abs(difference) / max(min(spread, counted), 1e-3 * math.sqrt(higher.excesses.total) / tail.samples)


def _against_few(tail: SeriesTail, level: float, observed: int, inflation: float) -> float | None:
    """The same for a level that only a few samples exceed, whose variance is that of clusters coming at
    random.
    """
    if level <= tail.threshold or observed < 3 or observed > tail.excesses.total / 3:
        return None
    predicted = tail.samples * (tail.exceedance(level) - tail.atom)
    return abs(observed - predicted) / math.sqrt(max(observed, predicted) * inflation)


def mean_residual_life(sample: Sample, points: int = 60) -> np.ndarray:
    """Mean excess over rising thresholds, with its standard error for independent samples.

    Returns shape (points, 4): threshold, mean excess, standard error, exceedances. A generalised Pareto tail
    with ξ < 1 shows as a straight line of slope ξ/(1 − ξ).
    """
    ordered = sample.descending[sample.lost :]
    sums = np.cumsum(ordered)
    squares = np.cumsum(ordered**2)
    largest = min(ordered.size - 1, int(0.2 * sample.samples))
    counts = np.unique(np.geomspace(10, max(largest, 11), points).astype(int))[::-1]
    rows = []
    for count in counts[counts < ordered.size]:
        threshold = float(ordered[count])
        mean = sums[count - 1] / count
        variance = max(squares[count - 1] / count - mean**2, 0.0)
        rows.append((threshold, mean - threshold, math.sqrt(variance / count), float(count)))
    return np.array(rows).reshape(-1, 4)
