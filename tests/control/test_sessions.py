"""What is known of a stay: bounds where they reach, measurements elsewhere, at their confidence."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.control.sessions import judged

EPSILON = 0.01
BATCHES = 24


def _none(periods: int) -> np.ndarray:
    """No replays."""
    return np.full((2, periods), np.nan)


def _counts(rng: np.random.Generator, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sent = np.full((len(chances), BATCHES), 200.0)
    return sent, rng.binomial(200, chances[:, None], sent.shape).astype(float)


def test_without_a_theorem_all_is_measured() -> None:
    sent, late = _counts(np.random.default_rng(1), np.full(10, 0.005))
    share, low, high = judged(sent, late, np.ones(10), _none(10), EPSILON)
    assert low < share < high < EPSILON
    assert share == late.sum() / sent.sum()


def test_where_all_is_proven_nothing_is_left_to_chance() -> None:
    sent = np.full((5, BATCHES), 100.0)
    bounds = np.array([0.002, 0.004, 0.01, 0.01, 0.004])
    late = np.full(sent.shape, 3.0)  # an unlucky stay: 3 % were late
    _, _, high = judged(sent, late, bounds, _none(5), EPSILON)
    assert high == pytest.approx(bounds.mean())


def test_one_period_that_nobody_knew_of_is_measured_alone() -> None:
    rng = np.random.default_rng(2)
    chances = np.array([0.001] * 19 + [0.05])
    bounds = np.array([0.004] * 19 + [1.0])
    sent, late = _counts(rng, chances)
    share, _, high = judged(sent, late, bounds, _none(20), EPSILON)
    assert share < EPSILON
    assert 0.95 * 0.004 + 0.05 * late[-1].sum() / sent[-1].sum() < high < EPSILON
    # measured altogether, the one bad period among twenty says next to nothing
    assert judged(sent, late, np.ones(20), _none(20), EPSILON)[2] > high


def test_a_period_that_is_proven_to_be_bad_is_measured() -> None:
    """A bound above ε is not taken where the measurement may be better."""
    sent, late = _counts(np.random.default_rng(3), np.full(4, 0.001))
    assert judged(sent, late, np.full(4, 0.5), _none(4), EPSILON)[2] < EPSILON


def test_a_period_that_was_replayed_is_judged_by_the_replay() -> None:
    sent = np.full((4, BATCHES), 200.0)
    late = np.full(sent.shape, 100.0)  # half of all requests: an unlucky stay, if there ever was one
    bounds = np.array([0.002, 0.004, 0.5, 1.0])
    replayed = np.array([[np.nan, np.nan, 0.01, 0.02], [np.nan, np.nan, 0.012, 0.021]])
    share, low, high = judged(sent, late, bounds, replayed, EPSILON)
    assert share == 0.5
    assert low == pytest.approx((0.01 + 0.02) / 4)
    assert high == pytest.approx((0.002 + 0.004 + 0.012 + 0.021) / 4)


def test_beside_replays_packets_tell_what_is_left() -> None:
    sent, late = _counts(np.random.default_rng(5), np.full(20, 0.002))
    bounds = np.array([0.004] * 10 + [0.5] * 10)
    replayed = np.full((2, 20), np.nan)
    replayed[:, 10:15] = [[0.03], [0.04]]
    _, _, high = judged(sent, late, bounds, replayed, EPSILON)
    _, _, left = judged(sent[15:], late[15:], np.ones(5), _none(5), EPSILON)
    assert high == pytest.approx((10 * 0.004 + 5 * 0.04 + 5 * left) / 20)


def test_the_upper_end_holds_at_its_confidence() -> None:
    chances = np.array([0.002] * 6 + [0.02, 0.03])
    bounds = np.array([0.003] * 6 + [0.9, 1.0])
    truth = float(chances.mean())
    replicates = 400
    held = sum(
        judged(*_counts(np.random.default_rng([4, seed]), chances), bounds, _none(8), EPSILON)[2] >= truth
        for seed in range(replicates)
    )
    assert held / replicates >= 0.95


def test_nobody_sent_anything() -> None:
    share, low, high = judged(np.zeros((1, 1)), np.zeros((1, 1)), np.ones(1), _none(1), EPSILON)
    assert np.isnan(share)
    assert (low, high) == (0.0, 1.0)
