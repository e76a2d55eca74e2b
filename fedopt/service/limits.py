"""How much of the server one caller may take: requests a second, and requests that are open at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fedopt.service.errors import ApiError

__all__ = ["Limits"]

BURST_SECONDS = 2.0
"""A caller that was silent may ask at once for what it might have asked in this time."""


class Limits:
    """Counts by caller. rate: requests per second (0: any); at_once, streams: open at a time."""

    def __init__(
        self, rate: float, at_once: int, streams: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._at_once, self._streams, self._clock = rate, at_once, streams, clock
        self._burst = max(1.0, rate * BURST_SECONDS)
        self._level: dict[str, tuple[float, float]] = {}
        self._open: Counter[str] = Counter()
        self._streaming: Counter[str] = Counter()

    def count(self, caller: str) -> None:
        """Count a request. Raises ApiError with the time after which one more is allowed."""
        if not self._rate:
            return
        now = self._clock()
        level, last = self._level.get(caller, (self._burst, now))
        level = min(self._burst, level + (now - last) * self._rate)
        if level < 1.0:
            self._level[caller] = (level, now)
            raise ApiError(
                "TOO_MANY_REQUESTS",
                f"at most {self._rate:g} requests per second",
                retry_after=(1.0 - level) / self._rate,
            )
        self._level[caller] = (level - 1.0, now)

    @contextmanager
    def request(self, caller: str) -> Iterator[None]:
        """While inside, one more request of the caller is open. Raises ApiError for one too many."""
        with self._counted(self._open, caller, self._at_once, "requests"):
            yield

    @contextmanager
    def stream(self, caller: str) -> Iterator[None]:
        """While inside, one more stream of the caller is open. Raises ApiError for one too many."""
        with self._counted(self._streaming, caller, self._streams, "event streams"):
            yield

    @contextmanager
    def _counted(self, counter: Counter[str], caller: str, most: int, what: str) -> Iterator[None]:
        if counter[caller] >= most:
            raise ApiError("TOO_MANY_REQUESTS", f"at most {most} {what} at a time", retry_after=1)
        counter[caller] += 1
        try:
            yield
        finally:
            counter[caller] -= 1
            if not counter[caller]:
                del counter[caller]
