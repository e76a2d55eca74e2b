"""A good plan passes; broken on purpose in one constraint, it fails with exactly that finding."""

import json
from types import SimpleNamespace

import pytest

from fedopt.plan import HistoryRow, Plan, TenantPlan, check


def edit(plan: Plan, tenant: str, **changes) -> Plan:
    """The plan with one tenant's entry changed and everything else as it was."""
    entries = [e.model_copy(update=changes) if e.id == tenant else e for e in plan.tenants]
    return plan.model_copy(update={"tenants": type(plan.tenants)(entries)})


def raised(plan: Plan, tenant: str, factor: float) -> dict[str, float]:
    return {domain: factor * rate for domain, rate in plan.tenants[tenant].reservations.items()}


def found(plan: Plan, instance) -> list[tuple[str, str | None]]:
    return [(finding.constraint, finding.tenant) for finding in check(plan, instance).findings]


@pytest.mark.parametrize("guarantee", ["minplus", "minplus:fine", "minplus:monotone", "split"])
def test_a_good_plan_passes(metro, plan_under, guarantee):
    plan = plan_under(guarantee)
    report = check(plan, metro)
    assert report.ok, report.text()
    assert (report.entries, report.against_instance) == (2, True)
    assert check(Plan.loads(plan.to_json()), metro).ok
    assert report.text() == "The plan is correct: 2 entries checked against its instance."


def test_another_instance(good, metro):
    other = metro.with_({"tenants.chat.payment": 31})
    assert found(good, other) == [("instance", None)]


def test_offer_that_does_not_exist(good, metro):
    path = ["access-1/std", "metro-1/gold", "edge-1/huge"]
    assert found(edit(good, "chat", path=path), metro) == [("path", "chat")]


def test_path_without_slash(good, metro):
    assert found(edit(good, "chat", path=["access-1", "metro-1/gold", "edge-1/large"]), metro) == [
        ("path", "chat")
    ]


def test_stages_out_of_order(good, metro):
    path = ["metro-1/gold", "access-1/std", "edge-1/large"]
    assert found(edit(good, "chat", path=path), metro) == [("path", "chat")]


def test_stage_left_out(good, metro):
    path, rates = ["access-1/std", "metro-1/gold"], {"access-1": 2.0, "metro-1": 2.0}
    assert found(edit(good, "chat", path=path, reservations=rates), metro) == [("path", "chat")]


def test_missing_link(good, metro, brute_force):
    links = [link for link in metro.links if link.to != "metro-1"]
    cut = metro.with_(links=links)
    plan = good.model_copy(update={"instance": good.instance.model_copy(update={"sha256": cut.sha256})})
    assert set(found(plan, cut)) == {("path", "chat"), ("path", "batch")}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"tenants.chat.policy.operators": ["opB"]}, "run by opA"),
        ({"tenants.chat.policy.regions": ["south"]}, "region north"),
        ({"tenants.chat.policy.forbid": ["metro-1"]}, "forbidden"),
        ({"tenants.chat.policy.forbid": ["edge-1/large"]}, "forbidden"),
        ({"tenants.chat.policy.min_trust": 3}, "trust 2, below 3"),
        ({"tenants.chat.slo.min_accuracy": 0.99}, "accuracy 0.97, below 0.99"),
        ({"tenants.chat.slo.max_staleness": 30}, "staleness 60, above 30"),
    ],
)
def test_policy(good, metro, change, word):
    strict = metro.with_(change)
    plan = good.model_copy(update={"instance": good.instance.model_copy(update={"sha256": strict.sha256})})
    findings = check(plan, strict).findings
    assert {(finding.constraint, finding.tenant) for finding in findings} == {("policy", "chat")}
    assert word in findings[0].message


def test_largest_rate(good, metro, brute_force):
    rates = raised(good, "chat", 1.0) | {"edge-1": 2.1}
    plan = brute_force.consistent(edit(good, "chat", reservations=rates), metro)
    assert found(plan, metro) == [("max-rate", "chat")]


