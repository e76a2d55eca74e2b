"""Cutting an instance into what everybody may see and what each operator keeps: a federation to try out.

Each operator gets a folder as it would have on its own machine: its private part, keys, signed contracts and
its agent's configuration. What is exchanged beforehand, certificates and public keys, lies in a folder of its
own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fedopt.contracts import Contract, generate_key, save_key, sign
from fedopt.contracts.signing import SigningKey
from fedopt.federated.public import operator_of, public_view
from fedopt.federated.transport.certificates import make_certificate
from fedopt.federated.transport.config import PrivateFile
from fedopt.federated.transport.policy import Policy
from fedopt.instance import Instance, InstanceError
from fedopt.instance.errors import Problem
from fedopt.instance.writing import yaml_text
from fedopt.storage import write_atomically

__all__ = ["SplitInstance", "split_instance"]

VALID_DAYS = 365
BROKER = "broker"


@dataclass(frozen=True)
class SplitInstance:
    """Where the parts of a divided instance lie; `agents` holds each agent's configuration by operator."""

    public: Path
    broker: Path
    agents: dict[str, Path]


def split_instance(
    instance: Instance,
    folder: str | Path,
    *,
    ports: Sequence[int] | None = None,
    first_port: int = 8441,
    host: str = "127.0.0.1",
    private_contracts: bool = False,
    masking_required: bool = True,
) -> SplitInstance:
    """Write a federation of the instance's operators to `folder`, which must be empty or new.

    `private_contracts`: the operators keep latencies and impairments too, for the split guarantee. A domain
    without an operator is an operator of its own. `ports`: one per operator in their order; default 8441 and
    on. `masking_required`: what the agents' policies say (the method bundle needs sums in the clear). Raises
    FileExistsError where the folder holds something, InstanceError where an offer's envelope
    cannot be signed.
    """
    root = Path(folder)
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(17, "is not empty; a federation is written to a new folder", str(root))
    operators = list(dict.fromkeys(operator_of(domain) for domain in instance.domains))
    names = _file_names(operators)
    places = dict(zip(operators, ports or range(first_port, first_port + len(operators)), strict=True))
    shared = root / "shared"
    keys = {
        operator: _identity(operator, names[operator], root / names[operator], shared, host)
        for operator in operators
    }
    _identity(BROKER, names[BROKER], root / names[BROKER], shared, host)
    contracts: dict[str, list[str]] = {}
    if not private_contracts:
        contracts = {operator: _contracts(instance, operator, keys[operator]) for operator in operators}
    view = public_view(instance, contracts=not private_contracts)
    public = write_atomically(root / names[BROKER] / "public.yaml", view.to_json())
    broker_file = f"../shared/{names[BROKER]}"
    agents = {}
    for operator in operators:
        name, own = names[operator], root / names[operator]
        write_atomically(own / "private.yaml", PrivateFile.of(instance, operator).text())
        _written(own / "policy.yaml", Policy(masking_required=masking_required).model_dump())
        for index, token in enumerate(contracts.get(operator, ())):
            write_atomically(own / "contracts" / f"{index + 1}.jws", token + "\n")
        config = {
            "fedopt": 1,
            "kind": "agent",
            "operator": operator,
            "listen": f"{host}:{places[operator]}",
            "private": "private.yaml",
            "policy": "policy.yaml",
            "key": f"{name}.key",
            "tls": {"certificate": f"../shared/{name}.crt", "key": f"{name}.tls.key"},
            "brokers": [{"name": BROKER, "certificate": f"{broker_file}.crt", "key": f"{broker_file}.pub"}],
            "peers": {other: f"../shared/{names[other]}.pub" for other in operators if other != operator},
            **({} if private_contracts else {"contracts": "contracts"}),
            "state": "state",
        }
        agents[operator] = _written(own / "agent.yaml", config)
    broker = _written(
        root / names[BROKER] / "agents.yaml",
        {
            "fedopt": 1,
            "kind": "agents",
            "key": f"{names[BROKER]}.key",
            "tls": {"certificate": f"{broker_file}.crt", "key": f"{names[BROKER]}.tls.key"},
            "agents": [
                {
                    "operator": operator,
                    "url": f"https://{host}:{places[operator]}",
                    "certificate": f"../shared/{names[operator]}.crt",
                    "key": f"../shared/{names[operator]}.pub",
                }
                for operator in operators
            ],
            "state": "state",
        },
    )
    return SplitInstance(public, broker, agents)


def _file_names(operators: Sequence[str]) -> dict[str, str]:
    """A folder name for the broker and each operator: its own name where that is a plain file name."""
    names = {BROKER: "broker"}
    for operator in operators:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", operator)[:60]
        name, number = plain, 1
        while name.casefold() in {"shared", *(taken.casefold() for taken in names.values())}:
            number += 1
            name = f"{plain}-{number}"
        names[operator] = name
    return names


def _identity(who: str, name: str, own: Path, shared: Path, host: str) -> SigningKey:
    """A certificate and a signing key; the private halves in the own folder, the public ones in the shared
    one.
    """
    own.mkdir(parents=True, exist_ok=True)
    shared.mkdir(parents=True, exist_ok=True)
    certificate = make_certificate(name, own, hosts=dict.fromkeys((host, "127.0.0.1", "localhost")))
    certificate.replace(shared / f"{name}.crt")
    key = generate_key(who)
    save_key(key, own / f"{name}.key")
    write_atomically(shared / f"{name}.pub", json.dumps(key.public(), indent=2) + "\n")
    return key


def _contracts(instance: Instance, operator: str, key: SigningKey) -> list[str]:
    """The signed envelope of every offer of an operator."""
    now = datetime.now(UTC).replace(microsecond=0)
    issued, since, until = (
        time.strftime("%Y-%m-%dT%H:%M:%SZ")
        for time in (now, now - timedelta(minutes=5), now + timedelta(days=VALID_DAYS))
    )
    tokens = []
    for domain in instance.domains:
        if operator_of(domain) != operator:
            continue
        for offer in domain.offers:
            try:
                contract = Contract(
                    issuer=operator,
                    domain=domain.id,
                    offer=offer.id,
                    version=1,
                    time_unit=instance.units.time,
                    work_unit=instance.units.work,
                    latency=offer.latency,
                    latency_kind=offer.latency_kind,
                    impairment=offer.impairment,
                    max_rate=offer.max_rate,
                    issued=issued,
                    valid_from=since,
                    valid_until=until,
                )
            except ValueError as error:
                place = f"domains.{domain.id}.offers.{offer.id}"
                problem = Problem(place, f"cannot be signed: {error}", "use a model of the format")
                raise InstanceError([problem], source=instance.name) from None
            tokens.append(sign(contract, key))
    return tokens


def _written(path: Path, data: dict[str, Any]) -> Path:
    return write_atomically(path, yaml_text(data))
