"""What one operator keeps to itself: the file of its domains, with their costs and capacities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedopt.federated.public import operator_of
from fedopt.instance import Domain, Instance, Units
from fedopt.instance.base import Document, Name, Positive
from fedopt.instance.documents import MAX_DOMAINS
from fedopt.instance.reading import read_document
from fedopt.instance.writing import plain

__all__ = ["PrivateFile"]


class PrivateFile(Document):
    """An operator's domains as they stand in an instance, in the same units."""

    fedopt: Literal[1] = 1
    kind: Literal["operator"] = "operator"
    operator: Name
    units: Units = Units()
    slot: Positive = 1.0
    domains: Annotated[tuple[Domain, ...], Field(min_length=1, max_length=MAX_DOMAINS)]

    @model_validator(mode="after")
    def _own(self) -> Self:
        seen: set[str] = set()
        for domain in self.domains:
            if domain.id in seen:
                raise ValueError(f"the domain {domain.id!r} occurs twice")
            if operator_of(domain) != self.operator:
                raise ValueError(
                    f"the domain {domain.id!r} is {operator_of(domain)!r}'s, not {self.operator!r}'s"
                )
            seen.add(domain.id)
        return self

    @classmethod
    def of(cls, instance: Instance, operator: str) -> PrivateFile:
        """The part of an instance that is one operator's."""
        own = tuple(domain for domain in instance.domains if operator_of(domain) == operator)
        return cls(operator=operator, units=instance.units, slot=instance.slot, domains=own)

    @classmethod
    def load(cls, path: str | Path) -> PrivateFile:
        """Read the file. Raises InstanceError with every wrong place."""
        return read_document(path, cls, "an operator's domains")

    def text(self) -> str:
        """The file's text, JSON (which is YAML too)."""
        return json.dumps(plain(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def capacity(self) -> dict[str, float]:
        """Work per unit of time by domain."""
        return {domain.id: domain.capacity for domain in self.domains}
