"""What a path derives from what it is given, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.calculus.path import Path, groups
from fedopt.laws import NoImpairment, Poisson


def path(**changes) -> Path:
    """Three domains: pure delays of 2 and 1.5, a rate-latency of 4."""
    given = {
        "arrival": Poisson(0.5),
        "impairments": [NoImpairment()] * 3,
        "latencies": [2.0, 4.0, 1.5],
        "rate_latency": [False, True, False],
        "deadline": 30.0,
        "log_epsilon": math.log(1e-3),
    }
    return Path(**{**given, **changes})


def test_windows_count_whole_slots_after_pure_delays():
    assert path().window == 26.5
    assert path().slots == 26
    assert path(deadline=3.4).slots == -1
    assert path(latencies=[0.1, 0.0, 0.2], deadline=3.3).slots == 3  # 3.3 − 0.1 − 0.2 in floating point
    assert list(path().delay_latencies) == [2.0, 0.0, 1.5]
    assert list(path().guardrail_latencies) == [0.0, 4.0, 0.0]


def test_exponents_of_groups():
    assert list(path().exponents) == [1.0, 1.0, 1.0]
    assert list(path(dependent=((0, 2),)).exponents) == [2.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([None] * 3, ()),
        (["x", None, "x", "y", "y"], ((0, 2), (3, 4))),
        (["x", "x", "x"], ((0, 1, 2),)),
        (["x", "y", None], ()),
    ],
)
def test_groups_are_positions_of_one_label(labels, expected):
    assert groups(labels) == expected


def test_arrays_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        path().latencies[0] = 0.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latencies": [1.0, 2.0]}, "latency"),
        ({"impairments": []}, "latency"),
        ({"latencies": [1.0, -2.0, 0.0]}, "zero or positive"),
        ({"latencies": [1.0, np.nan, 0.0]}, "zero or positive"),
        ({"log_epsilon": 0.1}, "log_epsilon"),
        ({"log_epsilon": math.nan}, "log_epsilon"),
        ({"dependent": ((0, 1), (1, 2))}, "disjoint"),
        ({"dependent": ((0, 3),)}, "disjoint"),
    ],
)
def test_refusals(changes, words):
    with pytest.raises(ValueError, match=words):
        path(**changes)