def test_capacity(good, metro, brute_force):
    rates = raised(good, "chat", 1.0) | {"access-1": 8.0}
    plan = brute_force.consistent(edit(good, "chat", reservations=rates), metro)
    report = check(plan, metro)
    assert [(f.constraint, f.domain) for f in report.findings] == [("capacity", "access-1")]


def test_capacity_hidden_by_what_is_stated(good, metro, brute_force):
    rates = raised(good, "chat", 1.0) | {"access-1": 8.0}
    plan = brute_force.consistent(edit(good, "chat", reservations=rates), metro)
    domains = [d.model_copy(update={"reserved": min(d.reserved, d.capacity)}) for d in plan.domains]
    report = check(plan.model_copy(update={"domains": domains}), metro)
    assert [(f.constraint, f.domain) for f in report.findings] == [
        ("capacity", "access-1"),
        ("domain", "access-1"),
    ]


def test_capacity_counts_work_factors(good, metro, brute_force):
    tight = metro.with_({"domains.edge-1.offers.large.work_factor": 20})
    plan = good.model_copy(update={"instance": good.instance.model_copy(update={"sha256": tight.sha256})})
    report = check(brute_force.consistent(plan, tight), tight)
    assert [(f.constraint, f.domain) for f in report.findings] == [("capacity", "edge-1")]


def test_guarantee(good, metro, brute_force):
    plan = edit(good, "chat", reservations=raised(good, "chat", 0.95), log_bound=-4.0)
    findings = check(brute_force.consistent(plan, metro), metro).findings
    assert [(f.constraint, f.tenant) for f in findings] == [("guarantee", "chat")]


def test_stated_bound_that_is_not_proven(good, metro):
    assert found(edit(good, "chat", log_bound=-9.0), metro) == [("bound", "chat")]


def test_guarantee_of_the_stated_form_alone(metro, brute_force, good, plan_under):
    fine = plan_under("minplus:fine")
    entries = type(fine.tenants)([good.tenants["chat"], fine.tenants["batch"]])
    plan = brute_force.consistent(fine.model_copy(update={"tenants": entries}), metro)
    assert found(plan, metro) == [("form", "chat")]


@pytest.mark.parametrize(
    "changes",
    [
        {"form": None},
        {"theta": None},
        {"form": "paper-path"},
        {"parameters": {"alpha": 0.5}},
        {"parameters": {"alpha": "much"}},
        {"parameters": {"split": 3}},
        {"parameters": {"exponents": [2.0]}},
        {"parameters": {"exponents": [0.5, 1, 1]}},
    ],
)
def test_proof_that_makes_no_sense(good, metro, changes):
    assert found(edit(good, "chat", **changes), metro) == [("form", "chat")]


@pytest.mark.parametrize("form", ["fine", "monotone", "block", "ville", "block-ville"])
def test_isolation(metro, plan_under, form):
    plan = plan_under(f"minplus:{form}")
    assert check(plan, metro).ok
    steep = edit(plan, "chat", theta=plan.tenants["chat"].theta * 4)
    assert ("isolation", "chat") in found(steep, metro)


def test_stability_is_the_isolation_of_the_image_form(good, metro, brute_force):
    assert good.tenants["chat"].form == "image"
    rates = raised(good, "chat", 1.0) | {"metro-1": 0.5}
    plan = brute_force.consistent(edit(good, "chat", reservations=rates, log_bound=None), metro)
    assert found(plan, metro) == [("isolation", "chat"), ("guarantee", "chat")]


def test_deadline_shares(good_split, metro):
    shares = dict(good_split.tenants["chat"].deadlines)
    shares["edge-1"] += 1.0
    assert found(edit(good_split, "chat", deadlines=shares), metro) == [("deadline", "chat")]


def test_budget_shares(good_split, metro):
    shares = dict(good_split.tenants["chat"].budgets)
    shares["edge-1"] *= 1.5
    assert found(edit(good_split, "chat", budgets=shares), metro) == [("budget", "chat")]


