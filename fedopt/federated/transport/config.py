"""The configurations of agents and brokers: YAML files whose paths count from their own folder."""

from __future__ import annotations

import ipaddress
import json
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from joserfc.jwk import OKPKey
from pydantic import AfterValidator, Field, StrictInt, StrictStr, model_validator

from fedopt.contracts import ContractError, signed_digest
from fedopt.contracts.document import parse_canonical, read_token
from fedopt.contracts.signing import header_of, public_key, unchecked_payload
from fedopt.errors import InputError
from fedopt.federated.public import operator_of
from fedopt.federated.transport.certificates import fingerprint_of
from fedopt.instance import Domain, Instance, Units
from fedopt.instance.base import Document, Name, Positive, Share
from fedopt.instance.documents import MAX_DOMAINS
from fedopt.instance.reading import read_document as read_typed
from fedopt.instance.reading import read_file_fields
from fedopt.instance.writing import plain

if TYPE_CHECKING:
    from fedopt.federated.problem import Build
    from fedopt.federated.transport.https import AgentLink, Patience

__all__ = [
    "AgentConfig",
    "AgentPeer",
    "BrokerConfig",
    "BrokerPeer",
    "ContractFolder",
    "Limits",
    "PrivateFile",
    "Tls",
    "private_parts",
    "read_document",
    "read_public_key",
    "read_revoked",
]

Port = Annotated[StrictInt, Field(ge=0, le=65535)]


class Tls(Document):
    """The files of the own end of mutual TLS: certificate and private key, PEM."""

    certificate: StrictStr
    key: StrictStr


class BrokerPeer(Document):
    """A broker that an agent listens to: its TLS certificate and its public signing key."""

    name: Name
    certificate: StrictStr
    key: StrictStr


class Limits(Document):
    """What an agent takes from each of its brokers at most."""

    message_bytes: Annotated[StrictInt, Field(ge=1_000, le=1_000_000_000)] = 16_000_000
    messages_per_run: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = 5_000
    open_runs: Annotated[StrictInt, Field(ge=1, le=10_000)] = 20
    run_idle_hours: Positive = 24.0
    body_seconds: Positive = 30.0
    hold_seconds: Positive = 3600.0


class AgentConfig(Document):
    """An operator's agent.

    `private` is the file of the operator's domains, with costs and capacities. `key` signs what the agent
    says; `peers` are the public keys of the other operators, whose masking keys must be signed with them.
    `problem` (FILE:FUNCTION) states the operator's own problem in cvxpy; `policy` is the file of what brokers
    may ask (see `policy`); `monitors` are TLS certificates that may read health and metrics and nothing else;
    `revoked` is a file of SHA-256 fingerprints and key ids that count no more, one a line.
    """

    fedopt: Literal[1] = 1
    kind: Literal["agent"] = "agent"
    operator: Name
    listen: StrictStr = "127.0.0.1:8440"
    private: StrictStr
    key: StrictStr
    tls: Tls
    brokers: Annotated[tuple[BrokerPeer, ...], Field(min_length=1, max_length=1000)]
    peers: dict[Name, StrictStr] = Field(default_factory=dict)
    contracts: StrictStr | None = None
    problem: StrictStr | None = None
    policy: StrictStr | None = None
    monitors: tuple[StrictStr, ...] = ()
    revoked: StrictStr | None = None
    state: StrictStr
    limits: Limits = Limits()
    noise: Annotated[Share, Field(le=0.5)] = 0.0

    _folder: Path = Path()

    @model_validator(mode="after")
    def _listens(self) -> Self:
        host, colon, port = self.listen.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"listen must be HOST:PORT, is {self.listen!r}")
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on; port 0 takes a free one."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the address."""
        try:
            return ipaddress.ip_address(self.address[0]).is_loopback
        except ValueError:
            return self.address[0] == "localhost"

    def file(self, name: str) -> Path:
        """A path of the configuration as it lies on this machine."""
        return self._folder / name

    def replaced(self, **fields: Any) -> AgentConfig:
        """The configuration with other values of some fields."""
        config = self.model_copy(update=fields)
        object.__setattr__(config, "_folder", self._folder)
        return config

    @classmethod
    def load(cls, path: str | Path) -> AgentConfig:
        """Read a configuration. Raises InstanceError with every wrong place."""
        config = read_typed(path, cls, "an agent's configuration")
        object.__setattr__(config, "_folder", Path(path).resolve().parent)
        return config


