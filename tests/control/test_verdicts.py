"""Many verdicts at once are the intervals of the simulator's room, row by row."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.control.sessions import intervals, verdicts
from fedopt.simulate.estimates import tail_share


@pytest.mark.parametrize("parts", [1, 2, 24])
def test_intervals_are_those_of_tail_share(parts: int) -> None:
    rng = np.random.default_rng(parts)
    sent = rng.integers(200, 900, size=(20, parts)).astype(float)
    late = rng.binomial(sent.astype(int), rng.uniform(0, 0.05, size=(20, 1))).astype(float)
    late[0] = 0.0
    late[1] = sent[1]
    share, low, high = intervals(sent, late, 0.9)
    for row in range(20):
        expected = tail_share(np.stack([sent[row] - late[row], late[row]], axis=1), 0, 0.9)
        assert share[row] == pytest.approx(expected.estimate)
        if (late[row] > 0).sum() >= max(2, parts // 2) or late[row].sum() in (0.0, sent[row].sum()):
            assert (low[row], high[row]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_idle_parts_count_for_nothing_and_idle_rows_say_nothing() -> None:
    sent = np.array([[400.0, 500.0, 0.0], [400.0, 500.0, 300.0], [0.0, 0.0, 0.0]])
    late = np.array([[5.0, 2.0, 0.0], [5.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    share, low, high = intervals(sent, late)
    alone = intervals(sent[:1, :2], late[:1, :2])
    assert [share[0], low[0], high[0]] == [alone[0][0], alone[1][0], alone[2][0]]
    assert np.isnan(share[2])
    assert (low[2], high[2]) == (0.0, 1.0)


def test_verdicts_name_the_side_of_the_interval() -> None:
    sent = np.full((3, 24), 10_000.0)
    late = np.array([np.full(24, 2.0), np.full(24, 40.0), np.full(24, 10.0)])
    assert verdicts(sent, late, np.full(3, 1e-3)) == ["kept", "broken", "undecided"]


def test_intervals_cover_as_stated() -> None:
    rng = np.random.default_rng(8)
    sent = np.full((2000, 24), 500.0)
    # batches of one row share a random rate: dependent within a batch, so that the spread must count
    rate = rng.gamma(2.0, 0.005, size=(2000, 24))
    late = rng.binomial(500, np.minimum(rate, 1.0)).astype(float)
    _, low, high = intervals(sent, late, 0.95)
    covered = np.mean((low <= 0.01) & (high >= 0.01))
    assert covered >= 0.95 - 3 * (0.05 * 0.95 / 2000) ** 0.5
