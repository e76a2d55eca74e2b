"""The registry: a folder with keys, signed contracts and the log of everything that happened to them.

The log is the only authority. Keys and contracts lie beside it under names that the log's hashes check.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fedopt.contracts.canonical import canonical_bytes, digest
from fedopt.contracts.document import Contract, signed_digest
from fedopt.contracts.errors import ContractError
from fedopt.contracts.keys import public_key
from fedopt.contracts.log import Entry, Log
from fedopt.storage import write_atomically

__all__ = ["KeyRecord", "Registry", "State", "Version"]


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


class Registry:
    """A registry folder; it is made on first use, unless it `must_exist`.

    Raises ContractError("file") for a path that is no folder, or where there is no registry that must exist.
    """

    def __init__(self, folder: str | Path, must_exist: bool = False) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ContractError("file", f"{folder}: is no folder, so no registry")
        if must_exist and not (self.folder / "log.jsonl").is_file():
            raise ContractError(
                "file",
                f"{folder}: there is no registry; fedopt contract trust KEY --registry {folder} begins one",
            )
        self.log = Log(self.folder / "log.jsonl")

    def state(self) -> State:
        """Replay the log. Raises ContractError("log") where the chain is broken."""
        state = State()
        for entry in self.log.entries():
            try:
                _apply(state, entry)
            except (KeyError, TypeError) as error:
                raise ContractError("log", f"entry {entry.index} lacks what its event needs") from error
            state.head = entry.hash
        return state

    def trust(self, members: dict[str, Any]) -> str:
        """Register an issuer's public key; returns its kid. A key that was revoked or retired stays so."""
        kid, issuer, _ = public_key(members)
        with self.log.locked():
            if kid in self.state().keys:
                raise ContractError("key", f"the key {kid} is registered already")
            kept = {name: members[name] for name in ("kty", "crv", "x", "kid", "issuer")}
            self.log.append("key-trusted", {"kid": kid, "issuer": issuer, "key": kept})
        return kid

    def retire(self, kid: str) -> None:
        """The key signs nothing new from now on; what it signed before stays valid."""
        self._end(kid, "key-retired")

    def revoke(self, kid: str, reason: str) -> None:
        """The key is compromised: nothing that it ever signed is valid any more."""
        self._end(kid, "key-revoked", reason)

    def rotate(self, old: str, members: dict[str, Any]) -> str:
        """Trust a new key of the same issuer and retire the old one; returns the new kid."""
        issuer = self._record(self.state(), old).issuer
        if members.get("issuer") != issuer:
            raise ContractError("issuer", f"the new key's issuer is not {issuer!r}")
        kid = self.trust(members)
        self.retire(old)
        return kid

    def add(self, token: str, at: str | None = None) -> Contract:
        """Verify a signed contract as the next version of its subject and register it. Raises
        ContractError.
        """
        from fedopt.contracts.verifying import verify

        with self.log.locked():
            contract, kid = verify(token, self.state(), at=at, stage="new", folder=self.folder)
            sha = signed_digest(token)
            write_atomically(self.contract_file(sha), token.strip() + "\n")
            self.log.append(
                "contract-registered",
                {
                    "subject": contract.subject,
                    "version": contract.version,
                    "sha256": sha,
                    "issuer": contract.issuer,
                    "kid": kid,
                },
            )
        return contract

    def contract_file(self, sha256: str) -> Path:
        """Where the signed text of a contract lies."""
        return self.folder / "contracts" / f"{sha256}.jws"

    def current(self, subject: str, at: str | None = None) -> Contract:
        """The newest version of a "domain/offer", verified again. Raises ContractError."""
        from fedopt.contracts.verifying import verify

        state = self.state()
        latest = state.latest(subject)
        if latest is None:
            raise ContractError("parent", f"no contract for {subject!r} is registered")
        return verify(self.token(latest), state, at=at, folder=self.folder)[0]

    def token(self, version: Version) -> str:
        """The signed text of a registered version. Raises ContractError("log") where the file is not what it
        was.
        """
        try:
            token = self.contract_file(version.sha256).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ContractError(
                "log", f"the text of version {version.version} is missing or unreadable"
            ) from error
        if signed_digest(token) != version.sha256:
            raise ContractError("log", f"the stored text of version {version.version} was changed")
        return token

    def _end(self, kid: str, event: str, reason: str = "") -> None:
        with self.log.locked():
            record = self._record(self.state(), kid)
            if record.status == "revoked" or (record.status == "retired" and event == "key-retired"):
                raise ContractError("key", f"the key {kid} is {record.status} already")
            self.log.append(event, {"kid": kid, "reason": reason})

    @staticmethod
    def _record(state: State, kid: str) -> KeyRecord:
        if kid not in state.keys:
            raise ContractError("unknown-key", f"no key {kid!r:.80} is registered")
        return state.keys[kid]


def _apply(state: State, entry: Entry) -> None:
    data = entry.data
    if entry.event == "key-trusted":
        state.keys[data["kid"]] = KeyRecord(data["kid"], data["issuer"], data["key"], "active", entry.time)
    elif entry.event in ("key-retired", "key-revoked"):
        record = state.keys[data["kid"]]
        record.status = "retired" if entry.event == "key-retired" else "revoked"
        record.until = entry.time
    elif entry.event == "contract-registered":
        version = Version(data["version"], data["sha256"], data["issuer"], data["kid"])
        state.versions.setdefault(data["subject"], []).append(version)
    else:
        raise ContractError("log", f"entry {entry.index} has the unknown event {entry.event!r:.60}")


def describe(entry: Entry) -> str:
    """One line about a log entry."""
    what = {k: v for k, v in entry.data.items() if k != "key"}
    return f"{entry.index:>5}  {entry.time}  {entry.event:<20} {json.dumps(what, ensure_ascii=False)}"


def fingerprint(state: State) -> str:
    """A hash of what the log adds up to, for comparing two copies of a registry."""
    keys = {kid: [r.issuer, r.status] for kid, r in state.keys.items()}
    versions = {s: [[v.version, v.sha256] for v in vs] for s, vs in state.versions.items()}
    return digest(canonical_bytes({"keys": keys, "versions": versions}))
