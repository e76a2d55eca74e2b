"""An operator's store of reservations: prepared, then committed, and never more than it can carry.

A run's reservations are prepared at every operator before any of them commits (two-phase commit): each
operator holds its share of the plan from the moment it says yes. Every step may be asked again, by a broker
that lost an answer or was restarted, and is then answered the same. A hold has a term, so that a broker that
never comes back does not keep capacity for ever. A commit is checked once more: a hold that lapsed, or a
capacity that was lowered since, is a reason to refuse it, and the broker then takes back what others
committed (`rollback`).

The store is an SQLite database, on disk for an agent and in memory otherwise: what an answer promises is on
the disk before the answer is.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ROOM", "Outcome", "Reservations", "steady_clock", "within"]

ROOM = 1e-9
"""Relative rounding allowed when loads are compared with a capacity."""

State = Literal["prepared", "committed", "aborted", "released", "replaced"]
Loads = Mapping[str, float]
Fits = Callable[[Loads, Collection[str]], str | None]
"""What lacks room for loads in all ("domain/offer" or domain → rate, work per unit of time), of what the
names in the second argument need; None: they fit."""

TABLES = """
CREATE TABLE IF NOT EXISTS reservations (
  run TEXT PRIMARY KEY, broker TEXT NOT NULL, state TEXT NOT NULL, loads TEXT NOT NULL, until REAL,
  replaces TEXT) STRICT;
