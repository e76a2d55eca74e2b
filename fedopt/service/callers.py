"""Who asks: by bearer token, by the certificate of the connection, or anyone on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fedopt.service.errors import ApiError
from fedopt.service.tokens import TokenError, TokenFile

__all__ = ["Anyone", "ByCertificate", "ByToken", "Callers", "header"]


class Callers(Protocol):
    """Tells who sent a request."""

    def who(self, scope: Mapping[str, Any]) -> str:
        """The caller's name. Raises ApiError for a request of nobody known."""


class ByToken:
    """Callers show a bearer token."""

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
    """Callers show a certificate that is pinned here; `names` are the callers by SHA-256 of it."""

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