def read_document(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises InstanceError naming file, place and remedy."""
    return read_file_fields(path, "a configuration")[0]


def read_public_key(path: Any) -> tuple[str, OKPKey]:
    """(kid, key) of a public signing key file. Raises ContractError or InstanceError."""
    kid, _, key = public_key(read_document(path))
    return kid, key


def read_revoked(path: Path | None) -> frozenset[str]:
    """The fingerprints and key ids in a list of what is revoked. Raises InputError."""
    if path is None:
        return frozenset()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the list of what is revoked cannot be read: {error}") from error
    entries = (line.partition("#")[0].strip().replace(":", "") for line in lines)
    return frozenset(e.lower() if set(e) <= set(string.hexdigits) else e for e in entries if e)


def _url(text: str) -> str:
    if not text.startswith("https://") or "@" in text:
        raise ValueError(f"must be an address such as https://agent.example:8440, is {text!r:.100}")
    return text.rstrip("/")


class AgentPeer(Document):
    """An operator's agent: its address, its TLS certificate and its public signing key."""

    operator: Name
    url: Annotated[StrictStr, AfterValidator(_url)]
    certificate: StrictStr
    key: StrictStr


class Waiting(Document):
    """How long the broker waits for one attempt and for an answer with all its retries, in seconds."""

    attempt: Positive = 30.0
    total: Positive = 60.0


class BrokerConfig(Document):
    """A broker, its identity and its agents; `state` is the folder of its journal, `revoked` a file of
    SHA-256 fingerprints and key ids that count no more.
    """

    fedopt: Literal[1] = 1
    kind: Literal["agents"] = "agents"
    key: StrictStr
    tls: Tls
    agents: Annotated[tuple[AgentPeer, ...], Field(min_length=1, max_length=100_000)]
    state: StrictStr
    revoked: StrictStr | None = None
    patience: Waiting = Waiting()

    _folder: Path = Path()

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [agent.operator for agent in self.agents]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the operator {twice[0]!r} has two agents; give each operator one")
        return self

    def file(self, name: str) -> Path:
        """A path of the configuration as it lies on this machine."""
        return self._folder / name

    def links(self) -> dict[str, AgentLink]:
        """The agents by operator, their keys read. Raises InputError for one that is revoked."""
        from fedopt.federated.transport.https import AgentLink

        revoked = read_revoked(None if self.revoked is None else self.file(self.revoked))
        for agent in self.agents:
            shown = {fingerprint_of(self.file(agent.certificate)), read_public_key(self.file(agent.key))[0]}
            if shown & revoked:
                raise InputError(
                    f"the agent of {agent.operator} is on the list of revoked keys; agree on new ones with it"
                )
        return {
            agent.operator: AgentLink(
                agent.operator,
                agent.url,
                self.file(agent.certificate),
                read_public_key(self.file(agent.key)),
            )
            for agent in self.agents
        }

    def public_keys(self) -> dict[str, dict[str, Any]]:
        """The operators' public signing keys (JSON Web Keys)."""
        return {agent.operator: read_document(self.file(agent.key)) for agent in self.agents}

    def waits(self) -> Patience:
        """The patience asked for."""
        from fedopt.federated.transport.https import Patience

        return Patience(attempt=self.patience.attempt, total=self.patience.total)

    @classmethod
    def load(cls, path: str | Path) -> BrokerConfig:
        """Read a configuration. Raises InstanceError with every wrong place."""
        config = read_typed(path, cls, "a broker's configuration")
        object.__setattr__(config, "_folder", Path(path).resolve().parent)
        return config


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
        return read_typed(path, cls, "an operator's domains")

    def text(self) -> str:
        """The file's text, JSON (which is YAML too)."""
        return json.dumps(plain(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def capacity(self) -> dict[str, float]:
        """Work per unit of time by domain."""
        return {domain.id: domain.capacity for domain in self.domains}

    def factors(self) -> dict[str, float]:
        """Capacity used per unit of rate, by "domain/offer"."""
        return {f"{d.id}/{offer.id}": float(offer.work_factor) for d in self.domains for offer in d.offers}


def private_parts(paths: Sequence[Path]) -> tuple[list[Domain], dict[str, Build]]:
    """The domains in operators' files, and the problems of operators that state their own.

    A path is an operator's private file, its agent's configuration, or a folder with one of the two in it or
    in its folders, as `fedopt broker divide` writes them. Raises InputError where there is none.
    """
    from fedopt.federated.problem import build_from

    files: list[Path] = []
    for path in paths:
        found = [path]
        if path.is_dir():
            found = sorted(path.glob("agent.yaml")) + sorted(path.glob("*/agent.yaml"))
            found = found or sorted(path.glob("private.yaml")) + sorted(path.glob("*/private.yaml"))
        if not found:
            raise InputError(f"{path}: holds no agent.yaml and no private.yaml of an operator")
        files += found
    domains: list[Domain] = []
    builds: dict[str, Build] = {}
    for file in files:
        if read_document(file).get("kind") == "agent":
            config = AgentConfig.load(file)
            own = PrivateFile.load(config.file(config.private))
            if config.problem is not None:
                builds[own.operator] = build_from(config.problem, config.file(""))
        else:
            own = PrivateFile.load(file)
        domains += own.domains
    return domains, builds


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
