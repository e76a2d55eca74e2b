"""Every remedy named is tried: with it there is a plan, with a little less there is none."""

import math

import pytest

import fedopt
from fedopt.explain import infeasibility
from fedopt.explain.oracle import alone

GUARANTEE = "minplus:ville"


def reasons(instance, brute_force):
    return infeasibility(instance, GUARANTEE, seconds=math.inf, solver=brute_force)


def assert_remedies_help(instance, reason, brute_force):
    base = instance if reason.tenant is None else alone(instance, instance.tenant(reason.tenant))
    assert reason.remedies
    for remedy in reason.remedies:
        if remedy.place is None or "*" in remedy.place or remedy.change == "count":
            continue
        assert brute_force(base.with_({remedy.place: remedy.needed}), GUARANTEE).has_plan, remedy
        if isinstance(remedy.needed, float):
            almost = remedy.needed * 0.97 if remedy.needed > remedy.current else remedy.needed * 1.03
            assert not brute_force(base.with_({remedy.place: almost}), GUARANTEE).has_plan, remedy


def test_a_feasible_instance_has_no_reasons(pair, brute_force):
    assert reasons(pair, brute_force) == []


def test_deadline_below_the_delays(pair, brute_force):
    instance = pair.with_({"tenants.chat.slo.deadline": 12})
    (reason,) = reasons(instance, brute_force)
    assert (reason.tenant, reason.constraint) == ("chat", "deadline")
    assert reason.message.startswith("chat: the least delay of any path is 15 ms, its deadline 12 ms")
    assert [remedy.change for remedy in reason.remedies] == ["deadline"]
    assert 15 <= reason.remedies[0].needed < 17
    assert_remedies_help(instance, reason, brute_force)


def test_rate_above_what_one_tenant_may_reserve(pair, brute_force):
    instance = pair.with_({"domains.near.offers.std.max_rate": 0.6, "tenants.batch.slo.deadline": 200})
    (reason,) = reasons(instance, brute_force)
    assert (reason.tenant, reason.constraint) == ("chat", "capacity")
    assert {remedy.change for remedy in reason.remedies} == {"deadline", "epsilon", "max-rate"}
    assert_remedies_help(instance, reason, brute_force)


def test_capacity_below_what_one_tenant_needs(pair, brute_force):
    instance = pair.with_({"domains.near.capacity": 0.6, "tenants.batch.slo.deadline": 200})
    (reason,) = reasons(instance, brute_force)
    assert (reason.tenant, reason.constraint) == ("chat", "capacity")
    # what one tenant alone could do with a later deadline, both together cannot: that is no remedy
    assert "capacity" in {remedy.change for remedy in reason.remedies}
    for remedy in reason.remedies:  # each for all tenants together, which may be more than the least
        assert brute_force(instance.with_({remedy.place: remedy.needed}), GUARANTEE).has_plan, remedy


@pytest.mark.parametrize(
    ("change", "kind", "needed"),
    [
        ({"tenants.chat.policy.operators": ["opB"]}, "policy", ("opB", "opA")),
        ({"tenants.chat.policy.regions": ["south"]}, "policy", ("south", "north")),
        ({"tenants.chat.policy.min_trust": 4}, "policy", 2.0),
        ({"tenants.chat.policy.forbid": ["near"]}, "policy", ()),
        ({"tenants.chat.policy.forbid": ["near", "cloud"]}, "policy", ("cloud",)),
        ({"tenants.chat.slo.min_accuracy": 0.99}, "quality", 0.95),
        ({"tenants.chat.slo.max_staleness": 30}, "quality", 60.0),
    ],
)
def test_policy_and_quality(pair, brute_force, change, kind, needed):
    instance = pair.with_(change)
    (reason,) = reasons(instance, brute_force)
    assert (reason.tenant, reason.constraint) == ("chat", "policy")
    assert [(remedy.change, remedy.needed) for remedy in reason.remedies] == [(kind, needed)]
    single = alone(instance, instance.tenant("chat"))
    assert brute_force(single.with_({reason.remedies[0].place: needed}), GUARANTEE).has_plan


def test_policy_that_no_single_relaxation_mends(pair, brute_force):
    instance = pair.with_({"tenants.chat.policy": {"operators": ["opB"], "forbid": ["near"]}})
    (reason,) = reasons(instance, brute_force)
    assert reason.remedies == []
    assert "no single relaxation" in reason.message


