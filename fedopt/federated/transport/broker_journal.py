"""What a broker keeps on disk, so that one that is started again goes on with the run where it was.

A run is a sequence of broadcasts, each with an answer or a failure from every operator. The algorithms are
deterministic: told the recorded answers again, a new process asks the same questions again, up to the first
one that was not answered, and goes on from there. The agents answer what they answered before from their own
journals. The decision to commit is written before anyone is told of it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from fedopt.contracts import ContractError
from fedopt.errors import FedoptError
from fedopt.federated.transport.agent_journal import JournalError, hold
from fedopt.federated.transport.https import Failure, Question, Reply

__all__ = ["BrokerJournal", "BrokerRun", "Diverged"]

Decision = Literal["commit", "abort"]
Exchange = Callable[[str, Mapping[str, Question]], Mapping[str, "Reply | Failure"]]

TABLES = """
CREATE TABLE IF NOT EXISTS runs (
  run TEXT PRIMARY KEY, task TEXT NOT NULL, opened REAL NOT NULL, decision TEXT, finished TEXT) STRICT;
CREATE TABLE IF NOT EXISTS exchanges (
  run TEXT NOT NULL, sequence INTEGER NOT NULL, operator TEXT NOT NULL, digest TEXT NOT NULL,
  request BLOB NOT NULL, answer BLOB, signature TEXT, failure TEXT,
  PRIMARY KEY (run, operator, sequence)) STRICT;
CREATE TABLE IF NOT EXISTS contracts (
  subject TEXT NOT NULL, version INTEGER NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY (subject, version)) STRICT;
"""


class Diverged(FedoptError, RuntimeError):
    """The questions of a restarted run are not the recorded ones: it cannot go on and must begin again."""


class BrokerJournal:
    """The journal in `folder`, used by one process at a time. Raises JournalError."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = open(self.folder / "lock", "a+b")  # noqa: SIM115 - held as long as the journal
            hold(self._lock.fileno())
            self.connection = sqlite3.connect(self.folder / "broker.sqlite", isolation_level=None)
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.executescript(TABLES)
        except BlockingIOError as error:
            raise JournalError(f"{self.folder}: another broker is using this state folder") from error
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{self.folder}: cannot keep a broker's state: {error}") from error

    def close(self) -> None:
        """Let another process use the folder."""
        self.connection.close()
        self._lock.close()

    def unfinished(self, task: str) -> str | None:
        """The newest run of this task (what is asked, as a digest) that was not finished."""
        row = self.connection.execute(
            "SELECT run FROM runs WHERE task = ? AND finished IS NULL ORDER BY opened DESC LIMIT 1", (task,)
        ).fetchone()
        return None if row is None else str(row[0])

    def open_run(self, run: str, task: str) -> None:
        """Note a new run."""
        self.connection.execute("INSERT INTO runs VALUES (?, ?, ?, NULL, NULL)", (run, task, time.time()))

    def finish(self, run: str, how: str) -> None:
        """Note that nothing is left to do for a run."""
        self.connection.execute("UPDATE runs SET finished = ? WHERE run = ?", (how, run))

    def decide(self, run: str, decision: Decision) -> Decision:
        """Write down what becomes of the prepared reservations; the first decision stands and is returned."""
        self.connection.execute(
            "UPDATE runs SET decision = ? WHERE run = ? AND decision IS NULL", (decision, run)
        )
        return self.decision(run) or decision

    def decision(self, run: str) -> Decision | None:
        """What was decided, if anything was."""
        row = self.connection.execute("SELECT decision FROM runs WHERE run = ?", (run,)).fetchone()
        return None if row is None else row[0]

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
        self.connection.execute("BEGIN IMMEDIATE")
        for operator, outcome in outcomes.items():
            sequence, body = questions[operator]
            came = (outcome.body, outcome.signature) if isinstance(outcome, Reply) else (None, None)
            failure = json.dumps(vars(outcome)) if isinstance(outcome, Failure) else None
            self.connection.execute(
                "INSERT OR REPLACE INTO exchanges VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (run, sequence, operator, hashlib.sha256(body).hexdigest(), body, *came, failure),
            )
        self.connection.execute("COMMIT")


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
