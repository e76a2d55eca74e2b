"""From answers to a table of risks: what may be promised at a confidence, beside what a risk model expects.

Answers come in batches: so many requests were asked to leave within one delay of a grid, so many did not.
Rejections come in clusters (one busy period makes many requests late), so a batch is one observation, and the
spread between batches says how many independent answers its requests are worth.

A limit holds without any model of the domain but monotony: more delay is never riskier. So answers to
stricter asks count for a laxer one, and the limit at a delay is the least of the exact binomial limits of the
answers to asks within [τ_i, τ_k], i ≤ k. All pairs (i, k) share the confidence (Bonferroni), so the whole
table holds at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from fedopt.learn.feedback import Feedback
from fedopt.learn.model import RiskModel
from fedopt.learn.parametric import ConvexRisk, LogisticRisk

__all__ = ["MODELS", "Batches", "expected_risks", "lower_limit", "upper_limits"]

MODELS: dict[str, type[LogisticRisk] | type[ConvexRisk]] = {"logistic": LogisticRisk, "convex": ConvexRisk}
"""Risk models by name; each is fitted anew to whatever is remembered, in less than a millisecond."""

FEW = 8
"""Batches with a rejection from which their spread is believed."""

LARGEST = 0.5
"""A share of rejections from which clusters overlap, so that their size cannot be told."""


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

    def sums(self, delays: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """By place of the grid: requests asked, rejected, design effect and batches behind the effect.

        The effect is the variance of the rejected within a place over that of as many independent requests.
        Where too few batches of a place have a rejection to tell, those of stricter ones are added, whose
        clusters are larger; where there are none, all requests of a batch are one.
        """
        count = np.bincount(self.place, minlength=delays)
        asked = np.bincount(self.place, self.asked, delays)
        rejected = np.bincount(self.place, self.rejected, delays)
        share = rejected / np.maximum(asked, 1e-300)
        residual = np.bincount(self.place, (self.rejected - share[self.place] * self.asked) ** 2, delays)
        told = (count > 1) & (share < LARGEST)
        spread = np.where(told, residual * count / np.maximum(count - 1, 1), 0.0)
        independent = np.where(told, asked * share * (1 - share), 0.0)
        bad = np.where(told, np.bincount(self.place, self.rejected > 0, delays), 0)
        effect = np.full(delays, float(self.asked.mean()) if self.asked.size else 1.0)
        behind = np.full(delays, np.inf)
        for k in range(delays):
            for first in range(k, -1, -1):
                pool = slice(first, k + 1)
                if bad[pool].sum() >= FEW:
                    effect[k] = max(1.0, spread[pool].sum() / independent[pool].sum())
                    behind[k] = bad[pool].sum()
                    break
        return asked, rejected, effect, behind


def upper_limits(answers: Batches, delays: int, confidence: float) -> np.ndarray:
    """Upper limit on the risk at every delay of the grid, shape (delays,), not increasing.

    All of them hold together at the confidence. 1 where there are no answers.
    """
    asked, rejected, effect, behind = answers.sums(delays)
    tail = (1 - confidence) / (delays * (delays + 1) / 2)
    found = np.ones(delays)
    for k in range(delays):
        for i in range(k + 1):
            pool = slice(i, k + 1)
            worst = i + int(np.argmax(effect[pool]))
            # an effect that few batches told may be larger than it seems
            worth = asked[pool].sum() / effect[worst] / (1 + np.sqrt(2 / behind[worst]))
            if worth > 0:
                hits = rejected[pool].sum() / asked[pool].sum() * worth
                limit = 1.0 if hits >= worth else float(beta.ppf(1 - tail, hits + 1, worth - hits))
                found[k] = min(found[k], limit)
    return np.minimum.accumulate(found)


def lower_limit(answers: Batches, place: int, delays: int, confidence: float) -> float:
    """Lower limit on the risk at a delay of the grid, from the answers to asks of that delay or more."""
    asked, rejected, effect, behind = answers.sums(delays)
    pool = slice(place, delays)
    if not rejected[pool].sum() > 0:
        return 0.0
    worth = asked[pool].sum() / effect[pool].max() / (1 + np.sqrt(2 / behind[pool].min()))
    hits = rejected[pool].sum() / asked[pool].sum() * worth
    return float(beta.ppf(1 - confidence, hits, worth - hits + 1))


def expected_risks(answers: Batches, delay: np.ndarray, throughput: float, model: str) -> np.ndarray:
    """What a risk model fitted to the answers expects at each delay of the grid, shape (delays,)."""
    asked, rejected, effect, _ = answers.sums(len(delay))
    known = asked > 0
    if not known.any():
        return np.ones(len(delay))
    feedback = Feedback.of(
        delay[known],
        np.full(int(known.sum()), throughput),
        1 - rejected[known] / asked[known],
        asked[known] / effect[known],
    )
    fitted: RiskModel = MODELS[model](models=1).fit(feedback)
    log_p = fitted.log_probability(delay[None], np.full((1, len(delay)), throughput))[0]
    return np.minimum.accumulate(np.clip(-np.expm1(log_p), 1e-12, 1.0))
