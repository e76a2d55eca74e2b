"""Progress on stderr, of a solver or a counted task: silent for two seconds, then a line now and then."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, TextIO

from fedopt.kernels import compile_seconds
from fedopt.plan.document import HistoryRow
from fedopt.plan.progress import round_line

SILENT_SECONDS = 2.0
PLAIN_INTERVAL = 0.5
"""Seconds between lines where stderr is not a terminal."""


class RoundProgress:
    """A solver's progress callback, used as a context manager around the solve.

    On a terminal one line is rewritten in place; elsewhere plain lines are printed. The first Ctrl-C asks the
    solver to stop at its best plan; a second, or one before the first round, interrupts at once.
    """

    def __init__(self, title: str, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.title = title
        self.quiet = quiet
        self.stop = False
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._start = self._last = time.monotonic()
        self._rounds = 0
        self._shown = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(SILENT_SECONDS, self._announce)
        self._timer.daemon = True
        self._compiled = 0.0
        self._previous: Any = None

    def __call__(self, row: HistoryRow) -> bool:
        self._rounds += 1
        now = time.monotonic()
        due = self._terminal or now - self._last >= PLAIN_INTERVAL
        if not self.quiet and now - self._start >= SILENT_SECONDS and due:
            self._last = now
            self._show(round_line(row))
        return self.stop

    def __enter__(self) -> RoundProgress:
        self._start = self._last = time.monotonic()
        self._compiled = compile_seconds()
        if not self.quiet:
            self._timer.start()
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        with self._lock:
            if self._shown and self._terminal:
                self._stream.write("\r\x1b[2K")
                self._stream.flush()

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self.stop or self._rounds == 0:
            raise KeyboardInterrupt
        self.stop = True
        self._stream.write("\nStopping at the best plan so far; Ctrl-C again to stop at once.\n")
        self._stream.flush()

    def _announce(self) -> None:
        if self._rounds == 0:
            compiling = compile_seconds() - self._compiled > 0.5
            what = "compiling kernels, once per installation" if compiling else "working"
            self._show(f"{self.title}: {what} …")

    def _show(self, line: str) -> None:
        with self._lock:
            self._shown = True
            self._stream.write(f"\r\x1b[2K{line}" if self._terminal else f"{line}\n")
            self._stream.flush()


class TrialProgress:
    """Called with (done, total); writes nothing when quiet or within the first two seconds."""

    def __init__(self, noun: str, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.noun = noun
        self.quiet = quiet
        self._stream = stream or sys.stderr
        self._start = self._last = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        left = self._left(now, done, total)
        if self.quiet or now - self._start < SILENT_SECONDS or now - self._last < PLAIN_INTERVAL:
            return
        self._last = now
        end = "\r" if self._stream.isatty() else "\n"
        print(f"{done} of {total} {self.noun}{left} ", end=end, file=self._stream, flush=True)
        self._shown = True

    def _left(self, now: float, done: int, total: int) -> str:
        """The seconds left, told only once the pace is known.

        The first call may follow on compiling and loading, so the pace counts from there: from a tenth of the
        rest and two seconds on.
        """
        if self._first is None:
            self._first = now, done
        started, before = self._first
        if now - started < SILENT_SECONDS or done - before < max(1, 0.1 * (total - before)):
            return ""
        return f", about {(now - started) / (done - before) * (total - done):.0f} s left"

    def __enter__(self) -> TrialProgress:
        self._start = self._last = time.monotonic()
        self._first = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._stream.isatty():
            print(file=self._stream)
