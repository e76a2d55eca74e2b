"""The split guarantee over real agents that keep their contracts: agreed, promised, reserved."""

from __future__ import annotations

import pytest

pytest.importorskip("cryptography")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")

import fedopt
from fedopt.federated import negotiate
from fedopt.federated.settings import Settings
from fedopt.federated.transport.https import AgentFailure, Patience
from tests.federated.split.test_private_contracts import (
    GAP,
    closest,
    contract_numbers,
    particular,
    told_numbers,
)
from tests.federated.transport.disturbed import Listener
from tests.federated.transport.test_faults import World, _Breaks, committed_runs
from tests.federated.transport.world import federation, processes

CALM = Patience(attempt=30.0, total=60.0, first_pause=0.05, longest_pause=0.3)
"""The first question about shares loads compiled code."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("private") / "federation"
    divided = federation(folder, particular(), private_contracts=True)
    with processes(divided) as running:
        yield World(divided, running)


@pytest.fixture(autouse=True)
def nothing_left_behind(world):
    yield
    for run in set(committed_runs(world)):
        world.release(run)


@pytest.fixture(scope="module")
def central():
    return fedopt.solve(particular(), guarantee="split", gap=1e-3)


def planner(public, transport, run, contracts):
    settings = Settings(masked=True)
    asked = {"run": run, "contracts": contracts, "guarantee": "split", "gap": GAP, "settings": settings}
    return negotiate(public, transport, **asked).plan


def as_good(world, done, central):
    """Everything is reserved, at what the plan costs, and that is about what the central method needs."""
    assert done.settled.complete
    assert done.plan.catalogue_gap <= GAP
    assert done.plan.lower_bound is None  # the broker knows no envelope
    assert done.plan.cost == pytest.approx(central.cost, rel=2 * GAP)
    costs = 0.0
    for domain in particular().domains:
        (offer,) = domain.offers
        costs += float(offer.cost.variable(world.reserved()[domain.id]))
    assert costs == pytest.approx(done.plan.cost, rel=1e-6)


def test_promises_are_reserved_and_no_contract_number_is_on_the_wire(world, tmp_path, central):
    listener = Listener()
    done = world.broker(tmp_path, planned_by=planner, wrap=listener.wrap, patience=CALM, published=False)
    as_good(world, done, central)
    assert not list(world.divided.public.parent.parent.glob("*/contracts/*.jws"))
    assert 'latency":2.37' not in world.divided.public.read_text().replace(" ", "")
    heard = [body for _, _, body in listener.heard if body]
    _, told = told_numbers(heard)
    assert len(told) > 2000
    assert closest(contract_numbers(particular()), told) > 1e-9


def test_a_contract_that_changes_in_mid_run_ends_it_by_name(world, tmp_path):
    """The contract is in the agent's own file here: another one after a restart would make its answers
    contradict those that it gave."""
    agent = world.agents["opB"]
    file = world.divided.agents["opB"].with_name("private.yaml")
    before = file.read_text()
    assert "3.1719" in before

    def change():
        agent.kill()
        file.write_text(before.replace("3.1719", "3.5719"))
        agent.start()

    try:
        with pytest.raises(AgentFailure, match="opB") as raised:
            world.broker(
                tmp_path,
                planned_by=planner,
                wrap=_Breaks("opB", 12, change).wrap,
                patience=CALM,
                published=False,
            )
        assert (raised.value.operator, raised.value.reason) == ("opB", "contract-changed")
        agent.ready()
        assert sum(world.reserved().values()) == 0.0
    finally:
        agent.kill()
        file.write_text(before)
        agent.start()
        agent.ready()


@pytest.mark.slow
def test_an_agent_killed_while_shares_are_agreed_keeps_its_unit_and_its_word(world, tmp_path, central):
    agent = world.agents["opB"]

    def die():
        agent.kill()
        agent.start()

    breaks = _Breaks("opB", 12, die)
    done = world.broker(tmp_path, planned_by=planner, wrap=breaks.wrap, patience=CALM, published=False)
    agent.ready()
    as_good(world, done, central)
    assert done.traffic["opB"]["retries"] > 0
