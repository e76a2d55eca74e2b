"""Who sends a request: by bearer token, by the certificate of the connection, or anyone on this machine.

Tokens are made here, shown once, kept as hashes and compared in constant time. A token carries 256 random
bits, so a plain SHA-256 of it cannot be reversed by guessing. The file holds a line a token: name, `sha256:`
and the hash. Several tokens may carry one name, so that one can be replaced without a gap; removing a line
ends its token at once, without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from fedopt.errors import InputError
from fedopt.service.errors import ApiError
from fedopt.storage import write_atomically

__all__ = [
    "Anyone",
    "Authenticator",
    "ByCertificate",
    "ByToken",
    "TokenError",
    "TokenFile",
    "header",
    "make_token",
]


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LINE = re.compile(r"(\S+)\s+sha256:([0-9a-f]{64})(?:\s+(?:#.*)?)?")
LONGEST_TOKEN = 200

HEAD = "# Tokens of fedopt serve: name and SHA-256 of the token. A line removed ends its token at once.\n"


class TokenError(InputError):
    """A token file that cannot be used, or a name that no caller can have; the message names it."""


def make_token(name: str, file: str | Path) -> str:
    """Make a token for a caller and add its hash to the file, which only its owner can read.

    The token itself is returned and kept nowhere. Raises TokenError and OSError.
    """
    if NAME.fullmatch(name) is None:
        raise TokenError(
            f"{name!r} cannot be a caller's name: letters, digits, '.', '_' and '-', at most 64, the first a "
            "letter or digit"
        )
    path = Path(file)
    known = HEAD
    if path.exists():
        known = _text(path)
        _read(known, path)
        if known and not known.endswith("\n"):
            known += "\n"
    token = "fedopt_" + secrets.token_urlsafe(32)
    made = datetime.now(UTC).strftime("%Y-%m-%d")
    new = not path.exists()
    write_atomically(path, f"{known}{name} sha256:{_hash(token)} # {made}\n")
    if new:
        os.chmod(path, 0o600)
    return token


class TokenFile:
    """The callers that a token file names. The file is read again whenever it changes."""

    def __init__(self, file: str | Path) -> None:
        """Raises TokenError where the file cannot be used or names nobody."""
        self._file = Path(file)
        self._stamp = self._stamped()
        self._entries = _read(_text(self._file), self._file)
        if not self._entries:
            raise TokenError(
                f"{self._file}: names no caller; fedopt serve token NAME --tokens {self._file} makes a token"
            )

    def holder(self, token: str) -> str | None:
        """The name that a token belongs to, None for an unknown one. Raises TokenError where the file broke.

        Every entry is compared, in constant time, whether or not one fits.
        """
        stamp = self._stamped()
        if stamp != self._stamp:
            self._entries = _read(_text(self._file), self._file)
            self._stamp = stamp
        shown = _hash(token[:LONGEST_TOKEN])
        found = None
        for name, known in self._entries:
            if hmac.compare_digest(shown, known):
                found = name
        return found

    def _stamped(self) -> tuple[int, int, int]:
        try:
            status = self._file.stat()
        except OSError as error:
            raise TokenError(f"{self._file}: cannot be read: {error.strerror}") from None
        return status.st_ino, status.st_size, status.st_mtime_ns


def _read(text: str, file: Path) -> list[tuple[str, str]]:
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None or NAME.fullmatch(found[1]) is None:
            raise TokenError(
                f"{file}, line {number}: is not NAME sha256:HASH; fedopt serve token NAME --tokens {file} "
                "writes such a line"
            )
        entries.append((found[1], found[2]))
    return entries


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > 10_000_000:
            raise TokenError(f"{file}: is too large for a token file")
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise TokenError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TokenError(f"{file}: is no token file (no UTF-8 text)") from None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Authenticator(Protocol):
    """Tells who sent a request."""

    def who(self, scope: Mapping[str, Any]) -> str:
        """The caller's name. Raises ApiError for a request of nobody known."""


class ByToken:
    """Authenticator show a bearer token."""

    def __init__(self, tokens: TokenFile) -> None:
        self._tokens = tokens

    def who(self, scope: Mapping[str, Any]) -> str:
        """The name that the request's token belongs to."""
        scheme, _, token = header(scope, b"authorization").partition(" ")
        try:
            found = self._tokens.holder(token.strip()) if scheme.lower() == "bearer" else None
        except TokenError as error:
            raise ApiError("UNAVAILABLE", "the server cannot read its token file", retry_after=30) from error
        if found is None:
            raise ApiError(
                "UNAUTHENTICATED",
                "the request needs a valid token: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return found


class ByCertificate:
    """Authenticator show a certificate that is pinned here; `names` are the callers by SHA-256 of it."""

    def __init__(self, names: Mapping[str, str], key: str) -> None:
        self._names, self._key = dict(names), key

    def who(self, scope: Mapping[str, Any]) -> str:
        """The name of the certificate that the connection showed."""
        found = self._names.get(scope.get(self._key) or "")
        if found is None:
            raise ApiError("UNAUTHENTICATED", "this certificate is not that of a known caller")
        return found


class Anyone:
    """Whoever reaches this machine's own address is the caller `local`.

    The host name of the request must be one of this machine's own, so that a page in a browser that made its
    name point here reaches nothing.
    """

    OWN = frozenset({"localhost", "127.0.0.1", "::1"})

    def who(self, scope: Mapping[str, Any]) -> str:
        """Always `local`."""
        if header(scope, b"sec-fetch-site") in ("cross-site", "same-site"):
            raise ApiError("PERMISSION_DENIED", "this server answers to no page of another site")
        host = header(scope, b"host")
        name = host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]
        if name.lower() not in self.OWN:
            raise ApiError("PERMISSION_DENIED", "this server answers to the names of its own machine alone")
        return "local"


def header(scope: Mapping[str, Any], name: bytes) -> str:
    """A header of a request, empty where it has none."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return ""
