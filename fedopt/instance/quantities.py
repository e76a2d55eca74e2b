"""Quantities with units in the place of numbers: `50/s`, `1.5 s`, `40 kbit`, `0.1 %`, `8 GPU`.

A field that takes a number with a unit says so by a `Unit` among its annotations. In an instance such a field
may hold a text, which is converted once, on reading, to the instance's own `units`; bare numbers are in these
already. What a unit of work is on a stage (`units.stages`) converts that stage's bits, tokens or GPUs.

The library that knows units (pint) is loaded at the first text that needs it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import core_schema

from .errors import InstanceError, Problem, place_of, shown, variants, written_names

if TYPE_CHECKING:
    from pint import UnitRegistry

EXAMPLES = {
    "time": "1.5 s",
    "seconds": "10 min",
    "work": "40 kbit",
    "rate": "9600 token/s",
    "frequency": "50/s",
    "tilt": "0.2/token",
    "cost": "3 EUR/h",
    "price": "2 EUR/h/GPU",
    "curvature": "0.1 EUR/h/GPU/GPU",
    "share": "0.1 %",
}
"""What a field may measure, with an example of each.

A rate is work per unit of time, a price cost per unit of rate, a curvature price per unit of rate; a
frequency counts requests or pieces, a tilt is 1/work.
"""

LONGEST = 200
"""Characters of a quantity."""

_PREFIXES = (
    "kilo=1e3=k mega=1e6=M giga=1e9=G tera=1e12=T milli=1e-3=m micro=1e-6=µ=u nano=1e-9=n kibi=1024=Ki "
)
_PREFIXES += "mebi=1048576=Mi gibi=1073741824=Gi"
_UNITS = (
    "second = [time] = s = sec",
    "minute = 60 * second = min",
    "hour = 60 * minute = h",
    "day = 24 * hour = d",
    "month = 30.4375 * day",
    "year = 365.25 * day",
    "request = [request] = req",
    "job = [job]",
    "token = [token] = tok",
    "GPU = [GPU] = gpu",
    "bit = [information]",
    "byte = 8 * bit = B",
    "EUR = [EUR]",
    "USD = [USD]",
    "slot = [slot]",
    "percent = 0.01",
)
_SIGNS = {
    "€": " EUR",
    "$": " USD",
    "%": " percent",
    "×": "*",
    "·": "*",
    "μ": "µ",
}  # a Greek mu is no micro sign
_ALLOWED = re.compile(r"[\w.+\-*/() µ]*", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_SHARE = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*(%|percent)\s*")


def is_quantity(text: str) -> bool:
    """Whether a text reads like a number with a unit, right or wrong; other texts are no numbers at all."""
    try:
        float(text)
    except ValueError:
        return any(sign.isdigit() for sign in text)
    return False


@dataclass(frozen=True)
class Unit:
    """What a field measures, for numbers in pairs the unit of each by its place."""

    of: str
    second: str | None = None

    def __get_pydantic_json_schema__(self, core: core_schema.CoreSchema, handler: Any) -> dict[str, Any]:
        described: dict[str, Any] = handler(core)
        return {**described, "x-unit": self.of if self.second is None else f"{self.of}, {self.second}"}


class UnitError(ValueError):
    """A text that is no quantity, or none of what is wanted."""


class Measures:
    """The units of one instance: what `time`, `work`, the stages' work and cost are.

    Parameters
    ----------
    time, work
        The units of time and of work of the instance's numbers.
    cost
        What a cost of 1 is, such as `EUR/h`; without it costs have no unit.
    stages
        What one unit of work is on a stage, such as `200 token`, by its name.
    define
        Units of the reader's own, such as `L4: 1200 token/s`, by their names.

    Raises
    ------
    UnitError
        If one of them is no quantity or no name that a unit can have.
    """

    def __init__(
        self,
        time: str = "ms",
        work: str = "job",
        cost: str | None = None,
        stages: Mapping[str, str] | None = None,
        define: Mapping[str, str] | None = None,
    ) -> None:
        self._registry = _registry(tuple(define or ()))
        for name, text in (define or {}).items():
            if not _NAME.fullmatch(name):
                raise UnitError(f"{shown(name)} cannot be a unit's name; use letters and digits")
            value = self.parse(text)
            self._registry.define(f"{name} = {value.magnitude!r} * {value.units}")
        if _NAME.fullmatch(work) and not self._known(work):
            self._registry.define(f"{work} = [{work}]")
        self.time = self.parse(time)
        self.work = self.parse(work) if _NAME.fullmatch(work) else None
        self.cost = None if cost is None else self.parse(cost)
        self.stages = {stage: self.parse(text) for stage, text in (stages or {}).items()}
        self._stated = {"time": time, "work": work, "cost": cost}
        self._amounts = dict(stages or {})

    def parse(self, text: str) -> Any:
        """The quantity in a text, of any dimension."""
        for sign, word in _SIGNS.items():
            text = text.replace(sign, word)
        # Powers are left out: nothing here needs them, and a text from elsewhere could ask for 9**9**9.
        if len(text) > LONGEST or not _ALLOWED.fullmatch(text) or "**" in text or not text.strip():
            raise UnitError(f"{shown(text)} is no quantity")
        try:
            value: Any = self._registry.Quantity(self._registry.parse_expression(text))
            if not math.isfinite(value.magnitude):
                raise ValueError
        except Exception as error:  # pint raises whatever its tokenizer and its arithmetic raise
            unknown = getattr(error, "unit_names", None)
            if unknown:
                name = unknown if isinstance(unknown, str) else ", ".join(sorted(unknown))
                raise UnitError(f"{shown(text)}: there is no unit {name!r}") from None
            raise UnitError(f"{shown(text)} is no quantity") from None
        return value

    def _known(self, name: str) -> bool:
        return name in self._registry

    def number(self, text: str, unit: str, stage: str | None = None) -> float:
        """The number that a text is in the units of the instance.

        `stage` is where the field belongs to one; else the amounts of all stages count for work.

        Raises
        ------
        UnitError
            If it is no such quantity, or a different number by the amounts of different stages.
        """
        value = self.parse(text)
        found: dict[float, str] = {}
        for said, one in self._ones(unit, stage):
            ratio = (value / one).to_base_units()
            if ratio.dimensionless:
                found.setdefault(float(f"{float(ratio.magnitude):.15g}"), said)
        if len(found) == 1:
            return next(iter(found))
        if found:
            each = ", ".join(f"{number:g} by {said}" for number, said in found.items())
            raise UnitError(f"{text!r} is not the same on every stage: {each}")
        raise UnitError(f"{text!r} is no {_wanted(unit, self._stated, self._amounts, stage)}")

    def _ones(self, unit: str, stage: str | None) -> list[tuple[str, Any]]:
        """What 1 of the instance's numbers may be as a quantity, and by which unit of work."""
        one = self._registry.Quantity(1.0)
        amounts = [(name, amount) for name, amount in self.stages.items() if stage in (None, name)]
        works = [(f"stage {name}", amount) for name, amount in amounts]
        works += [("work", self.work if self.work is not None else one), ("count", one)]
        cost = one if self.cost is None else self.cost
        match unit:
            case "time":
                return [("time", self.time)]
            case "seconds":
                return [("time", self.parse("s"))]
            case "share":
                return [("share", one)]
            case "cost":
                return [("cost", cost)]
            case "work":
                return works
            case "tilt":
                return [(said, 1 / work) for said, work in works]
            case "frequency":
                counted = [("request", self.parse("request")), ("job", self.parse("job"))]
                return [(said, work / self.time) for said, work in [*works[-2:], *counted]]
            case "rate":
                return [(said, work / self.time) for said, work in works]
            case "price":
                return [(said, cost / (work / self.time)) for said, work in works]
            case "curvature":
                return [(said, cost / (work / self.time) ** 2) for said, work in works]
        raise ValueError(f"there is no unit {unit!r}")

    def rate_text(self, value: float, stage: str) -> str:
        """A rate on a stage in words: in the stage's own unit where it has one, per second."""
        amount = self.stages.get(stage)
        if amount is None:
            return f"{value:.5g} {self._stated['work']}/{self._stated['time']}"
        label = re.sub(r"^[\s0-9.eE+-]*", "", self._amounts[stage])
        per_second = (value * amount / self.time / self.parse(f"1 {label}/s")).to_base_units()
        return f"{per_second.magnitude:.6g} {label}/s"


