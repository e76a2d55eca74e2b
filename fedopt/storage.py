"""What fedopt keeps on disk: files written in one step, locks, SQLite databases, canonical JSON."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock
import rfc8785

from fedopt.errors import InputError

__all__ = [
    "StorageError",
    "canonical_json",
    "disk_is_full",
    "hold_folder",
    "open_database",
    "write_atomically",
]


class StorageError(InputError):
    """A folder or a database that cannot be used; the message names it and the cause."""


def hold_folder(folder: str | os.PathLike[str], who: str) -> filelock.BaseFileLock:
    """Make a state folder and keep it to this process until the lock is released or the process ends.

    Parameters
    ----------
    folder
        Created with mode 700 where it is missing.
    who
        What else may be running on it, for the message: "fedopt serve", "broker".

    Raises
    ------
    StorageError
        If another process holds the folder, or it cannot be written.
    """
    place = Path(folder)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = filelock.FileLock(place / "lock", mode=0o600)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise StorageError(f"{place}: another {who} is using this state folder") from None
    except OSError as error:
        raise StorageError(f"{place}: the state folder cannot be used: {error.strerror or error}") from error
    return lock


def open_database(
    file: str | os.PathLike[str], schema: str = "", *, mode: str = "rwc", durable: bool = True
) -> sqlite3.Connection:
    """Open an SQLite database in autocommit mode, usable from any thread.

    Parameters
    ----------
    file
        Its path; missing folders are created unless `mode` is "ro" or "rw".
    schema
        SQL script run after opening (``CREATE TABLE IF NOT EXISTS`` …); it is not run in mode "ro".
    mode
        "ro", "rw" or "rwc" (create where missing), as in SQLite's URIs.
    durable
        With a write-ahead log that is flushed to disk at every commit; otherwise SQLite's defaults.

    Raises
    ------
    StorageError
        If it cannot be opened or is no database.
    """
    path = Path(file)
    connection = None
    try:
        if mode == "rwc":
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=30.0,
            check_same_thread=False,
        )
        if mode != "ro":
            if durable:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
            if schema:
                connection.executescript(schema)
    except (OSError, sqlite3.Error) as error:
        if connection is not None:
            connection.close()
        raise StorageError(f"{path}: the database cannot be opened: {error}") from error
    return connection


def disk_is_full(error: BaseException) -> bool:
    """Whether an error of a file or a database says that there is no room left for it."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def canonical_json(value: Any) -> bytes:
    """The canonical form (RFC 8785) of mappings, lists, strings, numbers, booleans and None, in UTF-8.

    Raises
    ------
    ValueError
        For anything else, NaN, infinities, integers beyond 2^53 and lone surrogates.
    """
    return rfc8785.dumps(value)


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write `content` to `path` in one step and return the path.

    The content goes to a temporary file in the same directory, is flushed to the disk and then takes the
    place of `path`. Text is written as UTF-8 with its line ends unchanged. A missing directory is created.
    The mode of a file that is replaced is kept. A path that is no ordinary file (such as `/dev/stdout` or a
    pipe) is written directly, and a symbolic link is followed, not replaced.

    Raises `OSError` where the file cannot be written; then nothing has changed.
    """
    target = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    if target.is_symlink():
        target = target.resolve()
    if target.exists() and not target.is_file() and not target.is_dir():
        with open(target, "wb") as stream:
            stream.write(data)
        return Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, _mode_for(target))
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return Path(path)


def _mode_for(target: Path) -> int:
    """The permissions of the file to be replaced, or those that a new file would get."""
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
