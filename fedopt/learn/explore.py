"""Exploration: a learner that always does what it thinks best never finds out where it is wrong.

The models are kept in several replicates that weigh the same answers differently (a Bayesian bootstrap:
exponential weights of mean 1). Their spread says how much the answers leave open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fedopt.learn.decompose import Acceptance
from fedopt.learn.feedback import Array, Feedback, Rows
from fedopt.learn.model import RiskModel


class Exploration(Protocol):
    """How replicates of risk models become the one view that a decomposition uses.

    Replicate e of domain row m is model e·(count/E) + m.
    """

    @property
    def replicates(self) -> int:
        """Number of replicates E."""
        ...

    def view(self, model: RiskModel, rows: Rows) -> Acceptance:
        """The acceptance to decompose with now."""
        ...

    def spread(self, feedback: Feedback, rows: Rows, model: RiskModel) -> tuple[Feedback, Rows]:
        """Feedback for all the replicates, each with its own weights, and the models that it goes to."""
        ...


@dataclass
class Greedy:
    """No exploration: one model, taken at its word."""

    replicates: int = 1

    def view(self, model: RiskModel, rows: Rows) -> Acceptance:
        return model

    def spread(self, feedback: Feedback, rows: Rows, model: RiskModel) -> tuple[Feedback, Rows]:
        return feedback, rows


@dataclass
class _Bootstrap:
    replicates: int = 5
    seed: int = 0
    rng: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(np.random.SeedSequence([self.seed, 0x4558504C]))

    def spread(self, feedback: Feedback, rows: Rows, model: RiskModel) -> tuple[Feedback, Rows]:
        block = model.count // self.replicates
        where = np.concatenate([rows + e * block for e in range(self.replicates)])
        tiled = (np.tile(part, (self.replicates, 1)) for part in _parts(feedback))
        delay, throughput, accepted, weight = tiled
        many = Feedback(delay, throughput, accepted, weight * bootstrap_weights(feedback, self.replicates))
        return many, where


@dataclass
class Thompson(_Bootstrap):
    """Thompson sampling: each request is decomposed with a replicate drawn at random for its run."""

    def view(self, model: RiskModel, rows: Rows) -> Acceptance:
        block = model.count // self.replicates
        chosen = self.rng.integers(self.replicates, size=block)
        return _Drawn(model, chosen * block + np.arange(block))


@dataclass
class Optimistic(_Bootstrap):
    """Optimism: mean of P over the replicates plus `width` standard deviations, at most 1.

    Of P and not of log P, whose spread is largest where acceptance is hopeless.
    """

    width: float = 1.0

    def view(self, model: RiskModel, rows: Rows) -> Acceptance:
        return _UpperConfidence(model, self.replicates, self.width)


@dataclass(frozen=True)
class _Drawn:
    model: RiskModel
    index: Rows

    @property
    def concave(self) -> bool:
        return self.model.concave

    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        return self.model.log_probability(delay, throughput, self.index if rows is None else self.index[rows])

    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        return self.model.gradient(delay, throughput, self.index if rows is None else self.index[rows])


@dataclass(frozen=True)
class _UpperConfidence:
    model: RiskModel
    replicates: int
    width: float
    concave: bool = False

    def _each(self, rows: Rows | None) -> list[Rows]:
        block = self.model.count // self.replicates
        base = np.arange(block) if rows is None else rows
        return [base + e * block for e in range(self.replicates)]

    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        p = self._probabilities(delay, throughput, rows)
        return np.asarray(np.log(np.minimum(p.mean(axis=0) + self.width * p.std(axis=0), 1.0)))

    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        p = self._probabilities(delay, throughput, rows)
        mean, spread = p.mean(axis=0), p.std(axis=0)
        upper = mean + self.width * spread
        tilt = (1 + self.width * (p - mean) / np.maximum(spread, 1e-12)) * p / upper
        each = [self.model.gradient(delay, throughput, at) for at in self._each(rows)]
        by_delay, by_throughput = (np.mean(tilt * np.stack([one[k] for one in each]), axis=0) for k in (0, 1))
        return np.where(upper < 1, by_delay, 0.0), np.where(upper < 1, by_throughput, 0.0)

    def _probabilities(self, delay: Array, throughput: Array, rows: Rows | None) -> Array:
        each = [self.model.log_probability(delay, throughput, at) for at in self._each(rows)]
        return np.maximum(np.exp(np.stack(each)), 1e-300)


def _parts(feedback: Feedback) -> tuple[Array, Array, Array, Array]:
    return feedback.delay, feedback.throughput, feedback.accepted, feedback.weight


def bootstrap_weights(feedback: Feedback, replicates: int) -> Array:
    """Exponential weights (mean 1), shape (replicates · count, K), a fixed function of each answer's digits.

    An answer keeps its weight in a replicate for as long as it stays in the buffer.
    """
    digits = np.frombuffer(np.ascontiguousarray(feedback.delay).tobytes(), np.uint64).reshape(
        feedback.delay.shape
    )
    weights = []
    for replicate in range(replicates):
        hashed = digits ^ np.uint64((replicate + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
        with np.errstate(over="ignore"):
            for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
                hashed = (hashed ^ (hashed >> np.uint64(31))) * np.uint64(factor)
        uniform = ((hashed ^ (hashed >> np.uint64(33))) >> np.uint64(11)).astype(float) / 2.0**53
        weights.append(-np.log1p(-uniform))
    return np.concatenate(weights)
