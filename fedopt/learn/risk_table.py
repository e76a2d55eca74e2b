"""From answers to a table of risks: what may be promised at a confidence, beside what a risk model expects.

Answers come in batches: so many requests were asked to leave within one delay of a grid, so many did not.
Rejections come in clusters, and once in a while a whole batch is rejected (an outage). So one batch is one
observation: the share X ∈ [0, 1] of its requests that was rejected, whatever the law of X. The limit is
Chernoff and Hoeffding's for the mean of such variables: the largest mean r for which a mean x̄ this low in n
batches has a chance of at least δ,

    n · KL(x̄ ‖ r) = log(1/δ),    KL(x ‖ r) = x log(x/r) + (1 − x) log((1 − x)/(1 − r)).

Without any rejection that is 1 − δ^(1/n): what has never been seen may still have a probability of about
log(1/δ)/n, and no answer of a batch without an outage tells more about outages than that.

A limit holds without any model of the domain but monotony: more delay is never riskier. So answers to
stricter asks count for a laxer one, and the limit at a delay is the least of the limits of the answers to
asks within [τ_i, τ_k], i ≤ k. All pairs (i, k) share the confidence (Bonferroni), so the whole table holds
at once. The assumption left is that batches are independent of each other and alike.

References
----------
W. Hoeffding, Probability inequalities for sums of bounded random variables, JASA 58 (1963), Theorem 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from fedopt.learn.feedback import Feedback
from fedopt.learn.model import RiskModel
from fedopt.learn.parametric import ConvexRisk, LogisticRisk

__all__ = ["MODELS", "Batches", "batches_needed", "expected_risks", "lower_limit", "upper_limits"]

MODELS: dict[str, type[LogisticRisk] | type[ConvexRisk]] = {"logistic": LogisticRisk, "convex": ConvexRisk}
"""Risk models by name; each is fitted anew to whatever is remembered, in less than a millisecond."""


@dataclass(frozen=True, eq=False)
class Batches:
    """Answers by batch, each of shape (batches,).

    place: of the delay that was asked for in the grid; asked, rejected: requests.
    """

    place: np.ndarray
    asked: np.ndarray
    rejected: np.ndarray

    @classmethod
    def of(cls, rows: list[tuple[int, float, float]]) -> Batches:
        """From (place, asked, rejected) rows."""
        table = np.array(rows, dtype=float).reshape(-1, 3)
        table = table[table[:, 1] > 0]
        return cls(table[:, 0].astype(np.int64), table[:, 1], table[:, 2])

    def sums(self, delays: int) -> tuple[np.ndarray, np.ndarray]:
        """By place of the grid: batches, and the sum of their rejected shares, each of shape (delays,)."""
        share = self.rejected / self.asked
        count = np.bincount(self.place, minlength=delays).astype(float)
        return count, np.bincount(self.place, share, delays)

    def effect(self) -> float:
        """How many requests a batch counts as one answer for: variance of the rejected over that of as many
        independent requests; a whole batch where nothing is rejected anywhere.
        """
        risk = np.bincount(self.place, self.rejected) / np.maximum(
            np.bincount(self.place, self.asked), 1e-300
        )
        own = risk[self.place]
        independent = (self.asked * own * (1 - own)).sum()
        spread = ((self.rejected - own * self.asked) ** 2).sum()
        return max(1.0, float(spread / independent)) if independent > 0 else float(self.asked.mean())


def divergence(x: float, r: float) -> float:
    """KL(x ‖ r) of two coins."""
    first = x * math.log(x / r) if x > 0 else 0.0
    return first + ((1 - x) * math.log((1 - x) / (1 - r)) if x < 1 else 0.0)


def upper_limit(batches: float, total: float, tail: float) -> float:
    """Upper limit on the mean share of batches whose shares add up to `total`, wrong with chance `tail`."""
    if batches <= 0 or total >= batches:
        return 1.0
    mean, reach = total / batches, -math.log(tail) / batches
    if mean == 0:
        return -math.expm1(-reach)
    if divergence(mean, 1 - 1e-12) <= reach:
        return 1.0
    return float(brentq(lambda r: divergence(mean, r) - reach, mean, 1 - 1e-12, xtol=1e-14))


def upper_limits(answers: Batches, delays: int, confidence: float) -> np.ndarray:
    """Upper limit on the risk at every delay of the grid, shape (delays,), not increasing.

    All of them hold together at the confidence. 1 where there are no answers.
    """
    count, total = answers.sums(delays)
    tail = (1 - confidence) / (delays * (delays + 1) / 2)
    found = np.ones(delays)
    for k in range(delays):
        for i in range(k + 1):
            pool = slice(i, k + 1)
            found[k] = min(found[k], upper_limit(count[pool].sum(), total[pool].sum(), tail))
    return np.minimum.accumulate(found)


def lower_limit(answers: Batches, place: int, delays: int, confidence: float) -> float:
    """Lower limit on the risk at a delay of the grid, from the answers to asks of that delay or more."""
    count, total = answers.sums(delays)
    n, rejected = count[place:].sum(), total[place:].sum()
    return 1.0 - upper_limit(n, n - rejected, 1 - confidence) if n > 0 else 0.0


def batches_needed(risk: float, delays: int, confidence: float) -> int:
    """Batches without a rejection from which a risk may be promised in a table of so many delays."""
    tail = (1 - confidence) / (delays * (delays + 1) / 2)
    return math.ceil(math.log(tail) / math.log1p(-risk))


def expected_risks(answers: Batches, delay: np.ndarray, throughput: float, model: str) -> np.ndarray:
    """What a risk model fitted to the answers expects at each delay of the grid, shape (delays,)."""
    asked = np.bincount(answers.place, answers.asked, len(delay))
    rejected = np.bincount(answers.place, answers.rejected, len(delay))
    known = asked > 0
    if not known.any():
        return np.ones(len(delay))
    feedback = Feedback.of(
        delay[known],
        np.full(int(known.sum()), throughput),
        1 - rejected[known] / asked[known],
        asked[known] / answers.effect(),
    )
    fitted: RiskModel = MODELS[model](models=1).fit(feedback)
    log_p = fitted.log_probability(delay[None], np.full((1, len(delay)), throughput))[0]
    return np.minimum.accumulate(np.clip(-np.expm1(log_p), 1e-12, 1.0))
