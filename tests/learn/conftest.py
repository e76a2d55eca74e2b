"""Histories that several tests learn from."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.learn.choice import KINDS, blank
from fedopt.learn.feedback import Feedback
from fedopt.learn.model import RiskModel
from fedopt.papers.rade_simulator import PAPER_DOMAINS, TrueAcceptance


def random_history(runs: int, answers: int, seed: int, load: float = 0.5) -> tuple[TrueAcceptance, Feedback]:
    """Answers of the three domains of the paper to random splits, one row per run and domain."""
    rng = np.random.default_rng(seed)
    truth = TrueAcceptance(PAPER_DOMAINS.capacity, PAPER_DOMAINS.service, np.full(3 * runs, load))
    total = rng.uniform(90, 110, (runs, 1, answers))
    split = np.moveaxis(rng.dirichlet(np.ones(3), (runs, answers)), 2, 1)
    delay = (total * split).reshape(3 * runs, answers)
    throughput = np.repeat(rng.uniform(0.4, 0.6, (runs, answers)), 3, axis=0)
    accepted = rng.random(delay.shape) < np.exp(truth.log_probability(delay, throughput))
    return truth, Feedback.of(delay, throughput, accepted.astype(float))


def make(kind: str, models: int, seed: int = 0) -> RiskModel:
    """A blank risk model; the network and the trees need the optional extra."""
    library = {"network": "jax", "trees": "sklearn"}.get(kind)
    if library is not None:
        pytest.importorskip(library, reason="the optional extra `learn` is not installed")
    return blank(kind, models, (), seed)


@pytest.fixture(scope="session")
def fitted() -> dict[str, RiskModel]:
    """One fitted model of each kind that is available, on the history of `random_history(2, 100, 0)`."""
    history = random_history(2, 100, 0)[1]
    found = {}
    for kind in KINDS:
        try:
            found[kind] = make(kind, 6).fit(history)
        except pytest.skip.Exception:
            continue
    return found
