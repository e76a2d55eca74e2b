import numpy as np
import pytest

from fedopt.contracts import contract_of
from fedopt.instance import loads
from fedopt.plan import Plan
from fedopt.settlement import Settlement, SettlementError, settle, verdicts_of
from fedopt.settlement.summary import summary

INSTANCE = """
fedopt: 1
name: settled
units: {time: ms, work: job}
slot: 1.0
stages: [access, compute]
domains:
  - id: metro
    stage: access
    capacity: 20
    offers: [{id: gold, latency: 2, latency_kind: delay, impairment: {model: exponential, mean: 0.3},
              cost: {model: linear, rate: 1}}]
  - id: edge
    stage: compute
    capacity: 20
    offers: [{id: small, latency: 3, latency_kind: delay, impairment: {model: exponential, mean: 0.2},
              cost: {model: linear, rate: 1}}]
tenants:
  - {id: chat, count: 3, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 40, epsilon: 0.001},
     payment: 10.01, penalty: 33.37}
  - {id: bulk, arrivals: {model: poisson, rate: 0.3}, slo: {deadline: 60, epsilon: 0.01}, payment: 5}
"""


@pytest.fixture(scope="module")
def instance():
    return loads(INSTANCE, "settled.yaml")


def entry(tenant, count, rates):
    return {
        "id": tenant,
        "count": count,
        "path": ["metro/gold", "edge/small"],
        "theta": 0.5,
        "reservations": {"metro": rates[0], "edge": rates[1]},
        "log_bound": -7.0,
        "form": "image",
    }


def plan_of(instance, rates=(2.5, 2.6)):
    return Plan.model_validate(
        {
            "instance": {"name": instance.name, "sha256": instance.sha256},
            "status": "feasible",
            "method": "by hand",
            "guarantee": "minplus",
            "tenants": [entry("chat", 3, rates), entry("bulk", 1, (2.0, 1.9))],
        }
    )


def degraded(domain, offer, mean, latency):
    times = {"issued": "2026-01-01", "valid_from": "2026-01-01", "valid_until": "2027-01-01"}
    return contract_of(
        {
            "issuer": "op",
            "domain": domain,
            "offer": offer,
            "version": 1,
            "latency": latency,
            "latency_kind": "delay",
            "impairment": {"model": "exponential", "mean": mean},
            **{name: f"{day}T00:00:00Z" for name, day in times.items()},
        }
    )


@pytest.mark.parametrize("rule", ["marginal", "shapley"])
@pytest.mark.parametrize("guarantee", ["minplus", "paper-path"])
def test_money_is_conserved(instance, rule, guarantee):
    found = settle(instance, plan_of(instance), {"chat": "broken"}, rule=rule, guarantee=guarantee, salt="s")
    assert found.conserved
    assert found.received == 3 * 1001 + 500 - 3 * 3337
    assert sum(found.lines[0].penalty) == sum(found.lines[0].other_penalty) == 3 * 3337
    assert found.lines[1].refund == 0
    assert "adds up to the cent" in summary(found)


def test_the_domain_that_degraded_bears_the_refund(instance):
    worse = degraded("edge", "small", 0.9, 3.0)
    for rule in ("marginal", "shapley"):
        line = settle(instance, plan_of(instance), {"chat": "broken"}, degraded=[worse], rule=rule).lines[0]
        assert line.penalty == [0, 3 * 3337]
        assert line.penalty_basis == "loss of score by degradation"


def test_two_degradations_share_it(instance):
    both = [degraded("edge", "small", 0.9, 3.0), degraded("metro", "gold", 0.6, 2.0)]
    line = settle(instance, plan_of(instance), {"chat": "broken"}, degraded=both).lines[0]
    assert all(part > 0 for part in line.penalty + line.other_penalty)


def test_paper_path_pays_the_bottleneck_alone_and_shapley_both(instance):
    line = settle(instance, plan_of(instance), {}, guarantee="paper-path").lines[0]
    assert line.revenue == [3003, 0]
    assert line.other_revenue == [1502, 1501]


def test_statements_reveal_nothing_of_other_domains(instance):
    found = settle(instance, plan_of(instance), {"chat": "broken"}, period="2026-01", salt="s")
    statement = found.statement("edge")
    assert statement.net == found.net["edge"]
    text = statement.to_json()
    assert "metro" not in text
    assert str(found.net["metro"]) not in text
    assert statement.commitment == found.commitment
    assert (
        settle(instance, plan_of(instance), {"chat": "broken"}, period="2026-01").commitment
        != found.commitment
    )
    with pytest.raises(KeyError):
        found.statement("nowhere")


def test_settlement_survives_writing_and_reading(instance, tmp_path):
    found = settle(instance, plan_of(instance), {})
    found.save(tmp_path / "s.json")
    assert Settlement.load(tmp_path / "s.json") == found


def test_what_does_not_belong_together_is_refused(instance):
    other = instance.with_({"tenants.chat.slo.deadline": 50})
    with pytest.raises(SettlementError, match="another instance"):
        settle(other, plan_of(instance), {})
    with pytest.raises(SettlementError, match=r"lacks"):
        settle(instance, plan_of(instance), {"nobody": "kept"})


def test_verdicts_come_from_the_series_of_an_audit(instance):
    from fedopt.audit import Promise, audit

    rng = np.random.default_rng(1)
    whole = audit(rng.exponential(1.0, 20_000), Promise(deadline=1.0, epsilon=0.001))
    with pytest.raises(SettlementError, match="other names"):
        verdicts_of(whole, plan_of(instance))
    parts = whole.model_copy(update={"series": {"chat": whole.model_copy(update={"name": "chat"})}})
    assert verdicts_of(parts, plan_of(instance)) == {"chat": "broken"}
