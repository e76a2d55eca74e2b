"""Further promises up to the end of a stage: planned, checked, explained and simulated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import fedopt
from fedopt.calculus.minplus import evaluate
from fedopt.errors import InputError
from fedopt.instance import Instance, InstanceError
from fedopt.plan.milestones import entry_up_to, parts_of
from fedopt.plan.paths import Paths

PRICES = (1.0, 3.0, 2.0)


def instance(milestones=(), **slo):
    """Three stages, the first impaired, with one cheap and one dear way at the end."""
    poisson = {"model": "poisson", "rate": 0.2, "size": 1.0}

    def domain(name, stage, price, impairment=None, latency=0.0):
        offer = {"id": "o", "cost": {"model": "linear", "rate": price}, "latency": latency}
        offer |= {"latency_kind": "delay"} if latency else {}
        offer |= {"impairment": impairment} if impairment else {}
        return {"id": name, "stage": stage, "operator": name, "capacity": 50.0, "offers": [offer]}

    return Instance.model_validate(
        {
            "fedopt": 1,
            "stages": ["radio", "prefill", "decode"],
            "domains": [
                domain("r", "radio", PRICES[0], poisson),
                domain("p", "prefill", PRICES[1]),
                domain("d", "decode", PRICES[2]),
                domain("far", "decode", 0.5 * PRICES[2], latency=8.0),
            ],
            "tenants": [
                {
                    "id": "chat",
                    "arrivals": {"model": "poisson", "rate": 0.3, "size": 2.0},
                    "slo": {"deadline": 40.0, "epsilon": 1e-3, "milestones": milestones} | slo,
                }
            ],
        }
    )


FIRST = {"until": "prefill", "deadline": 12.0, "percentile": 99}


def test_a_part_is_the_instance_up_to_its_stage():
    whole = instance([FIRST, {"until": "radio", "deadline": 9, "epsilon": 0.1}])
    radio, prefill = parts_of(whole)
    assert (radio.until, radio.stages, prefill.stages) == ("radio", 1, 2)
    assert [d.id for d in prefill.instance.domains] == ["r", "p"]
    assert prefill.instance.tenant("chat").slo.deadline == 12.0
    assert prefill.instance.tenant("chat").slo.epsilon == pytest.approx(0.01)
    assert prefill.place == {"chat": 0}
    assert radio.place == {"chat": 1}
    assert parts_of(instance()) == []


def test_chains_of_dependence_through_what_is_left_out_remain():
    document = instance([FIRST]).to_dict()
    for domain in document["domains"]:
        if domain["id"] == "d":
            domain["dependent_with"] = ["r", "p"]
    (part,) = parts_of(Instance.model_validate(document))
    assert part.instance.dependent_group["r"] == part.instance.dependent_group["p"]


def keeps(whole, rates, hops):
    """Whether rates along a path keep the SLO and all milestones, by the calculus alone."""
    path = Paths(whole).path("chat", hops)
    if not evaluate(path, np.array(rates)).log_bound <= path.log_epsilon + 1e-6:
        return False
    for part in parts_of(whole):
        first = Paths(part.instance).path("chat", hops[: part.stages])
        if not evaluate(first, np.array(rates[: part.stages])).log_bound <= first.log_epsilon + 1e-6:
            return False
    return True


@pytest.mark.parametrize("deadline", [9.0, pytest.param(25.0, marks=pytest.mark.slow)])
def test_plans_are_about_as_cheap_as_the_best_of_a_grid_and_need_their_rates(deadline):
    whole = instance([FIRST | {"deadline": deadline}])
    plan = fedopt.solve(whole, gap=1e-3)
    assert plan.status == "optimal"
    assert fedopt.check(plan, whole).ok
    (entry,) = plan.tenants
    hops = entry.hops()
    rates = np.array([entry.reservations[domain] for domain, _ in hops])
    assert keeps(whole, rates, hops)
    assert plan.lower_bound <= plan.cost
    best = math.inf
    factors = np.geomspace(0.85, 1.15, 5)
    for way in (("d", "o"), ("far", "o")):
        path = [*hops[:2], way]
        price = np.array([PRICES[0], PRICES[1], PRICES[2] * (0.5 if way[0] == "far" else 1.0)])
        for factor in itertools.product(factors, repeat=3):
            some = rates * np.array(factor)
            if float(price @ some) < best and keeps(whole, some, path):
                best = float(price @ some)
    assert plan.cost <= best * 1.01
    for i in range(3):
        lower = rates.copy()
        lower[i] *= 0.98
        assert not keeps(whole, lower, hops)


def test_the_binding_promise_decides():
    alone = fedopt.solve(instance())
    idle = fedopt.solve(instance([FIRST | {"deadline": 39.0, "percentile": 90}]))
    tight = fedopt.solve(instance([FIRST | {"deadline": 8.0}]))
    assert idle.cost == pytest.approx(alone.cost, rel=2e-3)
    assert tight.cost > 1.05 * alone.cost
    only = instance([], deadline=8.0, epsilon=0.01)
    document = only.to_dict()
    document["stages"] = ["radio", "prefill"]
    document["domains"] = document["domains"][:2]
    first = fedopt.solve(Instance.model_validate(document))
    reserved = tight.tenants[0].reservations
    assert PRICES[0] * reserved["r"] + PRICES[1] * reserved["p"] >= first.cost * 0.99


def test_check_recomputes_milestones():
    whole = instance([FIRST | {"deadline": 8.0}])
    plan = fedopt.solve(whole)
    (entry,) = plan.tenants
    (proof,) = entry.milestones
    assert proof.until == "prefill"
    assert proof.log_bound <= math.log(0.01)

    def with_entry(**changes):
        return plan.model_copy(update={"tenants": type(plan.tenants)([entry.model_copy(update=changes)])})

    missing = fedopt.check(with_entry(milestones=[]), whole)
    assert any(finding.constraint == "milestone" for finding in missing.findings)
    claimed = proof.model_copy(update={"log_bound": proof.log_bound - 1.0})
    assert any(
        "up to the end of prefill" in str(f)
        for f in fedopt.check(with_entry(milestones=[claimed]), whole).findings
    )
    slower = {**entry.reservations, "p": 0.9 * entry.reservations["p"]}
    found = fedopt.check(with_entry(reservations=slower), whole)
    assert any(f.constraint == "guarantee" and "prefill" in f.message for f in found.findings)
    (part,) = parts_of(whole)
    assert entry_up_to(entry, part).path == entry.path[:2]


def test_simulation_counts_milestones_where_they_are():
    whole = instance([FIRST | {"deadline": 8.0}])
    plan = fedopt.solve(whole)
    found = fedopt.simulate(plan, whole, budget=400_000, trials=4, seed=1)
    all_the_way, first = found.tenants
    assert (all_the_way.until, first.until) == ("", "prefill")
    assert first.deadline == 8.0
    assert first.epsilon == pytest.approx(0.01)
    assert first.violation.estimate <= math.exp(first.log_bound)
    assert all_the_way.violation.estimate <= math.exp(all_the_way.log_bound)
    assert first.violation.estimate > 1e-4  # of what is bound by it, some are late
    assert "chat, to the end of prefill" in found.to_text()


@pytest.mark.slow
def test_an_impossible_milestone_is_named_with_its_remedy():
    whole = instance([FIRST | {"deadline": 1e-3}])
    plan = fedopt.solve(whole)
    assert plan.status == "infeasible"
    (reason,) = plan.explanation
    assert "up to the end of prefill" in reason.message
    places = [remedy.place for remedy in reason.remedies]
    assert "tenants.chat.slo.milestones.0.deadline" in places
    remedy = reason.remedies[places.index("tenants.chat.slo.milestones.0.deadline")]
    assert fedopt.solve(whole.with_({remedy.place: remedy.needed})).has_plan


def test_federated_operators_agree_on_them():
    whole = instance([FIRST | {"deadline": 8.0}])
    central, federated = fedopt.solve(whole), fedopt.solve(whole, method="admm", gap=1e-3)
    assert fedopt.check(federated, whole).ok
    assert federated.cost == pytest.approx(central.cost, rel=0.02)


@pytest.mark.parametrize(
    "options",
    [
        {"guarantee": "split"},
        {"guarantee": "paper-path"},
        {"guarantee": "simulated"},
        {"method": "model:joint"},
    ],
    ids=str,
)
def test_who_does_not_know_milestones_says_so(options):
    with pytest.raises(InputError, match="chat has milestones"):
        fedopt.solve(instance([FIRST]), **options)


def test_a_stage_that_is_not_there_is_named():
    with pytest.raises(InstanceError, match="no stage 'prefil'"):
        instance([FIRST | {"until": "prefil"}])
