"""An operator's book of reservations: prepared, then committed, and never more than its capacity.

A run's reservations are prepared at every operator before any of them commits (two-phase commit): each
operator holds its share of the plan from the moment it says yes, so the commit cannot fail for want of
capacity. Every step may be asked again, by a broker that lost an answer or was restarted, and is then
answered the same. A hold has a term, so that a broker that never comes back does not keep capacity for ever;
a commit that comes after the term is granted only where the capacity is still free.

The book is an SQLite database, on disk for an agent and in memory otherwise: what an answer promises is on
the disk before the answer is.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ROOM", "Book", "Outcome", "open_tables"]

ROOM = 1e-9
"""Relative rounding allowed when loads are compared with a capacity."""

State = Literal["prepared", "committed", "aborted", "released"]


@dataclass(frozen=True)
class Outcome:
    """What became of a step: granted or not, and why not (`domain` where one lacks room)."""

    granted: bool
    reason: str = ""
    domain: str | None = None


def open_tables(connection: sqlite3.Connection) -> None:
    """Make the book's tables where they are missing."""
    connection.execute(
        "CREATE TABLE IF NOT EXISTS reservations ("
        " run TEXT PRIMARY KEY, state TEXT NOT NULL, loads TEXT NOT NULL, until REAL, replaces TEXT) STRICT"
    )


class Book:
    """The reservations of an operator's domains.

    `capacity`: work per unit of time by domain. Every method is one transaction, or part of the caller's
    where one is open on the connection.
    """

    def __init__(
        self,
        capacity: Mapping[str, float],
        connection: sqlite3.Connection | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.capacity = dict(capacity)
        self._connection = connection or sqlite3.connect(":memory:", isolation_level=None)
        self._clock = clock
        open_tables(self._connection)

    def prepare(
        self, run: str, loads: Mapping[str, float], term: float, replaces: str | None = None
    ) -> Outcome:
        """Hold `loads` (work per unit of time by domain) for `term` seconds in the name of a run.

        `replaces` names a run whose reservations end when this one commits; its capacity counts as free.
        Refused where a domain lacks room or is not the operator's, the run was aborted, or holds something
        else.
        """
        wanted = {name: float(load) for name, load in sorted(loads.items()) if load != 0.0}
        unknown = sorted(set(wanted) - set(self.capacity))
        if unknown:
            return Outcome(False, f"{unknown[0]!r} is no domain of this operator", unknown[0])
        if any(not load > 0.0 or load == float("inf") for load in wanted.values()):
            return Outcome(False, "a load must be a positive number")
        with self._transaction():
            known = self._row(run)
            if known is not None:
                state, held, _, before = known
                if state in ("aborted", "released"):
                    return Outcome(False, f"the run was {state}")
                if held != wanted or before != replaces:
                    return Outcome(False, f"the run has {state} other reservations already")
                if state == "committed":
                    return Outcome(True)
            full = self._full(run, wanted, replaces)
            if full is not None:
                return Outcome(False, f"{full!r} lacks the capacity", full)
            self._connection.execute(
                "INSERT OR REPLACE INTO reservations VALUES (?, 'prepared', ?, ?, ?)",
                (run, json.dumps(wanted), self._clock() + term, replaces),
            )
        return Outcome(True)

    def commit(self, run: str) -> Outcome:
        """Turn a run's hold into reservations. A hold past its term is granted where there still is room."""
        with self._transaction():
            known = self._row(run)
            if known is None:
                return Outcome(False, "the run prepared nothing here")
            state, loads, until, replaces = known
            if state == "committed":
                return Outcome(True)
            if state != "prepared":
                return Outcome(False, f"the run was {state}")
            if until is not None and until < self._clock():
                full = self._full(run, loads, replaces)
                if full is not None:
                    return Outcome(False, f"the hold ran out and {full!r} lacks the capacity now", full)
            self._set(run, "committed")
            if replaces is not None:
                self._set(replaces, "released")
        return Outcome(True)

    def abort(self, run: str) -> Outcome:
        """Drop a run's hold. It is remembered, so that a prepare that arrives late holds nothing."""
        with self._transaction():
            known = self._row(run)
            if known is not None and known[0] == "committed":
                return Outcome(False, "the run is committed; release it instead")
            self._connection.execute(
                "INSERT INTO reservations VALUES (?, 'aborted', '{}', NULL, NULL) "
                "ON CONFLICT (run) DO UPDATE SET state = 'aborted' WHERE state = 'prepared'",
                (run,),
            )
        return Outcome(True)

    def release(self, run: str) -> Outcome:
        """End a run's reservations."""
        with self._transaction():
            known = self._row(run)
            if known is None or known[0] in ("prepared", "aborted"):
                return Outcome(False, "the run has no reservations here")
            self._set(run, "released")
        return Outcome(True)

    def state(self, run: str) -> State | None:
        """What became of a run's reservations; None where it never prepared any."""
        known = self._row(run)
        return None if known is None else known[0]

    def entries(self) -> list[dict[str, Any]]:
        """Every run that prepared or aborted: `run`, `state`, `loads` by domain, `until` (a hold's end)."""
        rows = self._connection.execute("SELECT run, state, loads, until FROM reservations ORDER BY rowid")
        return [
            {"run": run, "state": state, "loads": json.loads(loads), "until": until}
            for run, state, loads, until in rows
        ]

    def reserved(self, besides: str | None = None, replaced: str | None = None) -> dict[str, float]:
        """The load of each domain that is committed or held within its term, without that of two runs."""
        total = dict.fromkeys(self.capacity, 0.0)
        now = self._clock()
        for run, state, loads, until in self._connection.execute(
            "SELECT run, state, loads, until FROM reservations WHERE state IN ('prepared', 'committed')"
        ):
            lapsed = state == "prepared" and until is not None and until < now
            if run not in (besides, replaced) and not lapsed:
                for name, load in json.loads(loads).items():
                    total[name] = total.get(name, 0.0) + load
        return total

    def _full(self, run: str, loads: Mapping[str, float], replaces: str | None) -> str | None:
        """The first domain whose capacity the loads would exceed."""
        taken = self.reserved(run, replaces)
        return next(
            (
                name
                for name, load in loads.items()
                if taken[name] + load > self.capacity.get(name, 0.0) * (1.0 + ROOM)
            ),
            None,
        )

    def _row(self, run: str) -> tuple[State, dict[str, float], float | None, str | None] | None:
        row = self._connection.execute(
            "SELECT state, loads, until, replaces FROM reservations WHERE run = ?", (run,)
        ).fetchone()
        return None if row is None else (row[0], json.loads(row[1]), row[2], row[3])

    def _set(self, run: str, state: State) -> None:
        self._connection.execute("UPDATE reservations SET state = ? WHERE run = ?", (state, run))

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)


class _Transaction:
    """All or nothing; inside a transaction of the caller it leaves the end to the caller."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._mine = False

    def __enter__(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
            self._mine = True

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: object) -> None:
        if self._mine:
            self._connection.execute("COMMIT" if kind is None else "ROLLBACK")
