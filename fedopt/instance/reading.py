"""Reading an instance from a file or a text: bounded, safe, and with all problems reported at once.

Also the instances that come with fedopt, from a checkout or an installed wheel.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .consistency import inconsistencies
from .documents import Instance
from .errors import InstanceError, Problem, place_of, problems_of
from .quantities import converted
from .yaml_text import MAX_DEPTH, EmptyText, Lines, TextError, read_yaml

Read = TypeVar("Read", bound=BaseModel)

MAX_BYTES = 64_000_000
"""The largest file that is read."""

PLAN_FIELDS = frozenset({"status", "method", "guarantee"})
"""Fields that every plan has and no instance."""

MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)
"""Byte-order marks and the encodings they announce."""


def load(path: str | os.PathLike[str]) -> Instance:
    """Read an instance from a YAML or JSON file (JSON where the name ends in `.json`).

    Fields of the top level whose names begin with `x-` are passed over: a place for anchors and remarks.

    Parameters
    ----------
    path
        The file; trace files that it names are looked for relative to it.

    Returns
    -------
    Instance
        The instance, every quantity with a unit converted to a number in its `units`.

    Raises
    ------
    InstanceError
        With all problems of the file, each with its place and a remedy; also for a file that is missing,
        unreadable, too large or no text.
    """
    file = Path(path)
    content = _content(file, "an instance")
    return _parsed(content, str(file), file.parent, json_only=file.suffix.lower() == ".json")


def loads(
    text: str | bytes, name: str = "<text>", directory: str | os.PathLike[str] | None = None
) -> Instance:
    """Read an instance from YAML or JSON text; `name` stands for it in messages.

    Trace files are looked for in `directory`; without one, an instance that names trace files is refused, so
    that text from elsewhere cannot make this machine open its files. Raises `InstanceError`.
    """
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return _parsed(content, name, None if directory is None else Path(directory), json_only=False)


def read_document(path: str | os.PathLike[str], kind: type[Read], what: str) -> Read:
    """Read a document of another kind from a YAML or JSON file, as `load` reads an instance; `what` names it.

    Raises `InstanceError` with all problems of the file, each with its place, line and a remedy.
    """
    read, lines = read_file_fields(path, what)
    return document_of(read, lines, kind, str(Path(path)))


def read_file_fields(path: str | os.PathLike[str], what: str) -> tuple[dict[str, Any], Lines | None]:
    """The named fields of a YAML or JSON file and their lines; `what` names it. Raises `InstanceError`."""
    from .schema import KINDS

    file, kind = Path(path), what.split()[-1]
    described = f"; `fedopt schema {kind}` describes it" if kind in KINDS else ""
    return read_fields(
        _content(file, what),
        str(file),
        json_only=file.suffix.lower() == ".json",
        remedy=f"write {what}{described}",
    )


def read_fields(
    content: bytes, source: str, *, json_only: bool = False, remedy: str = "write the fields of a document"
) -> tuple[dict[str, Any], Lines | None]:
    """The named fields of a YAML or JSON text (with `json_only`: of JSON alone) and their lines.

    Raises `InstanceError`.
    """
    try:
        read, lines = _value(_text(content, source), json_only)
    except EmptyText as error:
        raise _refused(source, error.message, remedy) from None
    except TextError as error:
        raise _refused(source, error.message, error.remedy, error.line) from None
    if not isinstance(read, dict):
        raise _refused(source, "holds no named fields", remedy)
    return read, lines


def document_of(read: dict[str, Any], lines: Lines | None, kind: type[Read], source: str) -> Read:
    """The document of a kind in fields that were read. Raises `InstanceError`."""
    try:
        return kind.__pydantic_validator__.validate_python(read)
    except ValidationError as error:
        raise InstanceError(
            [_placed(problem, read, lines) for problem in problems_of(error, read, kind)], source
        ) from None


def instance_of(
    read: dict[str, Any], lines: Lines | None, source: str, directory: str | os.PathLike[str] | None = None
) -> Instance:
    """The instance in fields that were read; without a directory none that names a trace file.

    Raises `InstanceError` with all problems.
    """
    if set(read) >= PLAN_FIELDS:
        raise _refused(source, "is a plan, not an instance", "give the instance that it was made for")
    directory = None if directory is None else Path(directory)
    data = {key: value for key, value in read.items() if not key.startswith("x-")}
    context = {"directory": directory, "checked_by_reader": True}
    instance, problems = _validated(data, context)
    if problems:  # quantities with units are looked for only where bare numbers were not all that there is
        numbers, refused = converted(data, Instance)
        if numbers is not data or refused:
            data = dict(numbers)
            instance, problems = _validated(data, context)
            places = {problem.place for problem in refused}
            problems = refused + [problem for problem in problems if problem.place not in places]
    problems += inconsistencies(data if instance is None else instance, directory)
    problems += _traces_refused(data) if directory is None else []
    if problems or instance is None:
        raise InstanceError([_placed(problem, read, lines) for problem in problems], source)
    return instance


def _validated(data: dict[str, Any], context: dict[str, Any]) -> tuple[Instance | None, list[Problem]]:
    """The instance in fields whose quantities are numbers, or what is wrong with it."""
    try:
        return Instance.__pydantic_validator__.validate_python(data, context=context), []
    except ValidationError as error:
        return None, problems_of(error, data, Instance)
    except InstanceError as error:
        return None, list(error.problems)


def _content(file: Path, what: str) -> bytes:
    """The bytes of a file, at most one more than are allowed; raises `InstanceError`."""
    try:
        if file.is_dir():
            raise _refused(str(file), "is a directory", f"give the file of {what} in it")
        with open(file, "rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(str(file), "does not exist", _neighbour(file)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(str(file), f"cannot be read: {reason}", "check the path and its permissions") from None


def _refused(source: str, message: str, remedy: str, line: int | None = None) -> InstanceError:
    return InstanceError([Problem("", message, remedy, line)], source)


def _neighbour(file: Path) -> str:
    """A remedy for a missing file: the file in the same directory that may be meant."""
    from .errors import near_miss

    try:
        names = [entry.name for entry in os.scandir(file.parent) if entry.is_file()][:5000]
    except OSError:
        return f"the directory {file.parent} does not exist either; check the path"
    guess = near_miss(file.name, names)
    return f"did you mean {file.parent / guess}?" if guess else "check the path"


def _text(content: bytes, source: str) -> str:
    """The content as text; UTF-8, or UTF-16 and UTF-32 where a byte-order mark says so."""
    if len(content) > MAX_BYTES:
        size = f"is larger than {MAX_BYTES // 1_000_000} MB"
        raise _refused(source, size, "use count for identical tenants, or split the instance")
    encoding = "utf-8"
    for mark, name in MARKS:
        if content.startswith(mark):
            encoding = name
            break
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"is no text in {encoding.upper()} (byte {error.start})"
        raise _refused(
            source, message, "save it as UTF-8 text; a compressed file must be unpacked", line
        ) from None
    if "\x00" in text:
        raise _refused(source, "is a binary file", "give a YAML or JSON text")
    return text


def _parsed(content: bytes, source: str, directory: Path | None, *, json_only: bool) -> Instance:
    """The instance in a text, or an `InstanceError` with all that is wrong."""
    read, lines = read_fields(
        content,
        source,
        json_only=json_only,
        remedy="write stages, domains, tenants …; `fedopt schema instance` describes them",
    )
    return instance_of(read, lines, source, directory)


def _value(text: str, json_only: bool) -> tuple[Any, Lines | None]:
    """The value of the text, by the reader of its format."""
    if json_only or text.lstrip()[:1] == "{":
        try:
            value = json.loads(text, object_pairs_hook=_once)
            _check_depth(value)
            return value, None
        except json.JSONDecodeError as error:
            if json_only:
                message = f"is no valid JSON: {error.msg}"
                raise TextError(message, "correct the line, or the one before it", error.lineno) from None
        except RecursionError:
            raise TextError("is nested too deeply", "check brackets") from None
        except ValueError as error:
            raise TextError(f"is no valid JSON: {error}", "shorten the number") from None
    return read_yaml(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are all different."""
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise TextError(f"has the key {key[:60]!r} twice in one object", "keep one of the two")
            seen.add(key)
    return value


