"""The store as the event loop uses it: one thread that reads and writes, and word of what changed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from fedopt.service.errors import ApiError
from fedopt.service.log import Log
from fedopt.service.store import Store

__all__ = ["Books"]

T = TypeVar("T")


class Books:
    """Runs what touches the store in a thread of its own, in turn."""

    def __init__(self, store: Store, log: Log) -> None:
        self._store, self._log = store, log
        self._thread = ThreadPoolExecutor(1, "books")
        self._watched: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def do(self, work: Callable[[Store], T]) -> T:
        """What `work` gives when it has the store to itself. Raises ApiError where the disk fails it."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work, self._store)
        except sqlite3.Error as error:
            self._log.error("database", message=str(error))
            raise ApiError("UNAVAILABLE", "the server cannot write its books", retry_after=30) from error

    def tell(self, job: str) -> None:
        """Wake whoever watches a job."""
        for event in self._watched.get(job, ()):
            event.set()

    def tell_all(self) -> None:
        """Wake everyone: the server ends."""
        for job in list(self._watched):
            self.tell(job)

    @contextmanager
    def watched(self, job: str) -> Iterator[asyncio.Event]:
        """While inside, the event is set whenever something happens to the job."""
        event = asyncio.Event()
        self._watched[job].add(event)
        try:
            yield event
        finally:
            self._watched[job].discard(event)
            if not self._watched[job]:
                del self._watched[job]

    def close(self) -> None:
        """Wait for the last write and close the store."""
        self._thread.shutdown(wait=True)
        self._store.close()
