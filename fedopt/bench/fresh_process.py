"""Running a measurement in a process of its own, so that its peak memory is its own."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

from fedopt.bench.row import Row


def in_fresh_process(measure: Callable[..., list[Row]], *arguments: Any) -> list[Row]:
    """The rows of ``measure(*arguments)``, with the peak memory in MB of the process that made them.

    The peak includes the interpreter and all libraries. ``measure`` must be a function of a module, and its
    arguments and rows must survive pickling.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        rows, peak = pool.submit(_with_peak, measure, arguments).result()
    return [replace(row, peak_mb=peak) for row in rows]


def _with_peak(
    measure: Callable[..., list[Row]], arguments: tuple[Any, ...]
) -> tuple[list[Row], float | None]:
    rows = measure(*arguments)
    try:
        import resource
    except ImportError:  # not on Windows
        return rows, None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return rows, peak / (2**20 if sys.platform == "darwin" else 2**10)
