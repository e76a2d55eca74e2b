"""The online loop (Algorithm 1): decompose, ask, observe, learn; what is learned at t is used from t + 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedopt.learn.feedback import Array, Feedback
from fedopt.learn.methods import Method
from fedopt.learn.simulator import Network, Scenario


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
        method.learn(t, step, delays, np.where(step.corrupted, 1 - answers, answers))
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
        answers = np.where(step.corrupted, 1 - answers, answers)
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
