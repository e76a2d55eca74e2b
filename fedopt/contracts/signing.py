"""Signing a contract and taking a signed one apart: JWS compact serialisation, algorithm Ed25519 (RFC 9864)
and no other.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from fedopt.contracts.canonical import MOST_BYTES
from fedopt.contracts.document import Contract
from fedopt.contracts.errors import ContractError
from fedopt.contracts.keys import SigningKey

__all__ = ["ALGORITHM", "TYPE", "checked_payload", "header_of", "sign"]

ALGORITHM = "Ed25519"
TYPE = "fedopt-contract+jws"


def sign(contract: Contract, key: SigningKey) -> str:
    """The signed contract as JWS in compact form. Raises ContractError("issuer") where the key is another
    issuer's.
    """
    if contract.issuer != key.issuer:
        raise ContractError(
            "issuer", f"the contract's issuer is {contract.issuer!r}, the key's is {key.issuer!r}"
        )
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": TYPE}
    return jws.serialize_compact(header, contract.payload(), key.key, algorithms=[ALGORITHM])


def header_of(token: str) -> dict[str, Any]:
    """The protected header, checked: exactly alg (Ed25519), kid and typ. Nothing is verified by it yet.

    Raises ContractError: "malformed", "algorithm-none", "unknown-algorithm" or "unknown-header".
    """
    parts = token.split(".")
    if len(token) > 2 * MOST_BYTES or len(parts) != 3:
        raise ContractError("malformed", "a signed contract is three parts of base64url text joined by dots")
    try:
        header = json.loads(_decoded(parts[0]).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ContractError("malformed", "the header is not JSON") from error
    if not isinstance(header, dict):
        raise ContractError("malformed", "the header is not a JSON object")
    algorithm = header.get("alg")
    if isinstance(algorithm, str) and algorithm.casefold() == "none":
        raise ContractError("algorithm-none", "an unsigned contract (alg none) is no contract")
    if algorithm != ALGORITHM:
        raise ContractError("unknown-algorithm", f"the algorithm {algorithm!r:.40} is not {ALGORITHM}")
    if set(header) != {"alg", "kid", "typ"} or header["typ"] != TYPE or not isinstance(header["kid"], str):
        raise ContractError(
            "unknown-header", f"the header must hold alg, kid and typ = {TYPE}, and nothing else"
        )
    if not parts[2]:
        raise ContractError("signature", "there is no signature")
    _decoded(parts[1])
    _decoded(parts[2])
    return header


def checked_payload(token: str, key: OKPKey) -> bytes:
    """The payload, if the signature is the key's. Raises ContractError("signature")."""
    try:
        return bytes(jws.deserialize_compact(token, key, algorithms=[ALGORITHM]).payload)
    except (JoseError, ValueError, TypeError) as error:
        raise ContractError("signature", "the signature does not belong to this text and key") from error


def unchecked_payload(token: str) -> bytes:
    """The payload as it stands, unverified: only to tell what was altered. Raises
    ContractError("malformed").
    """
    return _decoded(token.split(".")[1])


def _decoded(part: str) -> bytes:
    try:
        raw = part.encode("ascii")
        data = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise ContractError("malformed", "a part is not base64url text") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=") != raw:
        raise ContractError("malformed", "a part is not the one base64url text of its bytes")
    return data
