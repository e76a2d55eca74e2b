"""Learned domains: times of decomposing and observing, and what is lost against knowing, in six worlds."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np

from fedopt.bench.row import Row
from fedopt.learn import SLA, Answer, History, Orchestrator, Settings
from fedopt.learn.decompose import Problem, by_slsqp
from fedopt.learn.feedback import Feedback
from fedopt.papers.rade_simulator import PAPER_DOMAINS, TrueAcceptance
from fedopt.papers.rade_worlds import TREES, learners, regrets

__all__ = ["lost", "speeds"]


def _history(answers: int, seed: int) -> History:
    rng = np.random.default_rng(seed)
    truth = TrueAcceptance(PAPER_DOMAINS.capacity, PAPER_DOMAINS.service, np.full(3, 0.5))
    delay = 100 * rng.dirichlet(np.ones(3), answers).T
    throughput = rng.uniform(0.4, 0.6, (3, answers))
    accepted = rng.random(delay.shape) < np.exp(truth.log_probability(delay, throughput))
    return History(PAPER_DOMAINS.names, None, Feedback.of(delay, throughput, accepted.astype(float)))


def speeds(history: int, batch: int, repeats: int, seed: int) -> list[Row]:
    """CPU seconds of one answer, of one request, of one of a batch, and of numpy with SLSQP."""
    found = []
    for number in (1000, history):
        orchestrator = Orchestrator.from_history(_history(number, seed))
        answer = Answer(PAPER_DOMAINS.names[0], True, 30.0, 0.5)
        orchestrator.observe([answer] * 50)
        seconds = _median(partial(orchestrator.observe, answer), repeats)
        found.append(Row(f"observe one answer, history {number:,}", seconds))
    slas = [SLA(90 + 20 * k / batch, 0.5) for k in range(batch)]
    problem = Problem(orchestrator.model, np.arange(3)[None], np.array([100.0]), np.array([0.5]))
    slow = _median(partial(by_slsqp, problem), max(repeats // 4, 3))
    one = _median(partial(orchestrator.decompose, slas[0]), repeats)
    many = _median(partial(orchestrator.decompose_batch, slas), repeats) / batch
    found.append(Row("decompose one request, certified", one, ratio_to="SLSQP", ratio=slow / one))
    found.append(Row(f"decompose {batch:,} requests, each", many, ratio_to="SLSQP", ratio=slow / many))
    return [*found, Row("numpy and SLSQP, one request", slow)]


def _median(act: Callable[[], object], repeats: int) -> float:
    act()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        act()
        taken.append(time.process_time() - start)
    return float(np.median(taken))


def lost(name: str, runs: int, steps: int, seed: int) -> list[Row]:
    """Acceptance lost per request against OPT in one world, with its standard error, for every learner."""
    found = []
    for label in learners(1, Settings()):
        if label == TREES and find_spec("sklearn") is None:
            continue
        start = time.perf_counter()
        regret = regrets(name, (label,), runs, steps, seed, Settings())[label]
        error = float(regret.std(ddof=1) / np.sqrt(runs))
        more = {"regret": float(regret.mean()), "standard_error": error}
        found.append(Row(f"{name}: {label}", time.perf_counter() - start, more=more))
    return found