def _check_depth(value: Any) -> None:
    """Refuse nesting that no document has, level by level."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        if not level:
            return
        parts = (item for part in level for item in (part.values() if isinstance(part, dict) else part))
        level = [part for part in parts if isinstance(part, (dict, list))]
    raise TextError(f"is nested more than {MAX_DEPTH} levels deep", "check brackets")


def _traces_refused(data: dict[str, Any]) -> list[Problem]:
    """Traces named by a text that came without a directory."""
    return [
        Problem(
            f"{place}.file", "names a file, but the text came without a directory",
            "load the instance from its file, or give the directory",
        )
        for place in traces_in(data)
    ]  # fmt: skip


def traces_in(data: Any) -> list[str]:
    """The places in fields that were read, at any depth, where a trace names a file."""
    found: list[str] = []
    level: list[tuple[tuple[str | int, ...], Any]] = [((), data)]
    while level:
        path, value = level.pop()
        if isinstance(value, dict):
            if value.get("model") == "trace":
                found.append(place_of(path))
            level.extend(((*path, str(key)), item) for key, item in value.items())
        elif isinstance(value, list):
            level.extend(((*path, index), item) for index, item in enumerate(value))
    return sorted(found)


def _placed(problem: Problem, data: Any, lines: Lines | None) -> Problem:
    """The problem with the line of its place, or of the nearest part around it that was read."""
    if lines is None or problem.line is not None or not problem.place:
        return problem
    line = None
    here, rest = data, problem.place
    while rest and isinstance(here, (dict, list)):
        step = _next(here, rest)
        if step is None:
            break
        key, rest = step
        line = lines.of(here, key) or line
        here = here[key]
    return replace(problem, line=line)


def _next(here: dict[str, Any] | list[Any], rest: str) -> tuple[Any, str] | None:
    """The first step of a place such as `[3].slo` from `here`, and what is left of it."""
    if isinstance(here, list):
        index, _, tail = rest.removeprefix("[").partition("]")
        return (int(index), tail.removeprefix(".")) if index.isdigit() and int(index) < len(here) else None
    for key in sorted((key for key in here if rest.startswith(place_of([key]))), key=len, reverse=True):
        tail = rest[len(place_of([key])) :]
        if not tail or tail[0] in ".[":
            return key, tail.removeprefix(".")
    return None


def examples() -> dict[str, Path]:
    """The files of the instances that come with fedopt, by name.

    Returns
    -------
    dict of str to Path
        Such as ``{"quickstart": …, "metro-llm": …}``; `fedopt.load` and `fedopt.solve` take the paths.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_instances", package.parent / "instances"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def shipped(path: Path) -> Path | None:
    """The example that a path such as `instances/quickstart.yaml` or `quickstart` means, if there is one."""
    if path.suffix not in ("", ".yaml") or str(path.parent) not in (".", "instances"):
        return None
    return examples().get(path.stem)
