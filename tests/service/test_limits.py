"""What one caller may take: the rate in the long run, the burst, and what is open at a time."""

from __future__ import annotations

import pytest

from fedopt.service.errors import ApiError
from fedopt.service.middleware import Limits


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_holds_in_the_long_run_and_bursts_are_allowed():
    clock = Clock()
    limits = Limits(5.0, 9, 9, clock)
    for _ in range(10):
        limits.count("a")
    with pytest.raises(ApiError, match="TOO_MANY_REQUESTS") as refusal:
        limits.count("a")
    assert refusal.value.headers["Retry-After"] == "1"
    limits.count("b")
    passed = 0
    for _ in range(10_000):
        clock.now += 0.01
        try:
            limits.count("a")
            passed += 1
        except ApiError:
            pass
    assert passed == pytest.approx(500, abs=2)


def test_a_rate_of_zero_is_no_limit():
    limits = Limits(0.0, 9, 9, Clock())
    for _ in range(1000):
        limits.count("a")


def test_what_is_open_is_counted_by_caller_and_kind():
    limits = Limits(0.0, 2, 1)
    with limits.request("a"), limits.request("a"):
        with pytest.raises(ApiError, match="at most 2 requests"), limits.request("a"):
            pass
        with limits.stream("a"), limits.request("b"):
            with pytest.raises(ApiError, match="at most 1 event streams"), limits.stream("a"):
                pass
            with pytest.raises(KeyError), limits.request("b"):
                raise KeyError
    with limits.request("a"), limits.request("a"), limits.stream("a"):
        pass
