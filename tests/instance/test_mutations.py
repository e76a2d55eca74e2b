"""Malformed files: each is read as a valid instance or refused with places and remedies, and soon."""

from __future__ import annotations

import copy
import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedopt.instance import Instance, InstanceError, dumps, load, loads

from .conftest import EXAMPLES

FILES = 240
"""Malformed files in one run."""

SECONDS = 20.0
"""What no file may take: ten times what the slowest needs on a small machine, so that only a hang fails."""

STRANGE: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 1e308, -1e-300, math.nan, math.inf, -math.inf, 10**30),
    *("", "x", "no", "1e-3", "ns", "*", "a/b", "\u202e", "0x", "💥" * 50, "x" * 5000),
    *([], {}, [[]], {"model": "poisson"}, {"": 1}, [None]),
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all entries below `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, item in items:
        found.append((*path, key))
        found += _places(item, (*path, key))
    return found


def _parent(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        data = data[key]
    return data


def _delete(data: Any, rng: random.Random) -> None:
    path = rng.choice(_places(data))
    del _parent(data, path)[path[-1]]


def _rename(data: Any, rng: random.Random) -> None:
    path = rng.choice([path for path in _places(data) if isinstance(path[-1], str)])
    parent, key = _parent(data, path), path[-1]
    i = rng.randrange(len(key))
    parent[key[:i] + rng.choice(["", "x", key[i] * 2]) + key[i + 1 :]] = parent.pop(key)


def _replace(data: Any, rng: random.Random) -> None:
    path = rng.choice(_places(data))
    _parent(data, path)[path[-1]] = copy.deepcopy(rng.choice(STRANGE))


def _negate(data: Any, rng: random.Random) -> None:
    numbers = [p for p in _places(data) if isinstance(_parent(data, p)[p[-1]], (int, float))]
    path = rng.choice(numbers)
    _parent(data, path)[path[-1]] *= rng.choice([-1, 0, 1e9, 1e-9, 1e200])


def _misspell(data: Any, rng: random.Random) -> None:
    texts = [p for p in _places(data) if isinstance(_parent(data, p)[p[-1]], str) and _parent(data, p)[p[-1]]]
    path = rng.choice(texts)
    word = _parent(data, path)[path[-1]]
    i = rng.randrange(len(word))
    _parent(data, path)[path[-1]] = word[:i] + word[i + 1 :]


def _duplicate(data: Any, rng: random.Random) -> None:
    lists = [
        p for p in _places(data) if isinstance(_parent(data, p)[p[-1]], list) and _parent(data, p)[p[-1]]
    ]
    path = rng.choice(lists)
    entries = _parent(data, path)[path[-1]]
    entries.insert(rng.randrange(len(entries) + 1), copy.deepcopy(rng.choice(entries)))


def _swap(data: Any, rng: random.Random) -> None:
    one, two = rng.choice(_places(data)), rng.choice(_places(data))
    if one[: len(two)] == two or two[: len(one)] == one:
        return
    a, b = _parent(data, one), _parent(data, two)
    a[one[-1]], b[two[-1]] = b[two[-1]], a[one[-1]]


STRUCTURAL: list[Callable[[Any, random.Random], None]] = [
    _delete, _rename, _replace, _replace, _negate, _misspell, _duplicate, _swap,
]  # fmt: skip


def _truncate(text: bytes, rng: random.Random) -> bytes:
    return text[: rng.randrange(len(text))]


def _cut_out(text: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(text))
    return text[:start] + text[start + rng.randrange(1, 40) :]


def _junk(text: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(text))
    return text[:at] + rng.randbytes(rng.randrange(1, 30)) + text[at:]


def _character(text: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(list("{}[]:,#&*!|>'\"%@`-?\t\n\\")).encode() + text[at + 1 :]


def _indent(text: bytes, rng: random.Random) -> bytes:
    lines = text.split(b"\n")
    i = rng.randrange(len(lines))
    lines[i] = b" " * rng.randrange(1, 9) + lines[i] if rng.random() < 0.5 else lines[i].lstrip()
    return b"\n".join(lines)


def _repeat_line(text: bytes, rng: random.Random) -> bytes:
    lines = text.split(b"\n")
    i = rng.randrange(len(lines))
    return b"\n".join([*lines[: i + 1], *[lines[i]] * rng.choice([1, 1, 1000]), *lines[i + 1 :]])


def _bomb(text: bytes, rng: random.Random) -> bytes:
    width, depth = rng.randrange(5, 12), rng.randrange(5, 12)
    bomb = "x-0: &b0 [" + ", ".join(["1"] * width) + "]\n"
    bomb += "".join(f"x-{i + 1}: &b{i + 1} [{', '.join([f'*b{i}'] * width)}]\n" for i in range(depth))
    return bomb.encode() + text + f"\nlinks: *b{depth}\n".encode()


def _encode(text: bytes, rng: random.Random) -> bytes:
    encoding = rng.choice(["utf-16", "utf-32", "utf-16-le", "cp500"])
    return text.decode("utf-8", "replace").encode(encoding, "replace")


def _nest(text: bytes, rng: random.Random) -> bytes:
    return text + b"\ndeep: " + rng.choice([b"[", b"{a: ", b"- ", b"[{"]) * rng.choice([30, 100, 50_000])


TEXTUAL: list[Callable[[bytes, random.Random], bytes]] = [
    _truncate, _cut_out, _junk, _character, _indent, _repeat_line, _bomb, _encode, _nest,
]  # fmt: skip


def _malformed(k: int) -> tuple[bytes, str]:
    """The k-th malformed file and its suffix."""
    rng = random.Random(k)
    path = EXAMPLES[k % len(EXAMPLES)]
    if k % 2:
        text = path.read_bytes()
        for _ in range(rng.choice([1, 1, 2])):
            text = rng.choice(TEXTUAL)(text, rng) or b" "
        return text, ".yaml"
    data = json.loads(load(path).to_json())
    for _ in range(rng.choice([1, 1, 1, 3])):
        try:
            rng.choice(STRUCTURAL)(data, rng)
        except (IndexError, OverflowError):  # nothing left to change
            break
    if k % 4:
        return json.dumps(data).encode(), ".json"
    return yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "replace"), ".yaml"


def _outcome(content: bytes | Path) -> Instance | InstanceError:
    try:
        return load(content) if isinstance(content, Path) else loads(content)
    except InstanceError as error:
        return error


@pytest.mark.parametrize("first", range(0, FILES, 40))
def test_malformed_files(tmp_path: Path, first: int) -> None:
    refused = 0
    for k in range(first, first + 40):
        content, suffix = _malformed(k)
        file = tmp_path / f"{k}{suffix}"
        file.write_bytes(content)
        start = time.monotonic()
        outcome = _outcome(file)
        assert time.monotonic() - start < SECONDS, k
        if isinstance(outcome, InstanceError):
            refused += 1
            assert outcome.problems, k
            assert all(problem.message and problem.remedy for problem in outcome.problems), (k, str(outcome))
            assert str(file) in str(outcome)
        else:
            assert loads(dumps(outcome)) == outcome
            assert len(outcome.sha256) == 64
    assert refused >= 15


def test_structural_mistakes_name_their_place() -> None:
    """Every problem but those of the text itself says where it is."""
    for k in range(0, FILES, 2):
        outcome = _outcome(_malformed(k)[0])
        if isinstance(outcome, InstanceError):
            whole = [problem for problem in outcome.problems if not problem.place]
            assert not whole or len(outcome.problems) == 1, (k, str(outcome))
