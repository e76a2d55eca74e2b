"""kill −9 at every step of a run, enumerated: brokers and agents stop before and after everything that they
write or send, start again, and a booking is made once, whole, and within the capacity.

All in one process: a stop is an exception that nothing catches, a start is a new object on the same folder.
`test_faults` does some of it to real processes.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from functools import partial

import pytest

pytest.importorskip("cryptography")

from fedopt.contracts.signing import load_key
from fedopt.federated.reservations import ROOM
from fedopt.federated.session import OperatorLost
from fedopt.federated.transport.agent import Agent
from fedopt.federated.transport.agent_journal import AgentJournal
from fedopt.federated.transport.broker import Terms, broker, cancel, finish_booking
from fedopt.federated.transport.broker_journal import BrokerJournal
from fedopt.federated.transport.config import AgentConfig, BrokerConfig
from fedopt.federated.transport.https import AgentFailure, Failure, Reply, Traffic
from fedopt.federated.transport.policy import Refusal
from fedopt.federated.transport.signed import sign_message
from fedopt.instance import load
from fedopt.storage import StorageError
from tests.federated.transport.talk import central, planner
from tests.federated.transport.world import federation


def quick(public, transport, run, digests, replaces=None, masked=True):
    """Two masked rounds, then the central plan; at its own cost where a sum was lost with a drop-out."""
    plan = planner(public, transport, run, digests, masked=masked, rounds=2, replaces=replaces)
    return plan if math.isfinite(plan.cost) else plan.model_copy(update={"cost": central().cost})


class Killed(BaseException):
    """kill −9."""


class Federation:
    """Agents and a broker of a divided instance, without sockets between them."""

    def __init__(self, folder, **options):
        self.divided = federation(folder / "federation", **options)
        self.config = BrokerConfig.load(self.divided.broker)
        self.public = load(self.divided.public)
        self.key = load_key(self.config.file(self.config.key))
        self.links = self.config.links()
        self.agents = {}
        self.silent = set()

    def agent(self, name):
        if name not in self.agents:
            self.agents[name] = Agent(AgentConfig.load(self.divided.agents[name]))
        return self.agents[name]

    def stop(self, name):
        agent = self.agents.pop(name, None)
        if agent is not None:
            agent.close()

    def close(self):
        for name in list(self.agents):
            self.stop(name)

    def contracts(self, subjects):
        return {s: self.agent(name).contract(s) for name, mine in subjects.items() for s in mine}

    def traffic(self, name):
        return Traffic()

    def exchange(self, run, questions, patience=None):
        replies = {}
        for name, (sequence, body) in questions.items():
            if name in self.silent:
                replies[name] = Failure(name, "silent", "not reached")
                continue
            signature = sign_message(self.key, "request", run, sequence, name, body)
            try:
                agent = self.agent(name)
                who = agent.known_broker(next(iter(agent._brokers)))
                answer, signed = agent.answer(who, run, sequence, body, signature)
            except Refusal as refusal:
                replies[name] = Failure(name, "refused", refusal.message, refusal.reason)
                continue
            except Killed:  # the agent died; the broker hears nothing, and the agent is started again
                self.agents.pop(name)._journal.close()
                replies[name] = Failure(name, "silent", "not reached")
                continue
            replies[name] = Reply(answer, signed, 1)
        return replies

    def run(self, masked=True, **terms):
        journal = BrokerJournal(self.config.file(self.config.state))
        try:
            return broker(
                self.public,
                self,
                self.config.public_keys(),
                journal,
                partial(quick, replaces=terms.get("replaces"), masked=masked),
                options={},
                terms=Terms(**terms),
            )
        finally:
            journal.close()

    def books(self):
        """What every agent holds: {run: operators that committed}; nothing beyond any capacity."""
        committed = Counter()
        for name in self.divided.agents:
            agent = self.agent(name)
            capacity = agent._private.capacity()
            taken = agent._taken(agent.reservations.reserved())
            for domain, load_ in taken.items():
                assert load_ <= capacity[domain] * (1 + ROOM)
            committed.update(e["run"] for e in agent.reservations.entries() if e["state"] == "committed")
        return committed

    def release_all(self):
        for name in self.divided.agents:
            agent = self.agent(name)
            for entry in agent.reservations.entries():
                agent.release(entry["run"])

    @contextlib.contextmanager
    def journal(self):
        journal = BrokerJournal(self.config.file(self.config.state))
        try:
            yield journal
        finally:
            journal.close()


@pytest.fixture
def world(tmp_path):
    it = Federation(tmp_path)
    yield it
    it.close()


WRITES = ("open_run", "see_contract", "record", "note_plan", "decide", "finish")


def kill_broker(monkeypatch, at):
    """The broker dies at its `at`-th step, counted over writes (before and after each); the number of steps
    if it survives all."""
    steps = Counter()

    def step():
        steps["all"] += 1
        if steps["all"] == at:
            raise Killed

    for name in WRITES:
        own = getattr(BrokerJournal, name)

        def wrapped(self, *args, _own=own, **options):
            step()
            answer = _own(self, *args, **options)
            step()
            return answer

        monkeypatch.setattr(BrokerJournal, name, wrapped)
    return steps


def steps_of_a_run(tmp_path_factory):
    it = Federation(tmp_path_factory.mktemp("count"))
    with pytest.MonkeyPatch.context() as patch:
        steps = kill_broker(patch, 0)
        it.run()
    it.close()
    return steps["all"]


def test_a_broker_killed_at_every_step_books_once(tmp_path_factory):
    steps = steps_of_a_run(tmp_path_factory)
    assert steps > 20
    it = Federation(tmp_path_factory.mktemp("broker"))
    for at in range(1, steps + 1):
        with pytest.MonkeyPatch.context() as patch:
            kill_broker(patch, at)
            with contextlib.suppress(Killed):
                it.run()
        it.books()
        done = it.run()  # the same command
        assert done.settled.complete
        books = it.books()
        assert books == {done.run: 3}, at
        again = it.run()  # and once more: a retry never books a second plan
        assert again.before
        assert again.run == done.run
        assert it.books() == books
        assert again.plan.cost == done.plan.cost
        with it.journal() as journal:
            assert cancel(journal.run(done.run), it, journal) == {}
            assert {record.finished for record in journal.runs()} <= {
                "cancelled", "booked", "diverged", "failed", "aborted", "superseded"
            }  # fmt: skip
        assert not it.books()
    it.close()


def test_a_broker_killed_at_every_step_of_a_cancellation_leaves_nothing_booked(tmp_path):
    it = Federation(tmp_path)
    ends = 0
    for at in range(1, 50):
        done = it.run()
        assert it.books() == {done.run: 3}
        with pytest.MonkeyPatch.context() as patch:
            steps = kill_broker(patch, at)
            with contextlib.suppress(Killed), it.journal() as journal:
                cancel(journal.run(done.run), it, journal)
        with it.journal() as journal:  # the same command
            assert cancel(journal.run(done.run), it, journal) == {}
            assert journal.run(done.run).finished == "cancelled"
        assert not it.books()
        if steps["all"] < at:  # it was through before it could die
            ends = at
            break
    assert ends > 2
    it.close()


def test_an_agent_killed_at_every_step_is_named_and_nothing_is_booked_twice(tmp_path_factory):
    """Before and after everything that an agent writes; the broker gives up by name or goes on, and the same
    command leads to one booking."""
    it = Federation(tmp_path_factory.mktemp("agent"))
    with pytest.MonkeyPatch.context() as patch:
        total = kill_agent(patch, it, "opB", 0)
        done = it.run()
    assert done.settled.complete
    with it.journal() as journal:
        cancel(journal.run(done.run), it, journal)
    assert total["all"] > 20
    for at in range(1, total["all"] + 1):
        with pytest.MonkeyPatch.context() as patch:
            kill_agent(patch, it, "opB", at)
            named = ("opB",)
            try:
                it.run()
            except OperatorLost as lost:
                named = lost.operators
            assert named == ("opB",)
        it.books()
        for _ in range(3):  # an agent that answers again: the command is completed
            done = it.run()
            if done.settled.complete:
                break
        assert it.books() == {done.run: 3}, at
        with it.journal() as journal:
            assert cancel(journal.run(done.run), it, journal) == {}
        assert not it.books()
    it.close()


def kill_agent(monkeypatch, it, name, at):
    steps = Counter()

    def step(journal):
        if journal.folder.parent.name != name:
            return
        steps["all"] += 1
        if steps["all"] == at:
            raise Killed

    for method in ("open_run", "note", "close_run"):
        own = getattr(AgentJournal, method)

        def wrapped(self, *args, _own=own, **options):
            step(self)
            answer = _own(self, *args, **options)
            step(self)
            return answer

        monkeypatch.setattr(AgentJournal, method, wrapped)

    answer = Agent.answer

    def answered(self, *args):
        said = answer(self, *args)
        if self.operator == name:
            steps["all"] += 1
            if steps["all"] == at:  # what it promised is on its disk, and nobody heard it
                raise Killed
        return said

    monkeypatch.setattr(Agent, "answer", answered)
    return steps


def test_one_that_refuses_to_commit_takes_everyones_commit_back(world, monkeypatch):
    """Its capacity was lowered between prepare and commit."""
    before = world.run()
    decide = BrokerJournal.decide

    def decided(self, run, decision):
        said = decide(self, run, decision)
        if decision == "commit":
            agent = world.agent("opB")
            agent.reservations._fits = lambda loads, asked: "edge"
        return said

    monkeypatch.setattr(BrokerJournal, "decide", decided)
    done = world.run(replaces=before.run)
    assert done.settled.decision == "rollback"
    assert "lowered" in done.settled.refused["opB"]
    world.stop("opB")
    assert world.books() == {before.run: 3}  # what was to be replaced is back, everywhere
    monkeypatch.undo()
    assert world.run(replaces=before.run).settled.complete


def test_a_commit_that_one_did_not_hear_is_resumed_by_its_name(world):
    decide = BrokerJournal.decide

    with pytest.MonkeyPatch.context() as patch:

        def decided(self, run, decision):
            world.silent.add("opC")
            return decide(self, run, decision)

        patch.setattr(BrokerJournal, "decide", decided)
        done = world.run()
    assert set(done.settled.silent) == {"opC"}
    assert world.books() == {done.run: 2}
    with world.journal() as journal:
        record = journal.run(done.run)
        assert record.state == "partly booked"
        assert not finish_booking(record, world, journal).settled.complete
        world.silent.clear()
        assert finish_booking(journal.run(done.run), world, journal).settled.complete
        assert journal.run(done.run).state == "booked"
    assert world.books() == {done.run: 3}


def test_a_run_replaces_its_own_brokers_alone_and_its_capacity_counts_from_the_start(world):
    first = world.run()
    loads = {name: world.agent(name)._taken(world.agent(name).reservations.reserved()) for name in ("opB",)}
    assert loads["opB"]["edge"] > 0.5 * 11.93  # two of them do not fit beside each other
    second = world.run(replaces=first.run)
    assert second.settled.complete
    assert world.books() == {second.run: 3}
    with pytest.raises(Exception, match=r"has no reservations of this broker"):
        world.run(replaces="run-of-somebody-else")


@pytest.mark.parametrize("who", ["broker", "opA", "opB"])
def test_a_full_disk_is_named_and_the_same_command_goes_on(world, who, monkeypatch):
    if who == "broker":
        opened = BrokerJournal.__init__

        def small(self, folder):
            opened(self, folder)
            (pages,) = self.connection.execute("PRAGMA page_count").fetchone()
            self.connection.execute(f"PRAGMA max_page_count = {pages + 3}")

        monkeypatch.setattr(BrokerJournal, "__init__", small)
        with pytest.raises(StorageError, match=r"disk is full.*same command"):
            world.run()
    else:
        journal = world.agent(who)._journal
        (pages,) = journal.connection.execute("PRAGMA page_count").fetchone()
        journal.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(AgentFailure, match=rf"{who}.*disk"):
            world.run()
        world.stop(who)
    monkeypatch.undo()
    assert not world.books()
    done = world.run()
    assert done.settled.complete
    assert world.books() == {done.run: 3}
