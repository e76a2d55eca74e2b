"""A record's file: opened as often as needed, unpacked on the way, seen from its beginning, read as JSON."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from fedopt.errors import InputError

__all__ = ["LOOKED_AT", "RecordError", "Source"]

LOOKED_AT = 1 << 16
LONGEST_LINE = 1 << 20


class RecordError(InputError):
    """A record that cannot be read or used; the message names the file, the place and the remedy."""


class Source:
    """A file, opened as often as needed; packed files (gzip) are unpacked on the way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unusable = 0
        self.first_unusable: str | None = None

    @cached_property
    def magic(self) -> bytes:
        """The first bytes as they lie on the disk."""
        with open(self.path, "rb") as stream:
            return stream.read(4)

    def open(self) -> IO[str]:
        """The text, without a byte-order mark; bytes that are not UTF-8 raise UnicodeDecodeError."""
        raw: Any = gzip.GzipFile(self.path) if self.magic[:2] == b"\x1f\x8b" else self.path.open("rb")
        return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")

    @cached_property
    def head(self) -> str:
        """The first 64 thousand characters of text; empty for Parquet."""
        if self.magic == b"PAR1":
            return ""
        with self.open() as stream:
            return stream.read(LOOKED_AT)

    @cached_property
    def lines(self) -> list[str]:
        """The first lines of text that are not blank, whole ones only."""
        found = self.head.splitlines()
        if len(self.head) == LOOKED_AT and len(found) > 1 and not self.head.endswith("\n"):
            found = found[:-1]
        return [line for line in found if line.strip()]

    @property
    def first(self) -> str:
        """The first line."""
        return self.lines[0] if self.lines else ""

    @cached_property
    def start(self) -> Any:
        """The first JSON value of JSON lines, the whole of a JSON document; None for other text."""
        if not self.first.lstrip().startswith(("{", "[")):
            return None
        try:
            return json.loads(self.first)
        except ValueError:
            pass
        if len(self.lines) > 1 and self.first.rstrip().endswith("}"):
            return {}  # a damaged line among JSON lines
        with self.open() as stream:
            try:
                return json.load(stream)
            except (ValueError, RecursionError):
                return {} if self.first.lstrip().startswith("{") else None

    def values(self) -> Iterator[Any]:
        """The JSON values of the file: of its lines, or the one document."""
        whole = not self._by_lines
        if whole:
            yield self.start
            return
        with self.open() as stream:
            for number, line in enumerate(self._bounded(stream), 1):
                if not line.strip():
                    continue
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    self.reject(f"line {number} is not JSON: {line.strip()[:80]!r}")

    @property
    def _by_lines(self) -> bool:
        try:
            json.loads(self.first)
        except ValueError:
            return len(self.lines) > 1 and self.first.rstrip().endswith("}")
        return True

    def reject(self, reason: str, count: int = 1) -> None:
        """Count rows of which nothing can be read."""
        self.unusable += count
        if self.first_unusable is None:
            self.first_unusable = reason

    def _bounded(self, stream: IO[str]) -> Iterator[str]:
        while line := stream.readline(LONGEST_LINE):
            if len(line) >= LONGEST_LINE and self._lines_matter(line):
                raise RecordError(
                    f"{self.path}: a line of more than {LONGEST_LINE:,} characters; this is no record"
                )
            while len(line) >= LONGEST_LINE and not line.endswith("\n"):
                line += stream.readline(LONGEST_LINE)
                break
            yield line

    @staticmethod
    def _lines_matter(line: str) -> bool:
        return not line.lstrip().startswith(("{", "["))
