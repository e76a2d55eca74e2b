import io
import os
import signal
import time

import pytest

from fedopt.cli import _progress
from fedopt.cli._progress import RoundProgress
from fedopt.plan import HistoryRow
from fedopt.plan.progress import round_line


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(_progress, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(_progress, "PLAIN_INTERVAL", 0.0)


def interrupt() -> None:
    """Send this process what Ctrl-C sends, and wait until it has arrived."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)


ROW = HistoryRow(round=3, cost=10.0, lower_bound=9.5, seconds=2.5, columns=40)


def test_one_round_in_one_line():
    assert round_line(ROW) == "round 3  cost 10  bound 9.5  gap 5 %  columns 40  2.5 s"
    assert round_line(HistoryRow(round=1, seconds=0)) == "round 1  0.0 s"
    residuals = HistoryRow(round=1, seconds=0, primal_residual=0.1, dual_residual=0.02)
    assert round_line(residuals) == "round 1  residuals 0.1 0.02  0.0 s"


def test_silent_for_two_seconds():
    stream = io.StringIO()
    with RoundProgress("x", stream=stream) as progress:
        assert progress(ROW) is False
    assert stream.getvalue() == ""


def test_plain_lines_where_there_is_no_terminal(at_once):
    stream = io.StringIO()
    with RoundProgress("x", stream=stream) as progress:
        progress(ROW)
        progress(ROW)
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("round")]
    assert lines == [round_line(ROW)] * 2
    assert "\x1b" not in stream.getvalue()


def test_one_line_rewritten_on_a_terminal(at_once):
    stream = Terminal()
    with RoundProgress("x", stream=stream) as progress:
        progress(ROW)
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[2K")


def test_quiet(at_once):
    stream = io.StringIO()
    with RoundProgress("x", quiet=True, stream=stream) as progress:
        progress(ROW)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("compiling", "words"), [(0.0, "working"), (0.6, "compiling kernels, once per installation")]
)
def test_says_what_it_does_before_the_first_round(monkeypatch, compiling, words):
    """What was compiled before in the process is no longer waited for."""
    monkeypatch.setattr(_progress, "SILENT_SECONDS", 0.01)
    seconds = iter([100.0, 100.0 + compiling])
    monkeypatch.setattr(_progress, "compile_seconds", lambda: next(seconds))
    stream = io.StringIO()
    with RoundProgress("metro", stream=stream) as progress:
        progress._timer.join(timeout=60)
    assert stream.getvalue() == f"metro: {words} …\n"


def test_first_interrupt_asks_second_interrupts():
    stream = io.StringIO()
    before = signal.getsignal(signal.SIGINT)
    with RoundProgress("x", stream=stream) as progress:
        assert progress(ROW) is False
        interrupt()
        assert progress(ROW) is True
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert "Stopping at the best plan so far" in stream.getvalue()
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupt_before_the_first_round():
    with RoundProgress("x", stream=io.StringIO()), pytest.raises(KeyboardInterrupt):
        interrupt()
