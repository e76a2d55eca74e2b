"""Writing an instance: as text that `loads` reads back to an equal one, and in one form for its hash."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fedopt.storage import write_atomically

from .arrivals import TraceArrivals
from .base import Document
from .errors import InstanceError, Problem, written_names
from .weighing import stated

if TYPE_CHECKING:
    from .documents import Instance

FLOW_WIDTH = 110


def dumps(instance: Instance, form: Literal["yaml", "json"] = "yaml", header: str = "") -> str:
    """The instance as text, without what has its default value; `header` becomes comment lines of YAML.

    Raises `InstanceError` for an instance that holds a user's own objects, which no file can express.
    """
    data = instance.to_dict()
    _refuse_objects(data, "")
    if form == "json":
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return comment + yaml_text(data)


def dump(instance: Instance, path: str | os.PathLike[str], header: str = "") -> Path:
    """Write the instance to `path` in one step, as JSON where its name ends in `.json`, else as YAML."""
    form: Literal["yaml", "json"] = "json" if Path(path).suffix == ".json" else "yaml"
    return write_atomically(path, dumps(instance, form, header))


def yaml_text(data: Mapping[str, Any]) -> str:
    """Mappings, lists and scalars as YAML, small parts on one line."""
    return "\n".join(_lines(data, 0)) + "\n"


def _refuse_objects(value: Any, place: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_objects(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _refuse_objects(item, f"{place}[{i}]")
    elif value is not None and not isinstance(value, (str, int, float)):
        message = f"is an object of class {type(value).__qualname__}, which a file cannot hold"
        raise InstanceError([Problem(place, message, "use one of the models of the format")])


def _lines(value: Any, indent: int) -> list[str]:
    """YAML with small mappings and lists on one line, as a person would write it."""
    pad = " " * indent
    lines = []
    if isinstance(value, dict):
        for key, item in value.items():
            short = _flow(item)
            if not isinstance(item, (dict, list)) or _fits(item, short, indent + len(key) + 2):
                lines.append(f"{pad}{key}: {short}")
            else:
                inner = indent + 2
                lines += [f"{pad}{key}:", *_lines(item, inner)]
        return lines
    for item in value:
        short = _flow(item)
        if not isinstance(item, (dict, list)) or _fits(item, short, indent + 2):
            lines.append(f"{pad}- {short}")
        else:
            block = _lines(item, indent + 2)
            lines += [f"{pad}- {block[0][indent + 2 :]}", *block[1:]]
    return lines


def _fits(value: Any, short: str, used: int) -> bool:
    """Whether a mapping or list is small enough for one line: it holds scalars and at most one small part."""
    if used + len(short) > FLOW_WIDTH:
        return False
    parts = [part for part in _items(value) if isinstance(part, (dict, list))]
    if any(isinstance(inner, (dict, list)) for part in parts for inner in _items(part)):
        return False
    return len(parts) <= (1 if isinstance(value, dict) else 0)


def _items(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value)


def _flow(value: Any) -> str:
    """YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return _number(value)
    return _text(value)


def _number(value: float) -> str:
    text = repr(value)
    if "e" in text and "." not in text:
        return text.replace("e", ".0e")  # older readers of YAML take 1e-05 for text
    return text[:-2] if text.endswith(".0") else text


_PLAIN = re.compile(r"[A-Za-zµ][A-Za-z0-9µ_./@+-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def _text(value: str) -> str:
    """Text as it is where no reader of YAML can take it for something else, else in quotes."""
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08X}" for char in quoted)


UNORDERED = frozenset({"operators", "regions", "forbid", "dependent_with"})
"""Lists of names that are sets."""

KEYED = {"domains": ("id",), "offers": ("id",), "tenants": ("id",), "links": ("from", "to")}
"""Lists whose entries are told apart by their names, not by their order."""


def plain(value: Any, *, defaults: bool = False) -> Any:
    """A document as mappings, lists and scalars; with `defaults` also what has its default value.

    A user's own object stays as it is.
    """
    if isinstance(value, Document):
        value = _stated(value)
        result = {}
        for name, written in written_names(type(value)).items():
            item, info = getattr(value, name), type(value).model_fields[name]
            if defaults or name in ("fedopt", "model") or info.is_required() or item != info.default:
                result[written] = plain(item, defaults=defaults)
        return result
    if isinstance(value, (tuple, list)):
        return [plain(item, defaults=defaults) for item in value]
    return value


def _stated(document: Document) -> Document:
    """An instance without the offers made for tenants' own work; any other document as it is."""
    if hasattr(document, "tenants") and hasattr(document, "domains"):
        return document.model_copy(update={"domains": stated(document.domains)})
    return document


def canonical(value: Any) -> Any:
    """The canonical form: all fields, sorted where order means nothing, traces by content instead of name."""
    if isinstance(value, TraceArrivals):
        stated = {**plain(value, defaults=True), "file": _content(value)}
        return {name: item for name, item in stated.items() if not _passed_over(value, name)}
    if isinstance(value, Document):
        value = _stated(value)
        result: dict[str, Any] = {}
        for name, key in written_names(type(value)).items():
            if _passed_over(value, name):
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
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return _own(value)


def _passed_over(document: Document, name: str) -> bool:
    """Whether the hash does not see a field."""
    if name in document.unhashed:
        return True
    at_default = getattr(document, name, None) == type(document).model_fields[name].default
    return name in document.later and bool(at_default)


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
