"""Decomposing in service: learning beside it, saving and resuming."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.learn.decomposition import DecompositionInfeasible
from fedopt.learn.history import History
from fedopt.learn.orchestrator import Orchestrator, StateError
from fedopt.learn.sla import SLA, SLAError
from tests.learn.conftest import random_history

NAMES = ("urllc", "mmtc", "embb")


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator.from_history(History(NAMES, None, random_history(1, 100, 3)[1]))


def test_decompose(orchestrator):
    split = orchestrator.decompose(SLA(100, 0.5))
    assert sum(split.delay.values()) == pytest.approx(100)
    assert split.gap < 1e-6
    assert np.exp(split.log_probability) == pytest.approx(np.prod(list(split.probability.values())))
    for method in ("grid", "slsqp", "price"):
        other = orchestrator.decompose(SLA(100, 0.5), method=method)
        assert other.log_probability == pytest.approx(split.log_probability, abs=1e-3)
    bounded = orchestrator.decompose(SLA(100, 0.5), least={"urllc": 50}, most={"mmtc": 30})
    assert bounded.delay["urllc"] >= 50 - 1e-6
    assert bounded.delay["mmtc"] <= 30 + 1e-6
    with pytest.raises(DecompositionInfeasible):
        orchestrator.decompose(SLA(100, 0.5), least={"urllc": 101})
    for wrong in ({"least": {"core": 1}}, {"method": "magic"}, {"domains": ["core"]}):
        with pytest.raises(SLAError):
            orchestrator.decompose(SLA(100, 0.5), **wrong)


def test_rejections_move_delay_to_the_domain(orchestrator):
    before = orchestrator.decompose(SLA(100, 0.5)).delay["embb"]
    thread = orchestrator.learn_beside([("embb", before + 5, 0.5, False)] * 20)
    thread.join()
    assert orchestrator.decompose(SLA(100, 0.5)).delay["embb"] > before


def test_save_and_resume(orchestrator, tmp_path):
    path = tmp_path / "state.npz"
    answers = [("mmtc", 40.0, 0.5, True), ("urllc", 3.0, 0.5, False)]
    orchestrator.observe(answers)
    orchestrator.save(path)
    again = Orchestrator.load(path)
    for one in (orchestrator, again):
        one.observe(answers)
    assert again.decompose(SLA(95, 0.45)).delay == orchestrator.decompose(SLA(95, 0.45)).delay
    for content in (b"", b"no archive", b"PK\x03\x04 cut"):
        path.write_bytes(content)
        with pytest.raises(StateError):
            Orchestrator.load(path)


def test_unknown_model():
    with pytest.raises(SLAError, match="risk model"):
        Orchestrator.from_history(History(NAMES, None, random_history(1, 30, 3)[1]), "forest")