def _wanted(
    unit: str, stated: Mapping[str, str | None], amounts: Mapping[str, str], stage: str | None
) -> str:
    """The dimension that a field wants, in words, with what would make a text one of it."""
    words = {
        "time": "time",
        "seconds": "time",
        "work": "amount of work",
        "rate": "work per unit of time",
        "frequency": "number per unit of time",
        "tilt": "number per unit of work",
        "cost": "cost",
        "price": "cost per unit of rate",
        "curvature": "price per unit of rate",
        "share": "share",
    }[unit]
    if unit in ("cost", "price", "curvature") and stated["cost"] is None:
        return f"{words}: units.cost does not say what a cost of 1 is, such as EUR/h"
    if unit in ("work", "rate", "price", "curvature", "tilt") and stage is not None:
        amount = amounts.get(stage)
        if amount is None:
            return f"{words}: units.stages.{stage} does not say what one {stated['work']} is there"
        return f"{words} on stage {stage}, where one {stated['work']} is {amount}"
    return words


def _registry(own: Sequence[str]) -> UnitRegistry:
    """A registry of few units, without those that a reader defines; each instance has one of its own."""
    import pint

    registry: UnitRegistry = pint.UnitRegistry(None)
    for prefix in _PREFIXES.split():
        name, *rest = prefix.split("=")
        registry.define(" = ".join([f"{name}-", rest[0], *(f"{alias}-" for alias in rest[1:])]))
    for line in _UNITS:
        if line.split(" ", 1)[0] not in own:
            registry.define(line)
    return registry


