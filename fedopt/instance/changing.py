"""What-if changes: a copy of an instance with values replaced at places given as dotted paths."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .arrivals import EnvelopeArrivals, TraceArrivals
from .base import Document
from .errors import InstanceError, Problem, choice_remedy, written_names
from .impairments import TableImpairment
from .quantities import converted_value
from .weighing import stated

if TYPE_CHECKING:
    from .documents import Instance, Units


def changed(instance: Instance, changes: Mapping[str, Any]) -> Instance:
    """A copy of `instance` with each change applied in turn, checked once at the end.

    A path names fields and list entries (`tenants.chat.slo.deadline`, `domains.edge-1.offers.0.cost.rate`):
    entries by their id, a link as `start>end`, or any entry by its index; `*` stands for all of them. A value
    is what the file would hold or a document. Raises `InstanceError` where a path leads nowhere.
    """
    fields: dict[str, Any] = {}
    current: dict[str, Any] = {name: getattr(instance, name) for name in type(instance).model_fields}
    current["domains"] = stated(instance.domains)
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        if name not in current:
            raise _nowhere(path, name, list(current), "field")
        if not rest:
            value = converted_value(value, type(instance), name, instance.units, None)
        current[name] = fields[name] = _replaced(current[name], rest, value, path, instance.units)
    return type(instance)(**{**current, **fields})


def with_law(instance: Instance, place: str, law: Mapping[str, Any]) -> Instance:
    """A copy with a law, such as one fitted to a record, at a place (`tenants.chat.arrivals`).

    The grid `theta` of the instance takes the tilts of the law in, and ends where the shortest table does.
    """
    tilts = {*(instance.theta or ()), *(tilt for tilt in law.get("theta", ()) if tilt > 0)}
    if not tilts:
        return changed(instance, {place: law})
    models: list[Any] = [tenant.arrivals for tenant in instance.tenants]
    models += [offer.impairment for domain in instance.domains for offer in domain.offers]
    old: Any = functools.reduce(_entry, place.split("."), instance)
    tables = (EnvelopeArrivals, TableImpairment)
    ends = [model.theta[-1] for model in models if model is not old and isinstance(model, tables)]
    last = min([*ends, *law.get("theta", ())[-1:]], default=max(tilts))
    return changed(instance, {"theta": sorted(tilt for tilt in tilts if tilt <= last), place: law})


def _entry(here: Any, name: str) -> Any:
    """The field or the list entry of that name, None where there is none: `changed` says so."""
    if isinstance(here, tuple):
        return next((item for item in here if _id(item) == name), None)
    return getattr(here, name, None)


def _replaced(here: Any, rest: str, value: Any, path: str, units: Units, stage: str | None = None) -> Any:
    """`here` with the value at `rest` replaced, leaving `here` itself as it is."""
    if not rest:
        return value
    if isinstance(here, tuple):
        return _in_list(here, rest, value, path, units, stage)
    if isinstance(here, Document):
        return _in_document(here, rest, value, path, units, stage)
    raise InstanceError([Problem(path, f"does not exist: nothing lies below {rest!r}", "shorten the path")])


def _in_document(
    here: Document, rest: str, value: Any, path: str, units: Units, stage: str | None
) -> Document:
    aliases = {written: name for name, written in written_names(type(here)).items()}
    name, _, below = rest.partition(".")
    if name not in aliases:
        raise _nowhere(path, name, list(aliases), "field")
    old = getattr(here, aliases[name])
    fields = {key: getattr(here, key) for key in aliases.values()}
    stage = getattr(here, "stage", stage)
    if isinstance(old, dict) and below:
        value, below = {**old, below: value}, ""
    if not below:
        value = converted_value(value, type(here), name, units, stage)
    fields[aliases[name]] = _replaced(old, below, value, path, units, stage)
    context = {"directory": here._directory} if isinstance(here, TraceArrivals) else None
    try:
        return type(here).model_validate(fields, context=context)
    except InstanceError as error:
        parent = path.removesuffix(rest).rstrip(".")
        problems = [Problem(f"{parent}.{p.place}", p.message, p.remedy) for p in error.problems]
        raise InstanceError(problems, source="change") from None


def _in_list(
    here: tuple[Any, ...], rest: str, value: Any, path: str, units: Units, stage: str | None
) -> tuple[Any, ...]:
    if rest == "*" or rest.startswith("*."):
        return tuple(_replaced(item, rest[2:], value, path, units, stage) for item in here)
    ids = {_id(item): i for i, item in reversed(list(enumerate(here))) if _id(item) is not None}
    # An id may hold dots, so the longest one that fits is meant.
    parts = rest.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        index = ids.get(name, int(name) if length == 1 and name.isdecimal() and len(name) < 10 else None)
        if index is not None and index < len(here):
            new = _replaced(here[index], ".".join(parts[length:]), value, path, units, stage)
            return (*here[:index], new, *here[index + 1 :])
    known = [str(name) for name in ids] or [str(i) for i in range(len(here))]
    raise _nowhere(path, parts[0], known, "entry")


def _id(item: Any) -> str | None:
    """What an entry of a list is called in a path."""
    if hasattr(item, "from_") and hasattr(item, "to"):
        return f"{item.from_}>{item.to}"
    return getattr(item, "id", None)


def _nowhere(path: str, name: str, known: list[str], what: str) -> InstanceError:
    problem = Problem(path, f"does not exist: there is no {what} {name!r}", choice_remedy(name, known, what))
    return InstanceError([problem], source="change")
