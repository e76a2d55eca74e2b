"""An agent protects itself: policy, budgets, revocation, and what it says of its health."""

from __future__ import annotations

import pytest

pytest.importorskip("cryptography")

from fedopt.federated.protocol.messages import LARGEST
from fedopt.federated.session import BadAnswer
from fedopt.federated.transport.agent import Agent
from fedopt.federated.transport.config import AgentConfig
from fedopt.federated.transport.https import AgentFailure
from fedopt.federated.transport.policy import Policy, Refusal, Spent
from fedopt.storage import write_atomically
from tests.federated.transport.test_crashes import Federation
from tests.federated.transport.world import changed


@pytest.fixture
def world(tmp_path):
    it = Federation(tmp_path, masking_required=True)
    yield it
    it.close()


def policy(world, name, **fields):
    """Restart an agent under another policy."""
    world.stop(name)
    path = world.divided.agents[name].parent / "policy.yaml"
    write_atomically(path, Policy(**fields).model_dump_json())


def test_masked_runs_alone_are_answered_unless_the_policy_says_otherwise(world):
    with pytest.raises(AgentFailure, match=r"opA.*masked runs alone"):
        world.run(masked=False)
    for name in world.divided.agents:
        policy(world, name, masking_required=False)
    assert world.run(masked=False).settled.complete


def test_questions_of_a_broker_end_at_the_agents_budget(world):
    policy(world, "opB", questions_per_day=3)
    done = world.run()
    assert done.settled.complete  # two rounds
    with pytest.raises(AgentFailure, match=r"opB.*no more questions"):
        world.run(again=True)
    assert world.books() == {done.run: 3}


def test_budgets_of_questions_about_capacity():
    from fedopt.federated.protocol.messages import Proposal

    asked = Proposal(
        run="r", round=1, sequence=1, of="capacity", loads=(1e6,), prices=(0.0,), penalties=(1.0,)
    )
    limits = Policy(capacity_questions_per_run=2, capacity_questions_per_day=3)
    limits.check(asked, Spent(capacity=2, capacity_in_run=1), True)
    with pytest.raises(Refusal, match="in this run"):
        limits.check(asked, Spent(capacity=2, capacity_in_run=2), True)
    with pytest.raises(Refusal, match="today"):
        limits.check(asked, Spent(capacity=3, capacity_in_run=0), True)
    limits.check(asked.model_copy(update={"of": "cost"}), Spent(capacity=3, capacity_in_run=2), True)


def test_sets_of_operators_that_a_broker_may_take_sums_over(world):
    policy(world, "opA", operator_sets_per_day=1)
    assert world.run().settled.complete
    world.silent.add("opC")
    with pytest.raises(AgentFailure, match=r"opA.*sets of operators"):
        world.run(leave_out_lost=True, again=True)


@pytest.mark.parametrize("lie", ["support", "huge", "not a number"])
def test_a_lying_agent_is_named_and_the_same_command_works_once_it_is_honest(world, lie, monkeypatch):
    agent = world.agent("opB")
    from fedopt.federated.operator import Operator

    summed = Operator._summed

    def lying(self, sums, sequence):
        if self.name == "opB":
            wrong = {"support": sums[0] + 1000.0, "huge": 2.0**69, "not a number": float("nan")}[lie]
            sums = (wrong, *sums[1:])
        return summed(self, sums, sequence)

    monkeypatch.setattr(Operator, "_summed", lying)
    with pytest.raises((BadAnswer, AgentFailure), match="opB") as found:
        world.run()
    assert found.value.exit_code == 5
    assert LARGEST < 2.0**69
    monkeypatch.undo()
    assert agent is world.agent("opB")
    done = world.run()
    assert done.settled.complete
    assert world.books() == {done.run: 3}


def test_revoked_keys_count_no_more(world, tmp_path):
    config = AgentConfig.load(world.divided.agents["opB"])
    kid = world.key.kid
    listed = write_atomically(tmp_path / "revoked.txt", f"# lost on Monday\n{kid}\n")
    world.stop("opB")
    world.divided.agents["opB"] = changed(world.divided.agents["opB"], revoked=str(listed))
    with pytest.raises(AgentFailure, match=r"opB.*revoked"):
        world.run()
    write_atomically(listed, "# nothing any more\n")
    assert world.run().settled.complete
    assert config.revoked is None


def test_health_metrics_status_and_log_beside_the_running_agent(world):
    done = world.run()
    agent = world.agent("opB")
    assert agent.health()["status"] == "ok"
    text = agent.metrics()
    assert 'fedopt_agent_answers_total{kind="cost"} 2' in text
    assert 'fedopt_agent_reservations{state="committed"} 1' in text
    beside = Agent(AgentConfig.load(world.divided.agents["opB"]), held=False)
    try:
        assert beside.status()["runs"][0]["run"] == done.run
        kinds = [one["kind"] for one in beside.log()]
        assert kinds[:2] == ["opening", "keys"]
        assert kinds[-2:] == ["prepare", "settle"]
        assert beside.release(done.run).granted
    finally:
        beside.close()
    assert agent.reservations.state(done.run) == "released"


def test_a_capacity_below_what_is_promised_is_reported(world):
    world.run()
    agent = world.agent("opB")
    agent.reservations._fits = lambda loads, asked: "edge" if loads else None
    assert agent.health() | {"seconds": 0} == {"status": "overbooked", "overbooked": "edge", "seconds": 0}


def test_an_agent_answers_from_its_own_problem_and_books_against_its_limits(world, tmp_path):
    """A joint power limit over the operator's offers, in cvxpy; stated in a file."""
    file = tmp_path / "private.py"
    write_atomically(
        file,
        """
import cvxpy as cp
from fedopt.federated import PrivateProblem


def build(domains):
    rate = cp.Variable(1, nonneg=True)
    power = cp.Variable(nonneg=True)
    return PrivateProblem(rate, cp.maximum(power, 3 * power - 8), [power >= rate[0], power <= 9])
""",
    )
    world.stop("opB")
    world.divided.agents["opB"] = changed(world.divided.agents["opB"], problem=f"{file}:build")
    done = world.run(masked=True)
    taken = world.agent("opB").reservations.reserved()["edge/llm"]
    if done.settled.complete:
        assert taken <= 9.0 + 1e-6
    else:
        assert "lacks the capacity" in done.settled.refused["opB"]
    agent = world.agent("opB")
    assert agent.reservations.prepare("other", "broker", {"edge/llm": 9.01}, 60).domain == "edge"
    assert agent.status()["domains"][0]["capacity"] is None
