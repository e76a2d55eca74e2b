"""The state of a run in one SQLite file: every period is one transaction, so a crash leaves whole periods.

A file holds one scenario and any number of runs of it (fedopt and the baselines). Nothing in it depends on
the clock or on how often it was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedopt.errors import InputError

__all__ = ["TABLES", "PeriodRecord", "StateError", "Store", "column_types", "packed", "unpacked"]

VERSION = 5

TABLES: dict[str, str] = {
    "periods": (
        "run TEXT, period INTEGER, mode TEXT, tenants INTEGER, placed INTEGER, moved INTEGER, "
        "refused INTEGER, suspended INTEGER, cost REAL, lower_bound REAL, gap REAL, requests REAL, "
        "late REAL, disclosed INTEGER, received INTEGER, "
        "late_backlog REAL, cost_backlog REAL, PRIMARY KEY (run, period)"
    ),
    "tallies": (
        "run TEXT, period INTEGER, tenant TEXT, sent REAL, late REAL, verdict TEXT, learned INTEGER, "
        "bound REAL, low REAL, high REAL, batches BLOB, PRIMARY KEY (run, period, tenant)"
    ),
    "members": (
        "run TEXT, tenant TEXT, like TEXT, epsilon REAL, deadline REAL, admitted INTEGER, arrived INTEGER, "
        "PRIMARY KEY (run, tenant)"
    ),
    "plans": "run TEXT, period INTEGER, plan BLOB, instance BLOB, PRIMARY KEY (run, period)",
    "contracts": (
        "run TEXT, number INTEGER, period INTEGER, subject TEXT, version INTEGER, reason TEXT, token TEXT, "
        "PRIMARY KEY (run, number)"
    ),
    "audits": (
        "run TEXT, period INTEGER, subject TEXT, tenant TEXT, verdict TEXT, audit BLOB, "
        "PRIMARY KEY (run, period, subject, tenant)"
    ),
    "answers": (
        "run TEXT, period INTEGER, subject TEXT, sender TEXT, like TEXT, test INTEGER, throughput REAL, "
        "delay REAL, asked REAL, rejected REAL, PRIMARY KEY (run, period, subject, sender)"
    ),
    "learned": (
        "run TEXT, period INTEGER, subject TEXT, like TEXT, asks BLOB, "
        "PRIMARY KEY (run, period, subject, like)"
    ),
    "settlements": "run TEXT, period INTEGER, received INTEGER, settlement BLOB, PRIMARY KEY (run, period)",
    "events": (
        "run TEXT, period INTEGER, number INTEGER, kind TEXT, subject TEXT, detail TEXT, "
        "PRIMARY KEY (run, period, number)"
    ),
}
"""Tables by name; columns that hold documents (BLOB) are compressed JSON."""


class StateError(InputError):
    """A state file that is none, is another scenario's, or is asked for what it has not."""


@dataclass
class PeriodRecord:
    """Everything that a period adds: rows by table, and what the run carries into the next period."""

    period: int
    rows: dict[str, list[Sequence[Any]]] = field(default_factory=dict)
    carry: dict[str, Any] = field(default_factory=dict)

    def add(self, table: str, *values: Any) -> None:
        """A row of a table, without the run's name."""
        self.rows.setdefault(table, []).append(values)


