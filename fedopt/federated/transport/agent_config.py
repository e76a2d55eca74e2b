"""The configuration of an agent: one YAML file whose paths count from its own folder."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictInt, StrictStr, model_validator

from fedopt.instance.base import Document, Name, Positive, Share
from fedopt.instance.reading import read_document as read_typed
from fedopt.instance.reading import read_file_fields

__all__ = ["AgentConfig", "BrokerPeer", "Limits", "Tls", "read_document"]

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
    """What an agent takes from its brokers at most."""

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

    @classmethod
    def load(cls, path: str | Path) -> AgentConfig:
        """Read a configuration. Raises InstanceError with every wrong place."""
        config = read_typed(path, cls, "an agent's configuration")
        object.__setattr__(config, "_folder", Path(path).resolve().parent)
        return config


def read_document(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises InstanceError naming file, place and remedy."""
    return read_file_fields(path, "a configuration")[0]
