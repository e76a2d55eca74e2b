"""The split guarantee with private contracts: against the central method, and what crosses meanwhile."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.optimize import least_squares

import fedopt
from fedopt.federated import negotiate
from fedopt.federated.operator import InProcess
from fedopt.federated.protocol.messages import Proposal, to_bytes
from fedopt.federated.public import public_view
from fedopt.federated.report import promises_of
from fedopt.federated.settings import Settings
from fedopt.federated.solver import operators_of
from fedopt.federated.split import domain as split_domain
from fedopt.federated.split.domain import ContractSide
from fedopt.instance import Instance, loads
from fedopt.laws import build
from fedopt.plan import TenantPlans
from fedopt.plan.checking import check
from tests.federated.transport.world import FEDERATION

GAP = 1e-2
THETA = tuple(0.4 * 1.2**k for k in range(7))


def small() -> Instance:
    """Whole slots of delay and a θ grid of its own: there both methods choose from the same plans."""
    return loads(FEDERATION).with_(theta=THETA)


def particular() -> Instance:
    """The same with contract numbers that nobody meets by chance, guardrails among them."""
    changes = {
        "domains.metro.offers.gold.latency": 2.3713,
        "domains.metro.offers.gold.latency_kind": "rate",
        "domains.metro.offers.gold.impairment": {"model": "exponential", "mean": 0.30717},
        "domains.edge.offers.llm.latency": 3.1719,
        "domains.edge.offers.llm.latency_kind": "rate",
        "domains.edge.offers.llm.impairment": {"model": "exponential", "mean": 0.20393},
        "domains.cloud.offers.llm.impairment": {"model": "exponential", "mean": 0.10671},
    }
    return small().with_(changes)


class Recorder(InProcess):
    """Keeps every document that crosses."""

    def __init__(self, operators):
        super().__init__(operators)
        self.crossed = []

    def broadcast(self, messages):
        answers = super().broadcast(messages)
        self.crossed.extend((name, messages[name], answers[name]) for name in messages)
        return answers


def negotiated(instance, **options):
    recorder = Recorder(operators_of(instance))
    view = public_view(instance, contracts=False)
    return recorder, negotiate(view, recorder, guarantee="split", gap=GAP, settings=Settings(**options))


@pytest.fixture(scope="module")
def central():
    return fedopt.solve(small(), guarantee="split", gap=1e-4)


@pytest.fixture(scope="module")
def recorded():
    return negotiated(particular())


@pytest.mark.parametrize("method", ["admm", "bundle"])
def test_the_plan_is_as_good_as_central_and_its_bound_holds(central, method):
    plan = fedopt.solve(small(), method, guarantee="split", gap=GAP)
    assert plan.status == "optimal"
    assert plan.catalogue_gap <= GAP
    assert plan.lower_bound <= central.cost * (1 + 1e-9)
    assert central.lower_bound * (1 - 1e-9) <= plan.cost <= central.cost * (1 + GAP)
    assert plan.ledger["relaxation"]["lower_bound"] <= central.cost * (1 + 1e-9)
    assert check(plan, small()).ok


def test_domains_find_their_own_theta_where_the_instance_names_none():
    whole = loads(FEDERATION)
    plan = fedopt.solve(whole, "admm", guarantee="split", gap=GAP)
    assert plan.cost <= fedopt.solve(whole, guarantee="split", gap=GAP).cost * (1 + 2 * GAP)
    assert check(plan, whole).ok


@pytest.mark.parametrize("deadline", [21, 24])
def test_delays_in_fractions_of_a_slot_leave_no_bound_that_a_cheaper_plan_could_break(deadline):
    """Each domain counts its own delay in whole slots; the central method those of a path together."""
    halves = {"domains.metro.offers.gold.latency": 2.5, "domains.edge.offers.llm.latency": 3.5}
    whole = small().with_(
        {**halves, "domains.cloud.offers.llm.latency": 6.5, "tenants.chat.slo.deadline": deadline}
    )
    plan = fedopt.solve(whole, "admm", guarantee="split", gap=GAP)
    central = fedopt.solve(whole, guarantee="split", gap=GAP)
    assert (plan.status, plan.catalogue_bound) == ("feasible", None)
    assert plan.lower_bound <= central.cost * (1 + 1e-9)
    assert plan.cost == pytest.approx(central.cost, rel=1e-2)
    assert check(plan, whole).ok


@pytest.mark.slow
def test_masked_sums_lead_to_a_plan_as_good(central):
    pytest.importorskip("cryptography")
    plan = fedopt.solve(small(), "admm", guarantee="split", gap=GAP, masked=True)
    assert plan.cost == pytest.approx(central.cost, rel=GAP)
    assert plan.lower_bound <= central.cost * (1 + 1e-9)


def test_what_was_agreed_is_within_one_and_every_domain_keeps_its_own_promise(recorded):
    """Of each path the time shares and the risk shares add up to one at most, and the burst that a domain is
    told is what the domains before it have stated."""
    _, outcome = recorded
    whole = particular()
    domains = [domain for domain in whole.domains for _ in domain.offers]
    side = ContractSide(whole.domains, whole.slot, [1.0] * len(domains), outcome.services)
    names = [f"{domain.id}/{offer.id}" for domain in whole.domains for offer in domain.offers]
    loads_of = dict.fromkeys(names, 0.0)
    for entry in outcome.plan.tenants:
        promises = promises_of(entry.id, entry.count, entry.path, entry.parameters)
        assert sum(promise.time for _, promise in promises) <= 1.0 + 1e-9
        assert sum(promise.risk for _, promise in promises) <= 1.0 + 1e-9
        for hop, promise in promises:
            rate = side.rate(promise, names.index(hop))
            assert rate > 0.0
            loads_of[hop] += entry.count * rate
        assert sum(entry.budgets.values()) <= whole.tenant(entry.id).slo.epsilon * (1 + 1e-9)
    for domain in whole.domains:
        used = sum(o.work_factor * loads_of[f"{domain.id}/{o.id}"] for o in domain.offers)
        assert used <= domain.capacity * (1 + 1e-9)
    assert outcome.plan.has_plan


def bodies(crossed):
    """The text of every document that crossed."""
    return [to_bytes(document) for _, *pair in crossed for document in pair]


def told_numbers(bodies):
    """Every number in documents, and their text."""
    text = b"\n".join(bodies).decode()
    found = []

    def collect(value):
        if isinstance(value, dict):
            for one in value.values():
                collect(one)
        elif isinstance(value, list):
            for one in value:
                collect(one)
        elif isinstance(value, float | int) and not isinstance(value, bool):
            found.append(float(value))

    for line in text.splitlines():
        collect(json.loads(line))
    return text, np.unique(np.array(found))


def contract_numbers(instance):
    """Latencies, impairments and what follows from them at the instance's θ; capacities and cost curves."""
    numbers = []
    for domain in instance.domains:
        numbers.append(domain.capacity)
        for offer in domain.offers:
            numbers += [
                offer.latency / instance.slot,
                offer.impairment.mean,
                offer.cost.rate,
                offer.cost.quad,
            ]
            model = build(offer.impairment, instance.slot)
            numbers += [float(model.kappa(theta)) for theta in instance.theta]
    return np.array([number for number in numbers if number != round(number)])


