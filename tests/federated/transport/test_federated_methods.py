"""The methods themselves over real agents: the same plans as in one process, also when things go wrong."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

pytest.importorskip("cryptography")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import fedopt
from fedopt.federated import negotiate
from fedopt.federated.settings import Settings
from fedopt.federated.transport.https import Patience
from tests.federated.transport.disturbed import Disturbance, Listener
from tests.federated.transport.test_faults import CAPACITY, World, _Breaks, committed_runs
from tests.federated.transport.world import (
    PATIENCE,
    PRIVATE_NUMBERS,
    federation,
    instance,
    processes,
    states,
    until,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    divided = federation(tmp_path_factory.mktemp("methods") / "federation")
    with processes(divided) as running:
        yield World(divided, running)


@pytest.fixture(autouse=True)
def nothing_left_behind(world):
    yield
    for run in set(committed_runs(world)):
        world.release(run)


@pytest.fixture(scope="module")
def in_one_process():
    return {
        "admm": fedopt.solve(instance(), method="admm", masked=True),
        "bundle": fedopt.solve(instance(), method="bundle"),
    }


def by(method, **switches):
    settings = Settings(masked=method == "admm", **switches)

    def planner(public, transport, run, contracts):
        asked = {"run": run, "contracts": contracts, "method": method, "settings": settings}
        return negotiate(public, transport, **asked).plan

    return planner


def same(world, done, plan):
    assert done.settled.complete
    assert done.plan.cost == pytest.approx(plan.cost, rel=1e-9)
    assert done.plan.lower_bound == pytest.approx(plan.lower_bound, rel=1e-9)
    assert [entry.path for entry in done.plan.tenants] == [entry.path for entry in plan.tenants]
    loads = {entry.id: entry.reserved for entry in plan.domains}
    assert world.reserved() == pytest.approx(loads, rel=1e-9)


@pytest.mark.parametrize("method", ["admm", "bundle"])
def test_the_same_plan_as_in_one_process_and_nothing_private_on_the_wire(
    world, tmp_path, in_one_process, method
):
    listener = Listener()
    done = world.broker(tmp_path, planned_by=by(method), wrap=listener.wrap)
    same(world, done, in_one_process[method])
    heard = [body for _, _, body in listener.heard if not body.startswith(b"ey")]
    text = b"\n".join(heard).decode()
    for number in PRIVATE_NUMBERS:
        assert not states(text, number)
    # the ledger counts what the wires carried: every message but the settling of the plan, which follows it
    totals = done.plan.ledger["totals"]
    counted = [body for body in heard if body and b'"prepare"' not in body and b'"settle"' not in body]
    outcomes = [body for body in counted if b'"kind":"outcome"' in body]
    assert totals["bytes"] == sum(map(len, counted)) - sum(map(len, outcomes))


@pytest.mark.slow
def test_lost_doubled_and_a_killed_agent_at_once(world, tmp_path, in_one_process):
    agent = world.agents["opC"]
    disturbance = Disturbance(lost=0.2, doubled=0.05, seed=4)

    def die():
        agent.kill()
        agent.start()

    breaks = _Breaks("opC", 8, die)
    done = world.broker(
        tmp_path,
        planned_by=by("admm"),
        wrap=lambda operator, inner: disturbance.wrap(operator, breaks.wrap(operator, inner)),
        patience=Patience(5.0, 30.0, 0.05, 0.3),
    )
    agent.ready()
    same(world, done, in_one_process["admm"])
    assert disturbance.counts["lost"] > 3


@pytest.mark.slow
def test_an_operator_that_misses_rounds_is_waited_for(world, tmp_path):
    """Bounded staleness: two rounds pass without it, and the run still certifies its plan."""
    agent = world.agents["opB"]
    asked = []

    class Watched(Listener):
        def wrap(self, operator, inner):
            layer = super().wrap(operator, inner)
            original = layer.handle_async_request

            async def counted(request):
                if operator == "opA" and b'"proposal"' in await request.aread():
                    asked.append(1)
                    if len(asked) == 2:
                        agent.pause()
                    if len(asked) == 4:
                        agent.go_on()
                return await original(request)

            layer.handle_async_request = counted
            return layer

    try:
        done = world.broker(
            tmp_path,
            planned_by=by("admm", staleness=3),
            wrap=Watched().wrap,
            patience=Patience(0.4, 0.5, 0.05),
        )
    finally:
        agent.go_on()
    assert done.settled.complete
    assert done.plan.catalogue_gap <= 1e-3
    world.reserved()


def command(world, *arguments):
    return [
        sys.executable,
        "-c",
        "from fedopt.cli import main; main()",
        "broker",
        str(world.divided.public),
        "--agents",
        str(world.divided.broker),
        *arguments,
    ]


@pytest.mark.slow
def test_the_command_killed_in_mid_run_and_given_again_goes_on_with_its_run(world, tmp_path, in_one_process):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command(world, "-q"), env=environment)
    state = world.divided.broker.parent / "state" / "broker.sqlite"

    def asked_twice():
        if not state.exists():
            return False
        disk = sqlite3.connect(f"file:{state}?mode=ro", uri=True)
        try:
            return disk.execute("SELECT COUNT(*) FROM exchanges").fetchone()[0] >= 9
        except sqlite3.OperationalError:
            return False
        finally:
            disk.close()

    until(asked_twice, 60.0)
    first.send_signal(signal.SIGKILL)
    first.wait(PATIENCE)
    disk = sqlite3.connect(f"file:{state}?mode=ro", uri=True)
    ((run, finished),) = disk.execute("SELECT run, finished FROM runs").fetchall()
    disk.close()
    again = subprocess.run(
        command(world, "--json", "--out", str(tmp_path / "plan.json")),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert again.returncode == 0, again.stderr
    plan = json.loads(again.stdout)
    assert plan["cost"] == pytest.approx(in_one_process["admm"].cost, rel=1e-9)
    assert any("Reserved with opA, opB, opC." in note for note in plan["notes"])
    loads = {entry.id: entry.reserved for entry in in_one_process["admm"].domains}
    assert world.reserved() == pytest.approx(loads, rel=1e-9)
    if finished is None:  # it was killed before its end, and the same run went on
        assert any(run in note for note in plan["notes"])
    released = subprocess.run(
        [*command(world)[:4], "cancel", run, "--agents", str(world.divided.broker)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert released.returncode == 0, released.stderr
    assert world.reserved() == dict.fromkeys(CAPACITY, 0.0)


def test_the_command_names_an_agent_that_is_not_there(world, tmp_path):
    agents = world.divided.broker.read_text().replace("state: state", f"state: {tmp_path / 'state'}")
    port = world.urls["opB"].rpartition(":")[2]
    file = world.divided.broker.with_name("wrong.yaml")
    file.write_text(agents.replace(port, "9") + "patience: {attempt: 2.0, total: 2.5}\n")
    arguments = command(world)
    arguments[arguments.index("--agents") + 1] = str(file)
    failed = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE)
    assert failed.returncode == 5
    assert "opB" in failed.stderr
    assert failed.stdout == ""
