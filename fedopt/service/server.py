"""The server process: the HTTP application, the socket, TLS, connection limits, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from fedopt.errors import optional
from fedopt.federated.transport.certificates import CertificateError, server_context
from fedopt.service.errors import ApiError
from fedopt.service.middleware import Middleware
from fedopt.service.observability import Log, Relay
from fedopt.service.openapi import DESCRIPTION, VERSION, completed
from fedopt.service.parameters import known_parameters
from fedopt.service.routes import TAGS, page, routers
from fedopt.service.settings import BASE

with optional("HTTP services", "serve"):
    import h11
    import uvicorn
    from fastapi import APIRouter, Depends, FastAPI, Request, Response
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException
    from uvicorn.config import Config

    from fedopt.federated.transport.peer_protocol import PeerProtocol

if TYPE_CHECKING:
    from fedopt.service.auth import Authenticator
    from fedopt.service.service import Service

__all__ = ["Server", "application", "listen", "openapi_document", "tls_context"]


def application(service: Service) -> FastAPI:
    """The service's HTTP application, without the middleware that belongs before it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.begin()
        yield
        await service.end()

    app = FastAPI(
        title="fedopt",
        summary="Plans federated AI services under tail-latency contracts.",
        description=DESCRIPTION,
        version=VERSION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(known_parameters)],
    )
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = completed(described())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    parts = routers(service, openapi)
    for part in parts:
        app.include_router(part, prefix=BASE)
    app.include_router(page(service))
    _answer_errors(app, parts)
    return app


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document of every server."""
    return application(cast("Service", None)).openapi()


def _answer_errors(app: FastAPI, parts: Sequence[APIRouter]) -> None:
    """Every error in the same form."""

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return JSONResponse(error.body(), error.status, headers=error.headers)

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        # what it was, the middleware writes to the log; the caller learns that it was, and under which id
        return await refused(request, ApiError("INTERNAL", "this is a defect of the server"))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return await refused(request, ApiError("INVALID_ARGUMENT", f"{where}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> Response:
        code, words = {
            404: ("NOT_FOUND", "there is no such resource"),
            405: ("METHOD_NOT_ALLOWED", f"{request.method} is not for this resource"),
        }.get(error.status_code, ("INVALID_ARGUMENT", "the request cannot be understood"))
        headers = dict(error.headers or {})
        if code == "METHOD_NOT_ALLOWED":
            headers["Allow"] = ", ".join(sorted(_methods(parts, request.scope["path"])))
        return await refused(request, ApiError(code, words, headers=headers))


def _methods(parts: Sequence[APIRouter], path: str) -> set[str]:
    """The methods that a path knows, over all routes that share it."""
    found: set[str] = set()
    for route in (route for part in parts for route in part.routes):
        template = re.sub(r"{\w+}", "[^/]+", getattr(route, "path", ""))
        if re.fullmatch(BASE + template, path):
            found |= getattr(route, "methods", None) or set()
    return found or {"GET"}


HEAD_SECONDS = 10.0
"""What the head of a request may take."""

MOST_CONNECTIONS = 1024
KEPT_ALIVE_SECONDS = 75
CLOSING_SECONDS = 5


class Protocol(PeerProtocol):
    """HTTP/1.1 whose request heads arrive in time, or not at all, and whose refusals are JSON."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection stands."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Something came."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        super().connection_lost(exc)
        self._unwatch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        error = {
            "status": 400,
            "code": "INVALID_ARGUMENT",
            "message": "malformed HTTP request",
        }
        body = json.dumps(error).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        with contextlib.suppress(h11.LocalProtocolError):
            answer = (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in answer))
        self.transport.close()

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._unwatch()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(uvicorn.Server):
    """A server of the service. The first signal ends it in good order, a second one at once."""

    def __init__(self, service: Service, callers: Authenticator, tls: ssl.SSLContext | None = None) -> None:
        self._service = service
        middleware = Middleware(
            application(service),
            callers,
            service.limits,
            service.log,
            service.metrics,
            service.settings.request_seconds,
        )
        config = Config(
            middleware,
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=KEPT_ALIVE_SECONDS,
            timeout_graceful_shutdown=CLOSING_SECONDS,
        )
        config.load()
        config.ssl = tls
        super().__init__(config)
        self._ending: asyncio.Task[None] | None = None
        _relay(service.log)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to end."""
        asyncio.run(self.serve(sockets))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While inside, SIGINT and SIGTERM end the server; they end nothing else."""
        signals = (signal.SIGINT, signal.SIGTERM)
        try:
            before = {number: signal.signal(number, self.handle_exit) for number in signals}
        except ValueError:  # not the main thread: whoever runs it there ends it
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came."""
        if self._ending is None and self.started:
            self._ending = asyncio.get_running_loop().create_task(self._end())
        else:
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is open. Event streams have no end of their own, so they are ended first."""
        self._service.close_streams()
        await super().shutdown(sockets)

    async def _end(self) -> None:
        """Give running jobs their time, still answering; then end."""
        running = self._service.runner.running
        self._service.log.warn("ending", running=running, seconds=self._service.settings.grace_seconds)
        await self._service.drain()
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises OSError naming the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"cannot be listened on: {reason}", f"{host}:{port}") from None
    return listener


def tls_context(certificate: Path, key: Path, clients: Sequence[Path]) -> ssl.SSLContext:
    """TLS with the server's certificate; with `clients`, connections must show one of these certificates.

    Raises CertificateError.
    """
    if clients:
        return server_context(certificate, key, clients)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "they do not belong together"
        raise CertificateError(f"{certificate}, {key}: cannot be used for TLS: {reason}") from error
    return context


def _relay(log: Log) -> None:
    """What the libraries of the server log becomes lines of its log."""
    for name in ("uvicorn", "uvicorn.error", "asyncio", "sse_starlette"):
        logger = logging.getLogger(name)
        logger.handlers = [Relay(log)]
        logger.propagate = False
