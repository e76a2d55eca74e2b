"""YAML text to mappings, lists and scalars: safe, bounded, and with the line of every entry.

The scalars follow YAML 1.2, so that `no` is a name and `1e-3` a number. Aliases may be used, but what they
expand to is bounded; duplicate keys, tags beyond the core ones and cycles are errors.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

MAX_DEPTH = 40
"""Levels of nesting; an instance has nine."""

FREE_EXPANSION = 100_000
"""Values that aliases may add in any file; beyond, as many as `EXPANSION` times those that are written."""

EXPANSION = 20

MAX_VALUES = 2_000_000
"""Values that a YAML text may hold; JSON is read a hundred times faster."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,6})?")
_SPECIAL = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_MERGE = "<<"


class TextError(Exception):
    """Text that cannot be read; `line` is where, counted from 1, and `remedy` what to do."""

    def __init__(self, message: str, remedy: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message, self.remedy, self.line = message, remedy, line


class EmptyText(TextError):
    """Text without any document."""

    def __init__(self) -> None:
        super().__init__("is empty", "write a document into it")


class Lines:
    """The line of every entry of the mappings and lists that were read."""

    def __init__(self) -> None:
        self._lines: dict[int, tuple[object, dict[Any, int] | list[int]]] = {}

    def note(self, container: dict[Any, Any] | list[Any], key: Any, line: int) -> None:
        """Remember the line of the entry `key` of a mapping, or of the next one of a list."""
        _, lines = self._lines.setdefault(
            id(container), (container, {} if isinstance(container, dict) else [])
        )
        if isinstance(lines, dict):
            lines[key] = line
        else:
            lines.append(line)

    def of(self, container: object, key: Any) -> int | None:
        """The line of an entry, if it was read from text."""
        _, lines = self._lines.get(id(container), (None, {}))
        if isinstance(lines, dict):
            return lines.get(key)
        return lines[key] if isinstance(key, int) and 0 <= key < len(lines) else None


def read_yaml(text: str) -> tuple[Any, Lines]:
    """The value of a YAML text of one document and the lines of its entries; raises `TextError`."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        return _Builder(loader).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = ", ".join(part for part in (error.problem, error.context) if part)
        raise TextError(
            f"is no valid YAML: {message}", _syntax_remedy(message), mark.line + 1 if mark else None
        ) from None
    except yaml.YAMLError as error:
        raise TextError(f"is no valid YAML: {error}", "give a YAML or JSON text in UTF-8") from None
    finally:
        loader.dispose()


def _syntax_remedy(message: str) -> str:
    if "mapping values are not allowed" in message:
        return "put text that holds ': ' in quotes, and check the indentation"
    if "\\t" in message or "tab" in message:
        return "indent with blanks, not tabs"
    if "undefined alias" in message:
        return "define the anchor with & before it is used with *"
    return "correct the line, or the one before it: check indentation, brackets and quotes"


class _Open:
    """A mapping or list that is being read, with the key that waits for its value and what it merges."""

    __slots__ = ("anchor", "before", "key", "line", "merged", "value")

    def __init__(self, value: dict[str, Any] | list[Any], line: int, anchor: str | None, before: int) -> None:
        self.value, self.line, self.anchor, self.before = value, line, anchor, before
        self.key: str | None = None
        self.merged: list[Any] = []


class _Builder:
    """Builds the value from the parser's events, with a stack of its own instead of recursion."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.lines = Lines()
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.unfinished: set[str] = set()
        self.written = 0
        self.added = 0

    def document(self) -> tuple[Any, Lines]:
        """The only document of the text."""
        self.loader.get_event()
        if self.loader.check_event(yaml.StreamEndEvent):
            raise EmptyText
        self.loader.get_event()
        value = self._node()
        self.loader.get_event()
        if not self.loader.check_event(yaml.StreamEndEvent):
            line = self.loader.peek_event().start_mark.line + 1
            raise TextError("holds a second document", "put each document in a file of its own", line)
        return value, self.lines

    def _node(self) -> Any:
        stack: list[_Open] = []
        while True:
            event = self.loader.get_event()
            line = event.start_mark.line + 1
            value: Any
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                if stack and isinstance(stack[-1].value, dict) and stack[-1].key is None:
                    self._key(stack[-1], event, line)
                stack.append(self._opened(event, line, len(stack)))
                continue
            if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                frame = stack.pop()
                value, line = self._closed(frame), frame.line
            elif stack and isinstance(stack[-1].value, dict) and stack[-1].key is None:
                self._key(stack[-1], event, line)
                continue
            elif isinstance(event, yaml.AliasEvent):
                value = self._alias(str(event.anchor), line)
            else:
                value = self._scalar(event, line)
            if not stack:
                return value
            self._put(stack[-1], value, line)

    def _opened(self, event: Any, line: int, depth: int) -> _Open:
        if depth >= MAX_DEPTH:
            raise TextError(
                f"is nested more than {MAX_DEPTH} levels deep", "check brackets and indentation", line
            )
        self._check_tag(event.tag, line)
        self._count(line)
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        if event.anchor is not None:
            self.unfinished.add(event.anchor)
        return _Open(value, line, event.anchor, self.written + self.added)

    def _closed(self, frame: _Open) -> Any:
        for source in frame.merged:
            for key, item in source.items():
                if key not in frame.value:
                    frame.value[key] = item
                    self.lines.note(frame.value, key, self.lines.of(source, key) or frame.line)
        if frame.anchor is not None:
            self.unfinished.discard(frame.anchor)
            self.anchors[frame.anchor] = (frame.value, self.written + self.added - frame.before + 1)
        return frame.value

    def _key(self, frame: _Open, event: Any, line: int) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise TextError("has a key that is no plain name", "use a name as the key", line)
        if event.value in frame.value:
            first = self.lines.of(frame.value, event.value)
            raise TextError(
                f"has the key {_short(event.value)} twice, first on line {first}", "keep one of the two", line
            )
        self.written += 1
        frame.key = event.value

    def _put(self, frame: _Open, value: Any, line: int) -> None:
        """Put a value into the container that is open."""
        if isinstance(frame.value, list):
            frame.value.append(value)
            self.lines.note(frame.value, None, line)
            return
        key, frame.key = frame.key, None
        if key == _MERGE:
            sources = value if isinstance(value, list) else [value]
            if not all(isinstance(source, dict) for source in sources):
                raise TextError("merges (<<) what is no mapping", "refer to a mapping with *", line)
            frame.merged += sources
        else:
            frame.value[key] = value  # type: ignore[index]
            self.lines.note(frame.value, key, line)

    def _alias(self, anchor: str, line: int) -> Any:
        if anchor in self.unfinished:
            raise TextError(f"refers to itself by *{anchor}", "write out what is meant", line)
        if anchor not in self.anchors:
            raise TextError(
                f"refers to the unknown anchor *{anchor}", "define it with & before its use", line
            )
        value, size = self.anchors[anchor]
        self.added += size
        if self.added > FREE_EXPANSION + EXPANSION * self.written:
            raise TextError(
                f"expands by its aliases to more than {self.added:,} values",
                "write the entries out, or use count",
                line,
            )
        return value

    def _scalar(self, event: Any, line: int) -> Any:
        self._check_tag(event.tag, line)
        self._count(line)
        plain = event.implicit[0]
        text_wanted = event.tag == "tag:yaml.org,2002:str" or (event.tag in (None, "!") and not plain)
        value = event.value if text_wanted else scalar(event.value)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)
        return value

    def _count(self, line: int) -> None:
        self.written += 1
        if self.written > MAX_VALUES:
            raise TextError(f"holds more than {MAX_VALUES:,} values", "write it as JSON, or use count", line)

    @staticmethod
    def _check_tag(tag: str | None, line: int) -> None:
        if tag not in (None, "!") and tag not in _CORE_TAGS:
            raise TextError(
                f"has the tag {_short(str(tag))}, which means nothing here", "remove the tag", line
            )


def scalar(text: str) -> Any:
    """The value of a plain scalar by the core schema of YAML 1.2; what is nothing else is text."""
    folded = text.lower()
    if folded in _WORDS:
        return _WORDS[folded]
    if folded in _SPECIAL:
        return _SPECIAL[folded]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
