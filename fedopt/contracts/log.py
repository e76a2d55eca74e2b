"""An append-only, hash-chained log: each entry holds the hash of the one before, so that no past entry can
be changed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedopt.contracts.canonical import canonical_bytes, digest, parse_canonical
from fedopt.contracts.document import now
from fedopt.contracts.errors import ContractError

__all__ = ["Entry", "Log"]

START = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the log: index from 0, time, event and its data, hash of the entry before and of this
    one.
    """

    index: int
    time: str
    event: str
    data: dict[str, Any]
    previous: str
    hash: str


class Log:
    """The log in one file of JSON lines. One writer at a time (file lock); a line half written by a crash is
    dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        """All entries, the chain verified. Raises ContractError("log") naming the first entry that is
        wrong.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")
        found: list[Entry] = []
        previous = START
        for index, line in enumerate(lines[:-1]):  # what follows the last line feed was never completed
            entry = _entry(line, index)
            if entry.previous != previous or entry.index != index:
                raise ContractError(
                    "log", f"entry {index} does not follow the one before it: the log was changed"
                )
            found.append(entry)
            previous = entry.hash
        return found

    def head(self) -> str:
        """Hash of the last entry; whoever keeps it can tell later whether the log was cut short."""
        entries = self.entries()
        return entries[-1].hash if entries else START

    def append(self, event: str, data: dict[str, Any], time: str | None = None) -> Entry:
        """Add an entry; it is on the disk when this returns."""
        entries = self.entries()
        previous = entries[-1].hash if entries else START
        body = {
            "index": len(entries),
            "time": time or now(),
            "event": event,
            "data": data,
            "previous": previous,
        }
        line = canonical_bytes(body | {"hash": digest(canonical_bytes(body))}) + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as stream:
            whole = sum(len(_line(entry)) for entry in entries)
            if stream.tell() != whole:
                stream.truncate(whole)
            stream.seek(whole)
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        return _entry(line[:-1], len(entries))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the log for reading and appending as one step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "a+b") as stream:
            try:
                import fcntl
            except ImportError:  # no advisory locks on this system
                yield
                return
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(stream, fcntl.LOCK_UN)


def _line(entry: Entry) -> bytes:
    return canonical_bytes(vars(entry)) + b"\n"


def _entry(line: bytes, index: int) -> Entry:
    try:
        body = parse_canonical(line)
        stated = body.pop("hash")
        if stated != digest(canonical_bytes(body)):
            raise ContractError("log", f"entry {index} was changed: its hash is not that of its contents")
        entry = Entry(hash=stated, **body)
        if not isinstance(entry.data, dict) or not isinstance(entry.event, str):
            raise TypeError
        return entry
    except (ValueError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(
            "log", f"entry {index} cannot be read: the log was changed or is damaged"
        ) from error
