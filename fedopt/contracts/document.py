"""The contract: a domain's tail-risk envelope for one offer, with issuer, version and validity, ready to be
signed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, model_validator

from fedopt.contracts.canonical import canonical_bytes, digest
from fedopt.contracts.errors import ContractError
from fedopt.instance.base import Document, Name, NonNegative, OpenProbability, Positive
from fedopt.instance.errors import InstanceError
from fedopt.instance.impairments import Impairment, LearnedImpairment
from fedopt.instance.writing import plain

__all__ = ["Contract", "Evidence", "contract_of", "contract_schema", "instant", "now"]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def instant(text: str) -> datetime:
    """A time of the form 2026-01-31T23:59:59Z. Raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"must be a time in UTC such as 2026-01-31T23:59:59Z, is {text!r:.60}")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def now() -> str:
    """The present time in the form that contracts use."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str) -> str:
    instant(text)
    return text


def _hash(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise ValueError(f"must be a SHA-256 in lower-case hexadecimal, is {text!r:.80}")
    return text


Time = Annotated[str, AfterValidator(_time)]
Digest = Annotated[str, AfterValidator(_hash)]


class Evidence(Document):
    """What the envelope rests on: the method, the number of slots observed and the confidence that it is a
    bound.
    """

    method: Annotated[str, Field(max_length=200)]
    slots: Annotated[StrictInt, Field(ge=1)]
    confidence: OpenProbability


class Contract(Document):
    """A tail-risk envelope (TRE): what a domain promises about one offer.

    E exp(θ I(s,t)) ≤ exp(θκ(θ)(t−s) + θη(θ)) for the impairment, beside the latency of the guardrail. Times
    are in `time_unit`, work in `work_unit`; a table's κ is work per unit of time and may hold negative θ,
    where θκ is the log-moment of the work in a unit of time. version counts up from 1; parent is the SHA-256
    of the signed text of the version before (none for version 1).
    """

    fedopt: Literal[1] = 1
    kind: Literal["contract"] = "contract"
    issuer: Name
    domain: Name
    offer: Name
    version: Annotated[StrictInt, Field(ge=1, le=10**9)]
    parent: Digest | None = None
    issued: Time
    valid_from: Time
    valid_until: Time
    time_unit: Name = "ms"
    work_unit: Name = "job"
    latency: NonNegative
    latency_kind: Literal["rate", "delay"] = "rate"
    impairment: Impairment
    max_rate: Positive | None = None
    evidence: Evidence | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if instant(self.valid_until) <= instant(self.valid_from):
            raise ValueError("valid_until must be later than valid_from")
        if (self.parent is None) != (self.version == 1):
            raise ValueError("version 1 has no parent, every later version has one")
        if not isinstance(self.impairment, Document):
            raise ValueError("a model given as an object cannot be signed; give its table")
        if isinstance(self.impairment, LearnedImpairment):
            raise ValueError("what was learned of a domain is no promise of its own; give an envelope")
        return self

    @property
    def subject(self) -> str:
        """What it is about: "domain/offer"."""
        return f"{self.domain}/{self.offer}"

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain data."""
        return dict(plain(self, defaults=True))

    def payload(self) -> bytes:
        """The canonical JSON that is signed."""
        return canonical_bytes(self.to_dict())

    def to_json(self) -> str:
        """The canonical JSON as text."""
        return self.payload().decode("utf-8")


def contract_of(data: Any, source: str = "contract") -> Contract:
    """A contract from plain data. Raises ContractError("schema") with every wrong place."""
    try:
        return Contract.model_validate(data)
    except InstanceError as error:
        places = "; ".join(f"{p.place or 'document'}: {p.message}" for p in error.problems[:10])
        raise ContractError("schema", f"{source}: {places}") from error
    except RecursionError as error:
        raise ContractError("schema", f"{source}: nested too deeply") from error


def contract_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the contract document."""
    schema = Contract.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "fedopt contract", **schema}


def signed_digest(token: str) -> str:
    """SHA-256 of a signed contract's text; what `parent` of the next version must be."""
    return digest(token.strip().encode("utf-8", "surrogatepass"))
