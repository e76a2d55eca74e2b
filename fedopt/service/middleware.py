"""What every request passes: correlation id, caller, limits, a line of log; no traceback out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from fedopt.service.auth import Authenticator, header
from fedopt.service.errors import ApiError
from fedopt.service.observability import Log, Metrics, Span, span
from fedopt.service.settings import BASE

__all__ = ["CALLER", "CORRELATOR", "OPEN", "STREAMS", "Limits", "Middleware"]


BURST_SECONDS = 2.0
"""A caller that was silent may ask at once for what it might have asked in this time."""


class Limits:
    """Counts by caller. rate: requests per second (0: any); at_once, streams: open at a time."""

    def __init__(
        self, rate: float, at_once: int, streams: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._at_once, self._streams, self._clock = rate, at_once, streams, clock
        self._burst = max(1.0, rate * BURST_SECONDS)
        self._level: dict[str, tuple[float, float]] = {}
        self._open: Counter[str] = Counter()
        self._streaming: Counter[str] = Counter()

    def count(self, caller: str) -> None:
        """Count a request. Raises ApiError with the time after which one more is allowed."""
        if not self._rate:
            return
        now = self._clock()
        level, last = self._level.get(caller, (self._burst, now))
        level = min(self._burst, level + (now - last) * self._rate)
        if level < 1.0:
            self._level[caller] = (level, now)
            raise ApiError(
                "TOO_MANY_REQUESTS",
                f"at most {self._rate:g} requests per second",
                retry_after=(1.0 - level) / self._rate,
            )
        self._level[caller] = (level - 1.0, now)

    @contextmanager
    def request(self, caller: str) -> Iterator[None]:
        """While inside, one more request of the caller is open. Raises ApiError for one too many."""
        with self._counted(self._open, caller, self._at_once, "requests"):
            yield

    @contextmanager
    def stream(self, caller: str) -> Iterator[None]:
        """While inside, one more stream of the caller is open. Raises ApiError for one too many."""
        with self._counted(self._streaming, caller, self._streams, "event streams"):
            yield

    @contextmanager
    def _counted(self, counter: Counter[str], caller: str, most: int, what: str) -> Iterator[None]:
        if counter[caller] >= most:
            raise ApiError("TOO_MANY_REQUESTS", f"at most {most} {what} at a time", retry_after=1)
        counter[caller] += 1
        try:
            yield
        finally:
            counter[caller] -= 1
            if not counter[caller]:
                del counter[caller]


CORRELATOR = "x-correlator"
PATTERN = r"^[a-zA-Z0-9-_:;.\/<>{}]{0,256}$"
"""What a correlation id may hold, by CAMARA's design guide."""

CALLER = "fedopt.caller"
"""Key of a request's scope: the name of its caller."""

OPEN = frozenset(
    {
        *(f"{BASE}/{name}" for name in ("health", "ready", "openapi.json")),
        *("/", "/page.css", "/page.js", "/metrics"),
    }
)
"""Paths without authentication: they say nothing of any job."""

STREAMS = re.compile(re.escape(BASE) + r"/jobs/[^/]+/events")
"""Paths whose answers have no end of their own."""

MOST_AT_ONCE = 256

_ID = re.compile(PATTERN.replace("^", "").replace("$", ""))

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Middleware:
    """Stands before an ASGI application. seconds: what an answer may take that is no stream."""

    def __init__(
        self, app: App, callers: Authenticator, limits: Limits, log: Log, metrics: Metrics, seconds: float
    ) -> None:
        self._app, self._callers, self._limits, self._log, self._metrics = app, callers, limits, log, metrics
        self._seconds = seconds
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = _method(scope)
        within = {name: header(scope, name.encode()) for name in ("traceparent", "tracestate")}
        with span(method, {"http.request.method": method}, within, server=True) as begun:
            await self._answered(scope, receive, send, begun)

    async def _answered(self, scope: Scope, receive: Receive, send: Send, begun: Span) -> None:
        answer = _Answer(send, header(scope, CORRELATOR.encode()))
        began = time.perf_counter()
        caller: str | None = None
        self._open += 1
        try:
            if _ID.fullmatch(answer.correlator) is None:
                answer.correlator = ""
                raise ApiError("INVALID_ARGUMENT", f"{CORRELATOR} must match {PATTERN}")
            if self._open > MOST_AT_ONCE:
                raise ApiError("UNAVAILABLE", "the server has too many open requests", retry_after=1)
            if scope["path"] in OPEN:
                await self._passed(scope, receive, answer)
            else:
                caller = scope[CALLER] = self._callers.who(scope)
                self._limits.count(caller)
                stream = STREAMS.fullmatch(scope["path"]) is not None
                with self._limits.stream(caller) if stream else self._limits.request(caller):
                    await self._passed(scope, receive, answer)
        except ApiError as error:
            await answer.refuse(error)
        except Exception as error:
            self._log.error(
                "defect",
                correlator=answer.correlator,
                path=scope["path"],
                traceback="".join(traceback.format_exception(error)),
            )
            await answer.refuse(ApiError("INTERNAL", "this is a defect of the server"))
        finally:
            self._open -= 1
            took = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "unknown").removeprefix(BASE)
            begun.update_name(f"{_method(scope)} {route}")
            begun.set_attribute("http.route", route)
            begun.set_attribute("http.response.status_code", answer.status or 499)
            begun.set_attribute("fedopt.correlator", answer.correlator)
            timed = None if STREAMS.fullmatch(scope["path"]) else took
            self._metrics.request(_method(scope), route, answer.status or 499, timed)
            self._log.note(
                "request",
                correlator=answer.correlator,
                caller=caller,
                method=scope["method"],
                path=scope["path"][:300],
                status=answer.status,
                seconds=round(took, 6),
                bytes=answer.bytes,
                client=(scope.get("client") or [None])[0],
            )

    async def _passed(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """Have it answered, in time."""
        if STREAMS.fullmatch(scope["path"]):
            await self._app(scope, receive, answer.send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, answer.send)
        except TimeoutError:
            words = f"the answer took longer than {self._seconds:g} s"
            raise ApiError("TIMEOUT", words, retry_after=self._seconds) from None


def _method(scope: Scope) -> str:
    """The HTTP method, with one name for all that no route has, so that labels stay few."""
    return str(scope["method"]) if scope["method"] in ("GET", "POST", "DELETE", "HEAD") else "other"


class _Answer:
    """An answer on its way: the headers that all have, and what is logged of it."""

    def __init__(self, send: Send, correlator: str) -> None:
        self._send = send
        self._correlator = correlator
        self.status: int | None = None
        self.bytes = 0

    @property
    def correlator(self) -> str:
        """The id the caller gave, or one of our own."""
        if not self._correlator:
            self._correlator = str(uuid.uuid4())
        return self._correlator

    @correlator.setter
    def correlator(self, value: str) -> None:
        self._correlator = value

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message.get("headers", ())}
            extra = [
                (CORRELATOR.encode(), self.correlator.encode("latin-1")),
                (b"x-content-type-options", b"nosniff"),
                *([] if b"cache-control" in given else [(b"cache-control", b"no-store")]),
            ]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        """Answer with an error, unless an answer has begun already."""
        if self.status is not None:
            return
        body = json.dumps(error.body(), ensure_ascii=True).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode("latin-1")) for name, value in error.headers.items()),
        ]
        with contextlib.suppress(OSError):
            await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
            await self.send({"type": "http.response.body", "body": body})