@pytest.mark.parametrize("name", ["deadlines", "budgets"])
def test_shares_of_the_wrong_domains(good_split, metro, name):
    shares = {"nowhere": 1e-6}
    constraint = name.removesuffix("s")
    assert found(edit(good_split, "chat", **{name: shares}), metro) == [(constraint, "chat")]


def test_a_share_too_short_for_its_rate(good_split, metro):
    shares = dict(good_split.tenants["chat"].deadlines)
    shares["access-1"] -= 2.0
    shares["edge-1"] += 2.0
    report = check(edit(good_split, "chat", deadlines=shares), metro)
    assert [(f.constraint, f.domain) for f in report.findings] == [("share", "access-1")]


def test_rates_that_are_not_positive(good, metro, brute_force):
    rates = raised(good, "chat", 1.0) | {"metro-1": 0.0}
    plan = brute_force.consistent(edit(good, "chat", reservations=rates), metro)
    assert found(plan, metro) == [("rates", "chat")]


def test_a_bound_of_zero_proves_nothing(good, metro, monkeypatch):
    monkeypatch.setattr("fedopt.calculus.minplus.verify", lambda *_: float("-inf"))
    assert {constraint for constraint, _ in found(good, metro)} <= {"bound"}
    nothing = SimpleNamespace(log_bound=float("-inf"))
    monkeypatch.setattr("fedopt.calculus.minplus.evaluate", lambda *_, **__: nothing)
    assert set(found(good, metro)) == {
        (name, who) for name in ("bound", "guarantee") for who in ("chat", "batch")
    }


def test_rates_of_the_wrong_domains(good, metro):
    assert found(edit(good, "chat", reservations={"access-1": 1.0}), metro) == [("rates", "chat")]


def test_heads_that_are_missing(good, metro, brute_force):
    plan = brute_force.consistent(edit(good, "chat", count=1), metro)
    assert found(plan, metro) == [("count", "chat")]


def test_tenant_that_does_not_exist(good, metro):
    entries = type(good.tenants)([*good.tenants, TenantPlan(id="ghost", admitted=False)])
    assert found(good.model_copy(update={"tenants": entries}), metro) == [("tenant", "ghost")]


def test_everyone_must_be_served_under_cost(good, metro, brute_force):
    entries = [TenantPlan(id="chat", count=2, admitted=False), good.tenants["batch"]]
    plan = good.model_copy(update={"tenants": type(good.tenants)(entries)})
    assert found(brute_force.consistent(plan, metro), metro) == [("admission", "chat")]
    profit = plan.model_copy(update={"objective": "profit"})
    assert check(brute_force.consistent(profit, metro), metro).ok


def test_rejected_but_with_a_path(good, metro, brute_force):
    entries = [good.tenants["chat"].model_copy(update={"admitted": False}), good.tenants["batch"]]
    plan = good.model_copy(update={"tenants": type(good.tenants)(entries), "objective": "profit"})
    assert found(brute_force.consistent(plan, metro), metro) == [("admission", "chat")]


def test_cost_of_an_entry(good, metro):
    assert found(edit(good, "chat", cost=1.0), metro) == [("cost", "chat")]


def test_cost_of_the_plan(good, metro):
    assert found(good.model_copy(update={"cost": good.cost + 1, "gap": 1 / (good.cost + 1)}), metro) == [
        ("cost", None)
    ]


def test_payments_count_under_profit(good, metro, brute_force):
    plan = brute_force.consistent(good.model_copy(update={"objective": "profit"}), metro)
    assert plan.cost == pytest.approx(good.cost - 2 * 30 - 20)
    assert check(plan, metro).ok


