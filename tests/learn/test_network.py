"""The neural model: frozen statistics, reproducible, and a clear word where JAX is missing."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from fedopt.errors import MissingExtraError
from fedopt.learn import network
from tests.learn.conftest import make, random_history


def test_online_updates_freeze_the_statistics():
    _, history = random_history(1, 60, 1)
    model = replace(make("network", 3).fit(history), runs=1)
    later = model.update(history)
    np.testing.assert_array_equal(later.statistics, model.statistics)
    assert any((later.parameters[name] != model.parameters[name]).any() for name in model.parameters)


def test_one_kind_of_answer_online_does_not_collapse_the_network():
    _, history = random_history(1, 100, 1)
    model = replace(make("network", 3).fit(history), runs=1)
    asked = np.array([[5.0, 60.0]] * 3), np.full((3, 2), 0.5)
    before = model.log_probability(*asked)
    for _ in range(50):
        model = model.update(history.with_accepted(np.ones_like(history.accepted)))
    after = model.log_probability(*asked)
    assert np.isfinite(after).all()
    assert (after >= before - 1e-3).all()  # only acceptances: nothing becomes riskier
    assert (np.diff(after, axis=1) >= -1e-6).all()


def test_without_gradient_steps_an_update_goes_to_the_end_of_a_fit():
    """A swapped world replaces what was known, where one gradient step changes nothing."""
    _, history = random_history(1, 100, 1)
    model = make("network", 3).fit(history)
    swapped = history.rows(np.array([1, 0, 2]))
    asked = np.full((3, 1), 12.0), np.full((3, 1), 0.5)
    before, other = (np.exp(m.log_probability(*asked))[:2, 0] for m in (model, model.fit(swapped)))
    step = np.exp(replace(model, runs=1).update(swapped).log_probability(*asked))[:2, 0]
    end = np.exp(model.update(swapped).log_probability(*asked))[:2, 0]
    assert np.abs(before - other).min() > 0.3
    assert np.abs(step - before).max() < 0.05
    assert np.abs(end - other).max() < 0.15


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
        with pytest.raises(MissingExtraError, match=r"fedopt\[learn\]") as caught:
            network._compiled()
        assert caught.value.exit_code == 2
    finally:
        network._compiled.cache_clear()
