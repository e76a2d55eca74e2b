import math
from dataclasses import replace

import numpy as np
import pytest

from fedopt.audit.settlement import Settlement, SettlementError, settle, summary, verdicts_of
from fedopt.audit.sharing import penalty_shares, proper_shares, revenue_shares, score
from fedopt.calculus import minplus
from fedopt.calculus.path import Path
from fedopt.contracts import contract_of
from fedopt.instance import loads
from fedopt.instance.arrivals import Poisson
from fedopt.instance.impairments import ExponentialImpairment
from fedopt.laws import build
from fedopt.plan import Plan

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


def test_payments_are_rounded_once(instance):
    priced = instance.with_({"tenants.chat.payment": 0.005, "tenants.chat.penalty": 0.014})
    line = settle(priced, plan_of(priced), {"chat": "broken"}).lines[0]
    assert (line.payment, line.refund) == (2, 4)  # three times half a cent is 1.5, and 4.2


def test_a_deadline_that_cannot_be_missed_is_settled():
    """No impairments and a token bucket: the score ends where its probability is no longer told from 0."""
    instance = loads(
        """
fedopt: 1
name: det
stages: [access, compute]
domains:
  - {id: acc, stage: access, operator: opA, capacity: 20,
     offers: [{id: s, latency: 1, latency_kind: delay, cost: {model: linear, rate: 1}}]}
  - {id: cmp, stage: compute, operator: opB, capacity: 20,
     offers: [{id: s, latency: 1, latency_kind: delay, cost: {model: linear, rate: 1}}]}
tenants:
  - {id: chat, arrivals: {model: token-bucket, rate: 0.5, burst: 4},
     slo: {deadline: 30, epsilon: 0.001, of: time}, payment: 10, penalty: 50}
""",
        "det.yaml",
    )
    plan = Plan.model_validate(
        {
            "instance": {"name": instance.name, "sha256": instance.sha256},
            "status": "feasible",
            "method": "by hand",
            "guarantee": "minplus",
            "tenants": [
                {
                    "id": "chat",
                    "count": 1,
                    "path": ["acc/s", "cmp/s"],
                    "theta": 1.0,
                    "form": "ville",
                    "reservations": {"acc": 3.0, "cmp": 3.0},
                    "log_bound": -50.0,
                }
            ],
        }
    )
    for rule in ("marginal", "shapley", "proper"):
        found = settle(instance, plan, {"chat": "broken"}, rule=rule)
        assert found.conserved
        assert math.isfinite(found.lines[0].score)
        assert sum(found.lines[0].revenue) == 1000
        found.to_json()


def path_of(instance):
    from fedopt.plan.paths import Paths

    paths, plan = Paths(instance), plan_of(instance, (1.1, 1.12))
    first = next(iter(plan.tenants))
    return paths.entry(first), paths.rates(first)


def test_shares_come_from_the_form_that_gives_the_score(instance):
    path, rates = path_of(instance)
    assert minplus.evaluate(path, rates).form != "fine"
    found = revenue_shares(path, rates, "minplus", "marginal")
    gains = []
    for domain in range(2):
        more = rates.copy()
        more[domain] *= 1.0005
        gains.append(max(score(path, more, "minplus") - score(path, rates, "minplus"), 0.0))
    assert found.values == pytest.approx(np.array(gains) / sum(gains), abs=0.05)


def test_declaring_the_truth_pays_best_under_the_proper_rule(instance):
    path, rates = path_of(instance)
    true = build(ExponentialImpairment(mean=0.3), 1.0)
    paid = {}
    for declared in (0.15, 0.22, 0.27, 0.3, 0.33, 0.38, 0.45):
        stated = replace(
            path, impairments=(build(ExponentialImpairment(mean=declared), 1.0), path.impairments[1])
        )
        shares = proper_shares(stated, rates, {0: true}).values
        assert shares.sum() == pytest.approx(1.0)
        paid[declared] = float(shares[0])
    assert max(paid, key=paid.get) == 0.3
    assert paid[0.3] == 0.5
    assert paid[0.15] < paid[0.22] < paid[0.27]
    assert paid[0.45] < paid[0.38] < paid[0.33]


def test_an_envelope_that_is_withheld_is_charged_by_the_audit(instance):
    """Edge lays a small degradation open, metro hides a large one: the audit charges metro with the rest."""
    path, rates = path_of(instance)
    worse = [build(ExponentialImpairment(mean=mean), 1.0) for mean in (0.45, 0.22)]
    degraded_path = replace(path, impairments=tuple(worse))
    late = math.exp(-score(degraded_path, rates, "minplus"))
    alone = penalty_shares(path, rates, {1: worse[1]}, "minplus", "marginal")
    assert alone.values.tolist() == [0.0, 1.0]
    charged = penalty_shares(path, rates, {1: worse[1]}, "minplus", "marginal", late)
    assert charged.values[0] > 0.5
    assert "by the audit" in charged.basis
    open_ = penalty_shares(path, rates, {0: worse[0], 1: worse[1]}, "minplus", "marginal", late)
    assert charged.values[0] >= open_.values[0] - 0.1


def line_of_three(declared):
    """A line of three domains, the middle one declaring this mean impairment: its path, and rates of what is
    declared plus the least common margin that keeps the promise.
    """
    means = np.array([0.2, declared, 0.2])
    path = Path(
        build(Poisson(rate=0.5, size=1.0), 1.0),
        tuple(build(ExponentialImpairment(mean=mean), 1.0) for mean in means),
        np.ones(3),
        np.zeros(3, dtype=bool),
        40.0,
        math.log(1e-3),
    )
    low, high = 0.0, 2.0
    while high - low > 1e-3:
        middle = 0.5 * (low + high)
        kept = minplus.evaluate(path, 0.5 + means + middle).log_bound <= path.log_epsilon
        low, high = (low, middle) if kept else (middle, high)
    return path, 0.5 + means + high


def test_the_marginal_rule_pays_for_declaring_a_worse_law_and_the_proper_rule_does_not():
    true, paid = 0.2, {"marginal": [], "proper": []}
    for declared in (true, 1.5 * true, 2 * true):
        path, rates = line_of_three(declared)
        paid["marginal"].append(float(revenue_shares(path, rates, "minplus", "marginal").values[1]))
        law = build(ExponentialImpairment(mean=true), 1.0)
        paid["proper"].append(float(proper_shares(path, rates, {1: law}).values[1]))
    assert paid["marginal"] == sorted(set(paid["marginal"]))
    assert paid["proper"] == sorted(set(paid["proper"]), reverse=True)
    assert paid["proper"][0] == pytest.approx(1 / 3)


def test_settle_charges_a_withheld_envelope_by_the_audit(instance):
    plan = plan_of(instance, (1.1, 1.12))
    shown = degraded("edge", "small", 0.22, 3.0)

    def borne(late):
        return settle(instance, plan, {"chat": "broken"}, degraded=[shown], late=late).lines[0].penalty

    assert borne(None) == [0, 3 * 3337], "only what is laid open is known"
    assert borne({"chat": 0.2})[0] > borne({"chat": 0.01})[0] > 0, "the rest falls to whoever shows nothing"
    assert sum(borne({"chat": 0.2})) == 3 * 3337
