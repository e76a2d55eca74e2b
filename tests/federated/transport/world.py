"""A small federation in a folder, its agents in threads or in processes of their own, for the tests of this
room.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fedopt
from fedopt.contracts.signing import load_key
from fedopt.federated.protocol.messages import Opening, Proposal, to_bytes
from fedopt.federated.transport.agent import Agent
from fedopt.federated.transport.agent_server import prepared
from fedopt.federated.transport.config import AgentConfig, BrokerConfig, ContractFolder
from fedopt.federated.transport.https import Connections, Patience
from fedopt.federated.transport.split_instance import SplitInstance, split_instance
from fedopt.instance import Instance
from fedopt.instance.writing import yaml_text
from fedopt.instance.yaml_text import read_yaml
from fedopt.storage import write_atomically

PATIENCE = 240.0
"""Seconds that anything of another process is waited for at most."""

QUICK = Patience(attempt=5.0, total=5.0, first_pause=0.01, longest_pause=0.1)

FEDERATION = """\
fedopt: 1
name: three operators
stages: [access, compute]
domains:
  - id: metro
    stage: access
    operator: opA
    capacity: 37.31
    offers:
      - id: gold
        latency: 2
        latency_kind: delay
        impairment: {model: exponential, mean: 0.3}
        cost: {model: quadratic, rate: 1.1731, quad: 0.0173}
  - id: edge
    stage: compute
    operator: opB
    capacity: 11.93
    offers:
      - id: llm
        latency: 3
        latency_kind: delay
        impairment: {model: exponential, mean: 0.2}
        cost: {model: quadratic, rate: 1.0379, quad: 0.0419}
  - id: cloud
    stage: compute
    operator: opC
    capacity: 41.77
    offers:
      - id: llm
        latency: 6
        latency_kind: delay
        impairment: {model: exponential, mean: 0.1}
        cost: {model: quadratic, rate: 1.4143, quad: 0.0271}
tenants:
  - id: chat
    count: 12
    arrivals: {model: poisson, rate: 0.5, size: 1.0}
    slo: {deadline: 30, epsilon: 0.001}
  - id: scan
    count: 6
    arrivals: {model: poisson, rate: 0.3, size: 1.5}
    slo: {deadline: 60, epsilon: 0.001}
"""


def states(text: str, number: str) -> bool:
    """Whether a number stands in a text, not merely its digits within another."""
    return re.search(rf"(?<![\d.]){re.escape(number)}0*(?!\d)", text) is not None


PRIVATE_NUMBERS = ("37.31", "11.93", "41.77", "1.1731", "0.0173", "1.0379", "0.0419", "1.4143", "0.0271")


def instance() -> Instance:
    return fedopt.instance.loads(FEDERATION)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def federation(folder: Path, of: Instance | None = None, **options: Any) -> SplitInstance:
    """The instance divided into `folder`, on ports that were free a moment ago."""
    whole = of or instance()
    count = len({domain.operator or domain.id for domain in whole.domains})
    options = {"masking_required": False, **options}
    return split_instance(whole, folder, ports=free_ports(count), **options)


def under_an_authority(divided: SplitInstance) -> None:
    """Certificates of an organisation in place of self-signed ones: a root, an intermediate authority, and in
    every `.crt` the owner's certificate with those above it."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    now = datetime.now(UTC)

    def issued(name: str, key: Any, issuer: str, by: Any, depth: int | None, names: Any = None) -> Any:
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=depth is not None, path_length=depth), critical=True)
        )
        return (made if names is None else made.add_extension(names, critical=False)).sign(
            by, hashes.SHA256()
        )

    top, middle = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = issued("root", top, "root", top, 1)
    between = issued("intermediate", middle, "root", top, 0)
    for own in (divided.broker.parent, *(config.parent for config in divided.agents.values())):
        file = own.parent / "shared" / f"{own.name}.crt"
        key = load_pem_private_key((own / f"{own.name}.tls.key").read_bytes(), None)
        before = x509.load_pem_x509_certificate(file.read_bytes())
        names = before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        leaf = issued(own.name, key, "intermediate", middle, None, names)
        file.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in (leaf, between, root)))


def changed(config: Path, **fields: Any) -> Path:
    """A configuration with other fields, written beside the first."""
    data, _ = read_yaml(config.read_text())
    return write_atomically(config.with_name(f"changed-{config.name}"), yaml_text({**data, **fields}))


@contextmanager
def served(config: Path) -> Iterator[str]:
    """The agent of a configuration in a thread of this process; its URL."""
    agent = Agent(AgentConfig.load(config))
    server, listener = prepared(agent)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield "https://{}:{}".format(*listener.getsockname())
    finally:
        server.should_exit = True
        thread.join(10)
        agent.close()


class Process:
    """The agent of a configuration as a process of its own, `fedopt agent CONFIG`."""

    def __init__(self, config: Path, *options: str) -> None:
        self.config, self.options = config, options
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from fedopt.cli import main; main()",
                "agent",
                "run",
                str(self.config),
                *self.options,
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def ready(self) -> Process:
        assert self._process.stderr is not None
        heard, _, _ = select.select([self._process.stderr], [], [], PATIENCE)
        assert heard, "the agent says nothing"
        line = self._process.stderr.readline()
        assert "listening" in line, line + self._process.stderr.read()
        return self

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        if self._process.poll() is None:
            self.go_on()
            self._process.terminate()
        code = self._process.wait(PATIENCE)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code


@contextmanager
def processes(
    divided: SplitInstance, options: Mapping[str, Sequence[str]] | None = None
) -> Iterator[dict[str, Process]]:
    """All agents of a federation as processes, ready to be asked; with options by operator."""
    running = {
        operator: Process(config, *(options or {}).get(operator, ()))
        for operator, config in divided.agents.items()
    }
    try:
        for one in running.values():
            one.ready()
        yield running
    finally:
        for one in running.values():
            one.stop()


def connections(
    divided: SplitInstance,
    urls: dict[str, str],
    patience: Patience = QUICK,
    wrap: Any = None,
    who: BrokerConfig | None = None,
) -> Connections:
    """The broker's connections to agents at other addresses than the configured ones."""
    config = BrokerConfig.load(divided.broker)
    links = {name: link for name, link in config.links().items() if name in urls}
    for name, link in links.items():
        object.__setattr__(link, "url", urls[name])
    who = who or config
    return Connections(
        links,
        load_key(who.file(who.key)),
        who.file(who.tls.certificate),
        who.file(who.tls.key),
        patience,
        wrap=wrap,
    )


def opening(divided: SplitInstance, whom: str, run: str = "r1", **fields: Any) -> bytes:
    """The first question to an operator of the little federation."""
    offers = {"opA": "metro/gold", "opB": "edge/llm", "opC": "cloud/llm"}
    folder = ContractFolder(divided.agents[whom].parent / "contracts")
    said = {
        "run": run,
        "sequence": 0,
        "operator": whom,
        "instance": "0" * 64,
        "offers": (offers[whom],),
        "contracts": folder.digests(),
        **fields,
    }
    return to_bytes(Opening(**said))


def proposal(sequence: int, load: float, run: str = "r1", price: float = 1.5) -> bytes:
    """A question about one offer's load."""
    return to_bytes(
        Proposal(run=run, round=1, sequence=sequence, loads=(load,), prices=(price,), penalties=(0.5,))
    )


def said(reply: Any) -> dict[str, Any]:
    """An answer's fields."""
    return dict(json.loads(reply.body))


def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
