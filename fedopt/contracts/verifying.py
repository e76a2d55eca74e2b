"""Verifying a signed contract: every way in which it can be wrong is refused by name, and nothing unnamed
passes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fedopt.contracts.canonical import parse_canonical
from fedopt.contracts.document import Contract, contract_of, instant, now, signed_digest
from fedopt.contracts.errors import ContractError
from fedopt.contracts.keys import public_key
from fedopt.contracts.registry import State
from fedopt.contracts.signing import checked_payload, header_of, unchecked_payload

__all__ = ["verify"]


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
