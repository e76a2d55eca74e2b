"""The files of an agent: the operator's domains, with costs and capacities, and its contracts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedopt.contracts import ContractError, signed_digest
from fedopt.contracts.document import parse_canonical, read_token
from fedopt.contracts.signing import header_of, unchecked_payload
from fedopt.federated.public import operator_of
from fedopt.instance import Domain, Instance, Units
from fedopt.instance.base import Document, Name, Positive
from fedopt.instance.documents import MAX_DOMAINS
from fedopt.instance.reading import read_document
from fedopt.instance.writing import plain

__all__ = ["ContractFolder", "PrivateFile"]


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

    def factors(self) -> dict[str, float]:
        """Capacity used per unit of rate, by "domain/offer"."""
        return {f"{d.id}/{offer.id}": float(offer.work_factor) for d in self.domains for offer in d.offers}


class ContractFolder:
    """The `*.jws` files of a folder, by what they are about ("domain/offer"); the highest version counts.

    The agent publishes what its operator signed; verifying is up to who relies on it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._seen: list[tuple[str, int, int]] | None = None
        self._tokens: dict[str, str] = {}

    def tokens(self) -> dict[str, str]:
        """The signed text by subject. Raises ContractError for a file that is no signed contract."""
        if self._folder is None:
            return {}
        files = sorted(self._folder.glob("*.jws"))
        seen = [(file.name, (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files]
        if seen != self._seen:
            newest: dict[str, tuple[int, str]] = {}
            for file in files:
                version, subject, token = _read(file)
                if version > newest.get(subject, (0, ""))[0]:
                    newest[subject] = (version, token)
            self._tokens = {subject: token for subject, (_, token) in newest.items()}
            self._seen = seen
        return self._tokens

    def digests(self) -> dict[str, str]:
        """What the folder holds now: SHA-256 of the signed text by subject."""
        return {subject: signed_digest(token) for subject, token in self.tokens().items()}


def _read(file: Path) -> tuple[int, str, str]:
    token = read_token(file)
    header_of(token)
    try:
        said = parse_canonical(unchecked_payload(token))
        return int(said["version"]), f"{said['domain']}/{said['offer']}", token
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError("malformed", f"{file}: not a signed contract: {error}") from error
