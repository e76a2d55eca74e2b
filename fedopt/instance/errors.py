"""What is wrong with an instance: every problem with its place, a plain message and a remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from fedopt.errors import FedoptError

SHOWN = 50
"""Problems that the text of an error lists; `InstanceError.problems` holds all of them."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `place` is where, as a path into the document (`tenants[3].slo.epsilon`), empty for the whole of it;
    `message` says what is wrong, `remedy` what would make it right; `line` is the line of the file, if known.
    """

    place: str
    message: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        line = "" if self.line is None else f"line {self.line}"
        where = f"{self.place} ({line})" if self.place and line else self.place or line
        return (f"{where}: " if where else "") + f"{self.message}\n    → {self.remedy}"


class InstanceError(FedoptError):
    """An instance that cannot be used; lists all the problems found, not only the first.

    `problems` holds them, `source` names the file or text they are in. The command line ends with
    `exit_code` 2 (bad input) when it meets this error.
    """

    exit_code = 2

    def __init__(self, problems: Iterable[Problem], source: str = "instance") -> None:
        self.problems: list[Problem] = list(problems)
        self.source = source
        super().__init__(self.source, self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.source}: {count} problem{'' if count == 1 else 's'}"
        lines = [head, *(f"  {problem}" for problem in self.problems[:SHOWN])]
        if count > SHOWN:
            lines.append(f"  … and {count - SHOWN} more")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[type[InstanceError], tuple[list[Problem], str]]:
        return type(self), (self.problems, self.source)


def near_miss(name: object, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely stands for, or None."""
    names = list(known)
    if not isinstance(name, str) or len(name) > 200 or len(names) > 20_000:
        return None
    by_fold = {candidate.casefold(): candidate for candidate in names}
    found = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None


def choice_remedy(name: object, known: Sequence[str], what: str) -> str:
    """A remedy for an unknown name: the near miss if there is one, else the names to choose from."""
    guess = near_miss(name, known)
    if guess is not None:
        return f"did you mean {guess!r}?"
    if not known:
        return f"there is no {what} to refer to; leave it out or add one"
    shown = ", ".join(repr(candidate) for candidate in known[:12])
    return f"use one of {shown}" + (", …" if len(known) > 12 else "")


UNIONS = frozenset({"arrivals", "impairment", "cost", "size", "request_size"})
"""Fields whose errors carry the name of the chosen variant in their location."""

_UNIT = re.compile(r"[0-9]\s*[^\W\d_]")
"""A digit and a letter after it, as in a quantity with its unit."""

REMEDIES = {
    "epsilon": "give the allowed violation probability, between 0 and 1, such as 0.001, or percentile: 99.9",
    "deadline": "give the deadline in units of time, a number above 0",
    "latency": "give the latency in units of time, 0 or more",
    "latency_kind": "use rate (rate-latency guardrail) or delay (pure delay)",
    "capacity": "give the capacity in work per unit of time, 0 (a drained site) or more",
    "count": "give a whole number of identical tenants, 1 or more",
    "theta": "give tilts in 1/work in ascending order, such as [0.1, 0.2, 0.4]",
    "fedopt": "write fedopt: 1, the version of the format",
    "of": "use requests or time",
    "on_to_off": "give the probability of a change per slot, above 0 and at most 1",
    "off_to_on": "give the probability of a change per slot, above 0 and at most 1",
    "min_accuracy": "give an accuracy between 0 and 1",
    "accuracy": "give an accuracy between 0 and 1",
    "max_rate": "give the largest rate of one tenant, above 0, or leave it out",
    "id": "give a name without '/', in quotes where it looks like a number",
    "stages": "list the names of the stages in order, such as [access, transport, compute]",
    "points": "give points [rate, cost] with ascending rates from 0, rising costs and rising slopes",
    "size": "give the work of one request, a number above 0 or {exponential: mean}",
    "request_size": "give the work of one request, a number above 0 or {exponential: mean}",
    "slot": "give the length of a slot in units of time, a number above 0",
}


