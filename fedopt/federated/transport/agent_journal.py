"""What an agent keeps on disk: runs, their messages with the answers given, and the reservations.

An answer is written, in one transaction with what it promises, before it is sent. A message that arrives
again is answered from here; after a restart the operator's state is rebuilt by handing it the messages again.
The messages are the audit log too: what was answered to whom, and when.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedopt.federated.transport.policy import DAY, Spent
from fedopt.storage import StorageError, hold_folder, open_database

__all__ = ["AgentJournal", "Run", "Told"]

VERSION = 2
TABLES = f"""
CREATE TABLE IF NOT EXISTS runs (
  run TEXT PRIMARY KEY, broker TEXT NOT NULL, opened REAL NOT NULL, closed TEXT, secret BLOB NOT NULL,
  contracts TEXT NOT NULL, booked TEXT NOT NULL, replaces TEXT, private TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS messages (
  run TEXT NOT NULL, sequence INTEGER NOT NULL, digest TEXT NOT NULL, signature TEXT NOT NULL,
  request BLOB NOT NULL, answer BLOB NOT NULL, answered REAL NOT NULL, kind TEXT NOT NULL,
  numbers INTEGER NOT NULL, PRIMARY KEY (run, sequence)) STRICT;
CREATE TABLE IF NOT EXISTS refusals (
  answered REAL NOT NULL, broker TEXT NOT NULL, run TEXT NOT NULL, reason TEXT NOT NULL) STRICT;
PRAGMA user_version = {VERSION};
"""


@dataclass(frozen=True)
class Run:
    """A run that a broker opened: whose it is, its masking secret, and what it began with.

    `contracts`: SHA-256 of the signed contract by "domain/offer"; `booked`: rates that were taken of each
    offer already, work per unit of time, without those of the run that it `replaces`; `closed`: why it takes
    no more messages; `private`: SHA-256 of the operator's own files as the run began with them.
    """

    run: str
    broker: str
    secret: bytes
    contracts: dict[str, str]
    booked: dict[str, float]
    replaces: str | None
    private: str
    closed: str | None = None


@dataclass(frozen=True)
class Told:
    """A message that was answered: its number, digest, text and answer; what `kind` of question it was and
    how many numbers the answer told."""

    sequence: int
    digest: str
    request: bytes
    answer: bytes
    kind: str = ""
    numbers: int = 0


class AgentJournal:
    """The journal in `folder`, which is made where it is missing and held by one agent at a time.

    `held`: false to look into it, or to release a reservation, while the agent runs. Raises StorageError
    where another agent holds the folder, or it cannot be used.
    """

    def __init__(self, folder: str | Path, held: bool = True) -> None:
        self.folder = Path(folder)
        file = self.folder / "agent.sqlite"
        self._lock = hold_folder(folder, "agent") if held else None
        if not held and not file.is_file():
            raise StorageError(f"{self.folder}: there is no agent's state here; has the agent ever run?")
        connection = open_database(file, mode="rwc" if held else "rw")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        made = connection.execute("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'runs'").fetchone()[0]
        if made and version != VERSION:
            connection.close()
            raise StorageError(
                f"{self.folder}: was written by another version of fedopt; settle its reservations with that "
                "version and give this agent a new state folder"
            )
        connection.executescript(TABLES)
        self.connection = connection

    def close(self) -> None:
        """Let another process use the folder."""
        self.connection.close()
        if self._lock is not None:
            self._lock.release()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside stands together or not at all."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def open_run(self, run: Run) -> None:
        """Note a new run."""
        self.connection.execute(
            "INSERT INTO runs VALUES (?, ?, ?, NULL, ?, ?, ?, ?, ?)",
            (
                run.run,
                run.broker,
                time.time(),
                run.secret,
                json.dumps(run.contracts),
                json.dumps(run.booked),
                run.replaces,
                run.private,
            ),
        )

    def close_run(self, run: str, why: str) -> None:
        """Note that a run takes no more messages, and why. Its messages stay as evidence."""
        self.connection.execute("UPDATE runs SET closed = ? WHERE run = ? AND closed IS NULL", (why, run))

    def run(self, run: str) -> Run | None:
        """A run, or None where no broker ever opened it."""
        row = self.connection.execute(
            "SELECT run, broker, secret, contracts, booked, replaces, private, closed FROM runs"
            " WHERE run = ?",
            (run,),
        ).fetchone()
        if row is None:
            return None
        name, broker, secret, contracts, booked, *rest = row
        return Run(name, broker, secret, json.loads(contracts), json.loads(booked), *rest)

    def open_runs(self, broker: str) -> list[tuple[str, float]]:
        """The runs of a broker that are not closed, with the time of their last message, oldest first."""
        return self.connection.execute(
            "SELECT r.run, COALESCE(MAX(m.answered), r.opened) AS last FROM runs r LEFT JOIN messages m"
            " ON m.run = r.run WHERE r.closed IS NULL AND r.broker = ? GROUP BY r.run ORDER BY last",
            (broker,),
        ).fetchall()

    def note(self, run: str, told: Told, signature: str) -> None:
        """Keep a message and its answer."""
        self.connection.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run,
                told.sequence,
                told.digest,
                signature,
                told.request,
                told.answer,
                time.time(),
                told.kind,
                told.numbers,
            ),
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

    # -- what was answered ---------------------------------------------------------------------------------

    def spent(self, broker: str, run: str) -> Spent:
        """What a broker was answered in the last day, and in this run."""
        since = time.time() - DAY
        kinds = dict(
            self.connection.execute(
                "SELECT m.kind, COUNT(*) FROM messages m JOIN runs r ON r.run = m.run"
                " WHERE r.broker = ? AND m.answered >= ? GROUP BY m.kind",
                (broker, since),
            ).fetchall()
        )
        (in_run,) = self.connection.execute(
            "SELECT COUNT(*) FROM messages WHERE run = ? AND kind = 'capacity'", (run,)
        ).fetchone()
        circles = self.connection.execute(
            "SELECT m.request FROM messages m JOIN runs r ON r.run = m.run"
            " WHERE r.broker = ? AND m.answered >= ? AND m.kind = 'keys'",
            (broker, since),
        )
        return Spent(
            questions=kinds.get("cost", 0) + kinds.get("shares", 0),
            capacity=kinds.get("capacity", 0),
            capacity_in_run=in_run,
            circles=frozenset(frozenset(json.loads(request)["keys"]) for (request,) in circles),
        )

    def refuse(self, broker: str, run: str, reason: str) -> None:
        """Note a message that was not answered."""
        self.connection.execute(
            "INSERT INTO refusals VALUES (?, ?, ?, ?)", (time.time(), broker, run, reason)
        )

    def log(self, most: int = 1_000) -> list[dict[str, Any]]:
        """The last answers and refusals, oldest first: `at` (Unix time), `broker`, `run`, `kind`, `numbers`
        told, `refused` (why)."""
        rows = self.connection.execute(
            "SELECT * FROM (SELECT m.answered AS at, r.broker, m.run, m.kind, m.numbers, NULL"
            " FROM messages m JOIN runs r ON r.run = m.run"
            " UNION ALL SELECT answered, broker, run, '', 0, reason FROM refusals"
            " ORDER BY at DESC LIMIT ?) ORDER BY at",
            (most,),
        )
        names = ("at", "broker", "run", "kind", "numbers", "refused")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def counts(self) -> dict[str, dict[str, int]]:
        """How many messages of each kind were answered, and how many refused for each reason, ever."""
        answered = self.connection.execute("SELECT kind, COUNT(*) FROM messages GROUP BY kind").fetchall()
        refused = self.connection.execute("SELECT reason, COUNT(*) FROM refusals GROUP BY reason").fetchall()
        return {"answered": dict(answered), "refused": dict(refused)}
