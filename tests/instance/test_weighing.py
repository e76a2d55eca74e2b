"""Work of a tenant's own on each stage: the plan is that of the same tenant over domains in its own units."""

import pytest

import fedopt
from fedopt.calculus.minplus import evaluate
from fedopt.instance import InstanceError, loads
from fedopt.instance.weighing import MOST_WEIGHTS, weight_of
from fedopt.plan.paths import Paths
from fedopt.plan.summary import summary_text
from fedopt.report import render
from fedopt.report.given import Given

TEXT = """
fedopt: 1
name: edge
units: {time: ms, work: request, stages: {radio: 1 kbit, gpu: 1 token}}
stages: [radio, gpu]
domains:
  - id: cell
    stage: radio
    capacity: 100 Mbit/s
    offers:
      - {id: gold, latency: 2, latency_kind: delay, impairment: {model: exponential, mean: 4 Mbit/s},
         max_rate: 90 Mbit/s}
  - id: edge
    stage: gpu
    capacity: 40000 token/s
    offers: [{id: llm, latency: 1, cost: {model: linear, rate: 0.5, fixed: 0.25}}]
tenants:
  - id: chat
    count: 2
    work: {radio: 20 kbit, gpu: 30 token}
    arrivals: {model: poisson, rate: 50/s}
    slo: {deadline: 200 ms, percentile: 99.9}
  - id: camera
    work: {radio: 60 kbit, gpu: 5 token}
    arrivals: {model: poisson, rate: 100/s}
    slo: {deadline: 100 ms, percentile: 99}
"""

ALONE = """
fedopt: 1
name: edge
units: {time: ms, work: request}
stages: [radio, gpu]
domains:
  - id: cell
    stage: radio
    capacity: 5
    offers:
      - {id: gold, latency: 2, latency_kind: delay, impairment: {model: exponential, mean: 0.2},
         max_rate: 4.5, cost: {model: linear, rate: 20}}
  - id: edge
    stage: gpu
    capacity: 1.3333333333333333
    offers: [{id: llm, latency: 1, cost: {model: linear, rate: 15, fixed: 0.25}}]
tenants:
  - id: chat
    count: 2
    arrivals: {model: poisson, rate: 0.05}
    slo: {deadline: 200, epsilon: 0.001}
"""


def test_each_amount_of_work_has_offers_of_its_own_and_the_file_none_of_them():
    instance = loads(TEXT)
    assert instance.tenant("chat").work == {"radio": 20.0, "gpu": 30.0}
    assert [offer.id for offer in instance.domain("cell").offers] == ["gold", "gold@20", "gold@60"]
    own = instance.offer("cell/gold@20")[1]
    assert (own.impairment.mean, own.max_rate, own.work_factor, own.cost.rate) == (0.2, 4.5, 20.0, 20.0)
    assert set(instance.graph("chat")) == {"cell/gold@20", "edge/llm@30"}
    assert "@" not in instance.to_json()
    again = loads(instance.to_json())
    assert again == instance
    assert again.sha256 == instance.sha256
    dearer = instance.with_({"domains.edge.offers.llm.cost.rate": 1.0})
    assert dearer.offer("edge/llm@30")[1].cost.rate == 30.0
    assert instance.with_({"tenants.chat.work.gpu": 31.0}).sha256 != instance.sha256
    plain = instance.with_({"tenants.chat.work": None, "tenants.camera.work": None})
    assert all(weight_of(offer) is None for domain in plain.domains for offer in domain.offers)


