"""Keys, certificates and configurations of a small federation in a folder, for the tests of this room."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedopt.admm.transport.agent import Agent, read_public_key
from fedopt.admm.transport.agent_config import AgentConfig
from fedopt.admm.transport.agent_server import prepared
from fedopt.admm.transport.certificates import make_certificate
from fedopt.admm.transport.https import AgentLink, Connections, Patience
from fedopt.contracts import generate_key, save_key
from fedopt.contracts.keys import SigningKey, load_key
from fedopt.instance.dumping import yaml_text
from fedopt.instance.writing import write_atomically

QUICK = Patience(attempt=5.0, total=5.0, first_pause=0.01, longest_pause=0.1)


def make_identity(folder: Path, name: str) -> None:
    """`name.crt`, `name.tls.key`, `name.key` and `name.pub`."""
    import json

    make_certificate(name, folder)
    key = generate_key(name)
    save_key(key, folder / f"{name}.key")
    write_atomically(folder / f"{name}.pub", json.dumps(key.public()))


def write_config(folder: Path, operator: str, peers: Sequence[str] = (), **fields: Any) -> Path:
    """An agent's configuration with the broker `broker`."""
    data = {
        "operator": operator,
        "listen": "127.0.0.1:0",
        "private": f"{operator}.yaml",
        "key": f"{operator}.key",
        "tls": {"certificate": f"{operator}.crt", "key": f"{operator}.tls.key"},
        "brokers": [{"name": "broker", "certificate": "broker.crt", "key": "broker.pub"}],
        "peers": {peer: f"{peer}.pub" for peer in peers},
        "state": f"{operator}.state",
        **fields,
    }
    return write_atomically(folder / f"{operator}.agent.yaml", yaml_text(data))


@contextmanager
def served(agent: Agent) -> Iterator[str]:
    """The agent on a free port in a thread of this process; its URL."""
    server, listener = prepared(agent)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield "https://{}:{}".format(*listener.getsockname())
    finally:
        server.should_exit = True
        thread.join(10)


def link(folder: Path, operator: str, url: str) -> AgentLink:
    return AgentLink(operator, url, folder / f"{operator}.crt", read_public_key(folder / f"{operator}.pub"))


def connections(
    folder: Path, urls: dict[str, str], who: str = "broker", patience: Patience = QUICK, wrap: Any = None
) -> Connections:
    return Connections(
        {name: link(folder, name, url) for name, url in urls.items()},
        signing_key(folder, who),
        folder / f"{who}.crt",
        folder / f"{who}.tls.key",
        patience,
        wrap=wrap,
    )


def signing_key(folder: Path, name: str) -> SigningKey:
    return load_key(folder / f"{name}.key")


def config_of(folder: Path, operator: str, **fields: Any) -> AgentConfig:
    return AgentConfig.load(write_config(folder, operator, **fields))
