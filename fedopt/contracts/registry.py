"""The registry: a folder with keys, signed contracts and the log of everything that happened to them.

The log is the only authority: an append-only, hash-chained file of which the registry signs the head. A
changed, removed or inserted entry breaks the chain; a log that was cut short or forked contradicts the signed
head; an entry added by hand lies beyond it. Keys and contracts lie beside the log under names that its hashes
check.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
from joserfc import jws
from joserfc.errors import JoseError

from fedopt.contracts.document import (
    Contract,
    ContractError,
    digest,
    now,
    parse_canonical,
    signed_digest,
    with_contract,
)
from fedopt.contracts.signing import (
    ALGORITHM,
    KeyRecord,
    SigningKey,
    State,
    Version,
    generate_key,
    load_key,
    public_key,
    save_key,
    verify,
)
from fedopt.instance import Instance
from fedopt.storage import canonical_json, write_atomically

__all__ = ["Entry", "Log", "Registry", "describe", "fingerprint", "with_registry"]

START = "0" * 64
HEAD_TYPE = "fedopt-registry-head+jws"


@dataclass(frozen=True)
class Entry:
    """One line of the log: index from 0, time, event and its data, hash of the entry before and of this
    one.
    """

    index: int
    time: str
    event: str
    data: dict[str, Any]
    previous: str
    hash: str


class Log:
    """The log in one file of JSON lines, with its head signed in the file `head.jws` beside it.

    One writer at a time (file lock); what a crash left behind the signed head was never told to anybody and
    is dropped. The registry's own key lies in `registry.key`, readable by its owner only; its public part is
    in the first entry written with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = filelock.FileLock(path.with_suffix(".lock"), mode=0o600)

    def entries(self) -> list[Entry]:
        """All entries, chain and signed head verified. Raises ContractError("log") naming what is wrong."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")
        found: list[Entry] = []
        previous = START
        for index, line in enumerate(lines[:-1]):  # what follows the last line feed was never completed
            entry = _entry(line, index)
            if entry.previous != previous or entry.index != index:
                raise ContractError(
                    "log", f"entry {index} does not follow the one before it: the log was changed"
                )
            found.append(entry)
            previous = entry.hash
        return self._signed_part(found)

    def head(self) -> str:
        """Hash of the last entry; whoever keeps it can tell later whether a whole registry was set back."""
        entries = self.entries()
        return entries[-1].hash if entries else START

    def append(self, event: str, data: dict[str, Any], time: str | None = None) -> Entry:
        """Add an entry and sign the new head; both are on the disk when this returns."""
        entries = self.entries()
        previous = entries[-1].hash if entries else START
        key = self._key()
        if _registry_key(entries) is None:
            data = data | {"registry": key.public()}
        body = {
            "index": len(entries),
            "time": time or now(),
            "event": event,
            "data": data,
            "previous": previous,
        }
        line = canonical_json(body | {"hash": digest(canonical_json(body))}) + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as stream:
            whole = sum(len(_line(entry)) for entry in entries)
            if stream.tell() != whole:
                stream.truncate(whole)
            stream.seek(whole)
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        entry = _entry(line[:-1], len(entries))
        statement = canonical_json({"entries": len(entries) + 1, "head": entry.hash})
        token = jws.serialize_compact(
            {"alg": ALGORITHM, "kid": key.kid, "typ": HEAD_TYPE}, statement, key.key, algorithms=[ALGORITHM]
        )
        write_atomically(self._head_file, token + "\n")
        return entry

    def locked(self) -> filelock.BaseFileLock:
        """Hold the log for reading and appending as one step, as a context."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self._lock

    @property
    def _head_file(self) -> Path:
        return self.path.with_name("head.jws")

    def _key(self) -> SigningKey:
        file = self.path.with_name("registry.key")
        if not file.exists():
            if self._head_file.exists():
                raise ContractError("key", f"{file} is missing; only its owner adds to this registry")
            file.parent.mkdir(parents=True, exist_ok=True)
            save_key(generate_key("registry"), file)
        return load_key(file)

    def _signed_part(self, entries: list[Entry]) -> list[Entry]:
        """The entries up to the signed head. Raises ContractError("log") where the two contradict each
        other.
        """
        members = _registry_key(entries)
        if not self._head_file.exists():
            if members is None:
                return entries  # begun before heads were signed
            if "registry" not in entries[-1].data:
                raise ContractError("log", "the signed head is missing: the log was cut short or replaced")
            return entries[:-1]  # a crash before the very first head was signed
        try:
            token = self._head_file.read_text(encoding="utf-8").strip()
            if members is None:
                raise ContractError("log", "a signed head, but no entry names the key: the log was replaced")
            found = parse_canonical(
                bytes(jws.deserialize_compact(token, public_key(members)[2], algorithms=[ALGORITHM]).payload)
            )
            count, head = int(found["entries"]), str(found["head"])
        except (OSError, JoseError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, ContractError):
                raise
            raise ContractError("log", "the signed head does not belong to this registry's key") from error
        if count > len(entries):
            raise ContractError("log", f"cut short: {count} entries were signed, {len(entries)} are there")
        if entries[count - 1].hash != head:
            raise ContractError("log", f"forked: entry {count - 1} is not the one that was signed")
        return entries[:count]


def _registry_key(entries: list[Entry]) -> dict[str, Any] | None:
    """The public key that the log names as the registry's own."""
    return next((entry.data["registry"] for entry in entries if "registry" in entry.data), None)


def _line(entry: Entry) -> bytes:
    return canonical_json(vars(entry)) + b"\n"


def _entry(line: bytes, index: int) -> Entry:
    try:
        body = parse_canonical(line)
        stated = body.pop("hash")
        if stated != digest(canonical_json(body)):
            raise ContractError("log", f"entry {index} was changed: its hash is not that of its contents")
        entry = Entry(hash=stated, **body)
        if not isinstance(entry.data, dict) or not isinstance(entry.event, str):
            raise TypeError
        return entry
    except (ValueError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        if isinstance(error, ContractError):
            raise
        raise ContractError(
            "log", f"entry {index} cannot be read: the log was changed or is damaged"
        ) from error


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
    what = {k: v for k, v in entry.data.items() if k not in ("key", "registry")}
    return f"{entry.index:>5}  {entry.time}  {entry.event:<20} {json.dumps(what, ensure_ascii=False)}"


def fingerprint(state: State) -> str:
    """A hash of what the log adds up to, for comparing two copies of a registry."""
    keys = {kid: [r.issuer, r.status] for kid, r in state.keys.items()}
    versions = {s: [[v.version, v.sha256] for v in vs] for s, vs in state.versions.items()}
    return digest(canonical_json({"keys": keys, "versions": versions}))


def with_registry(
    instance: Instance, registry: Registry, at: str | None = None
) -> tuple[Instance, list[Contract]]:
    """The instance with the current contract of every offer that has one, each verified, and those contracts.

    Contracts for offers that the instance lacks are passed over. Raises ContractError where one does not
    verify at the time `at` (now).
    """
    offers = {f"{domain.id}/{offer.id}" for domain in instance.domains for offer in domain.offers}
    subjects = sorted(offers & registry.state().versions.keys())
    used = [registry.current(subject, at) for subject in subjects]
    for contract in used:
        instance = with_contract(instance, contract)
    return instance, used
