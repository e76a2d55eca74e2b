"""The broker's configuration: its own identity and the agents that it asks; paths count from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictStr, model_validator

from fedopt.federated.transport.agent import read_public_key
from fedopt.federated.transport.agent_config import Tls, read_document
from fedopt.federated.transport.https import AgentLink, Patience
from fedopt.instance.base import Document, Name, Positive
from fedopt.instance.reading import read_document as read_typed

__all__ = ["AgentPeer", "BrokerConfig"]


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
    """A broker, its identity and its agents; `state` is the folder of its journal."""

    fedopt: Literal[1] = 1
    kind: Literal["agents"] = "agents"
    key: StrictStr
    tls: Tls
    agents: Annotated[tuple[AgentPeer, ...], Field(min_length=1, max_length=100_000)]
    state: StrictStr
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
        """The agents by operator, their keys read."""
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
        return Patience(attempt=self.patience.attempt, total=self.patience.total)

    @classmethod
    def load(cls, path: str | Path) -> BrokerConfig:
        """Read a configuration. Raises InstanceError with every wrong place."""
        config = read_typed(path, cls, "a broker's configuration")
        object.__setattr__(config, "_folder", Path(path).resolve().parent)
        return config
