"""The body of a request: small enough, in time, and of a kind that can be read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from email.message import Message
from typing import TYPE_CHECKING

from fedopt.service.errors import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["JSON", "YAML", "body_of"]

JSON = "application/json"
YAML = ("application/yaml", "application/x-yaml", "text/yaml")

DRAINED_SECONDS = 1.0
"""What the rest of a body that is refused may take, so that its sender comes to hear why."""


async def body_of(request: Request, most: int, seconds: float) -> tuple[bytes, bool]:
    """(the body, whether it is JSON). Raises ApiError for one too large, too slow, or of another kind."""
    json_only = _kind(request)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        await _drain(request.stream(), most)
        raise _too_large(most)
    parts, size = [], 0
    stream = request.stream()
    try:
        async with asyncio.timeout(seconds):
            async for part in stream:
                size += len(part)
                if size > most:
                    await _drain(stream, most)
                    raise _too_large(most)
                parts.append(part)
    except TimeoutError:
        raise ApiError("FEDOPT.TOO_SLOW", f"a body must arrive within {seconds:g} s") from None
    return b"".join(parts), json_only


def _kind(request: Request) -> bool:
    """Whether the body says that it is JSON. Raises ApiError for what is neither JSON nor YAML in UTF-8."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError("UNSUPPORTED_MEDIA_TYPE", "send the body as it is, without Content-Encoding")
    parsed = Message()
    parsed["content-type"] = request.headers.get("content-type", "")
    kind, charset = parsed.get_content_type(), parsed.get_param("charset", "utf-8")
    if kind not in (JSON, *YAML) or "content-type" not in request.headers:
        raise ApiError("UNSUPPORTED_MEDIA_TYPE", f"send {JSON} or {YAML[0]}, and say so in Content-Type")
    if str(charset).lower().replace("-", "") != "utf8":
        raise ApiError("UNSUPPORTED_MEDIA_TYPE", "send the body in UTF-8")
    return kind == JSON


def _too_large(most: int) -> ApiError:
    return ApiError("FEDOPT.TOO_LARGE", f"a body has at most {most} bytes", headers={"Connection": "close"})


async def _drain(stream: AsyncIterator[bytes], most: int) -> None:
    """Read on for a moment and forget what comes."""
    dropped = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAINED_SECONDS):
            async for part in stream:
                dropped += len(part)
                if dropped > 4 * most:
                    return
