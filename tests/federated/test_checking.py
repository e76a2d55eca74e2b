"""Brokered plans, checked against the public part, and in full with the operators' private parts."""

from __future__ import annotations

import pytest

from fedopt.errors import InputError
from fedopt.federated import negotiate
from fedopt.federated.checking import check_with_private
from fedopt.federated.operator import InProcess
from fedopt.federated.public import public_view
from fedopt.federated.solver import operators_of
from fedopt.federated.transport.config import private_parts
from fedopt.instance import loads
from fedopt.plan import TenantPlans
from fedopt.plan.checking import check
from tests.federated import private_problems
from tests.federated.transport.world import FEDERATION, federation

THETA = (0.5, 0.7)


def brokered(instance, guarantee, problems=None):
    view = public_view(instance, contracts=guarantee != "split")
    operators = InProcess(operators_of(instance, problems=problems))
    return view, negotiate(view, operators, guarantee=guarantee, gap=1e-2).plan


@pytest.fixture(scope="module", params=["minplus", "split"])
def case(request):
    whole = loads(FEDERATION).with_(theta=THETA)
    return (whole, *brokered(whole, request.param))


def test_a_brokered_plan_passes_both_checks(case):
    whole, public, plan = case
    assert check(plan, public).ok
    report = check_with_private(plan, public, whole.domains)
    assert report.ok, report.text()
    assert "private parts were given" in report.text()


def test_a_plan_that_states_another_cost_passes_the_public_check_alone(case):
    whole, public, plan = case
    wrong = plan.model_copy(update={"cost": plan.cost * 1.001, "gap": None, "lower_bound": None})
    assert check(wrong, public).ok
    findings = check_with_private(wrong, public, whole.domains).findings
    assert [finding.constraint for finding in findings] == ["cost"]


def test_a_capacity_that_does_not_suffice_is_found(case):
    whole, public, plan = case
    small = whole.with_({"domains.metro.capacity": 5.0})
    findings = check_with_private(plan, public, small.domains).findings
    assert {(finding.constraint, finding.domain) for finding in findings} == {("capacity", "metro")}


def test_a_contract_worse_than_agreed_is_found(case):
    whole, public, plan = case
    worse = whole.with_({"domains.cloud.offers.llm.latency": 25.0, "domains.edge.offers.llm.latency": 25.0})
    findings = check_with_private(plan, public, worse.domains).findings
    assert {"guarantee", "share"} & {finding.constraint for finding in findings}


def test_rates_below_what_was_agreed_are_found():
    whole = loads(FEDERATION).with_(theta=THETA)
    public, plan = brokered(whole, "minplus")
    entries = [
        entry.model_copy(update={"reservations": {d: 0.9 * r for d, r in entry.reservations.items()}})
        for entry in plan.tenants
    ]
    wrong = plan.model_copy(update={"tenants": TenantPlans(entries)})
    assert not check_with_private(wrong, public, whole.domains).ok


@pytest.mark.slow
@pytest.mark.parametrize("guarantee", ["minplus", "split"])
def test_operators_with_problems_of_their_own(guarantee):
    whole = loads(private_problems.INSTANCE)
    problems = {name: getattr(private_problems, build) for name, build in private_problems.FOUR.items()}
    public, plan = brokered(whole, guarantee, problems)
    assert check_with_private(plan, public, whole.domains, problems).ok
    wrong = plan.model_copy(update={"cost": plan.cost * 0.999})
    assert not check_with_private(wrong, public, whole.domains, problems).ok
    heavy = [entry.model_copy(update={"count": 4 * entry.count}) for entry in plan.tenants]
    assert not check_with_private(
        plan.model_copy(update={"tenants": TenantPlans(heavy)}), public, whole.domains, problems
    ).ok


def test_the_parts_are_found_in_folders_and_must_fit(tmp_path, case):
    pytest.importorskip("cryptography")
    whole, public, plan = case
    divided = federation(tmp_path / "federation", whole)
    domains, problems = private_parts([divided.broker.parent.parent])
    assert {domain.id for domain in domains} == {"metro", "edge", "cloud"}
    assert not problems
    with pytest.raises(InputError, match="lack the domain 'edge'"):
        check_with_private(plan, public, [domain for domain in domains if domain.id != "edge"])
    with pytest.raises(InputError, match=r"holds no agent\.yaml"):
        private_parts([divided.broker.parent.parent / "shared"])
    file = divided.agents["opB"].with_name("private.py")
    file.write_text("from fedopt.federated import default_problem as build\n")
    divided.agents["opB"].write_text(divided.agents["opB"].read_text() + "problem: private.py:build\n")
    domains, problems = private_parts([config.parent for config in divided.agents.values()])
    assert list(problems) == ["opB"]
    assert check_with_private(plan, public, domains, problems).ok