def test_policy_relaxed_where_the_guarantee_fails(pair, brute_force):
    instance = pair.with_({"tenants.chat.policy.min_trust": 0, "tenants.chat.slo.deadline": 20})
    strict = instance.with_({"tenants.chat.policy.forbid": ["edge"]})
    (reason,) = reasons(strict, brute_force)
    assert {remedy.change for remedy in reason.remedies} >= {"deadline", "policy"}
    assert_remedies_help(strict, reason, brute_force)


def test_no_links(pair, brute_force):
    middle = [{**dict(pair.domain("edge")), "id": name, "stage": "middle"} for name in ("left", "right")]
    instance = pair.with_(
        stages=["access", "middle", "compute"],
        domains=[*pair.domains, *middle],
        links=[{"from": "near", "to": "left"}, {"from": "right", "to": "edge"}],
    )
    found = reasons(instance, brute_force)
    assert [(reason.tenant, reason.constraint) for reason in found] == [("chat", "links"), ("batch", "links")]


def test_tenants_that_compete_for_one_domain(pair, brute_force):
    instance = pair.with_({"domains.near.capacity": 1.4})
    (reason,) = reasons(instance, brute_force)
    assert (reason.tenant, reason.domain, reason.constraint) == (None, "near", "capacity")
    assert "the capacity of near does not suffice" in reason.message
    changes = {remedy.change for remedy in reason.remedies}
    assert changes >= {"capacity", "count"}
    assert_remedies_help(instance, reason, brute_force)
    counts = {remedy.place: remedy.needed for remedy in reason.remedies if remedy.change == "count"}
    assert counts["tenants.chat.count"] == 1


def test_tenants_that_compete_everywhere(pair, brute_force):
    instance = pair.with_(
        {"domains.near.capacity": 1.4, "domains.edge.capacity": 0.7, "domains.cloud.capacity": 0.35}
    )
    (reason,) = reasons(instance, brute_force)
    assert "several domains together" in reason.message
    capacity = [remedy for remedy in reason.remedies if remedy.change == "capacity"]
    assert [remedy.place for remedy in capacity] == ["domains.*.capacity"]
    factor = capacity[0].needed
    for scale, has_plan in ((factor, True), (1 + 0.98 * (factor - 1), False)):
        scaled = instance.with_({f"domains.{d.id}.capacity": d.capacity * scale for d in instance.domains})
        assert brute_force(scaled, GUARANTEE).has_plan is has_plan


def test_many_hopeless_tenants_are_counted(pair, brute_force):
    chat = pair.tenant("chat").model_copy(update={"policy": {"forbid": ("near",)}})
    many = [{**dict(chat), "id": f"t{i}", "policy": {"forbid": ["near"]}} for i in range(8)]
    found = reasons(pair.with_(tenants=many), brute_force)
    assert len(found) == 6
    assert found[-1].message == "3 more tenants have no plan even alone: t5, t6, t7"


def test_no_time_no_reasons(pair, brute_force):
    instance = pair.with_({"tenants.chat.slo.deadline": 12})
    assert infeasibility(instance, GUARANTEE, seconds=0.0, solver=brute_force) == []


def test_the_central_method_says_what_domains_lack_together(pair):
    instance = pair.with_(
        {"domains.near.capacity": 1.4, "domains.edge.capacity": 0.7, "domains.cloud.capacity": 0.35}
    )
    (reason,) = infeasibility(instance, GUARANTEE, seconds=math.inf)
    assert reason.constraint == "capacity"
    joint = reason.remedies[0]
    assert joint.message.startswith("together capacities of ")
    assert fedopt.solve(instance.with_(joint.needed), guarantee=GUARANTEE).has_plan
    for place, value in joint.needed.items():
        name = place.split(".")[1]
        now = instance.domain(name).capacity
        almost = {**joint.needed, place: now + 0.95 * (value - now)}
        assert not fedopt.solve(instance.with_(almost), guarantee=GUARANTEE, explain=False).has_plan


def test_the_central_method_names_the_one_domain_that_lacks(pair):
    instance = pair.with_({"domains.near.capacity": 1.4})
    (reason,) = infeasibility(instance, GUARANTEE, seconds=math.inf)
    assert reason.domain == "near"
    (capacity,) = [remedy for remedy in reason.remedies if remedy.change == "capacity"]
    assert fedopt.solve(instance.with_({capacity.place: capacity.needed}), guarantee=GUARANTEE).has_plan
