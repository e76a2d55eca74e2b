"""What a broker keeps on disk, so that one that is started again goes on with the run where it was.

A run is a sequence of broadcasts, each with an answer or a failure from every operator. The algorithms are
deterministic: told the recorded answers again, a new process asks the same questions again, up to the first
one that was not answered, and goes on from there. The plan is written before anything of it is reserved, and
the decision to commit before anyone is told of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedopt.contracts import ContractError
from fedopt.errors import FedoptError
from fedopt.federated.transport.https import Failure, Question, Reply
from fedopt.storage import StorageError, disk_is_full, hold_folder, open_database

__all__ = ["BrokerJournal", "BrokerRun", "Diverged", "Exchange", "RunRecord"]

Decision = Literal["commit", "abort", "rollback"]
Exchange = Callable[[str, Mapping[str, Question]], Mapping[str, "Reply | Failure"]]

VERSION = 2
TABLES = f"""
CREATE TABLE IF NOT EXISTS runs (
  run TEXT PRIMARY KEY, request TEXT NOT NULL, task TEXT NOT NULL, asked TEXT NOT NULL, opened REAL NOT NULL,
  plan TEXT, booking TEXT, decision TEXT, finished TEXT) STRICT;
CREATE TABLE IF NOT EXISTS exchanges (
  run TEXT NOT NULL, sequence INTEGER NOT NULL, operator TEXT NOT NULL, digest TEXT NOT NULL,
  request BLOB NOT NULL, answer BLOB, signature TEXT, failure TEXT,
  PRIMARY KEY (run, operator, sequence)) STRICT;
CREATE TABLE IF NOT EXISTS contracts (
  subject TEXT NOT NULL, version INTEGER NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY (subject, version)) STRICT;
