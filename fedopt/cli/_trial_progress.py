"""Progress of a counted task on stderr: silent for two seconds, then a line at most twice a second."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

SILENT_SECONDS = 2.0
INTERVAL = 0.5


class TrialProgress:
    """Called with (done, total); writes nothing when quiet or within the first two seconds."""

    def __init__(self, noun: str, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.noun = noun
        self.quiet = quiet
        self._stream = stream or sys.stderr
        self._start = self._last = time.monotonic()
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.quiet or now - self._start < SILENT_SECONDS or now - self._last < INTERVAL:
            return
        self._last = now
        end = "\r" if self._stream.isatty() else "\n"
        left = (now - self._start) / max(done, 1) * (total - done)
        print(
            f"{done} of {total} {self.noun}, about {left:.0f} s left ", end=end, file=self._stream, flush=True
        )
        self._shown = True

    def __enter__(self) -> TrialProgress:
        self._start = self._last = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._stream.isatty():
            print(file=self._stream)