def shown(value: object) -> str:
    """A short form of a value for a message."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def written_names(kind: type[BaseModel]) -> dict[str, str]:
    """The names of a document's fields as files write them, by their names in code."""
    unwritten = getattr(kind, "unwritten", ())
    return {
        name: info.serialization_alias or name
        for name, info in kind.model_fields.items()
        if name not in unwritten
    }


def problems_of(error: ValidationError, data: object, kind: type[BaseModel]) -> list[Problem]:
    """The problems in `data`, which should have been a document of class `kind`."""
    entries = error.errors(include_url=False, include_context=True)
    return [_problem(entry, data, kind) for entry in entries if not _echo(entry)]


def _echo(entry: Any) -> bool:
    """Whether this is only the echo of other errors: a list counted as short without its faulty entries."""
    given, limits = entry.get("input"), entry.get("ctx") or {}
    return entry["type"] == "too_short" and isinstance(given, Sequence) and len(given) >= limits["min_length"]


def place_of(path: Iterable[str | int]) -> str:
    """A path as text: `tenants[3].slo.epsilon`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            part = part if len(part) <= 60 else part[:57] + "…"
            text += f".{part}" if text else part
    return text


def _path(location: Sequence[str | int]) -> list[str | int]:
    """The location without the names of union variants, which are no part of the document."""
    path: list[str | int] = []
    skip = False
    for part in location:
        if skip and isinstance(part, str):
            skip = False
            continue
        skip = part in UNIONS
        path.append("from" if part == "from_" else part)
    # `cost` and `theta` exist as plain numbers too: there nothing follows, so nothing was skipped.
    return path


def _problem(entry: Any, data: object, kind: type[BaseModel]) -> Problem:
    path = _path(entry["loc"])
    message, remedy = _told(entry, path, data, kind)
    return Problem(place_of(path), message, remedy)


def _told(entry: Any, path: list[str | int], data: object, kind: type[BaseModel]) -> tuple[str, str]:
    """Message and remedy for one error."""
    type_, given, limits = entry["type"], entry.get("input"), entry.get("ctx") or {}
    field = next((part for part in reversed(path) if isinstance(part, str)), "")
    remedy = REMEDIES.get(field, "")
    match type_:
        case "missing":
            return _missing(field, data, kind, path, remedy)
        case "extra_forbidden":
            known = known_fields(kind, path[:-1], data)
            return "is not a field of this part", choice_remedy(field, known, "field")
        case "union_tag_invalid" | "literal_error":
            known = [part.strip("' ") for part in _listed(limits)]
            name = given.get("model") if isinstance(given, Mapping) else given
            said = "there is no model" if type_ == "union_tag_invalid" else "cannot be"
            return f"{said} {shown(name)}", choice_remedy(name, known, "name")
        case "union_tag_not_found":
            return "does not say which model it is", "add model: with one of " + ", ".join(
                _models(kind, path, data)
            )
        case "finite_number":
            return f"must be a finite number, is {shown(given)}", remedy or "give a finite number"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return _out_of_range(type_, limits, given, remedy)
        case "too_short":
            return "is empty", remedy or f"add at least one entry to {field}"
        case "too_long":
            return f"has more than {limits.get('max_length')} entries", "leave some out"
        case "value_error":
            said = str(limits.get("error", entry["msg"]))
            remedy = remedy or _by_message(said)
            if isinstance(given, str) and said.startswith("must be a number") and _UNIT.search(given):
                remedy += "; quantities with units are read in an instance, which has units of its own"
            return said, remedy
        case "string_too_short" | "string_too_long" | "string_type":
            return (
                f"must be text, is {shown(given)}",
                remedy or "give text, in quotes if it looks like a number",
            )
        case "bool_type" | "bool_parsing":
            return f"must be true or false, is {shown(given)}", "write true or false"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"must be a whole number, is {shown(given)}", remedy or "give a whole number"
        case "float_type" | "float_parsing":
            return f"must be a number, is {shown(given)}", remedy or "give a number"
        case "tuple_type" | "list_type":
            return f"must be a list, is {shown(given)}", remedy or "write a list: [first, second, …]"
        case "model_type" | "model_attributes_type" | "dict_type":
            known = known_fields(kind, path, data)
            return f"must hold named fields, is {shown(given)}", "write fields: " + ", ".join(known[:12])
    return f"{entry['msg'][:1].lower()}{entry['msg'][1:]}", remedy or "see the schema of the document"


def _missing(
    field: str, data: object, kind: type[BaseModel], path: list[str | int], remedy: str
) -> tuple[str, str]:
    """A missing field; where an unknown one resembles it, that is the better remedy."""
    parent = _at(data, path[:-1])
    if isinstance(parent, Mapping):
        known = set(known_fields(kind, path[:-1], data))
        strangers = [key for key in parent if isinstance(key, str) and key not in known]
        guess = near_miss(field, strangers)
        if guess is not None:
            return "is missing", f"is {guess!r} meant to be {field!r}?"
    return "is missing", remedy or f"add {field}"


def _out_of_range(type_: str, limits: Mapping[str, Any], given: object, remedy: str) -> tuple[str, str]:
    words = {
        "greater_than": ("above", "gt"),
        "greater_than_equal": ("at least", "ge"),
        "less_than": ("below", "lt"),
        "less_than_equal": ("at most", "le"),
    }
    word, key = words[type_]
    bound = limits.get(key)
    if isinstance(bound, float) and 0 < bound <= 1e-15:
        word, bound = "above", 0
    limit = f"{bound:g}" if isinstance(bound, (int, float)) else str(bound)
    return f"must be {word} {limit}, is {shown(given)}", remedy or f"give a number {word} {limit}"


def _by_message(message: str) -> str:
    if "equally long" in message:
        return "give every column one value for each θ"
    if any(word in message for word in ("point", "rates", "costs", "convex")):
        return REMEDIES["points"]
    if "number" in message:
        return "give a number"
    if "name" in message:
        return "give a short name, in quotes where it looks like a number"
    return "change the value accordingly"


def _listed(limits: Mapping[str, Any]) -> list[str]:
    text = str(limits.get("expected_tags") or limits.get("expected") or "")
    return text.replace(" or ", ", ").split(",")


def _models(kind: type[BaseModel], path: Sequence[str | int], data: object) -> list[str]:
    """The names of the models that the field at `path` may hold."""
    field = next(part for part in reversed(path) if isinstance(part, str))
    owner = owner_at(kind, path[: len(path) - list(reversed(path)).index(field) - 1], data)
    found = [] if owner is None else variants(owner, field)
    return [str(variant.model_fields["model"].default) for variant in found]


def variants(owner: type[BaseModel], field: str) -> list[type[BaseModel]]:
    """The document classes that a field may hold."""
    if field not in owner.model_fields:
        return []
    pending, found = [owner.model_fields[field].annotation], []
    while pending:
        item = pending.pop(0)
        if isinstance(item, type) and issubclass(item, BaseModel):
            found.append(item)
        else:
            pending.extend(get_args(item))
    return found


def known_fields(kind: type[BaseModel], path: Sequence[str | int], data: object) -> list[str]:
    """The names that a document may use at `path`, for the model that the data there names."""
    owner = owner_at(kind, path, data)
    return [] if owner is None else list(written_names(owner).values())


def owner_at(kind: type[BaseModel], path: Sequence[str | int], data: object) -> type[BaseModel] | None:
    """The class of the document at `path` in data that should be a `kind`, None where there is none."""
    owner: type[BaseModel] | None = kind
    here = data
    for part in path:
        here = _step(here, part)
        if isinstance(part, int) or owner is None:
            continue
        choices = variants(owner, "from_" if part == "from" else part)
        model = here.get("model") if isinstance(here, Mapping) else None
        named = [c for c in choices if "model" in c.model_fields and c.model_fields["model"].default == model]
        owner = (named or choices or [None])[0]  # type: ignore[list-item]
    return owner


def _step(here: object, part: str | int) -> object:
    if isinstance(here, Mapping):
        return here.get(part)
    if isinstance(here, Sequence) and not isinstance(here, (str, bytes)) and isinstance(part, int):
        return here[part] if -len(here) <= part < len(here) else None
    return None


def _at(data: object, path: Sequence[str | int]) -> object:
    for part in path:
        data = _step(data, part)
    return data
