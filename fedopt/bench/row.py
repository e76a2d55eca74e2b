"""One measurement of a benchmark, in a process of its own, so that its peak of memory is its own."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["OutOfTime", "ProcessDied", "Row", "in_fresh_process"]


@dataclass(frozen=True)
class Row:
    """What one case took.

    ``seconds`` is wall-clock time, ``peak_mb`` the largest memory of the process that ran the case (None
    where the system does not tell), ``gap`` the certified gap of a plan. ``ratio`` says how many times faster
    the case was than the row ``ratio_to``. ``more`` holds what only this suite knows, by name.
    """

    case: str
    seconds: float
    peak_mb: float | None = None
    gap: float | None = None
    ratio_to: str | None = None
    ratio: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The published JSON of a row."""
        return {
            "case": self.case,
            "seconds": self.seconds,
            "peak_mb": self.peak_mb,
            "gap": self.gap,
            "ratio_to": self.ratio_to,
            "ratio": self.ratio,
            **self.more,
        }


class OutOfTime(RuntimeError):
    """A measurement that had not ended when its time was over; its process was."""

    exit_code = 4


class ProcessDied(RuntimeError):
    """The process of a measurement ended without an answer, for want of memory most likely."""

    exit_code = 4


def in_fresh_process(
    measure: Callable[..., list[Row]], *arguments: Any, limit: float | None = None
) -> list[Row]:
    """The rows of ``measure(*arguments)``, with the peak memory in MB of the process that made them.

    The peak includes the interpreter and all libraries. ``measure`` must be a function of a module, and its
    arguments and rows must survive pickling. What it raises is raised here. Raises OutOfTime where it takes
    longer than ``limit`` seconds, start of the process included, and ProcessDied.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, measure, arguments))
    process.start()
    theirs.close()
    with ours:
        try:
            if not ours.poll(limit):
                raise OutOfTime(f"not done after {limit:g} seconds")
            rows, peak, error = ours.recv()
        except EOFError:
            process.join()
            raise ProcessDied(f"the process ended with code {process.exitcode} and no answer") from None
        except BaseException:
            process.kill()
            raise
        finally:
            process.join()
    if error is not None:
        raise error
    return [replace(row, peak_mb=peak) for row in rows]


def _answer(pipe: Connection, measure: Callable[..., list[Row]], arguments: tuple[Any, ...]) -> None:
    try:
        answer: tuple[list[Row], float | None, Exception | None] = (measure(*arguments), _peak(), None)
    except Exception as error:
        answer = ([], None, error)
    pipe.send(answer)


def _peak() -> float | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
