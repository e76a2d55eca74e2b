"""HTTP over mutual TLS that tells the application whose certificate the connection showed."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from fedopt.federated.transport.certificates import fingerprint_of

__all__ = ["PEER", "PeerProtocol"]

PEER = "fedopt.peer"
"""Key of a request's scope: SHA-256 of the client's certificate, None where it showed none."""


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with the client's certificate in the scope of every request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection stands; its handshake is over."""
        super().connection_made(transport)
        shown = transport.get_extra_info("ssl_object")
        certificate = shown.getpeercert(binary_form=True) if shown is not None else None
        peer = fingerprint_of(certificate) if certificate else None
        application: Any = self.app

        async def with_peer(scope: Any, receive: Any, send: Any) -> None:
            await application({**scope, PEER: peer}, receive, send)

        self.app = with_peer