def test_loads_of_domains(good, metro):
    domains = list(good.domains)
    wrong = domains[0].model_copy(update={"reserved": domains[0].reserved / 2})
    assert found(good.model_copy(update={"domains": [wrong, *domains[1:]]}), metro) == [("domain", None)]
    larger = domains[0].model_copy(update={"capacity": 100.0})
    assert found(good.model_copy(update={"domains": [larger, *domains[1:]]}), metro) == [("domain", None)]
    assert found(good.model_copy(update={"domains": domains[1:]}), metro) == [("domain", None)]
    ghost = domains[0].model_copy(update={"id": "ghost"})
    assert found(good.model_copy(update={"domains": [*domains, ghost]}), metro) == [("domain", None)]


def test_lower_bound_above_the_cost(good, metro):
    bound = good.cost * 1.01
    plan = good.model_copy(update={"lower_bound": bound, "gap": (good.cost - bound) / good.cost})
    assert found(plan, metro) == [("lower-bound", None)]


def test_gap_arithmetic(good, metro):
    assert found(good.model_copy(update={"gap": 0.25}), metro) == [("gap", None)]
    plan = good.model_copy(update={"lower_bound": None, "status": "feasible"})
    assert found(plan, metro) == [("gap", None)]
    assert check(plan.model_copy(update={"gap": None}), metro).ok


def test_optimal_needs_a_lower_bound(good, metro):
    assert found(good.model_copy(update={"lower_bound": None, "gap": None}), metro) == [("lower-bound", None)]


def test_history_goes_forward(good, metro):
    rows = [HistoryRow(round=2, seconds=1.0), HistoryRow(round=1, seconds=2.0)]
    assert found(good.model_copy(update={"history": rows}), metro) == [("history", None)]


def test_risk_shares(good, metro):
    assert found(edit(good, "chat", risk_shares={"edge-1": 0.5}), metro) == [("risk-shares", "chat")]
    assert found(edit(good, "chat", risk_shares={"metro-2": 1.0}), metro) == [("risk-shares", "chat")]
    assert check(edit(good, "chat", risk_shares={"edge-1": 0.25, "metro-1": 0.75}), metro).ok


def test_unknown_guarantee(good, metro):
    assert found(good.model_copy(update={"guarantee": "hope"}), metro) == [("guarantee", None)]


def test_no_plan_promises_nothing(good, metro):
    empty = Plan(instance=good.instance, status="infeasible", method="x", guarantee="minplus")
    assert check(empty, metro).ok
    assert found(good.model_copy(update={"status": "limit"}), metro) == [("status", None)]
    assert found(good.model_copy(update={"cost": None}), metro)[0] == ("cost", None)


def test_without_the_instance_only_the_arithmetic(good):
    report = check(edit(good, "chat", log_bound=-9.0))
    assert report.ok
    assert "no instance" in report.text()
    report = check(good.model_copy(update={"gap": 0.25}))
    assert [f.constraint for f in report.findings] == ["gap"]


def test_report_in_words_and_as_data(good, metro):
    report = check(edit(good, "chat", cost=1.0), metro)
    assert report.text().splitlines()[0] == "The plan is wrong in 1 place (against its instance):"
    assert "[cost] chat: cost 1 is stated" in report.text()
    document = json.loads(json.dumps(report.to_dict()))
    assert document["ok"] is False
    assert document["findings"][0]["constraint"] == "cost"


def test_the_check_adds_up_for_itself(monkeypatch, metro):
    """Halve what the solvers' own ledger charges: their plan states half the cost, and the check sees it."""
    from fedopt import central
    from fedopt.central import report

    honest = report.entry_costs
    monkeypatch.setattr(report, "entry_costs", lambda *args: [0.5 * cost for cost in honest(*args)])
    plan = central.solve(metro)
    assert "cost" in {finding.constraint for finding in check(plan, metro).findings}
    monkeypatch.undo()
    loads = report.domain_loads
    monkeypatch.setattr(report, "domain_loads", lambda *args: {k: 0.5 * v for k, v in loads(*args).items()})
    plan = central.solve(metro)
    assert "domain" in {finding.constraint for finding in check(plan, metro).findings}
