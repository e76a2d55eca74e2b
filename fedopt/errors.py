"""One base for every error that fedopt raises on purpose, with the classes that a caller can act on.

Each class carries the exit code with which the command line ends when it meets the error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["FedoptError", "InputError", "MissingExtraError", "optional"]


class FedoptError(Exception):
    """The base of all errors of fedopt. Its message is one that a user can act on."""

    exit_code = 1


class InputError(FedoptError, ValueError):
    """A file, an option or an argument that cannot be used; the message says where and what to do."""

    exit_code = 2


class MissingExtraError(FedoptError, ImportError):
    """A library of an extra is not installed; the message names the extra."""

    exit_code = 2


@contextlib.contextmanager
def optional(purpose: str, extra: str) -> Iterator[None]:
    """Guard imports of libraries that belong to an extra.

    Parameters
    ----------
    purpose
        What needs them, as the subject of a sentence in the plural: "plots", "Parquet files".
    extra
        The extra's name in `pip install 'fedopt[extra]'`.

    Raises
    ------
    MissingExtraError
        If an import in the block fails because a library other than fedopt is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "fedopt":
            raise
        raise MissingExtraError(
            f"{purpose} need {error.name}: pip install 'fedopt[{extra}]'", name=error.name
        ) from error
