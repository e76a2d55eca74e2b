"""What an agent keeps on disk: runs, their messages with the answers given, and the book of reservations.

An answer is written, in one transaction with what it promises, before it is sent. A message that arrives
again is answered from here; after a restart the operator's state is rebuilt by handing it the messages again.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedopt.errors import FedoptError

__all__ = ["AgentJournal", "JournalError", "Run", "Told", "hold"]

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
  run TEXT PRIMARY KEY, broker TEXT NOT NULL, opened REAL NOT NULL, closed TEXT, secret BLOB NOT NULL,
  contracts TEXT NOT NULL, capacity TEXT NOT NULL, private TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE IF NOT EXISTS messages (
  run TEXT NOT NULL, sequence INTEGER NOT NULL, digest TEXT NOT NULL, signature TEXT NOT NULL,
  request BLOB NOT NULL, answer BLOB NOT NULL, answered REAL NOT NULL,
  PRIMARY KEY (run, sequence)) STRICT;
"""


class JournalError(FedoptError, RuntimeError):
    """The state folder cannot be used; the message names it."""

    exit_code = 2


@dataclass(frozen=True)
class Run:
    """A run that a broker opened: whose it is, its masking secret, and what it began with.

    `contracts`: SHA-256 of the signed contract by "domain/offer"; `capacity`: what was free of each domain,
    work per unit of time; `closed`: why it takes no more messages; `private`: SHA-256 of the operator's own
    file as the run began with it, empty where an earlier version opened the run.
    """

    run: str
    broker: str
    secret: bytes
    contracts: dict[str, str]
    capacity: dict[str, float]
    closed: str | None
    private: str = ""


@dataclass(frozen=True)
class Told:
    """A message that was answered: its digest, its text and the answer."""

    sequence: int
    digest: str
    request: bytes
    answer: bytes


class AgentJournal:
    """The journal in `folder`, which is made where it is missing and used by one process at a time.

    Raises JournalError where another process uses it, or it cannot be opened.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = open(self.folder / "lock", "a+b")  # noqa: SIM115 - held as long as the journal
            hold(self._lock.fileno())
            self.connection = sqlite3.connect(
                self.folder / "agent.sqlite", isolation_level=None, check_same_thread=False
            )
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.executescript(TABLES)
            if "private" not in {row[1] for row in self.connection.execute("PRAGMA table_info(runs)")}:
                self.connection.execute("ALTER TABLE runs ADD COLUMN private TEXT NOT NULL DEFAULT ''")
        except BlockingIOError as error:
            raise JournalError(f"{self.folder}: another agent is using this state folder") from error
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{self.folder}: cannot keep an agent's state: {error}") from error

    def close(self) -> None:
        """Let another process use the folder."""
        self.connection.close()
        self._lock.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside stands together or not at all."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def open_run(self, run: Run) -> None:
        """Note a new run."""
        self.connection.execute(
            "INSERT INTO runs (run, broker, opened, secret, contracts, capacity, private)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                run.run,
                run.broker,
                time.time(),
                run.secret,
                json.dumps(run.contracts),
                json.dumps(run.capacity),
                run.private,
            ),
        )

    def close_run(self, run: str, why: str) -> None:
        """Note that a run takes no more messages, and why. Its messages stay as evidence."""
        self.connection.execute("UPDATE runs SET closed = ? WHERE run = ? AND closed IS NULL", (why, run))

    def forget_run(self, run: str) -> None:
        """Drop a run that never got as far as its first answer."""
        self.connection.execute("DELETE FROM runs WHERE run = ?", (run,))

    def run(self, run: str) -> Run | None:
        """A run, or None where no broker ever opened it."""
        row = self.connection.execute(
            "SELECT run, broker, secret, contracts, capacity, closed, private FROM runs WHERE run = ?", (run,)
        ).fetchone()
        if row is None:
            return None
        name, broker, secret, contracts, capacity, closed, private = row
        return Run(name, broker, secret, json.loads(contracts), json.loads(capacity), closed, private)

    def open_runs(self) -> list[tuple[str, float]]:
        """The runs that are not closed, with the time of their last message, oldest first."""
        return self.connection.execute(
            "SELECT r.run, COALESCE(MAX(m.answered), r.opened) AS last FROM runs r LEFT JOIN messages m"
            " ON m.run = r.run WHERE r.closed IS NULL GROUP BY r.run ORDER BY last"
        ).fetchall()

    def note(self, run: str, told: Told, signature: str) -> None:
        """Keep a message and its answer."""
        self.connection.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)",
            (run, told.sequence, told.digest, signature, told.request, told.answer, time.time()),
        )

    def told(self, run: str, sequence: int) -> Told | None:
        """The message of that number, if it was answered."""
        row = self.connection.execute(
            "SELECT sequence, digest, request, answer FROM messages WHERE run = ? AND sequence = ?",
            (run, sequence),
        ).fetchone()
        return None if row is None else Told(*row)

    def last(self, run: str) -> int:
        """The number of the last message answered; -1 where there was none."""
        (last,) = self.connection.execute(
            "SELECT COALESCE(MAX(sequence), -1) FROM messages WHERE run = ?", (run,)
        ).fetchone()
        return int(last)

    def all_told(self, run: str) -> list[Told]:
        """Every message of a run in order."""
        rows = self.connection.execute(
            "SELECT sequence, digest, request, answer FROM messages WHERE run = ? ORDER BY sequence", (run,)
        )
        return [Told(*row) for row in rows]


def hold(descriptor: int) -> None:
    """Lock an open file for this process. Raises BlockingIOError where another one has it."""
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system; SQLite's own still guard the book
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
