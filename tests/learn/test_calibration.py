"""Brier score and reliability diagram."""

from __future__ import annotations

import numpy as np

from fedopt.learn.calibration import calibration, calibration_of, hold_out
from tests.learn.conftest import random_history


def test_perfectly_calibrated_probabilities():
    rng = np.random.default_rng(0)
    p = rng.random(40000)
    found = calibration_of(p, (rng.random(p.size) < p).astype(float))
    assert abs(found.brier - 1 / 6) < 0.005
    assert found.error < 4 * 0.5 / np.sqrt(4000)
    assert found.number.sum() == p.size
    assert calibration_of(np.sqrt(p), (rng.random(p.size) < p).astype(float)).error > 0.1


def test_models_on_held_out_answers(fitted):
    _, fresh = random_history(2, 400, 99)
    for model in fitted.values():
        found = calibration(model, fresh)
        assert found.brier < 0.12  # always saying the base rate of 0.8 scores 0.16
        assert found.error < 0.15


def test_hold_out_splits():
    _, history = random_history(1, 500, 1)
    learn, held = hold_out(history, 0.2, 0)
    assert ((learn.weight > 0) ^ (held.weight > 0)).all()
    assert abs((held.weight > 0).mean() - 0.2) < 0.05