PRAGMA user_version = {VERSION};
"""


class Diverged(FedoptError, RuntimeError):
    """The questions of a restarted run are not the recorded ones: it cannot go on and must begin again."""


@dataclass(frozen=True)
class RunRecord:
    """A run as the journal knows it.

    `request`: digest of what the command asked for; `task`: of that and the contracts it was planned under;
    `asked`: what the command asked for, to resume it; `plan` and `booking`: the plan and each operator's
    share, once there is one; `decision`: what becomes of it; `finished`: how it ended.
    """

    run: str
    request: str
    task: str
    asked: dict[str, Any]
    opened: float
    plan: str | None
    booking: dict[str, Any] | None
    decision: Decision | None
    finished: str | None

    @property
    def state(self) -> str:
        """One word or two for it."""
        if self.finished is not None:
            return self.finished
        if self.decision is not None:
            return {"commit": "partly booked", "abort": "aborting", "rollback": "rolling back"}[self.decision]
        return "planning" if self.booking is None else "reserving"


class BrokerJournal:
    """The journal in `folder`, used by one process at a time. Raises StorageError, also where the disk is
    full: nothing is lost then, and the same command goes on once there is room."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._lock = hold_folder(folder, "broker")
        self.connection = open_database(self.folder / "broker.sqlite")
        (version,) = self.connection.execute("PRAGMA user_version").fetchone()
        found = self.connection.execute("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'runs'").fetchone()
        if found[0] and version != VERSION:
            self.close()
            raise StorageError(
                f"{self.folder}: was written by another version of fedopt; settle its runs with that version "
                "and give this broker a new state folder"
            )
        self.connection.executescript(TABLES)

    def close(self) -> None:
        """Let another process use the folder."""
        self.connection.close()
        self._lock.release()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction. Raises StorageError where the disk is full."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and disk_is_full(error):
                raise StorageError(
                    f"{self.folder}: the disk is full. Make room and give the same command again; it goes on "
                    "with its run"
                ) from error
            raise

    # -- runs ----------------------------------------------------------------------------------------------

    def runs(self) -> list[RunRecord]:
        """All runs, oldest first."""
        names = [row[0] for row in self.connection.execute("SELECT run FROM runs ORDER BY opened, rowid")]
        return [record for name in names if (record := self.run(name)) is not None]

    def run(self, run: str) -> RunRecord | None:
        """A run, or None where this broker has none of that name."""
        row = self.connection.execute(
            "SELECT run, request, task, asked, opened, plan, booking, decision, finished FROM runs"
            " WHERE run = ?",
            (run,),
        ).fetchone()
        if row is None:
            return None
        name, request, task, asked, opened, plan, booking, decision, finished = row
        share = None if booking is None else json.loads(booking)
        return RunRecord(name, request, task, json.loads(asked), opened, plan, share, decision, finished)

    def open_run(self, run: str, request: str, task: str, asked: Mapping[str, Any]) -> None:
        """Note a new run."""
        with self._writing():
            self.connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?, NULL, NULL, NULL, NULL)",
                (run, request, task, json.dumps(asked), time.time()),
            )

    def note_plan(self, run: str, plan: str, booking: Mapping[str, Any]) -> None:
        """Keep the plan and the shares that are about to be reserved; the first ones stand."""
        with self._writing():
            self.connection.execute(
                "UPDATE runs SET plan = ?, booking = ? WHERE run = ? AND booking IS NULL",
                (plan, json.dumps(booking), run),
            )

    def finish(self, run: str, how: str) -> None:
        """Note that nothing is left to do for a run."""
        with self._writing():
            self.connection.execute("UPDATE runs SET finished = ? WHERE run = ?", (how, run))

    def decide(self, run: str, decision: Decision) -> Decision:
        """Write down what becomes of the prepared reservations; the first decision stands and is returned.
        Only a commit that somebody refused is turned into a rollback."""
        with self._writing():
            self.connection.execute(
                "UPDATE runs SET decision = ?1 WHERE run = ?2"
                " AND (decision IS NULL OR (decision = 'commit' AND ?1 = 'rollback'))",
                (decision, run),
            )
        record = self.run(run)
        return decision if record is None or record.decision is None else record.decision

    # -- contracts and exchanges -----------------------------------------------------------------------------

    def see_contract(self, subject: str, version: int, sha256: str) -> None:
        """Remember a contract that was verified. Raises ContractError for one that is older than another
        seen.
        """
        for known, digest in self.connection.execute(
            "SELECT version, sha256 FROM contracts WHERE subject = ? AND version >= ?", (subject, version)
        ):
            if known > version:
                raise ContractError(
                    "rolled-back", f"{subject}: version {version} is published again after version {known}"
                )
            if digest != sha256:
                raise ContractError("replayed", f"{subject}: there are two contracts of version {version}")
        with self._writing():
            self.connection.execute(
                "INSERT OR IGNORE INTO contracts VALUES (?, ?, ?)", (subject, version, sha256)
            )

    def recorded(self, run: str, operator: str, sequence: int) -> tuple[str, Reply | Failure] | None:
        """The digest of a question and what came of it, where it was asked before."""
        row = self.connection.execute(
            "SELECT digest, answer, signature, failure FROM exchanges"
            " WHERE run = ? AND operator = ? AND sequence = ?",
            (run, operator, sequence),
        ).fetchone()
        if row is None:
            return None
        digest, answer, signature, failure = row
        return digest, (
            Failure(**json.loads(failure)) if failure is not None else Reply(answer, signature, 0)
        )

    def last(self, run: str) -> dict[str, int]:
        """The number of the last message of a run to each operator."""
        return dict(
            self.connection.execute(
                "SELECT operator, MAX(sequence) FROM exchanges WHERE run = ? GROUP BY operator", (run,)
            ).fetchall()
        )

    def record(
        self, run: str, questions: Mapping[str, Question], outcomes: Mapping[str, Reply | Failure]
    ) -> None:
        """Keep what was asked in a broadcast and what came back, in one transaction."""
        with self._writing():
            for operator, outcome in outcomes.items():
                sequence, body = questions[operator]
                came = (outcome.body, outcome.signature) if isinstance(outcome, Reply) else (None, None)
                failure = json.dumps(vars(outcome)) if isinstance(outcome, Failure) else None
                self.connection.execute(
                    "INSERT OR REPLACE INTO exchanges VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (run, sequence, operator, hashlib.sha256(body).hexdigest(), body, *came, failure),
                )


class BrokerRun:
    """A run's broadcasts: from the journal as far as it goes, then over the connections.

    `exchange` sends, as `Connections.exchange` does. Without a journal nothing is kept.
    """

    def __init__(self, run: str, exchange: Exchange, journal: BrokerJournal | None = None) -> None:
        self.run = run
        self._exchange = exchange
        self._journal = journal

    def broadcast(
        self, questions: Mapping[str, Question], failures_stand: bool = True
    ) -> dict[str, Reply | Failure]:
        """Ask each operator its question; unless failures stand, those that failed before are asked again.

        Raises Diverged where another question was asked under the same number before.
        """
        outcomes: dict[str, Reply | Failure] = {}
        for operator, (sequence, body) in questions.items():
            known = self._journal.recorded(self.run, operator, sequence) if self._journal else None
            if known is not None:
                if known[0] != hashlib.sha256(body).hexdigest():
                    raise Diverged(f"message {sequence} to {operator!r} is not the one that was sent before")
                if failures_stand or isinstance(known[1], Reply):
                    outcomes[operator] = known[1]
        left = {operator: question for operator, question in questions.items() if operator not in outcomes}
        if left:
            fresh = self._exchange(self.run, left)
            if self._journal is not None:
                self._journal.record(self.run, left, fresh)
            outcomes.update(fresh)
        return {operator: outcomes[operator] for operator in questions}