class Store:
    """A state file, open for writing (`Store.open`) or for reading alone (`Store.read`)."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @classmethod
    def open(cls, path: str | Path, identity: Mapping[str, str]) -> Store:
        """Open or make the state file of a scenario. Raises StateError where it is another's."""
        file = Path(path)
        store = cls(_connected(file, "rwc"), file)
        try:
            store._prepare(identity)
        except sqlite3.DatabaseError as error:
            raise StateError(f"{file}: not a state file of fedopt: {error}") from error
        return store

    @classmethod
    def read(cls, path: str | Path) -> Store:
        """Open an existing state file for reading alone. Raises StateError where there is none."""
        file = Path(path)
        if not file.is_file():
            raise StateError(
                f"{file}: there is no state file; fedopt operate SCENARIO --state {file} makes one"
            )
        store = cls(_connected(file, "ro"), file)
        try:
            version = store._meta().get("version")
        except sqlite3.DatabaseError as error:
            raise StateError(f"{file}: not a state file of fedopt: {error}") from error
        if version != str(VERSION):
            raise StateError(f"{file}: its format is {version}, this fedopt reads {VERSION}")
        return store

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def identity(self) -> dict[str, str]:
        """What the file says of its scenario."""
        return {name: value for name, value in self._meta().items() if name != "version"}

    def runs(self) -> dict[str, int]:
        """The runs in the file and how many periods each has completed."""
        rows = self._connection.execute("SELECT run, period FROM carry ORDER BY run")
        return {run: period + 1 for run, period in rows}

    def carry(self, run: str) -> dict[str, Any] | None:
        """What a run carried out of its last completed period, with `period`; None before the first."""
        row = self._connection.execute("SELECT period, state FROM carry WHERE run = ?", (run,)).fetchone()
        return None if row is None else {"period": row[0], **unpacked(row[1])}

    def tokens(self, run: str) -> list[str]:
        """The contracts that a run registered, in that order, as they were signed."""
        rows = self._connection.execute("SELECT token FROM contracts WHERE run = ? ORDER BY number", (run,))
        return [token for (token,) in rows]

    def commit(self, run: str, record: PeriodRecord) -> None:
        """Write a period in one transaction: all of it, or nothing."""
        with self._transaction() as connection:
            done = connection.execute("SELECT period FROM carry WHERE run = ?", (run,)).fetchone()
            following = 0 if done is None else done[0] + 1
            if record.period != following:
                raise StateError(
                    f"{self.path}: period {record.period} of {run} does not follow {following - 1}"
                )
            for table, rows in record.rows.items():
                marks = ", ".join("?" * (1 + len(rows[0])))
                connection.executemany(
                    f"INSERT OR REPLACE INTO {table} VALUES ({marks})" if table == "members"
                    else f"INSERT INTO {table} VALUES ({marks})",
                    [(run, *row) for row in rows],
                )  # fmt: skip
            connection.execute(
                "INSERT OR REPLACE INTO carry VALUES (?, ?, ?)", (run, record.period, packed(record.carry))
            )

    def rows(
        self, table: str, run: str | None = None, where: str = "", values: Sequence[Any] = ()
    ) -> list[Any]:
        """Rows of a table as mappings, in the order of its key."""
        if table not in TABLES:
            raise StateError(f"there is no table {table!r}; there are {', '.join(TABLES)}")
        conditions = [*(["run = ?"] if run is not None else []), *([where] if where else [])]
        text = f"SELECT * FROM {table}" + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
        cursor = self._connection.execute(
            text + " ORDER BY rowid", [*([run] if run is not None else []), *values]
        )
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def select(
        self,
        table: str,
        *,
        run: str | None = None,
        period: int | None = None,
        tenant: str | None = None,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Rows of a table in the order of its key, documents unpacked. Raises StateError for a table, or a
        condition on a column, that does not exist.
        """
        if table not in TABLES:
            raise StateError(f"there is no table {table!r}; there are {', '.join(TABLES)}")
        asked = {"run": run, "period": period, "tenant": tenant}
        wanted = {name: value for name, value in asked.items() if value is not None}
        for name in wanted:
            if f"{name} " not in TABLES[table]:
                raise StateError(f"the table {table} has no column {name!r}")
        if run is not None and run not in self.runs():
            raise StateError(f"{self.path}: there is no run {run!r}; there are {', '.join(self.runs())}")
        conditions = " AND ".join(f"{name} = ?" for name in wanted)
        text = f"SELECT * FROM {table}" + (f" WHERE {conditions}" if wanted else "")
        cursor = self._connection.execute(f"{text} ORDER BY {_key(table)} LIMIT ?", [*wanted.values(), limit])
        names = [column[0] for column in cursor.description]
        return [
            {
                name: unpacked(value) if isinstance(value, bytes) else value
                for name, value in zip(names, row, strict=True)
            }
            for row in cursor
        ]

    def tables(self) -> Iterator[tuple[str, list[str], list[tuple[Any, ...]]]]:
        """Every table: name, columns and rows in order, documents as JSON text."""
        for table in TABLES:
            cursor = self._connection.execute(f"SELECT * FROM {table} ORDER BY {_key(table)}")
            names = [column[0] for column in cursor.description]
            yield table, names, [tuple(_text(value) for value in row) for row in cursor]

    def fingerprint(self) -> str:
        """SHA-256 over everything that the runs have written: equal for equal histories."""
        digest = hashlib.sha256()
        for table, names, rows in self.tables():
            digest.update(repr((table, names)).encode())
            for row in rows:
                digest.update(repr(row).encode())
        for row in self._connection.execute("SELECT run, period, state FROM carry ORDER BY run"):
            digest.update(repr((row[0], row[1], _text(row[2]))).encode())
        return digest.hexdigest()

    def _meta(self) -> dict[str, str]:
        return dict(self._connection.execute("SELECT name, value FROM meta ORDER BY name"))

    def _prepare(self, identity: Mapping[str, str]) -> None:
        connection = self._connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            connection.execute("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT)")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS carry (run TEXT PRIMARY KEY, period INTEGER, state BLOB)"
            )
            for table, columns in TABLES.items():
                connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            known = self._meta()
            if not known:
                rows = [("version", str(VERSION)), *identity.items()]
                connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
                return
        wrong = [
            name for name, value in {**identity, "version": str(VERSION)}.items() if known.get(name) != value
        ]
        if wrong:
            raise StateError(
                f"{self.path}: holds another run: {', '.join(sorted(wrong))} differ; "
                "name another --state file, or remove this one to start over"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


def packed(document: Any) -> bytes:
    """A document as compressed JSON."""
    text = (
        document if isinstance(document, str) else json.dumps(document, ensure_ascii=False, allow_nan=False)
    )
    return zlib.compress(text.encode("utf-8"), 6)


def unpacked(blob: bytes) -> Any:
    """The document in compressed JSON."""
    return json.loads(zlib.decompress(blob))


def column_types(table: str) -> dict[str, str]:
    """The columns of a table and their types, in order."""
    columns = TABLES[table].partition(" PRIMARY KEY")[0].rstrip(",").split(", ")
    return dict(column.split() for column in columns)


def _text(value: Any) -> Any:
    return zlib.decompress(value).decode("utf-8") if isinstance(value, bytes) else value


def _key(table: str) -> str:
    return TABLES[table].rpartition("PRIMARY KEY (")[2].rstrip(")")


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    if mode == "rwc":
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=30.0
        )
    except sqlite3.OperationalError as error:
        raise StateError(f"{path}: cannot be opened: {error}") from error
    return connection
