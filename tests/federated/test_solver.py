"""Federated solves against the central method, their certificates, and what crosses while they run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fedopt
from fedopt.federated import negotiate
from fedopt.federated.operator import InProcess, Lost, Operator
from fedopt.federated.protocol.messages import Proposal, Response, numbers_in, to_bytes
from fedopt.federated.public import by_operator, public_view
from fedopt.federated.session import OperatorLost
from fedopt.federated.settings import Settings, SettingsError
from fedopt.instance import load
from fedopt.instance.generating import generate
from fedopt.plan.checking import check

INSTANCES = Path(__file__).parents[2] / "instances"


@pytest.fixture(scope="module")
def instance():
    return generate(12, 2, 3, seed=5)


@pytest.fixture(scope="module")
def central(instance):
    return fedopt.solve(instance, gap=1e-3)


@pytest.fixture(scope="module")
def recorded(instance):
    recorder = Recorder(operators(instance))
    return recorder, negotiate(public_view(instance), recorder, gap=2e-2, settings=Settings(alone=True))


def operators(instance, **options):
    return {name: Operator(name, domains, **options) for name, domains in by_operator(instance, True).items()}


class Recorder(InProcess):
    """Keeps every document that crosses."""

    def __init__(self, operators):
        super().__init__(operators)
        self.crossed = []

    def broadcast(self, messages):
        answers = super().broadcast(messages)
        self.crossed.extend((name, messages[name], answers[name]) for name in messages)
        return answers


class Unreliable(InProcess):
    """Loses proposals at random, of `never` always."""

    def __init__(self, operators, loss=0.0, never=()):
        super().__init__(operators)
        self.rng, self.loss, self.never = np.random.default_rng(1), loss, never

    def broadcast(self, messages):
        answers = super().broadcast(messages)
        for name, message in messages.items():
            lost = name in self.never or self.rng.uniform() < self.loss
            if isinstance(message, Proposal) and lost:
                answers[name] = Lost(name, "no answer in time")
        return answers


@pytest.mark.parametrize("method", ["admm", "bundle"])
def test_the_plan_is_as_good_as_central_and_its_bound_holds(instance, central, method):
    plan = fedopt.solve(instance, method, gap=1e-2, alone=True)
    assert plan.status == "optimal"
    assert plan.catalogue_gap <= 1e-2
    assert plan.lower_bound <= central.cost * (1 + 1e-9)
    assert plan.cost >= central.lower_bound * (1 - 1e-9)
    assert plan.cost <= central.cost * 1.01
    relaxation = plan.ledger["relaxation"]
    assert relaxation["gap"] <= 5e-3
    assert relaxation["lower_bound"] <= central.cost * (1 + 1e-9)
    assert relaxation["rounds"] <= 25
    assert check(plan, instance).ok


def test_masked_sums_lead_to_the_same_plan(instance):
    pytest.importorskip("cryptography")
    plain = fedopt.solve(instance, "admm", gap=1e-2)
    masked = fedopt.solve(instance, "admm", gap=1e-2, masked=True)
    assert masked.cost == pytest.approx(plain.cost, rel=1e-2)
    told = masked.ledger["boundaries"][0]["told"]
    assert "masked sums" in told
    assert "costs" not in told
    with pytest.raises(ValueError, match="masked"):
        fedopt.solve(instance, "bundle", masked=True)


def test_the_ledger_is_what_crossed(recorded):
    recorder, outcome = recorded
    totals = outcome.plan.ledger["totals"]
    crossed = [document for _, *pair in recorder.crossed for document in pair]
    assert totals["messages"] == len(crossed)
    assert totals["bytes"] == sum(len(to_bytes(document)) for document in crossed)
    assert totals["numbers"] == sum(sum(numbers_in(document).values()) for document in crossed)
    rounds = {document.round for document in crossed if isinstance(document, Proposal)}
    assert totals["rounds"] == len(rounds)


def test_no_capacity_and_no_cost_crosses(instance, recorded):
    recorder, _ = recorded
    fields = {
        name for _, *pair in recorder.crossed for document in pair for name in type(document).model_fields
    }
    assert not fields & {"capacity", "cost", "rate", "quad", "curve", "domains"}
    # the broker's first questions are the same whatever the operators' private numbers are
    other = instance
    for domain in instance.domains:
        other = other.with_({f"domains.{domain.id}.capacity": 3.0 * domain.capacity})
    again = Recorder(operators(other))
    negotiate(public_view(other), again, gap=2e-2, settings=Settings(alone=True))
    openings = len(by_operator(instance, True))
    first = [message for _, message, _ in recorder.crossed[: 2 * openings]]
    assert [message for _, message, _ in again.crossed[: 2 * openings]] == first


def test_rounds_go_on_without_late_operators_and_converge_all_the_same(instance, recorded):
    late = Unreliable(operators(instance), loss=0.05)
    outcome = negotiate(public_view(instance), late, gap=2e-2, settings=Settings(alone=True))
    _, calm = recorded
    assert outcome.plan.status == "optimal"
    assert outcome.plan.cost == pytest.approx(calm.plan.cost, rel=2e-2)
    assert outcome.plan.lower_bound <= calm.plan.cost


def test_an_operator_that_never_answers_is_named(instance):
    name = next(iter(by_operator(instance, True)))
    with pytest.raises(OperatorLost, match=name) as caught:
        negotiate(
            public_view(instance),
            Unreliable(operators(instance), never=(name,)),
            settings=Settings(alone=True),
        )
    assert caught.value.operators == (name,)


def test_too_little_capacity_is_proven_and_named(instance):
    starved = instance
    stage = instance.stages[0]
    for domain in instance.domains:
        if domain.stage == stage:
            starved = starved.with_({f"domains.{domain.id}.capacity": 0.2 * domain.capacity})
    plan = fedopt.solve(starved, "admm", gap=1e-2, explain=False, alone=True)
    assert plan.status == "infeasible"
    assert plan.explanation[0].constraint == "capacity"
    assert plan.explanation[0].domain in {d.id for d in instance.domains if d.stage == stage}
    assert fedopt.solve(starved, gap=1e-2, explain=False).status == "infeasible"


def test_a_tenant_without_a_path_is_named():
    plan = fedopt.solve(load(INSTANCES / "infeasible.yaml"), "admm", explain=False)
    assert plan.status == "infeasible"
    assert plan.explanation


def test_profit_admits_what_pays(instance):
    plan = fedopt.solve(instance, "admm", objective="profit", gap=1e-2)
    central = fedopt.solve(instance, objective="profit", gap=1e-2)
    assert plan.lower_bound <= central.cost + 1e-9
    assert plan.cost == pytest.approx(central.cost, rel=2e-2)
    assert check(plan, instance).ok


def test_an_earlier_plan_is_a_better_start(instance, central):
    cold = fedopt.solve(instance, "admm", gap=2e-2)
    warm = fedopt.solve(instance, "admm", gap=2e-2, warm_start=central)
    assert warm.ledger["relaxation"]["rounds"] <= cold.ledger["relaxation"]["rounds"]


def test_noise_costs_rounds_or_gap_but_never_the_bound(instance, central):
    plan = fedopt.solve(instance, "admm", gap=1e-2, noise=0.02, most_rounds=12, most_confirmations=6)
    assert plan.ledger["relaxation"]["lower_bound"] <= central.cost * (1 + 1e-9)


def test_stopping_early_ends_with_what_there_is(instance):
    plan = fedopt.solve(instance, "admm", gap=0.0, progress=lambda row: row.round >= 2)
    assert plan.status in ("limit", "feasible")
    assert len(plan.history) <= 4
    with pytest.raises(SettingsError, match="no switch 'speed'"):
        fedopt.solve(instance, "admm", speed=2)


def test_answers_are_all_that_the_methods_learn_from(instance, recorded):
    """The same answers lead to the same questions: a run can be told again."""
    first, second = recorded[0], Recorder(operators(instance))
    negotiate(public_view(instance), second, gap=2e-2, settings=Settings(alone=True))
    assert [m for _, m, _ in first.crossed] == [m for _, m, _ in second.crossed]
    assert any(isinstance(answer, Response) for _, _, answer in first.crossed)
