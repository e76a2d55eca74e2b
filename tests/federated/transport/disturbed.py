"""A network that loses, doubles and delays messages, and one that listens: layers around HTTP."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import httpx


@dataclass
class Disturbance:
    """Losses on the way there and on the way back, doubles (the second one some messages later); seeded."""

    lost: float = 0.2
    doubled: float = 0.05
    seed: int = 1
    counts: dict[str, int] = field(default_factory=lambda: {"lost": 0, "doubled": 0, "passed": 0})

    def wrap(self, operator: str, inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return _Disturbed(inner, self, random.Random(f"{self.seed} {operator}"))


class _Disturbed(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, how: Disturbance, source: random.Random) -> None:
        self.inner, self.how, self.random = inner, how, source
        self.late: list[tuple[httpx.URL, httpx.Headers, str, bytes]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        counts = self.how.counts
        body = await request.aread()
        if self.late and self.random.random() < 0.5:
            url, headers, method, old = self.late.pop()
            again = await self.inner.handle_async_request(
                httpx.Request(method, url, headers=headers, content=old)
            )
            await again.aread()
            counts["doubled"] += 1
        # half of the losses happen before the agent has heard, half after it has answered
        if self.random.random() < self.how.lost / 2:
            counts["lost"] += 1
            raise httpx.ReadTimeout("lost on the way there", request=request)
        response = await self.inner.handle_async_request(request)
        if self.random.random() < self.how.doubled:
            self.late.append((request.url, request.headers, request.method, body))
        if self.random.random() < self.how.lost / 2:
            counts["lost"] += 1
            await response.aread()
            raise httpx.ReadTimeout("lost on the way back", request=request)
        counts["passed"] += 1
        return response

    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass
class Listener:
    """Everything that crosses the boundary to every operator: (operator, direction, body) in order."""

    heard: list[tuple[str, str, bytes]] = field(default_factory=list)

    def wrap(self, operator: str, inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return _Heard(inner, operator, self.heard)


class _Heard(httpx.AsyncBaseTransport):
    def __init__(
        self, inner: httpx.AsyncBaseTransport, operator: str, heard: list[tuple[str, str, bytes]]
    ) -> None:
        self.inner, self.operator, self.heard = inner, operator, heard

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.heard.append((self.operator, "out", await request.aread()))
        response = await self.inner.handle_async_request(request)
        self.heard.append((self.operator, "in", await response.aread()))
        return response

    async def aclose(self) -> None:
        await self.inner.aclose()
