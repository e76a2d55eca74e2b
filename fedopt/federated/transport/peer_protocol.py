"""HTTP over mutual TLS that tells the application whose certificate the connection showed, and sheds
connections on which nothing happens.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from fedopt.federated.transport.certificates import fingerprint_of

__all__ = ["PEER", "PeerProtocol"]

PEER = "fedopt.peer"
"""Key of a request's scope: SHA-256 of the client's certificate, None where it showed none."""


MOST_OF_A_PEER = 8
"""Connections that one certificate keeps open at a time; the idle one that is oldest gives way."""

FIRST_BYTE_SECONDS = 15.0
"""How long a connection may stand without any request."""


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with the client's certificate in the scope of every request."""

    peer: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection stands; its handshake is over."""
        super().connection_made(transport)
        shown = transport.get_extra_info("ssl_object")
        certificate = shown.getpeercert(binary_form=True) if shown is not None else None
        peer = self.peer = fingerprint_of(certificate) if certificate else None
        self._shed()
        self.loop.call_later(FIRST_BYTE_SECONDS, self._close_if_idle)
        application: Any = self.app

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await application({**scope, PEER: peer}, receive, send)

        self.app = with_peer

    def _shed(self) -> None:
        """Make room where the peer has too many connections; who shows no certificate is no one peer."""
        if self.peer is None:
            return
        mine: list[Any] = [c for c in self.connections if getattr(c, "peer", None) == self.peer]
        idle = [c for c in mine if c is not self and c.cycle is None]
        idle += [c for c in mine if c is not self and c.cycle is not None and c.cycle.response_complete]
        for connection in idle[: max(len(mine) - MOST_OF_A_PEER, 0)]:
            connection.transport.close()
            self.connections.discard(connection)

    def _close_if_idle(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
