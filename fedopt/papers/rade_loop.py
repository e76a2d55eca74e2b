"""The online loop (Algorithm 1): decompose, ask, observe, learn; what is learned at t is used from t + 1.

And its methods: knowing nothing, splitting evenly, keeping what was once learned, learning on, knowing all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedopt.learn.decompose import Problem, on_grid
from fedopt.learn.feedback import Array, Buffer, Feedback, Rows
from fedopt.learn.model import RiskModel, clean_labels
from fedopt.learn.scores import PageHinkley
from fedopt.papers.rade_simulator import Network, Scenario, Step


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
        model: one fitted risk model per run and domain.
        domains: number of domains N.
        buffer: memory that updates learn from; None: the models stay as they are ("Static").
        memoryless: learn from the latest step's answers alone ("RADE*").
        points: grid of the decomposition.
        flip: assumed share of wrong answers; above 0 the likelihood is the robust one.
        anchor: answers that every update sees besides the buffer (a down-weighted history, say): what was
            learned of splits that a good policy no longer tries. One row per run and domain.
        drift: detector of changes; None: none.
        clear: whether an alarm clears old answers from the buffer (models that choose for themselves what
            to forget need it not).
        every: steps between updates.
    """

    model: RiskModel
    domains: int
    buffer: Buffer | None = None
    memoryless: bool = False
    points: int = 48
    flip: float = 0.0
    anchor: Feedback | None = None
    drift: PageHinkley | None = None
    every: int = 1
    clear: bool = True
    name: str = "RADE"

    def __post_init__(self) -> None:
        self.unlearned = np.zeros(self.model.count, dtype=bool)

    def split(self, step: int, requests: Step) -> Array:
        rows = self._rows(requests)
        problem = Problem(self.model, rows, requests.delay, requests.throughput)
        return on_grid(problem, points=self.points, windows=1).delay

    def learn(self, step: int, requests: Step, delays: Array, accepted: Array) -> None:
        if self.buffer is None or requests.run.size == 0:
            return
        rows = self._rows(requests)
        active = np.unique(rows)
        if self.memoryless:
            self.buffer.forget(active)
        self._watch(rows, requests, delays, accepted)
        self.model = self.model.judge(self._fresh(active, rows, requests, delays, accepted), active)
        for turn in range(int(requests.turn.max()) + 1):
            now = requests.turn == turn
            throughput = np.repeat(requests.throughput[now], self.domains)
            self.buffer.push(
                rows[now].reshape(-1), delays[now].reshape(-1), throughput, accepted[now].reshape(-1)
            )
        self.unlearned[active] = True
        if step % self.every == self.every - 1:
            behind = np.flatnonzero(self.unlearned)
            self.model = self.absorb(self.buffer.view(behind), behind)
            self.unlearned[behind] = False

    def absorb(self, feedback: Feedback, rows: Rows) -> RiskModel:
        """The models after learning from the feedback of the given domains."""
        assert self.buffer is not None
        if self.anchor is not None:
            feedback = feedback.beside(self.buffer.aged(self.anchor, rows))
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
        expected = np.exp(self.model.log_probability(delays.reshape(-1, 1), throughput, flat)[:, 0])
        alarmed = self.drift.observe(flat, accepted.reshape(-1), expected)
        if alarmed.size:
            self.model = self.model.alarmed(alarmed)
            if self.clear:
                self.buffer.forget(alarmed, self.drift.keep)

    def _fresh(self, active: Rows, rows: Rows, requests: Step, delays: Array, accepted: Array) -> Feedback:
        """The step's answers, one row per active domain, the oldest first."""
        shape = (active.size, int(requests.turn.max()) + 1)
        fresh = Feedback(np.ones(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape))
        at = np.searchsorted(active, rows), np.repeat(requests.turn[:, None], rows.shape[1], axis=1)
        fresh.delay[at], fresh.accepted[at], fresh.weight[at] = delays, accepted, 1.0
        fresh.throughput[at] = requests.throughput[:, None]
        return fresh