CREATE TABLE IF NOT EXISTS clock (latest REAL NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a step: granted or not, and why not (`domain` where one lacks room)."""

    granted: bool
    reason: str = ""
    domain: str | None = None


def steady_clock(connection: sqlite3.Connection) -> Callable[[], float]:
    """Seconds that never run backwards, whatever is done to the machine's clock: they go on by the monotonic
    clock while the process lives, and start at the latest time that the database has seen."""
    with contextlib.closing(connection.execute("SELECT COALESCE(MAX(latest), 0) FROM clock")) as found:
        (latest,) = found.fetchone()
    start, offset = max(time.time(), float(latest)), time.monotonic()
    return lambda: start + time.monotonic() - offset


class Reservations:
    """The reservations of an operator.

    Parameters
    ----------
    capacity
        Work per unit of time by domain, or a function that says what lacks room for loads in all (an operator
        whose limits are its own).
    connection
        A database in autocommit mode. Every method is one transaction, or part of the caller's where one is
        open.
    clock
        Seconds; by default a steady one.
    longest
        Longest term of a hold, seconds.
    """

    def __init__(
        self,
        capacity: Mapping[str, float] | Fits,
        connection: sqlite3.Connection | None = None,
        clock: Callable[[], float] | None = None,
        longest: float = math.inf,
    ) -> None:
        self._fits = capacity if callable(capacity) else within(capacity)
        self._connection = connection or sqlite3.connect(":memory:", isolation_level=None)
        self._connection.executescript(TABLES)
        self._clock = clock or steady_clock(self._connection)
        self._longest = longest

    def prepare(
        self, run: str, broker: str, loads: Loads, term: float, replaces: str | None = None
    ) -> Outcome:
        """Hold `loads` (work per unit of time) for `term` seconds in the name of a broker's run.

        `replaces` names a run of the same broker whose reservations end when this one commits; what they take
        counts as free. Refused where there is no room, the run was aborted, or holds something else.
        """
        wanted = {name: float(load) for name, load in sorted(loads.items()) if load != 0.0}
        if any(not 0.0 < load < math.inf for load in wanted.values()):
            return Outcome(False, "a load must be a positive number")
        if not 0.0 < term <= self._longest:
            return Outcome(False, f"a hold lasts {self._longest:g} s here at the longest")
        with self._transaction():
            known = self._row(run)
            if known is not None:
                _, state, held, _, before = known
                if state not in ("prepared", "committed"):
                    return Outcome(False, f"the run was {state}")
                if held != wanted or before != replaces:
                    return Outcome(False, f"the run has {state} other reservations already")
                if state == "committed":
                    return Outcome(True)
            if replaces is not None and not self.belongs(replaces, broker):
                return Outcome(False, f"the run {replaces} has no reservations of this broker here")
            lacking = self._lacking(run, wanted, replaces)
            if lacking is not None:
                return Outcome(False, f"{lacking!r} lacks the capacity", lacking)
            self._connection.execute(
                "INSERT OR REPLACE INTO reservations VALUES (?, ?, 'prepared', ?, ?, ?)",
                (run, broker, json.dumps(wanted), self._clock() + term, replaces),
            )
        return Outcome(True)

    def commit(self, run: str) -> Outcome:
        """Turn a run's hold into reservations, where they still fit: a hold may have lapsed, or the capacity
        been lowered."""
        with self._transaction():
            known = self._row(run)
            if known is None:
                return Outcome(False, "the run prepared nothing here")
            _, state, loads, until, replaces = known
            if state == "committed":
                return Outcome(True)
            if state != "prepared":
                return Outcome(False, f"the run was {state}")
            lacking = self._lacking(run, loads, replaces)
            if lacking is not None:
                lapsed = until is not None and until < self._clock()
                why = "the hold ran out" if lapsed else "the capacity was lowered"
                return Outcome(False, f"{why} and {lacking!r} lacks the room now", lacking)
            self._set(run, "committed")
            if replaces is not None:
                self._connection.execute(
                    "UPDATE reservations SET state = 'replaced' WHERE run = ? AND state = 'committed'",
                    (replaces,),
                )
        return Outcome(True)

    def abort(self, run: str, broker: str = "") -> Outcome:
        """Drop a run's hold. It is remembered, so that a prepare that arrives late holds nothing."""
        with self._transaction():
            known = self._row(run)
            if known is not None and known[1] == "committed":
                return Outcome(False, "the run is committed; release it instead")
            self._connection.execute(
                "INSERT INTO reservations VALUES (?, ?, 'aborted', '{}', NULL, NULL) "
                "ON CONFLICT (run) DO UPDATE SET state = 'aborted' WHERE state = 'prepared'",
                (run, broker),
            )
        return Outcome(True)

    def rollback(self, run: str, broker: str = "") -> Outcome:
        """Take back a commit that others refused, or drop the hold; what the run replaced comes back."""
        with self._transaction():
            known = self._row(run)
            if known is None or known[1] in ("prepared", "aborted"):
                return self.abort(run, broker)
            if known[1] == "committed":
                self._set(run, "aborted")
                before = None if known[4] is None else self._row(known[4])
                if before is not None and before[1] == "replaced":
                    lacking = self._lacking(str(known[4]), before[2], None)
                    if lacking is not None:
                        return Outcome(False, f"the run that it replaced no longer fits {lacking!r}", lacking)
                    self._set(str(known[4]), "committed")
        return Outcome(True)

    def release(self, run: str) -> Outcome:
        """End a run's reservations."""
        with self._transaction():
            known = self._row(run)
            if known is None or known[1] in ("prepared", "aborted"):
                return Outcome(False, "the run has no reservations here")
            if known[1] == "committed":
                self._set(run, "released")
        return Outcome(True)

    def state(self, run: str) -> State | None:
        """What became of a run's reservations; None where it never prepared any."""
        known = self._row(run)
        return None if known is None else known[1]

    def belongs(self, run: str, broker: str) -> bool:
        """Whether a run has reservations (or had, until another run replaced them) that are this broker's."""
        known = self._row(run)
        return known is not None and known[0] == broker and known[1] in ("committed", "replaced")

    def entries(self) -> list[dict[str, Any]]:
        """Every run that prepared or aborted: `run`, `broker`, `state`, `loads`, `until` (a hold's end)."""
        rows = self._connection.execute(
            "SELECT run, broker, state, loads, until FROM reservations ORDER BY rowid"
        )
        return [
            {"run": run, "broker": broker, "state": state, "loads": json.loads(loads), "until": until}
            for run, broker, state, loads, until in rows
        ]

    def reserved(self, besides: str | None = None, replaced: str | None = None) -> dict[str, float]:
        """The loads that are committed or held within their term, without those of two runs."""
        total: dict[str, float] = {}
        now = self._clock()
        for run, state, loads, until in self._connection.execute(
            "SELECT run, state, loads, until FROM reservations WHERE state IN ('prepared', 'committed')"
        ):
            lapsed = state == "prepared" and until is not None and until < now
            if run not in (besides, replaced) and not lapsed:
                for name, load in json.loads(loads).items():
                    total[name] = total.get(name, 0.0) + load
        return total

    def overbooked(self) -> str | None:
        """What carries more than it can since its capacity was lowered; None where all is well."""
        reserved = self.reserved()
        return self._fits(reserved, reserved)

    def _lacking(self, run: str, loads: Loads, replaces: str | None) -> str | None:
        """What lacks the room for these loads on top of all others."""
        total = self.reserved(run, replaces)
        for name, load in loads.items():
            total[name] = total.get(name, 0.0) + load
        return self._fits(total, loads)

    def _row(self, run: str) -> tuple[str, State, dict[str, float], float | None, str | None] | None:
        row = self._connection.execute(
            "SELECT broker, state, loads, until, replaces FROM reservations WHERE run = ?", (run,)
        ).fetchone()
        return None if row is None else (row[0], row[1], json.loads(row[2]), row[3], row[4])

    def _set(self, run: str, state: State) -> None:
        self._connection.execute("UPDATE reservations SET state = ? WHERE run = ?", (state, run))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; inside a transaction of the caller it leaves the end to the caller."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("DELETE FROM clock")
            self._connection.execute("INSERT INTO clock VALUES (?)", (self._clock(),))
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def within(capacity: Mapping[str, float], factors: Mapping[str, float] | None = None) -> Fits:
    """Rates against capacities of domains; a rate on an offer uses its domain's capacity by its factor."""

    def lacking(loads: Loads, asked: Collection[str]) -> str | None:
        taken: dict[str, float] = {}
        for name, load in loads.items():
            domain, used = name.partition("/")[0], load * (factors or {}).get(name, 1.0)
            taken[domain] = taken.get(domain, 0.0) + used
        needed = {name.partition("/")[0] for name in asked}
        return next(
            (name for name in sorted(needed) if taken[name] > capacity.get(name, 0.0) * (1.0 + ROOM)), None
        )

    return lacking
