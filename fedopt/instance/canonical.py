"""One form for every way to write the same instance, and its hash."""

from __future__ import annotations

import hashlib
import json
import pickle
from typing import TYPE_CHECKING, Any

from .arrivals import TraceArrivals
from .base import Document, written_names

if TYPE_CHECKING:
    from .documents import Instance

UNORDERED = frozenset({"operators", "regions", "forbid", "dependent_with"})
"""Lists of names that are sets."""

FOR_THE_EYE = frozenset({"position"})
"""Fields that change no plan, so that no hash depends on them."""

KEYED = {"domains": ("id",), "offers": ("id",), "tenants": ("id",), "links": ("from", "to")}
"""Lists whose entries are told apart by their names, not by their order."""


def plain(value: Any, *, defaults: bool = False) -> Any:
    """A document as mappings, lists and scalars; with `defaults` also what has its default value.

    A user's own object stays as it is.
    """
    if isinstance(value, Document):
        result = {}
        for name, written in written_names(type(value)).items():
            item, info = getattr(value, name), type(value).model_fields[name]
            if defaults or name in ("fedopt", "model") or info.is_required() or item != info.default:
                result[written] = plain(item, defaults=defaults)
        return result
    if isinstance(value, (tuple, list)):
        return [plain(item, defaults=defaults) for item in value]
    return value


def canonical(value: Any) -> Any:
    """The canonical form: all fields, sorted where order means nothing, traces by content instead of name."""
    if isinstance(value, TraceArrivals):
        return {**plain(value, defaults=True), "file": _content(value)}
    if isinstance(value, Document):
        result: dict[str, Any] = {}
        for name, key in written_names(type(value)).items():
            if key in FOR_THE_EYE:
                continue
            item = canonical(getattr(value, name))
            if key in UNORDERED and item is not None:
                item = sorted(set(item))
            elif key in KEYED and item is not None:
                item = sorted(item, key=lambda entry, names=KEYED[key]: [entry[name] for name in names])  # type: ignore[misc]
            result[key] = item
        return result
    if isinstance(value, (tuple, list)):
        return [canonical(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return _own(value)


def sha256(instance: Instance) -> str:
    """The SHA-256 of the canonical JSON of an instance, as 64 hexadecimal digits."""
    text = json.dumps(
        canonical(instance), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _content(trace: TraceArrivals) -> str:
    """The hash of a trace's file."""
    with open(trace.path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _own(value: object) -> dict[str, str]:
    """A user's own object by its class and state."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    try:
        state = hashlib.sha256(pickle.dumps(value, protocol=4)).hexdigest()
    except (pickle.PicklingError, TypeError, AttributeError):
        state = repr(sorted(vars(value).items())) if hasattr(value, "__dict__") else kind
    return {"class": kind, "state": state}
