"""The neural model: frozen statistics, reproducible, and a clear word where JAX is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fedopt.learn import network
from tests.learn.conftest import make, random_history


def test_online_updates_freeze_the_statistics():
    _, history = random_history(1, 60, 1)
    model = make("network", 3).fit(history)
    later = model.update(history)
    np.testing.assert_array_equal(later.statistics, model.statistics)
    assert any((later.parameters[name] != model.parameters[name]).any() for name in model.parameters)


def test_one_kind_of_answer_online_does_not_collapse_the_network():
    _, history = random_history(1, 100, 1)
    model = make("network", 3).fit(history)
    asked = np.array([[5.0, 60.0]] * 3), np.full((3, 2), 0.5)
    before = model.log_probability(*asked)
    for _ in range(50):
        model = model.update(history.with_accepted(np.ones_like(history.accepted)))
    after = model.log_probability(*asked)
    assert np.isfinite(after).all()
    assert (after >= before - 1e-3).all()  # only acceptances: nothing becomes riskier
    assert (np.diff(after, axis=1) >= -1e-6).all()


def test_same_seed_same_network():
    _, history = random_history(1, 40, 2)
    delay, throughput = np.full((3, 1), 20.0), np.full((3, 1), 0.5)
    first, second = (make("network", 3, seed=7).fit(history) for _ in range(2))
    np.testing.assert_array_equal(
        first.log_probability(delay, throughput), second.log_probability(delay, throughput)
    )


def test_missing_extra_is_named(monkeypatch):
    network._compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "jax", None)
    try:
        with pytest.raises(network.LearningUnavailable, match=r"fedopt\[learn\]") as caught:
            network._compiled()
        assert caught.value.exit_code == 2
    finally:
        network._compiled.cache_clear()