_Table = tuple[tuple[str, str], ...]


@lru_cache(maxsize=64)
def _measures(time: str, work: str, cost: str | None, stages: _Table, define: _Table) -> Measures:
    return Measures(time, work, cost, dict(stages), dict(define))


def measures(units: Any) -> Measures:
    """The measures of an instance's `Units`, or of the mapping that should become one; raises `UnitError`."""

    def get(name: str, default: Any) -> Any:
        value = units.get(name) if isinstance(units, Mapping) else getattr(units, name, None)
        return default if value is None else value

    tables = [get(name, {}) for name in ("stages", "define")]
    if not all(isinstance(table, Mapping) for table in tables):
        raise UnitError("is no mapping of names to quantities")
    flat = [tuple((str(name), str(value)) for name, value in table.items()) for table in tables]
    cost = get("cost", None)
    return _measures(
        str(get("time", "ms")), str(get("work", "job")), None if cost is None else str(cost), *flat
    )


def converted(data: Mapping[str, Any], kind: type[BaseModel]) -> tuple[Mapping[str, Any], list[Problem]]:
    """The fields of an instance with every quantity converted, and what of it could not be.

    What holds no text in the place of a number is `data` itself.
    """
    walk = _Walk(data.get("units") or {})
    changed = walk.document(data, kind, (), None)
    return changed, walk.problems


def converted_value(value: Any, kind: type[BaseModel], field: str, units: Any, stage: str | None) -> Any:
    """The value that a field is to take, with its quantities converted; raises `InstanceError`."""
    walk = _Walk(units)
    changed = walk.document({field: value}, kind, (), stage)[field]
    if walk.problems:
        raise InstanceError(walk.problems, source="change")
    return changed


@lru_cache(maxsize=512)
def _fields(kind: type[BaseModel]) -> tuple[tuple[str, Unit | None, tuple[type[BaseModel], ...]], ...]:
    """Of each field as files write it: its unit, and the documents that it may hold."""
    found = []
    for name, written in written_names(kind).items():
        unit = next((m for m in kind.model_fields[name].metadata if isinstance(m, Unit)), None)
        held = tuple(variants(kind, name))
        if unit is not None or held:
            found.append((written, unit, held))
    return tuple(found)


class _Walk:
    """One pass over the fields of an instance as they were read."""

    def __init__(self, units: Any) -> None:
        self.units = units
        self.problems: list[Problem] = []

    def document(
        self, data: Mapping[str, Any], kind: type[BaseModel], path: tuple[str | int, ...], stage: str | None
    ) -> Mapping[str, Any]:
        own = data.get("stage")
        stage = own if isinstance(own, str) else stage
        result: dict[str, Any] | None = None
        for name, unit, held in _fields(kind):
            if name not in data:
                continue
            old = data[name]
            new = self._value(old, unit, held, (*path, name), stage)
            if new is not old:
                result = dict(data) if result is None else result
                result[name] = new
        return data if result is None else result

    def _value(
        self,
        value: Any,
        unit: Unit | None,
        held: tuple[type[BaseModel], ...],
        path: tuple[str | int, ...],
        stage: str | None,
    ) -> Any:
        if isinstance(value, Mapping) and not held and unit is not None:  # amounts by stage
            amounts = {key: self._value(item, unit, held, (*path, key), key) for key, item in value.items()}
            return amounts if any(amounts[key] is not value[key] for key in value) else value
        if isinstance(value, Mapping):
            named = [
                c for c in held if (f := c.model_fields.get("model")) and f.default == value.get("model")
            ]
            plain = [c for c in held if "model" not in c.model_fields]
            # Size laws are told apart by their fields: the one that knows most of them is meant.
            kinds = named or sorted(plain, key=lambda c: -len(set(value) & set(written_names(c).values())))
            return self.document(value, kinds[0], path, stage) if kinds else value
        if isinstance(value, (list, tuple)):
            items = []
            for i, item in enumerate(value):
                pair = unit is not None and unit.second is not None and not isinstance(item, (list, tuple))
                each = Unit(unit.second) if pair and i % 2 and unit and unit.second else unit
                items.append(self._value(item, each, held, (*path, i), stage))
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if isinstance(value, str) and unit is not None and is_quantity(value):
            return self._number(value, unit.of, path, stage)
        return value

    def _number(self, text: str, unit: str, path: tuple[str | int, ...], stage: str | None) -> Any:
        if unit == "share" and (found := _SHARE.fullmatch(text)):
            try:
                return float(Decimal(found[1]) / 100)
            except InvalidOperation:
                pass
        try:
            return measures(self.units).number(text, unit, stage)
        except UnitError as error:
            remedy = f"give a number in the instance's units, or a quantity such as {EXAMPLES[unit]!r}"
            self.problems.append(Problem(place_of(path), str(error), remedy))
            return text