def test_the_plan_is_that_of_domains_in_the_tenants_own_units():
    mixed = loads(TEXT)
    alone = loads(ALONE)
    only = mixed.with_(tenants=mixed.tenants[:1])
    found, expected = fedopt.solve(only), fedopt.solve(alone)
    assert found.cost == pytest.approx(expected.cost, rel=1e-5)  # the search of both ends at its own gap
    assert found.lower_bound == pytest.approx(expected.lower_bound, rel=1e-5)
    (entry,), (other,) = found.tenants, expected.tenants
    assert entry.path == ["cell/gold@20", "edge/llm@30"]
    assert entry.reservations == pytest.approx(other.reservations, rel=1e-3)
    rates = Paths(alone).rates(other)
    own, stated = Paths(only).entry(entry), Paths(alone).entry(other)
    assert evaluate(own, rates).log_bound == pytest.approx(evaluate(stated, rates).log_bound, rel=1e-12)
    used = {domain.id: domain.reserved for domain in found.domains}
    assert used["cell"] == pytest.approx(2 * 20 * entry.reservations["cell"], rel=1e-9)
    both = fedopt.solve(mixed)
    assert fedopt.check(both, mixed).ok
    assert both.tenants["camera"].path == ["cell/gold@60", "edge/llm@5"]
    simulated = fedopt.simulate(both, mixed, trials=4, seed=1)
    assert [tenant.verdict for tenant in simulated.tenants].count("broken") == 0


def test_rates_are_shown_in_the_units_of_their_stages():
    instance = loads(TEXT)
    plan = fedopt.solve(instance)
    text = summary_text(plan, width=200, instance=instance)
    (entry,) = plan.tenants.of("chat")
    bits = entry.reservations["cell"] * 20.0 * 1e3  # requests a millisecond, 20 kbit each
    tokens = entry.reservations["edge"] * 30.0 * 1e3
    assert f"cell/gold@20 {bits:.6g} kbit/s → edge/llm@30 {tokens:.6g} token/s" in text
    assert "100000 kbit/s" in text
    page = render(Given(plan, instance), explain_seconds=0)
    assert f"edge/llm@30 {tokens:.6g} token/s" in page
    assert "40000 token/s" in page


def test_a_plan_over_work_of_another_is_refused_by_the_check():
    instance = loads(TEXT)
    plan = fedopt.solve(instance)
    entries = tuple(
        entry.model_copy(update={"path": ["cell/gold@60", "edge/llm@30"]}) if entry.id == "chat" else entry
        for entry in plan.tenants
    )
    found = fedopt.check(plan.model_copy(update={"tenants": entries}), instance)
    assert any("whose work is another" in finding.message for finding in found.findings)


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("gpu: 30 token", "gpx: 30", "tenants[0].work.gpx", "there is no stage"),
        ("gpu: 30 token", "gpu: 30 kbit", "tenants[0].work.gpu", "is no amount of work on stage gpu"),
        ("gpu: 30 token", "gpu: -1", "tenants[0].work.gpu", "must be"),
        ("fixed: 0.25}}]", "fixed: 0.25}}, {id: q, cost: {model: quadratic, rate: 1, quad: 1}}]",
         "tenants[0].work.gpu", "cannot be planned over edge/q"),
        ("[{id: llm,", "[{id: llm@30}, {id: llm,", "domains.edge", "is the name of an offer made for"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused_at_its_place(old, new, place, words):
    assert old in TEXT
    with pytest.raises(InstanceError) as refused:
        loads(TEXT.replace(old, new, 1))
    assert any(p.place == place and words in p.message for p in refused.value.problems), (
        refused.value.problems
    )


def test_amounts_are_few():
    tenant = loads(TEXT).tenants[0]
    many = [
        tenant.model_copy(update={"id": f"t{i}", "work": {"gpu": 1.5 + i}}) for i in range(MOST_WEIGHTS + 1)
    ]
    with pytest.raises(InstanceError, match="different amounts there"):
        loads(TEXT).with_(tenants=many)


def test_operators_plan_such_tenants_together():
    instance = loads(TEXT)
    central = fedopt.solve(instance)
    federated = fedopt.solve(instance, method="admm")
    assert federated.cost == pytest.approx(central.cost, rel=5e-3)
    assert fedopt.check(federated, instance).ok
