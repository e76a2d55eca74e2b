"""Canonical JSON after RFC 8785 (JCS): one sequence of bytes for every document, so that signatures and
hashes agree.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

__all__ = ["canonical_bytes", "digest", "parse_canonical"]

MOST_BYTES = 4_000_000
DEEPEST = 40


def canonical_bytes(value: Any) -> bytes:
    """The canonical form of mappings, lists, strings, numbers, booleans and None, in UTF-8.

    Raises ValueError for anything else, NaN, infinities, and integers beyond 2^53 (which JSON readers do not
    agree on).
    """
    return _write(value, 0).encode("utf-8")


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def parse_canonical(data: bytes) -> Any:
    """Read canonical JSON. Raises ValueError where the bytes are not the canonical form of what they say."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES:,} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse, parse_int=_integer
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if canonical_bytes(value) != data:
        raise ValueError("the bytes are not in canonical form (RFC 8785)")
    return value


def _write(value: Any, depth: int) -> str:
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        value.encode("utf-8")  # refuses lone surrogates
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        if abs(value) > 2**53:
            raise ValueError(f"the integer {value!s:.40} is beyond 2^53")
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(_write(item, depth + 1) for item in value) + "]"
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("the keys of a mapping must be strings")
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{_write(key, depth)}:{_write(value[key], depth + 1)}" for key in keys) + "}"
    raise ValueError(f"JSON has no {type(value).__name__}")


def _number(value: float) -> str:
    """ECMAScript's Number::toString: the shortest digits that read back, in its own notation."""
    if not math.isfinite(value):
        raise ValueError(f"JSON has no {value}")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        text = digits + "0" * (point - count)
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        power = point - 1
        head = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
        text = f"{head}e{'+' if power > 0 else '-'}{abs(power)}"
    return sign + text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a key occurs twice")
    return document


def _integer(text: str) -> int | float:
    """An integer, or beyond 2^53 the number that a double holds, as every JSON reader sees it."""
    return int(text) if len(text) < 17 and abs(int(text)) <= 2**53 else float(text)


def _refuse(name: str) -> float:
    raise ValueError(f"JSON has no {name}")
