"""The message for an installation without what the HTTP service needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["ServeExtraMissing", "serve_extra"]


class ServeExtraMissing(ImportError):
    """A library of the extra `serve` is not installed; the message names the extra."""

    exit_code = 2


@contextlib.contextmanager
def serve_extra() -> Iterator[None]:
    """Imports inside fail with ServeExtraMissing where their library is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fedopt"):
            raise
        raise ServeExtraMissing(f"fedopt serve needs {error.name}: pip install 'fedopt[serve]'") from error
