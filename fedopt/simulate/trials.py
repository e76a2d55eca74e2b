"""Spreading independent trials over threads, with progress and a stop, and the same result for any number of
threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

Block = TypeVar("Block")


class Progress(Protocol):
    """Told how many of the trials are done."""

    def __call__(self, done: int, total: int) -> None: ...


def thread_count(threads: int | None) -> int:
    """The number asked for, or the number of processors this process may use."""
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def blocks(trials: int, size: int) -> list[tuple[int, int]]:
    """(first, count) of consecutive blocks of at most ``size`` trials."""
    return [(first, min(size, trials - first)) for first in range(0, trials, size)]


def over_blocks(
    work: Callable[[int, int], Block],
    trials: int,
    size: int,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Block]:
    """Yield ``work(first, count)`` of every block in order; the work must release the interpreter lock.

    Blocks depend on their trials alone, never on the thread that runs them, so neither does the result.
    """
    plan = blocks(trials, size)
    done = 0
    if thread_count(threads) == 1 or len(plan) == 1:
        for first, count in plan:
            yield work(first, count)
            done += count
            if progress is not None:
                progress(done, trials)
        return
    with ThreadPoolExecutor(thread_count(threads)) as pool:
        # no more than two blocks a thread wait, so memory does not grow with the number of trials
        ahead = 2 * thread_count(threads)
        waiting = [pool.submit(work, first, count) for first, count in plan[:ahead]]
        try:
            for i, (_, count) in enumerate(plan):
                result = waiting.pop(0).result()
                if i + ahead < len(plan):
                    waiting.append(pool.submit(work, *plan[i + ahead]))
                yield result
                done += count
                if progress is not None:
                    progress(done, trials)
        finally:
            for future in waiting:
                future.cancel()
