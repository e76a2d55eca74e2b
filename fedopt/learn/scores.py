"""How well answers are foretold: scores, calibration, fit, and noticing that a domain has changed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import chi2

from fedopt.learn.feedback import Array, Feedback, Rows
from fedopt.learn.model import RiskModel

_CLIP = 1e-4
_SCORE_CLIP = 0.01
"""Of probabilities in scores: one surprise (4.6 nats) does not decide alone."""


def log_odds(log_p: Array) -> Array:
    """log P − log(1 − P), within ±log(1/_CLIP)."""
    p = np.clip(np.exp(log_p), _CLIP, 1 - _CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


def log_loss(log_p: Array, accepted: Array) -> Array:
    """Negative log-likelihood of answers, with probabilities clipped to [_SCORE_CLIP, 1 − _SCORE_CLIP]."""
    p = np.clip(np.exp(log_p), _SCORE_CLIP, 1 - _SCORE_CLIP)
    return np.asarray(-accepted * np.log(p) - (1 - accepted) * np.log1p(-p))


def cross_validated(model: RiskModel, feedback: Feedback, folds: int, seed: int) -> Array:
    """log P of every answer by a model fitted without its fold, shape (count, K)."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x464F4C44]))
    fold = rng.permuted(np.tile(np.arange(feedback.delay.shape[1]), (feedback.count, 1)), axis=1)
    fold = fold % folds
    out = np.empty(feedback.delay.shape)
    for k in range(folds):
        fitted = model.fit(feedback.with_weight(feedback.weight * (fold != k)))
        log_p = fitted.log_probability(feedback.delay, feedback.throughput, None, feedback.extra)
        out = np.where(fold == k, log_p, out)
    return out


def hosmer_lemeshow(probability: Array, accepted: Array, groups: int = 10) -> float:
    """p-value that answers come with the stated probabilities, by groups of similar ones."""
    order = np.argsort(probability, kind="stable")
    statistic = 0.0
    parts = [part for part in np.array_split(order, groups) if part.size]
    for part in parts:
        p = probability[part]
        # a group of certain answers has next to no variance: half an answer of it is allowed
        statistic += (accepted[part].sum() - p.sum()) ** 2 / max(float((p * (1 - p)).sum()), 0.5)
    return float(chi2.sf(statistic, len(parts)))


def blunt(probability: Array, asked: tuple[Array, Array], accepted: Array, parts: int = 4) -> float:
    """p-value that answers come with the stated probabilities in every part of what was asked.

    The same statistic over the quantiles of two columns: what is right on average over both may be wrong for
    long delays at high throughputs.
    """
    ranks = [np.argsort(np.argsort(column, kind="stable"), kind="stable") for column in asked]
    cell = (ranks[0] * parts // probability.size) * parts + ranks[1] * parts // probability.size
    missed = np.bincount(cell, accepted - probability)
    spread = np.maximum(np.bincount(cell, probability * (1 - probability)), 0.5)
    return float(chi2.sf((missed**2 / spread).sum(), missed.size))


@dataclass(frozen=True)
class Calibration:
    """Whether stated probabilities came true, over answers that no model had seen.

    Attributes
    ----------
    brier
        Mean squared difference of probability and answer (0 is perfect).
    log_loss
        Mean negative log-likelihood, natural.
    error
        Expected calibration error: mean |frequency − probability| over the bins, weighted.
    stated, observed, number
        Reliability diagram: mean probability, frequency of "accepted" and number of answers of each bin.
    """

    brier: float
    log_loss: float
    error: float
    stated: Array
    observed: Array
    number: Array

    @classmethod
    def of(cls, probability: Array, accepted: Array, bins: int = 10) -> Calibration:
        """Calibration of stated probabilities against answers."""
        p = np.clip(probability, 1e-9, 1 - 1e-9)
        where = np.minimum((p * bins).astype(int), bins - 1)
        number = np.bincount(where, minlength=bins).astype(float)
        with np.errstate(invalid="ignore"):
            stated = np.bincount(where, weights=p, minlength=bins) / number
            observed = np.bincount(where, weights=accepted, minlength=bins) / number
        return cls(
            brier=float(np.mean((p - accepted) ** 2)),
            log_loss=float(-np.mean(accepted * np.log(p) + (1 - accepted) * np.log1p(-p))),
            error=float(np.nansum(number / number.sum() * np.abs(stated - observed))),
            stated=stated,
            observed=observed,
            number=number,
        )


@dataclass
class PageHinkley:
    """Two-sided Page–Hinkley test on the standardised surprise of each answer, one test per domain.

    With P the model's acceptance probability and y the answer, the surprise (y − P)/√(P(1−P)) has mean 0 as
    long as the model is right. Its sums, less a slack per answer, are held at 0 from below; one that passes
    the threshold is an alarm. A surprise is clipped at `clip`, so that one answer raises no alarm.

    Attributes:
        count: number of domains.
        threshold: alarm level; 12 with slack 0.15 gives false alarms about once in a thousand answers.
        slack: drift per answer that is tolerated.
        clip: largest absolute surprise counted.
        keep: newest answers that an alarm leaves in the buffer.
    """

    count: int
    threshold: float = 12.0
    slack: float = 0.15
    clip: float = 4.0
    keep: int = 20
    up: Array = field(default_factory=lambda: np.zeros(0))
    down: Array = field(default_factory=lambda: np.zeros(0))
    alarms: int = 0

    def __post_init__(self) -> None:
        if self.up.size == 0:
            self.up, self.down = np.zeros(self.count), np.zeros(self.count)

    def observe(self, rows: Rows, accepted: Array, expected: Array) -> Rows:
        """Take answers of the given domains in order (a domain may appear often); returns those alarmed."""
        p = np.clip(expected, 1e-3, 1 - 1e-3)
        surprise = np.clip((accepted - p) / np.sqrt(p * (1 - p)), -self.clip, self.clip)
        order = np.argsort(rows, kind="stable")
        ranked = rows[order]
        first = np.searchsorted(ranked, ranked)
        turn = np.arange(ranked.size) - first
        alarmed: list[Rows] = []
        for k in range(int(turn.max(initial=-1)) + 1):
            now = order[turn == k]
            at = rows[now]
            self.up[at] = np.maximum(self.up[at] + surprise[now] - self.slack, 0.0)
            self.down[at] = np.maximum(self.down[at] - surprise[now] - self.slack, 0.0)
            loud = at[(self.up[at] > self.threshold) | (self.down[at] > self.threshold)]
            self.up[loud], self.down[loud] = 0.0, 0.0
            alarmed.append(loud)
        found = np.unique(np.concatenate(alarmed)) if alarmed else np.zeros(0, np.intp)
        self.alarms += int(found.size)
        return found
