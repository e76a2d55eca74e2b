"""What is known of a stay: bounds where they reach, measurements elsewhere, at their confidence."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.operate.stays import judged

EPSILON = 0.01
BATCHES = 24


def _counts(rng: np.random.Generator, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sent = np.full((len(chances), BATCHES), 200.0)
    return sent, rng.binomial(200, chances[:, None], sent.shape).astype(float)


def test_without_a_theorem_all_is_measured() -> None:
    sent, late = _counts(np.random.default_rng(1), np.full(10, 0.005))
    share, low, high = judged(sent, late, np.ones(10), EPSILON)
    assert low < share < high < EPSILON
    assert share == late.sum() / sent.sum()


def test_where_all_is_proven_nothing_is_left_to_chance() -> None:
    sent = np.full((5, BATCHES), 100.0)
    bounds = np.array([0.002, 0.004, 0.01, 0.01, 0.004])
    _, _, high = judged(sent, np.full(sent.shape, 3.0), bounds, EPSILON)  # an unlucky stay: 3 % were late
    assert high == pytest.approx(bounds.mean())


def test_one_period_that_nobody_knew_of_is_measured_alone() -> None:
    rng = np.random.default_rng(2)
    chances = np.array([0.001] * 19 + [0.05])
    bounds = np.array([0.004] * 19 + [1.0])
    sent, late = _counts(rng, chances)
    share, _, high = judged(sent, late, bounds, EPSILON)
    assert share < EPSILON
    assert 0.95 * 0.004 + 0.05 * late[-1].sum() / sent[-1].sum() < high < EPSILON
    # measured altogether, the one bad period among twenty says next to nothing
    assert judged(sent, late, np.ones(20), EPSILON)[2] > high


def test_a_period_that_is_proven_to_be_bad_is_measured() -> None:
    """A bound above ε is not taken where the measurement may be better."""
    sent, late = _counts(np.random.default_rng(3), np.full(4, 0.001))
    assert judged(sent, late, np.full(4, 0.5), EPSILON)[2] < EPSILON


def test_the_upper_end_holds_at_its_confidence() -> None:
    chances = np.array([0.002] * 6 + [0.02, 0.03])
    bounds = np.array([0.003] * 6 + [0.9, 1.0])
    truth = float(chances.mean())
    replicates = 400
    held = sum(
        judged(*_counts(np.random.default_rng([4, seed]), chances), bounds, EPSILON)[2] >= truth
        for seed in range(replicates)
    )
    assert held / replicates >= 0.95


def test_nobody_sent_anything() -> None:
    share, low, high = judged(np.zeros((1, 1)), np.zeros((1, 1)), np.ones(1), EPSILON)
    assert np.isnan(share)
    assert (low, high) == (0.0, 1.0)
