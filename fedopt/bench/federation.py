"""The same instance planned centrally, by session in one process, and over HTTPS with agents as
processes.

Agents, broker and everything between them are the real thing on the loopback interface: mutual TLS,
signatures, journals on the disk, masked sums, the reservation in two phases.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedopt.bench.row import Row
from fedopt.instance import Instance
from fedopt.instance.generating import generate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fedopt.federated.operator import Transport
    from fedopt.federated.transport.broker import Planner
    from fedopt.plan import Plan

__all__ = ["CASE", "QUICK", "each_its_own", "rows"]

Size = tuple[int, int, int]
CASE: Size = (500, 3, 8)
QUICK: Size = (20, 3, 2)
"""Tenants, stages, domains of a stage."""

METHODS = ("admm", "bundle")
START_SECONDS = 120.0


def rows(size: Size, seed: int, alone: bool) -> list[Row]:
    """One case by every method and way; `alone`: every domain has an operator and an agent of its own."""
    import fedopt

    tenants, stages, domains = size
    instance = generate(tenants=tenants, stages=stages, domains=domains, seed=seed)
    if alone:
        instance = each_its_own(instance)
    operators = len({domain.operator for domain in instance.domains})
    case = f"{tenants}x{stages}x{domains}, {operators} operators"
    fedopt.solve(generate(tenants=20, stages=2, domains=2, seed=1), method="admm")  # compiled, imported
    started = time.perf_counter()
    central = fedopt.solve(instance)
    measured = [_row(f"{case}: central", central, time.perf_counter() - started)]
    for method in METHODS:
        masked: dict[str, Any] = {"masked": True} if method == "admm" else {}
        started = time.perf_counter()
        plan = fedopt.solve(instance, method=method, **masked)
        measured.append(_row(f"{case}: {method} in process", plan, time.perf_counter() - started, central))
    with tempfile.TemporaryDirectory(prefix="fedopt-bench-") as folder:
        measured += _over_https(instance, case, Path(folder), central)
    return measured


def each_its_own(instance: Instance) -> Instance:
    """The instance with every domain its own operator; policies name the domains in place of operators."""
    mine: dict[str, list[str]] = {}
    for domain in instance.domains:
        mine.setdefault(domain.operator or domain.id, []).append(domain.id)
    domains = tuple(domain.model_copy(update={"operator": domain.id}) for domain in instance.domains)
    tenants = []
    for tenant in instance.tenants:
        allowed = tenant.policy.operators
        if allowed is not None:
            spread = tuple(name for operator in allowed for name in mine.get(operator, ()))
            policy = tenant.policy.model_copy(update={"operators": spread})
            tenant = tenant.model_copy(update={"policy": policy})
        tenants.append(tenant)
    return instance.with_(domains=domains, tenants=tuple(tenants))


def _over_https(instance: Instance, case: str, folder: Path, central: Plan) -> list[Row]:
    from fedopt.contracts.signing import load_key
    from fedopt.federated.transport.broker import broker
    from fedopt.federated.transport.broker_journal import BrokerJournal
    from fedopt.federated.transport.config import BrokerConfig
    from fedopt.federated.transport.https import Connections
    from fedopt.federated.transport.split_instance import split_instance
    from fedopt.instance import load

    operators = len({domain.operator for domain in instance.domains})
    divided = split_instance(
        instance, folder / "federation", ports=_free_ports(operators), masking_required=False
    )
    config = BrokerConfig.load(divided.broker)
    public = load(divided.public)
    found = []
    with _agents(list(divided.agents.values())):
        for method in METHODS:
            planner = _planner(method)
            journal = BrokerJournal(folder / f"broker-{method}")
            with (
                contextlib.closing(journal),
                Connections(
                    config.links(),
                    load_key(config.file(config.key)),
                    config.file(config.tls.certificate),
                    config.file(config.tls.key),
                    config.waits(),
                ) as connections,
            ):
                started = time.perf_counter()
                done = broker(
                    public, connections, config.public_keys(), journal, planner, options={"method": method}
                )
                seconds = time.perf_counter() - started
                settled = done.settled
                if settled is None or not settled.complete:
                    raise RuntimeError(f"the plan was not reserved: {settled}")
                _release(done.run, journal, connections)
            wire = sum(t["bytes_out"] + t["bytes_in"] for t in done.traffic.values())
            row = _row(f"{case}: {method} over HTTPS, reserved", done.plan, seconds, central)
            found.append(Row(**{**vars(row), "more": {**row.more, "wire_bytes": wire}}))
    return found


def _planner(method: Any) -> Planner:
    from fedopt.federated import negotiate
    from fedopt.federated.settings import Settings

    settings = Settings(masked=method == "admm")

    def plan(public: Instance, transport: Transport, run: str, contracts: Mapping[str, str]) -> Plan:
        return negotiate(
            public, transport, run=run, contracts=contracts, method=method, settings=settings
        ).plan

    return plan


def _release(run: str, journal: Any, connections: Any) -> None:
    """Give the capacity back for the next method."""
    from fedopt.federated.transport.two_phase import release

    failed = release(run, journal, connections.exchange, list(connections.links))
    if failed:
        raise RuntimeError(f"the reservations were not released: {failed}")


def _row(case: str, plan: Plan, seconds: float, central: Plan | None = None) -> Row:
    totals = plan.ledger.get("totals", {})
    more: dict[str, Any] = {"cost": plan.cost, "rounds": totals.get("rounds", len(plan.history))}
    relaxation = plan.ledger.get("relaxation")
    if relaxation is not None:
        more["rounds_to_relaxation"] = relaxation["rounds"]
        more["relaxation_gap"] = relaxation["gap"]
    more |= {key: totals[key] for key in ("numbers", "bytes") if key in totals}
    if central is not None and central.cost and plan.cost is not None:
        more["dearer_than_central"] = plan.cost / central.cost - 1.0
    return Row(case, seconds, gap=plan.gap, more=more)


@contextlib.contextmanager
def _agents(configs: list[Path]) -> Iterator[None]:
    """Agents as processes of their own, all listening."""
    command = [sys.executable, "-c", "from fedopt.cli import main; main()", "agent"]
    running = [
        subprocess.Popen([*command, str(config)], stderr=subprocess.PIPE, text=True) for config in configs
    ]
    try:
        for process in running:
            assert process.stderr is not None
            heard, _, _ = select.select([process.stderr], [], [], START_SECONDS)
            line = process.stderr.readline() if heard else "it says nothing"
            if "listening" not in line:
                raise RuntimeError(f"an agent did not start: {line}")
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(START_SECONDS)
            if process.stderr is not None:
                process.stderr.close()


def _free_ports(count: int) -> list[int]:
    import socket

    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
