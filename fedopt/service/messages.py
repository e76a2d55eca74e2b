"""Messages between the server and its workers: a JSON object and, where there is one, a text beside it.

A frame is the length of the object (4 bytes), the length of the text (8 bytes), the object, the text. Nothing
is pickled, so neither side can make the other run anything.
"""

from __future__ import annotations

import json
import struct
from asyncio import IncompleteReadError, StreamReader
from typing import Any, BinaryIO

__all__ = ["Message", "MessageError", "encode", "read", "receive"]

_HEAD = struct.Struct(">IQ")

MOST_BYTES = 4_000_000_000

Message = tuple[dict[str, Any], bytes]
"""A message and the text that came with it (empty where none did)."""


class MessageError(Exception):
    """The other side has gone, or speaks something else."""


def encode(message: dict[str, Any], text: bytes = b"") -> bytes:
    """The bytes of a frame."""
    head = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return _HEAD.pack(len(head), len(text)) + head + text


def read(stream: BinaryIO) -> Message | None:
    """The next frame of a stream that blocks; None at its end."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    first, second = _lengths(head)
    content = stream.read(first + second)
    return None if len(content) < first + second else _frame(content, first)


async def receive(stream: StreamReader) -> Message:
    """The next frame of an asyncio stream. Raises MessageError at its end."""
    try:
        first, second = _lengths(await stream.readexactly(_HEAD.size))
        return _frame(await stream.readexactly(first + second), first)
    except IncompleteReadError:
        raise MessageError("the process has ended") from None


def _lengths(head: bytes) -> tuple[int, int]:
    first, second = _HEAD.unpack(head)
    if first + second > MOST_BYTES:
        raise MessageError("this is no frame")
    return first, second


def _frame(content: bytes, length: int) -> Message:
    try:
        message = json.loads(content[:length].decode("utf-8", "surrogatepass"))
    except ValueError:
        raise MessageError("this is no frame") from None
    return message, content[length:]
