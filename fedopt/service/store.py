"""The jobs of a server in one SQLite database: requests, results, and every event on the way.

A job is stored before its caller hears of it, and its result is written in one transaction with the state
that says so. A server that dies at any instant therefore leaves every job either finished, with everything
that belongs to it, or to be run again.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import uuid
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from fedopt.service.errors import ApiError
from fedopt.service.observability import Log
from fedopt.storage import StorageError, hold_folder, open_database

__all__ = ["FINISHED", "Job", "Repository", "State", "Store"]


VERSION = 1

State = Literal["QUEUED", "RUNNING", "DONE", "FAILED", "CANCELLED"]

FINISHED = ("DONE", "FAILED", "CANCELLED")
"""States that a job does not leave any more."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL,
    kind TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
    created REAL NOT NULL, started REAL, finished REAL,
    attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0,
    options TEXT NOT NULL, progress TEXT, result TEXT, error TEXT, key TEXT, fingerprint TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS jobs_key ON jobs (owner, key) WHERE key IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_state ON jobs (state, owner);
CREATE INDEX IF NOT EXISTS jobs_owner ON jobs (owner, number);
CREATE INDEX IF NOT EXISTS jobs_turn ON jobs (owner, started);
CREATE INDEX IF NOT EXISTS jobs_finished ON jobs (state, finished);
CREATE TABLE IF NOT EXISTS documents (
    job TEXT NOT NULL, name TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (job, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
    job TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Job:
    """A job as the database has it. Times in seconds since the epoch; None where nothing is known yet."""

    id: str
    owner: str
    kind: str
    name: str
    state: State
    created: float
    started: float | None
    finished: float | None
    attempts: int
    options: Mapping[str, Any]
    progress: Mapping[str, Any] | None
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None

    @property
    def ended(self) -> bool:
        """Whether nothing will become of it any more."""
        return self.state in FINISHED


_COLUMNS = (
    "id, owner, kind, name, state, created, started, finished, attempts, options, progress, result, error"
)

Described = Callable[[Job], Mapping[str, Any]]
"""How a job is told to its caller in an event."""


class Store:
    """The database of a state folder, which it locks. One thread at a time."""

    def __init__(
        self,
        folder: str | Path,
        described: Described,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open or make it. Raises StorageError where it is in use, another program's or unwritable."""
        self.folder = Path(folder)
        self._described, self._clock = described, clock
        self._lock = hold_folder(self.folder, "fedopt serve")
        file = self.folder / "jobs.db"
        try:
            self._db = open_database(file, _SCHEMA)
        except StorageError:
            self._lock.release()
            raise
        file.chmod(0o600)
        self._db.execute("INSERT OR IGNORE INTO meta VALUES ('version', ?)", (str(VERSION),))
        (version,) = self._db.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
        if version != str(VERSION):
            self.close()
            raise StorageError(f"{file}: its format is {version}, this fedopt reads {VERSION}")

    def close(self) -> None:
        """Let another server use the folder."""
        self._db.close()
        self._lock.release()

    # --- taking jobs in -----------------------------------------------------------------------------

    def known(self, owner: str, key: str, fingerprint: str) -> Job | None:
        """The job that was made under an idempotency key. Raises ApiError where that was another request."""
        row = self._db.execute(
            f"SELECT fingerprint, {_COLUMNS} FROM jobs WHERE owner = ? AND key = ?", (owner, key)
        ).fetchone()
        if row is None:
            return None
        if row[0] != fingerprint:
            raise ApiError(
                "FEDOPT.KEY_REUSED",
                "this Idempotency-Key came with another request before; give every request a key of its own",
            )
        return _job(row[1:])

    def waiting(self, owner: str) -> int:
        """How many jobs of a caller wait."""
        row = self._db.execute(
            "SELECT COUNT(*) FROM jobs WHERE state = 'QUEUED' AND owner = ?", (owner,)
        ).fetchone()
        return int(row[0])

    def add(
        self,
        owner: str,
        kind: str,
        name: str,
        options: Mapping[str, Any],
        documents: Mapping[str, bytes],
        *,
        most: int,
        key: str | None = None,
        fingerprint: str = "",
    ) -> tuple[Job, bool]:
        """Take a job in; (job, False) with the earlier one where its key is known already.

        Raises ApiError where the caller has `most` jobs waiting, or the key came with another request.
        """
        with self._transaction():
            earlier = None if key is None else self.known(owner, key, fingerprint)
            if earlier is not None:
                return earlier, False
            if self.waiting(owner) >= most:
                raise ApiError(
                    "QUOTA_EXCEEDED", f"{most} jobs wait already", retry_after=self.seconds_per_job()
                )
            job = str(uuid.uuid4())
            self._db.execute(
                "INSERT INTO jobs (id, owner, kind, name, state, created, options, key, fingerprint) "
                "VALUES (?, ?, ?, ?, 'QUEUED', ?, ?, ?, ?)",
                (job, owner, kind, name, self._clock(), _text(options), key, fingerprint),
            )
            for document, content in documents.items():
                self._put(job, document, content)
            return self._told(job), True

    # --- running them ---------------------------------------------------------------------------------

    def take(self) -> Job | None:
        """Begin the next job: of the callers that wait, the one that was served longest ago."""
        with self._transaction():
            row = self._db.execute(
                "SELECT id FROM jobs AS waiting WHERE state = 'QUEUED' ORDER BY ("
                "  SELECT MAX(started) FROM jobs AS served WHERE served.owner = waiting.owner"
                ") NULLS FIRST, number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            self._db.execute(
                "UPDATE jobs SET state = 'RUNNING', started = ?, attempts = attempts + 1 WHERE id = ?",
                (self._clock(), row[0]),
            )
            return self._told(row[0])

    def running(self, job: str) -> bool:
        """Whether a job is still to be worked on."""
        row = self._db.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()
        return row is not None and row[0] == "RUNNING"

    def progress(self, job: str, data: Mapping[str, Any]) -> None:
        """Note a round of a running job."""
        with self._transaction():
            text = _text(data)
            changed = self._db.execute(
                "UPDATE jobs SET progress = ? WHERE id = ? AND state = 'RUNNING'", (text, job)
            )
            if changed.rowcount:
                self._event(job, "progress", text)

    def finish(
        self,
        job: str,
        state: State,
        *,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        documents: Mapping[str, bytes] | None = None,
    ) -> bool:
        """Write what came of a running job; False (nothing is written) where it is not running any more."""
        with self._transaction():
            changed = self._db.execute(
                "UPDATE jobs SET state = ?, finished = ?, result = ?, error = ? "
                "WHERE id = ? AND state = 'RUNNING'",
                (state, self._clock(), _text(result), _text(error), job),
            )
            if not changed.rowcount:
                return False
            for name, content in (documents or {}).items():
                self._put(job, name, content)
            self._told(job)
            return True

    def requeue(self, job: str | None = None) -> None:
        """Put a running job (or all) back where it waited: the server ends in good order."""
        with self._transaction():
            rows = self._db.execute(
                "SELECT id FROM jobs WHERE state = 'RUNNING' AND (?1 IS NULL OR id = ?1)", (job,)
            ).fetchall()
            for (found,) in rows:
                self._db.execute("UPDATE jobs SET state = 'QUEUED', progress = NULL WHERE id = ?", (found,))
                self._told(found)

    def recover(self, most: int) -> tuple[list[str], list[str]]:
        """After a start: jobs that were running when the last server died wait again, or, after `most` such
        ends, have failed. (again, failed) by id.
        """
        again, failed = [], []
        with self._transaction():
            rows = self._db.execute("SELECT id, crashes FROM jobs WHERE state = 'RUNNING'").fetchall()
            for job, crashes in rows:
                if crashes + 1 < most:
                    self._db.execute(
                        "UPDATE jobs SET state = 'QUEUED', progress = NULL, crashes = crashes + 1 "
                        "WHERE id = ?",
                        (job,),
                    )
                    again.append(job)
                else:
                    words = (
                        f"the server ended {most} times while it worked on this job; it is not begun again"
                    )
                    error = {"status": 500, "code": "INTERNAL", "message": words}
                    self._db.execute(
                        "UPDATE jobs SET state = 'FAILED', finished = ?, error = ?, crashes = crashes + 1 "
                        "WHERE id = ?",
                        (self._clock(), _text(error), job),
                    )
                    failed.append(job)
                self._told(job)
        return again, failed

    def cancel(self, owner: str, job: str) -> tuple[Job, bool]:
        """Cancel a job; (job, whether it was running). Raises ApiError where it is finished or unknown."""
        with self._transaction():
            found = self.get(owner, job)
            if found.state == "CANCELLED":
                return found, False
            if found.ended:
                raise ApiError(
                    "INCOMPATIBLE_STATE", f"the job is {found.state}; only what is not can be cancelled"
                )
            self._db.execute(
                "UPDATE jobs SET state = 'CANCELLED', finished = ? WHERE id = ?", (self._clock(), job)
            )
            return self._told(job), found.state == "RUNNING"

    # --- looking at them --------------------------------------------------------------------------------

    def get(self, owner: str, job: str) -> Job:
        """A caller's job. Raises ApiError where there is none, or it is another's."""
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM jobs WHERE id = ? AND owner = ?", (job, owner)
        ).fetchone()
        if row is None:
            raise ApiError("NOT_FOUND", f"there is no job {job}")
        return _job(row)

    def page(
        self, owner: str, state: str | None, oldest_first: bool, offset: int, limit: int
    ) -> tuple[list[Job], int]:
        """A page of a caller's jobs by age, and how many there are."""
        where, values = "owner = ?", [owner]
        if state is not None:
            where, values = f"{where} AND state = ?", [*values, state]
        (total,) = self._db.execute(f"SELECT COUNT(*) FROM jobs WHERE {where}", values).fetchone()
        order = "ASC" if oldest_first else "DESC"
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM jobs WHERE {where} ORDER BY number {order} LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )
        return [_job(row) for row in rows], int(total)

    def document(self, job: str, name: str) -> bytes | None:
        """A document of a job, None where it has none of that name."""
        row = self._db.execute(
            "SELECT content FROM documents WHERE job = ? AND name = ?", (job, name)
        ).fetchone()
        return None if row is None else zlib.decompress(row[0])

    def put(self, job: str, name: str, content: bytes) -> None:
        """Keep a document that was made later, as long as its job is kept."""
        with self._transaction():
            if self._db.execute("SELECT 1 FROM jobs WHERE id = ?", (job,)).fetchone():
                self._put(job, name, content)

    def events(self, job: str, after: int, most: int = 500) -> list[tuple[int, str, str]]:
        """(number, kind, data) of the events of a job that follow number `after`."""
        rows = self._db.execute(
            "SELECT number, kind, data FROM events WHERE job = ? AND number > ? ORDER BY number LIMIT ?",
            (job, after, most),
        )
        return [(int(number), str(kind), str(data)) for number, kind, data in rows]

    def probe(self) -> dict[str, int]:
        """The counts, after a write that shows that jobs can be stored. Raises sqlite3.Error."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('probed', ?)", (str(self._clock()),))
        return self.counts()

    def counts(self) -> dict[str, int]:
        """How many jobs there are, by state."""
        return {
            str(state): int(count)
            for state, count in self._db.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state")
        }

    def seconds_per_job(self) -> float:
        """The mean time that the last jobs took; 5 where nothing is known."""
        (mean,) = self._db.execute(
            "SELECT AVG(seconds) FROM (SELECT finished - started AS seconds FROM jobs "
            "WHERE state = 'DONE' ORDER BY finished DESC LIMIT 20)"
        ).fetchone()
        return min(60.0, max(1.0, 5.0 if mean is None else float(mean)))

    # --- clearing up --------------------------------------------------------------------------------

    def delete(self, owner: str, job: str) -> None:
        """Forget a finished job. Raises ApiError where it is not finished or unknown."""
        with self._transaction():
            found = self.get(owner, job)
            if not found.ended:
                raise ApiError("INCOMPATIBLE_STATE", f"the job is {found.state}; cancel it first")
            self._forget([job])

    def purge(self, before: float, keep: int) -> int:
        """Forget jobs that finished before a time, and the oldest of more than `keep` finished ones."""
        marks = ", ".join("?" * len(FINISHED))
        with self._transaction():
            old = self._db.execute(
                f"SELECT id FROM jobs WHERE state IN ({marks}) AND (finished < ? OR number NOT IN ("
                f"  SELECT number FROM jobs WHERE state IN ({marks}) ORDER BY number DESC LIMIT ?))",
                (*FINISHED, before, *FINISHED, keep),
            ).fetchall()
            self._forget([job for (job,) in old])
        return len(old)

    def _forget(self, jobs: list[str]) -> None:
        for job in jobs:
            for table, column in (("documents", "job"), ("events", "job"), ("jobs", "id")):
                self._db.execute(f"DELETE FROM {table} WHERE {column} = ?", (job,))

    def _put(self, job: str, name: str, content: bytes) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (job, name, zlib.compress(content, 6))
        )

    def _told(self, job: str) -> Job:
        """The job as it is now, which is an event of its own."""
        row = self._db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job,)).fetchone()
        found = _job(row)
        self._event(job, "state", _text(self._described(found)) or "{}")
        return found

    def _event(self, job: str, kind: str, text: str | None) -> None:
        self._db.execute(
            "INSERT INTO events SELECT ?, COALESCE(MAX(number), 0) + 1, ?, ? FROM events WHERE job = ?",
            (job, kind, text, job),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _job(row: tuple[Any, ...]) -> Job:
    *plain, options, progress, result, error = row
    documents = [None if text is None else json.loads(text) for text in (options, progress, result, error)]
    return Job(*plain, *documents)


def _text(document: Mapping[str, Any] | None) -> str | None:
    return None if document is None else json.dumps(document, allow_nan=False)


T = TypeVar("T")


class Repository:
    """Runs what touches the store in a thread of its own, in turn."""

    def __init__(self, store: Store, log: Log) -> None:
        self._store, self._log = store, log
        self._thread = ThreadPoolExecutor(1, "repository")
        self._watched: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def do(self, work: Callable[[Store], T]) -> T:
        """What `work` gives when it has the store to itself. Raises ApiError where the disk fails it."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work, self._store)
        except sqlite3.Error as error:
            self._log.error("database", message=str(error))
            raise ApiError("UNAVAILABLE", "job database unavailable", retry_after=30) from error

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