def closest(numbers, told):
    """The least relative distance of a number that was told to any of the numbers."""
    return float(np.min(np.abs(told[:, None] / numbers[None, :] - 1.0)))


def test_no_contract_number_crosses(recorded):
    recorder, outcome = recorded
    text, told = told_numbers(bodies(recorder.crossed))
    assert len(told) > 5000
    secret = contract_numbers(particular())
    assert closest(secret, told) > 1e-9
    fields = {
        name for _, *pair in recorder.crossed for document in pair for name in type(document).model_fields
    }
    assert not fields & {"latency", "impairment", "capacity", "cost", "contract", "domains"}
    assert outcome.plan.ledger["totals"]["bytes"] == len(text) - len(recorder.crossed) * 2 + 1


def test_the_rates_that_are_reserved_do_not_cross_either_unless_units_are_public(monkeypatch):
    """What is looked for would be found: with units of one, the reserved rates stand in the traffic."""
    found = {}
    for name in ("private", "public"):
        if name == "public":
            monkeypatch.setattr(split_domain, "unit_of", lambda *_: 1.0)
        recorder, _ = negotiated(particular(), most_rounds=2, most_confirmations=1)
        _, told = told_numbers(bodies(recorder.crossed))
        rates = []
        for _, question, answer in recorder.crossed:
            if isinstance(question, Proposal) and question.shares is not None:
                rates += [rate for rate in answer.shares.proposed if rate > 0.0]
        assert rates
        found[name] = (told, np.unique(np.array(rates)))
    assert closest(found["public"][1], found["private"][0]) > 1e-9
    assert closest(found["public"][1], found["public"][0]) == 0.0


def test_the_first_questions_do_not_depend_on_the_contracts(recorded):
    recorder, _ = recorded
    again, _ = negotiated(small(), most_rounds=1, most_confirmations=0)
    operators = 3
    first = [
        message.model_copy(update={"instance": "0" * 64}) if hasattr(message, "instance") else message
        for _, message, _ in recorder.crossed[: 2 * operators]
    ]
    others = [
        message.model_copy(update={"instance": "0" * 64}) if hasattr(message, "instance") else message
        for _, message, _ in again.crossed[: 2 * operators]
    ]
    assert first == others


