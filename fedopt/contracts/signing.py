"""Signing and verifying contracts: Ed25519 keys, JWS in compact form (RFC 9864), and every reason to refuse.

Keys are made, stored and read by joserfc (JSON Web Keys); no cryptography of our own.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from fedopt.contracts.document import (
    MAX_BYTES,
    Contract,
    ContractError,
    contract_of,
    instant,
    now,
    parse_canonical,
    signed_digest,
)

__all__ = [
    "ALGORITHM",
    "TYPE",
    "KeyRecord",
    "SigningKey",
    "State",
    "Version",
    "checked_payload",
    "generate_key",
    "header_of",
    "load_key",
    "public_key",
    "save_key",
    "sign",
    "unchecked_payload",
    "verify",
]

ALGORITHM = "Ed25519"
TYPE = "fedopt-contract+jws"


def key_id(key: OKPKey) -> str:
    """The name of a key: "ed25519-" and its RFC 7638 thumbprint.

    The thumbprint alone may begin with a dash and would then look like an option on a command line.
    """
    return f"ed25519-{key.thumbprint()}"


@dataclass(frozen=True)
class SigningKey:
    """A private key with its issuer. `kid` names the public key; see `key_id`."""

    issuer: str
    key: OKPKey

    @property
    def kid(self) -> str:
        """Identifier of the key."""
        return key_id(self.key)

    def public(self) -> dict[str, Any]:
        """The public JSON Web Key, with issuer."""
        members = self.key.as_dict(private=False)
        return {name: members[name] for name in ("kty", "crv", "x")} | {
            "kid": self.kid,
            "issuer": self.issuer,
        }


def generate_key(issuer: str) -> SigningKey:
    """A new Ed25519 key from the operating system's randomness."""
    if not issuer or len(issuer) > 200 or not issuer.isprintable():
        raise ContractError("key", "an issuer has a printable name of 1 to 200 characters")
    return SigningKey(issuer, OKPKey.generate_key("Ed25519"))


def save_key(key: SigningKey, path: str | Path) -> None:
    """Write the private key, readable by its owner only. Raises FileExistsError: a key is never
    overwritten.
    """
    members = key.key.as_dict(private=True) | {"kid": key.kid, "issuer": key.issuer}
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(members, stream, indent=2)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())


