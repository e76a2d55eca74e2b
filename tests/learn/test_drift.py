"""The detector stays quiet while the model is right and speaks up soon after a change."""

from __future__ import annotations

import numpy as np

from fedopt.learn.scores import PageHinkley


def test_quiet_when_right_loud_when_wrong():
    rng = np.random.default_rng(0)
    count, answers = 200, 150
    detector = PageHinkley(count)
    rows = np.arange(count)
    for _ in range(answers):
        detector.observe(rows, (rng.random(count) < 0.8).astype(float), np.full(count, 0.8))
    assert detector.alarms < 0.003 * count * answers
    alarmed: set[int] = set()
    for _ in range(40):
        alarmed |= set(
            detector.observe(rows, (rng.random(count) < 0.3).astype(float), np.full(count, 0.8)).tolist()
        )
    assert len(alarmed) > 0.95 * count


def test_a_domain_may_answer_several_times_at_once():
    detector = PageHinkley(3, threshold=5.0)
    rows = np.array([1, 1, 1, 1, 0])
    found = detector.observe(rows, np.zeros(5), np.full(5, 0.9))
    assert found.tolist() == [1]
    assert detector.observe(np.zeros(0, np.intp), np.zeros(0), np.zeros(0)).size == 0