def test_the_broker_sees_neither_latency_nor_impairment():
    view = public_view(particular(), contracts=False)
    assert view == public_view(small(), contracts=False)


def test_too_little_capacity_is_proven_and_named():
    starved = small().with_({"domains.metro.capacity": 5.0})
    plan = fedopt.solve(starved, "admm", guarantee="split", gap=GAP, explain=False)
    assert plan.status == "infeasible"
    assert (plan.explanation[0].constraint, plan.explanation[0].domain) == ("capacity", "metro")
    assert fedopt.solve(starved, guarantee="split", gap=GAP, explain=False).status == "infeasible"


def test_a_deadline_that_no_domain_can_keep_is_named():
    hopeless = small().with_({"tenants.chat.slo.deadline": 4.0})
    plan = fedopt.solve(hopeless, "admm", guarantee="split", gap=GAP, explain=False)
    assert plan.status == "infeasible"
    assert plan.explanation[0].tenant == "chat"


def test_what_base_bursts_reveal_is_said_in_the_documentation(recorded):
    """A broker that knows of which kind an impairment is reads a guardrail's latency and mean off the base
    bursts of one run; federation.md says how well."""
    recorder, outcome = recorded
    bursts = {}
    for name, question, answer in recorder.crossed:
        if isinstance(question, Proposal) and question.shares is not None:
            asked = zip(question.shares.service, question.shares.theta, answer.shares.burst, strict=True)
            bursts |= {(name, service, theta): burst for service, theta, burst in asked}
    errors = []
    for name, domain in zip(("opA", "opB"), particular().domains, strict=False):
        points = [
            (outcome.services[s].theta[t], outcome.services[s].load[t], burst)
            for (operator, s, t), burst in bursts.items()
            if operator == name
        ]

        def missed(guess, points=points):
            latency, mean = guess
            told = [
                -math.log1p(-mean * theta) * latency
                + load * latency
                + math.log1p(split_domain._early_slots(load, latency))
                for theta, load, _ in points
            ]
            return [
                value - (burst - 0.5 * split_domain.BURST_STEP)
                for value, (_, _, burst) in zip(told, points, strict=True)
            ]

        (offer,) = domain.offers
        found = min(
            (
                least_squares(missed, (start, 0.2), bounds=((0.0, 1e-4), (30.0, 0.5)))
                for start in (0.5, 1.5, 2.5, 3.5)
            ),
            key=lambda result: result.cost,
        )
        errors.append(np.abs(found.x / (offer.latency, offer.impairment.mean) - 1.0))
    assert np.max(errors) < 0.02
    assert {burst for (operator, _, _), burst in bursts.items() if operator == "opC"} == {0.0}


def test_a_check_from_outside_says_what_is_the_operators_to_check(recorded):
    _, outcome = recorded
    report = check(outcome.plan, public_view(particular(), contracts=False))
    assert report.ok
    assert "are the operators' to check" in report.text()


def test_a_brokers_plan_passes_the_check_of_the_public_instance_and_names_what_is_proven(recorded):
    """Published shares of the deadline are whole slots times shares agreed, which is what is proven; in all
    they are within the deadline."""
    _, outcome = recorded
    view = public_view(particular(), contracts=False)
    assert check(outcome.plan, view).ok, check(outcome.plan, view).text()
    for entry in outcome.plan.tenants:
        tenant = view.tenant(entry.id)
        assert sum(entry.deadlines.values()) <= tenant.slo.deadline
        for share, told in zip(entry.deadlines.values(), entry.parameters["agreement"], strict=True):
            assert share == pytest.approx(told["time"] * told["slots"] * view.slot)
    broken = outcome.plan.tenants[0]
    more = [{**one, "time": 0.9} for one in broken.parameters["agreement"]]
    wrong = broken.model_copy(update={"parameters": {"agreement": more}})
    entries = [wrong if entry is broken else entry for entry in outcome.plan.tenants]
    assert not check(outcome.plan.model_copy(update={"tenants": TenantPlans(entries)}), view).ok


def test_laws_without_slots_lead_to_a_plan_that_is_checked_and_to_no_bound_of_the_method():
    poisson = {"model": "poisson", "rate": 0.02, "size": 1.0}
    names = ("metro.offers.gold", "edge.offers.llm", "cloud.offers.llm")
    whole = small().with_({f"domains.{name}.impairment": poisson for name in names})
    plan = fedopt.solve(whole, "admm", guarantee="split", gap=GAP)
    assert check(plan, whole).ok, check(plan, whole).text()
    assert (plan.status, plan.catalogue_bound) == ("feasible", None)
    best = fedopt.solve(whole, guarantee="split", gap=GAP)
    assert plan.lower_bound <= best.cost
    assert plan.cost >= best.lower_bound
