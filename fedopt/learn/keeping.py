"""Keeping what was learned: a file saved in one step, or a database that loses nothing when the power goes.

A kept orchestrator writes every answer down before it counts, and a snapshot of everything now and then. It
is found again by reading the snapshot and learning from what came after it; learning draws no lots, so the
state is the same as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from fedopt.errors import InputError
from fedopt.learn.orchestrator import Orchestrator
from fedopt.storage import StorageError, open_database, write_atomically

FORMAT = 2
SNAPSHOT_EVERY = 500
"""Events between two snapshots at most."""
SNAPSHOT_ANSWERS = 5000
"""Answers between two snapshots at most; to learn from so many again takes a second or two."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshot (id INTEGER PRIMARY KEY CHECK (id = 0), event INTEGER, state BLOB);
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY AUTOINCREMENT, content TEXT NOT NULL);
"""


class StateError(InputError):
    """A saved state that cannot be resumed."""


def save(orchestrator: Orchestrator, path: str | os.PathLike[str]) -> None:
    """Write all that is needed to go on, in one step."""
    write_atomically(path, _to_bytes(orchestrator))


def load(path: str | os.PathLike[str]) -> Orchestrator:
    """Resume from a saved state.

    Raises
    ------
    StateError
        If the file is not one.
    """
    return _from_bytes(Path(path).read_bytes(), str(path))


@contextlib.contextmanager
def updating(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep others from updating a saved state: hold this from `load` to `save`."""
    with filelock.FileLock(f"{os.fspath(path)}.lock"):
        yield


def _to_bytes(orchestrator: Orchestrator) -> bytes:
    stream = io.BytesIO()
    state: dict[str, Any] = {key: np.asarray(value) for key, value in orchestrator.state().items()}
    np.savez_compressed(stream, **state, format=np.array(FORMAT))
    return stream.getvalue()


def _from_bytes(content: bytes, source: str) -> Orchestrator:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            entries = {key: archive[key] for key in archive.files}
        found = int(entries.pop("format"))
        if found != FORMAT:
            raise StateError(
                f"{source}: a state of format {found}, this version reads {FORMAT}: "
                "learn from the history anew"
            )
        return Orchestrator.from_state(entries)
    except (KeyError, TypeError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"{source}: not a saved state of fedopt decompose ({error})") from error


class Kept(Orchestrator):
    """An orchestrator whose every answer is on disk before `observe` returns; made by `keep`."""

    _database: sqlite3.Connection | None = None
    _lock: filelock.BaseFileLock
    _since = _answers = 0

    def _record(self, event: Mapping[str, Any]) -> None:
        if self._database is None:  # what is read again is there already
            return
        if self._since >= SNAPSHOT_EVERY or self._answers >= SNAPSHOT_ANSWERS:
            self.snapshot()
        try:
            self._database.execute("INSERT INTO events (content) VALUES (?)", (json.dumps(event),))
        except sqlite3.Error as error:
            raise StorageError(f"the learned state cannot be written: {error}") from error
        self._since += 1
        self._answers += len(event.get("answers", ()))

    def snapshot(self) -> None:
        """Write everything down; what came before needs not be read again."""
        assert self._database is not None
        with self._learning:
            content = _to_bytes(self)
            try:
                self._database.execute("BEGIN IMMEDIATE")
                (last,) = self._database.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
                self._database.execute("REPLACE INTO snapshot VALUES (0, ?, ?)", (last, content))
                self._database.execute("DELETE FROM events WHERE id <= ?", (last,))
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise StorageError(f"the learned state cannot be written: {error}") from error
            self._since = self._answers = 0

    def close(self) -> None:
        """Write everything down and let others have the file."""
        with self._learning:
            if self._database is not None:
                self.snapshot()
                self._database.close()
                self._database = None
                self._lock.release()


def keep(path: str | os.PathLike[str], start: Callable[[], Orchestrator]) -> Kept:
    """The orchestrator that is kept in a database file; one that is not there yet begins as `start` gives it.

    Raises
    ------
    StorageError
        If another process holds the file, or it cannot be used.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(f"{file}.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StorageError(f"{file}: another process is learning in it") from None
    try:
        database = open_database(file, _SCHEMA)
        row = database.execute("SELECT state FROM snapshot").fetchone()
        begun = start() if row is None else _from_bytes(row[0], str(file))
        kept = Kept()
        kept.__dict__.update(begun.__dict__)
        for (content,) in database.execute("SELECT content FROM events ORDER BY id").fetchall():
            event = json.loads(content)
            if "sent" in event:
                kept._note_sent(event["sent"])
            else:
                kept._take(event["answers"])
        kept._database, kept._lock = database, lock
        if row is None:
            kept.snapshot()
        return kept
    except BaseException:
        lock.release()
        raise
