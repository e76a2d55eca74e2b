"""The message for an installation without what federated runs across operators need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["FederationExtraMissing", "federation_extra"]


class FederationExtraMissing(ImportError):
    """A library of the extra `federation` is not installed; the message names the extra."""

    exit_code = 2


@contextlib.contextmanager
def federation_extra() -> Iterator[None]:
    """Imports inside fail with FederationExtraMissing where their library is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fedopt"):
            raise
        raise FederationExtraMissing(
            f"runs across operators need {error.name}: pip install 'fedopt[federation]'"
        ) from error