@dataclass(frozen=True)
class Trace:
    """What a method achieved.

    Attributes:
        acceptance: mean end-to-end acceptance probability of the requests of each step, shape (runs, steps);
            NaN where a step had no request. Where the truth is unknown, the share that was accepted.
        accepted: share of requests that every domain accepted, likewise.
        requests: number of requests, shape (runs, steps).
    """

    acceptance: Array
    accepted: Array
    requests: Array

    @property
    def score(self) -> Array:
        """Equation (9) of each run: the mean over the steps that had a request, shape (runs,)."""
        return np.asarray(np.nanmean(self.acceptance, axis=1))

    def regret(self, best: Trace) -> Array:
        """Acceptance lost against `best` since the start, summed over requests, shape (runs, steps)."""
        lost = np.nan_to_num(best.acceptance - self.acceptance) * self.requests
        return np.asarray(np.cumsum(lost, axis=1))


def run(method: Method, network: Network, scenario: Scenario) -> Trace:
    """Run one method through a scenario."""
    shape = (scenario.runs, len(scenario.steps))
    acceptance, accepted, requests = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape)
    for t, step in enumerate(scenario.steps):
        if step.run.size == 0:
            continue
        delays = method.split(t, step)
        answers = ask(network, t, step.run, delays, step.throughput, step.coin)
        truth = network.acceptance(t)
        rows = step.run[:, None] * network.domains + np.arange(network.domains)
        success = answers.min(axis=1)
        if truth is None:
            probability = success
        else:
            flat = truth.log_probability(
                delays.reshape(-1, 1), np.repeat(step.throughput, network.domains)[:, None], rows.reshape(-1)
            )
            probability = np.exp(flat.reshape(delays.shape).sum(axis=1))
        number = np.bincount(step.run, minlength=scenario.runs).astype(float)
        requests[:, t] = number
        some = number > 0
        for target, values in ((acceptance, probability), (accepted, success)):
            total = np.bincount(step.run, weights=values, minlength=scenario.runs)
            target[some, t] = total[some] / number[some]
        method.learn(t, step, delays, scenario.reported(step, answers))
    return Trace(acceptance, accepted, requests)


def ask(network: Network, t: int, runs: np.ndarray, delays: Array, throughput: Array, coin: Array) -> Array:
    """The domains' answers to partial SLAs of shape (R, N)."""
    domains = network.domains
    rows = (runs[:, None] * domains + np.arange(domains)).reshape(-1)
    flat = network.answer(t, rows, delays.reshape(-1), np.repeat(throughput, domains), coin.reshape(-1))
    return flat.reshape(delays.shape)


def gather_history(network: Network, scenario: Scenario, length: int) -> Feedback:
    """Answers to randomly split requests, the latest `length` of each run, one row per run and domain.

    They come oldest first; a run with fewer has entries of weight 0.
    """
    domains = network.domains
    rows = scenario.runs * domains
    history = Feedback(
        np.ones((rows, length)), np.zeros((rows, length)), np.zeros((rows, length)), np.zeros((rows, length))
    )
    filled = np.zeros(scenario.runs, dtype=np.intp)
    for t in reversed(range(len(scenario.steps))):
        step = scenario.steps[t]
        delays = step.delay[:, None] * step.simplex
        answers = ask(network, t, step.run, delays, step.throughput, step.coin) if step.run.size else delays
        answers = scenario.reported(step, answers)
        for turn in range(int(step.turn.max(initial=-1)) + 1):
            now = np.flatnonzero((step.turn == turn) & (filled[step.run] < length))
            at = (step.run[now][:, None] * domains + np.arange(domains)).reshape(-1)
            column = np.repeat(filled[step.run[now]], domains)
            history.delay[at, column] = delays[now].reshape(-1)
            history.throughput[at, column] = np.repeat(step.throughput[now], domains)
            history.accepted[at, column] = answers[now].reshape(-1)
            history.weight[at, column] = 1.0
            filled[step.run[now]] += 1
    return Feedback(
        history.delay[:, ::-1],
        history.throughput[:, ::-1],
        history.accepted[:, ::-1],
        history.weight[:, ::-1],
    )
