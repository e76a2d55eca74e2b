"""The server's log: one JSON object a line, with the correlation id of what it belongs to and no secrets.

Neither headers nor query strings nor bodies are logged: that is where tokens and business figures are.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

__all__ = ["Log", "Relay"]


class Log:
    """Writes lines to a stream (stderr), whole ones, from any thread."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._lock = threading.Lock()

    def note(self, event: str, **fields: Any) -> None:
        """Something that happened as it should; nothing when quiet."""
        if not self._quiet:
            self._write("info", event, fields)

    def warn(self, event: str, **fields: Any) -> None:
        """Something that the operator should know."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """A defect."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": now, "level": level, "event": event, **fields}, ensure_ascii=True)
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads the log any more; that is no reason to stop serving


class Relay(logging.Handler):
    """Passes what libraries log on to the server's log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line, with the traceback if there is one."""
        fields = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        (self._log.error if record.levelno >= logging.ERROR else self._log.warn)("library", **fields)