def load_key(path: str | Path) -> SigningKey:
    """Read a private key. Raises ContractError("key")."""
    try:
        members = json.loads(Path(path).read_text(encoding="utf-8"))
        issuer = members["issuer"]
        key = _import({name: members[name] for name in ("kty", "crv", "x", "d")})
    except OSError as error:
        raise ContractError("key", f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError("key", f"{path}: not a private Ed25519 key of fedopt contract keygen") from error
    if not isinstance(issuer, str):
        raise ContractError("key", f"{path}: the key names no issuer")
    return SigningKey(issuer, key)


def public_key(members: Any) -> tuple[str, str, OKPKey]:
    """(kid, issuer, key) of a public JSON Web Key. Raises ContractError("key")."""
    try:
        issuer, kid = members["issuer"], members["kid"]
        if "d" in members:
            raise ContractError("key", "this is a private key; share the public one")
        key = _import({name: members[name] for name in ("kty", "crv", "x")})
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(
            "key", "not a public Ed25519 key (kty OKP, crv Ed25519, x, kid, issuer)"
        ) from error
    if kid != key_id(key) or not isinstance(issuer, str):
        raise ContractError("key", "kid is not the key's thumbprint, or the issuer is no text")
    return str(kid), issuer, key


def _import(members: dict[str, Any]) -> OKPKey:
    if members.get("kty") != "OKP" or members.get("crv") != "Ed25519":
        raise ContractError("key", "only Ed25519 keys are used")
    try:
        return OKPKey.import_key(members)
    except (JoseError, ValueError, TypeError) as error:
        raise ContractError("key", f"not an Ed25519 key: {error}") from error


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
    if len(token) > 2 * MAX_BYTES or len(parts) != 3:
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


@dataclass
class KeyRecord:
    """A public key and what became of it. since, until: log times between which it may have signed."""

    kid: str
    issuer: str
    members: dict[str, Any]
    status: Literal["active", "retired", "revoked"]
    since: str
    until: str | None = None


@dataclass(frozen=True)
class Version:
    """A registered contract: its version, the SHA-256 of its signed text, its issuer and key."""

    version: int
    sha256: str
    issuer: str
    kid: str


@dataclass
class State:
    """What the log adds up to: keys by kid, versions by "domain/offer" (ascending), and the hash of its last
    entry.
    """

    keys: dict[str, KeyRecord] = field(default_factory=dict)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    head: str = "0" * 64

    def latest(self, subject: str) -> Version | None:
        """The newest registered version of a "domain/offer", or None."""
        versions = self.versions.get(subject)
        return versions[-1] if versions else None


def verify(
    token: str,
    state: State,
    *,
    at: str | None = None,
    stage: Literal["new", "registered"] = "registered",
    folder: Path | None = None,
) -> tuple[Contract, str]:
    """The contract and the kid of its key, if everything is right at the time `at` (now).

    stage "new": it must be the next version of its subject; "registered": it must be the newest registered
    version.
    folder: the registry's, where originals lie with which an altered text can be compared. Raises
    ContractError with
    the reason: malformed, algorithm-none, unknown-algorithm, unknown-header, unknown-key, revoked-key,
    retired-key, signature, altered-field, not-canonical, schema, issuer, not-yet-valid, expired, replayed,
    rolled-back, parent.
    """
    token = token.strip()
    kid = header_of(token)["kid"]
    record = state.keys.get(kid)
    if record is None:
        raise ContractError("unknown-key", f"the key {kid!r:.80} is not registered")
    if record.status == "revoked":
        raise ContractError("revoked-key", f"the key {kid} of {record.issuer} was revoked at {record.until}")
    if record.status == "retired" and stage == "new":
        raise ContractError("retired-key", f"the key {kid} of {record.issuer} was retired at {record.until}")
    _, _, key = public_key(record.members)
    try:
        payload = checked_payload(token, key)
    except ContractError as error:
        altered = _altered(token, state, folder)
        if altered is not None:
            raise ContractError("altered-field", altered) from error
        raise
    try:
        data = parse_canonical(payload)
    except ValueError as error:
        raise ContractError("not-canonical", str(error)) from error
    contract = contract_of(data)
    if contract.payload() != payload:
        raise ContractError("not-canonical", "the text is not the canonical form of the contract it holds")
    if contract.issuer != record.issuer:
        raise ContractError("issuer", f"{contract.issuer!r} is named, but the key is {record.issuer!r}'s")
    _check_time(contract, at or now())
    _check_version(contract, signed_digest(token), state, stage)
    return contract, kid


def _check_time(contract: Contract, at: str) -> None:
    if instant(at) < instant(contract.valid_from):
        raise ContractError("not-yet-valid", f"valid from {contract.valid_from}, it is {at}")
    if instant(at) >= instant(contract.valid_until):
        raise ContractError("expired", f"valid until {contract.valid_until}, it is {at}")


def _check_version(contract: Contract, sha256: str, state: State, stage: str) -> None:
    latest = state.latest(contract.subject)
    if latest is not None and latest.issuer != contract.issuer:
        raise ContractError(
            "issuer", f"{contract.subject} belongs to {latest.issuer!r}, not to {contract.issuer!r}"
        )
    if stage == "registered":
        if latest is None or all(v.sha256 != sha256 for v in state.versions[contract.subject]):
            raise ContractError(
                "parent", f"this version {contract.version} of {contract.subject} is not registered"
            )
        if latest.sha256 != sha256:
            raise ContractError(
                "rolled-back", f"version {contract.version} was replaced by version {latest.version}"
            )
        return
    newest = latest.version if latest else 0
    if latest is not None and any(v.sha256 == sha256 for v in state.versions[contract.subject]):
        raise ContractError(
            "replayed", f"version {contract.version} of {contract.subject} is registered already"
        )
    if contract.version <= newest:
        raise ContractError("rolled-back", f"version {contract.version} is not above the newest, {newest}")
    if contract.version != newest + 1:
        raise ContractError("parent", f"version {contract.version} skips versions: the newest is {newest}")
    if latest is not None and contract.parent != latest.sha256:
        raise ContractError("parent", f"the parent is not the hash of version {newest}")


def _altered(token: str, state: State, folder: Path | None) -> str | None:
    """Which fields differ from the registered contract of the same subject and version, if there is one."""
    if folder is None:
        return None
    try:
        claimed = parse_canonical(unchecked_payload(token))
        subject = f"{claimed['domain']}/{claimed['offer']}"
        for version in state.versions.get(subject, []):
            if version.version == claimed["version"]:
                text = (folder / "contracts" / f"{version.sha256}.jws").read_text(encoding="utf-8").strip()
                original = parse_canonical(unchecked_payload(text))
                fields = sorted(_differences(original, claimed))
                if fields:
                    return (
                        f"differs from the registered version {version.version} in: {', '.join(fields[:20])}"
                    )
    except (ValueError, KeyError, TypeError, OSError):
        return None
    return None


def _differences(left: Any, right: Any, place: str = "") -> set[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        found: set[str] = set()
        for name in left.keys() | right.keys():
            at = f"{place}.{name}" if place else name
            found |= (
                {at} if name not in left or name not in right else _differences(left[name], right[name], at)
            )
        return found
    return set() if left == right and type(left) is type(right) else {place}
