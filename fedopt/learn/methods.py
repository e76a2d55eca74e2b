"""Ways to decompose online: knowing nothing, knowing what was once learned, learning on, knowing all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fedopt.learn.buffer import Buffer
from fedopt.learn.decomposition import Problem, on_grid
from fedopt.learn.drift import PageHinkley
from fedopt.learn.explore import Exploration, Greedy
from fedopt.learn.feedback import Array, Feedback
from fedopt.learn.model import RiskModel, Rows
from fedopt.learn.robust import clean_labels
from fedopt.learn.simulator import Network, Step


class Method(Protocol):
    """A policy of the online loop: `split` before the answers of a step are known, `learn` after."""

    name: str

    def split(self, step: int, requests: Step) -> Array:
        """Partial delays of the requests, shape (R, N)."""
        ...

    def learn(self, step: int, requests: Step, delays: Array, accepted: Array) -> None:
        """Take the (possibly corrupted) answers of the step, shape (R, N)."""
        ...


@dataclass
class RandomSplit:
    """Uniformly random on the simplex, Dirichlet(1, …, 1)."""

    name: str = "Random"

    def split(self, step: int, requests: Step) -> Array:
        return requests.delay[:, None] * requests.simplex

    def learn(self, step: int, requests: Step, delays: Array, accepted: Array) -> None:
        """Nothing to learn."""


@dataclass
class EqualSplit:
    """The same delay for every domain."""

    name: str = "Equal split"

    def split(self, step: int, requests: Step) -> Array:
        domains = requests.coin.shape[1]
        return np.repeat(requests.delay[:, None] / domains, domains, axis=1)

    def learn(self, step: int, requests: Step, delays: Array, accepted: Array) -> None:
        """Nothing to learn."""


@dataclass
class Oracle:
    """OPT: decomposes with the true acceptance probabilities of the moment."""

    network: Network
    name: str = "OPT"

    def split(self, step: int, requests: Step) -> Array:
        truth = self.network.acceptance(step)
        if truth is None:
            raise ValueError("this network does not tell its acceptance probabilities; OPT needs them")
        rows = requests.run[:, None] * self.network.domains + np.arange(self.network.domains)
        problem = Problem(truth, rows, requests.delay, requests.throughput)
        return on_grid(problem, points=96).delay

    def learn(self, step: int, requests: Step, delays: Array, accepted: Array) -> None:
        """Nothing to learn."""


@dataclass
class Learner:
    """Decomposes with risk models, and keeps learning them from a buffer (Algorithm 1).

    Attributes:
        model: one fitted risk model per run and domain (and per replicate, for exploration).
        domains: number of domains N.
        buffer: memory that updates learn from; None: the models stay as they are ("Static").
        memoryless: learn from the latest step's answers alone ("RADE*").
        points: grid of the decomposition.
        flip: assumed share of wrong answers; above 0 the likelihood is the robust one.
        anchor: answers that every update sees besides the buffer (a down-weighted history, say): what was
            learned of splits that a good policy no longer tries. One row per run and domain.
        drift: detector that clears old answers from the buffer; None: none.
        explore: how the replicates of a model are used.
    """

    model: RiskModel
    domains: int
    buffer: Buffer | None = None
    memoryless: bool = False
    points: int = 48
    flip: float = 0.0
    anchor: Feedback | None = None
    drift: PageHinkley | None = None
    explore: Exploration = field(default_factory=Greedy)
    name: str = "RADE"

    def split(self, step: int, requests: Step) -> Array:
        rows = self._rows(requests)
        problem = Problem(self.explore.view(self.model, rows), rows, requests.delay, requests.throughput)
        return on_grid(problem, points=self.points, windows=1).delay

    def learn(self, step: int, requests: Step, delays: Array, accepted: Array) -> None:
        if self.buffer is None or requests.run.size == 0:
            return
        rows = self._rows(requests)
        active = np.unique(rows)
        if self.memoryless:
            self.buffer.forget(active)
        self._watch(rows, requests, delays, accepted)
        for turn in range(int(requests.turn.max()) + 1):
            now = requests.turn == turn
            throughput = np.repeat(requests.throughput[now], self.domains)
            self.buffer.push(
                rows[now].reshape(-1), delays[now].reshape(-1), throughput, accepted[now].reshape(-1)
            )
        self.model = self.absorb(self.buffer.view(active), active)

    def absorb(self, feedback: Feedback, rows: Rows) -> RiskModel:
        """The models after learning from the feedback of the given domains."""
        if self.anchor is not None:
            feedback = feedback.beside(self.anchor.rows(rows))
        feedback, rows = self.explore.spread(feedback, rows, self.model)
        if self.flip > 0:
            log_p = self.model.log_probability(feedback.delay, feedback.throughput, rows)
            feedback = feedback.with_accepted(clean_labels(log_p, feedback.accepted, self.flip))
        return self.model.update(feedback, rows)

    def _rows(self, requests: Step) -> Rows:
        return requests.run[:, None] * self.domains + np.arange(self.domains)

    def _watch(self, rows: Rows, requests: Step, delays: Array, accepted: Array) -> None:
        if self.drift is None or self.buffer is None:
            return
        flat = rows.reshape(-1)
        throughput = np.repeat(requests.throughput, self.domains)[:, None]
        view = self.explore.view(self.model, rows)
        expected = np.exp(view.log_probability(delays.reshape(-1, 1), throughput, flat)[:, 0])
        alarmed = self.drift.observe(flat, accepted.reshape(-1), expected)
        if alarmed.size:
            self.buffer.forget(alarmed, self.drift.keep)
