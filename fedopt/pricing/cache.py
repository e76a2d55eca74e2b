"""Margins of whole paths that earlier solves of this process found.

What is kept is a function of its key alone, so a plan does not depend on what was solved before, or beside it
in another thread. Whoever takes a memory owns it until it is given back, so two solves never share one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

__all__ = ["forget", "give", "take"]

_MOST_ENTRIES = 4_000_000  # of all memories together, 16 bytes each

_lock = threading.Lock()
_kept: OrderedDict[bytes, tuple[Any, int]] = OrderedDict()


def take(key: bytes) -> Any | None:
    """The memory kept under a key, which leaves the store; None where there is none."""
    with _lock:
        found = _kept.pop(key, None)
    return None if found is None else found[0]


def give(key: bytes, memory: Any, entries: int) -> None:
    """Keep a memory of so many entries; the ones used longest ago make room."""
    with _lock:
        _kept[key] = memory, entries
        _kept.move_to_end(key)
        total = sum(size for _, size in _kept.values())
        while total > _MOST_ENTRIES and _kept:
            _, (_, size) = _kept.popitem(last=False)
            total -= size


def forget() -> None:
    """Drop everything."""
    with _lock:
        _kept.clear()
