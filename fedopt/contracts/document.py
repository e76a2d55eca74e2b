"""The contract: a domain's tail-risk envelope for one offer, with issuer, version and validity, ready to be
signed; why one is refused, reading one, and putting it into an instance.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, model_validator

from fedopt.errors import FedoptError
from fedopt.instance import Instance
from fedopt.instance.base import Document, Name, NonNegative, OpenProbability, Positive
from fedopt.instance.errors import InstanceError
from fedopt.instance.impairments import Impairment, LearnedImpairment, TableImpairment
from fedopt.instance.writing import plain
from fedopt.instance.yaml_text import TextError, read_yaml
from fedopt.storage import canonical_json

__all__ = [
    "MAX_BYTES",
    "Contract",
    "ContractError",
    "Evidence",
    "Reason",
    "Time",
    "contract_of",
    "contract_schema",
    "digest",
    "instant",
    "now",
    "parse_canonical",
    "read_contract",
    "read_impairment",
    "read_json",
    "read_token",
    "signed_digest",
    "with_contract",
]

MAX_BYTES = 4_000_000
MAX_DEPTH = 40
Reason = Literal[
    "malformed",
    "algorithm-none",
    "unknown-algorithm",
    "unknown-header",
    "unknown-key",
    "revoked-key",
    "retired-key",
    "signature",
    "altered-field",
    "not-canonical",
    "schema",
    "issuer",
    "not-yet-valid",
    "expired",
    "replayed",
    "rolled-back",
    "parent",
    "unit",
    "log",
    "key",
    "file",
]


class ContractError(FedoptError, ValueError):
    """A contract, key or registry that is refused. `reason` is one of the names above; the message says
    more. The exit code is that of a broken promise, or that of bad input (`bad_input`; always for a key or a
    file that cannot be used).
    """

    def __init__(self, reason: Reason, message: str, bad_input: bool = False) -> None:
        self.reason: Reason = reason
        self.exit_code = 2 if bad_input or reason in ("key", "file") else 5
        super().__init__(f"{reason}: {message}")


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
        return canonical_json(self.to_dict())

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


def read_contract(path: str | Path) -> Contract:
    """An unsigned contract (YAML or JSON). Raises ContractError with every wrong place."""
    try:
        data, _ = read_yaml(_text(path))
    except (TextError, RecursionError) as error:
        raise ContractError("malformed", f"{path}: {error}", bad_input=True) from error
    try:
        return contract_of(data, str(path))
    except ContractError as error:
        error.exit_code = 2  # nobody has signed it: it is not broken, it is not finished
        raise


def read_impairment(path: str | Path) -> TableImpairment:
    """An impairment as `fedopt fit impairment` writes it. Raises ContractError ("file", "schema")."""
    data = read_json(path)
    try:
        return TableImpairment.model_validate(data)
    except InstanceError as error:
        raise ContractError("schema", f"{path}: not an impairment table: {error}", bad_input=True) from error


def read_token(path: str | Path) -> str:
    """The text of a signed contract. Raises ContractError ("file", "malformed")."""
    text = _text(path).strip()
    if not text.isascii():
        raise ContractError("malformed", f"{path}: a signed contract is base64url text")
    return text


def _text(path: str | Path) -> str:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ContractError("file", f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > 2 * MAX_BYTES:
        raise ContractError("file", f"{path}: larger than {2 * MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContractError("file", f"{path}: not UTF-8 text") from error


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object, such as a public key. Raises ContractError("file")."""
    text = _text(path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContractError("file", f"{path}: not JSON") from error
    if not isinstance(data, dict):
        raise ContractError("file", f"{path}: not a JSON object")
    return data


def with_contract(instance: Instance, contract: Contract) -> Instance:
    """The instance with the contract's promise for its offer. Raises ContractError("unit") where units
    differ.

    Raises InstanceError where the instance has no such offer.
    """
    units = instance.units
    if (units.time, units.work) != (contract.time_unit, contract.work_unit):
        raise ContractError(
            "unit",
            f"the contract counts in {contract.time_unit} and {contract.work_unit}, "
            f"the instance in {units.time} and {units.work}",
        )
    instance.offer(contract.subject)
    place = f"domains.{contract.domain}.offers.{contract.offer}"
    changes: dict[str, object] = {
        f"{place}.latency": contract.latency,
        f"{place}.latency_kind": contract.latency_kind,
        f"{place}.impairment": contract.impairment,
    }
    if contract.max_rate is not None:
        changes[f"{place}.max_rate"] = contract.max_rate
    if instance.theta is None and isinstance(contract.impairment, TableImpairment):
        changes["theta"] = tuple(theta for theta in contract.impairment.theta if theta > 0)
    return instance.with_(changes)


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return sha256(data).hexdigest()


def parse_canonical(data: bytes) -> Any:
    """Read canonical JSON. Raises ValueError where the bytes are not the canonical form of what they say."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse, parse_int=_integer
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if _depth(value) > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
    if canonical_json(value) != data:
        raise ValueError("the bytes are not in canonical form (RFC 8785)")
    return value


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0) if isinstance(value, dict | list) else 0


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a key occurs twice")
    return document


def _integer(text: str) -> int | float:
    """An integer, or beyond 2^53 the number that a double holds, as every JSON reader sees it."""
    return int(text) if len(text) < 17 and abs(int(text)) < 2**53 else float(text)


def _refuse(name: str) -> float:
    raise ValueError(f"JSON has no {name}")
