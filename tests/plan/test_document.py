import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.plan import (
    DomainPlan,
    Explanation,
    HistoryRow,
    InstanceReference,
    Plan,
    PlanError,
    Remedy,
    TenantPlan,
    plan_schema,
    relative_gap,
    split_hop,
)
from fedopt.plan.document import entries_by_tenant

SPEC_FIELDS = [
    "fedopt",
    "instance",
    "status",
    "method",
    "guarantee",
    "objective",
    "cost",
    "lower_bound",
    "gap",
    "tenants",
    "domains",
    "timing",
    "history",
    "ledger",
]
TENANT_FIELDS = [
    "id",
    "count",
    "admitted",
    "path",
    "theta",
    "reservations",
    "deadlines",
    "budgets",
    "log_bound",
    "form",
    "block",
    "cost",
    "risk_shares",
]


def make_plan(**changes) -> Plan:
    entry = TenantPlan(
        id="chat",
        count=3,
        path=["a/gold", "b/x/y"],
        theta=0.5,
        reservations={"a": 1.25, "b": 1.0},
        log_bound=-7.0,
        form="fine",
        cost=6.75,
    )
    fields = {
        "instance": InstanceReference(name="metro", sha256="00"),
        "status": "optimal",
        "method": "central",
        "guarantee": "minplus",
        "cost": 6.75,
        "lower_bound": 6.7,
        "tenants": [entry],
        "domains": [DomainPlan(id="a", reserved=3.75, capacity=4.0, price=0.5)],
        "history": [HistoryRow(round=1, cost=6.75, lower_bound=6.7, seconds=0.1)],
        "timing": {"total": 0.1},
    }
    return Plan(**{**fields, **changes})


def test_json_has_exactly_the_published_fields():
    document = json.loads(make_plan().to_json())
    assert list(document) == SPEC_FIELDS
    assert list(document["instance"]) == ["name", "sha256"]
    assert list(document["tenants"][0]) == TENANT_FIELDS
    assert list(document["domains"][0]) == ["id", "reserved", "capacity", "price"]
    assert list(document["history"][0]) == [
        "round",
        "cost",
        "lower_bound",
        "primal_residual",
        "dual_residual",
        "seconds",
    ]


def test_extras_appear_only_when_there_are_any():
    reason = Explanation(
        tenant="chat",
        constraint="guarantee",
        message="no path is fast enough",
        remedies=[Remedy(change="deadline", current=10.0, needed=12.5, message="a deadline of 12.5 ms")],
    )
    plan = make_plan(status="infeasible", cost=None, lower_bound=None, tenants=[], explanation=[reason])
    document = json.loads(plan.to_json())
    assert document["explanation"][0]["remedies"][0]["needed"] == 12.5
    assert Plan.loads(plan.to_json()) == plan


def test_round_trip_through_a_file(tmp_path: Path):
    plan = make_plan()
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]


def test_tenants_are_indexed_by_id_and_position_and_iterated():
    plan = make_plan()
    assert plan.tenants["chat"] is plan.tenants[0]
    assert [entry.id for entry in plan.tenants] == ["chat"]
    assert plan.tenants["chat"].hops() == [("a", "gold"), ("b", "x/y")]
    assert plan.tenants.ids() == ["chat"]
    with pytest.raises(KeyError, match="no tenant 'chit'"):
        plan.tenants["chit"]


def test_a_group_with_several_plans_is_listed_not_guessed():
    plan = make_plan(
        tenants=[TenantPlan(id="chat", count=1), TenantPlan(id="b"), TenantPlan(id="chat", count=2)]
    )
    assert [entry.count for entry in plan.tenants.of("chat")] == [1, 2]
    assert len(plan.tenants[0:2]) == 2
    assert [name for name, _ in entries_by_tenant(plan.tenants)] == ["chat", "b"]
    with pytest.raises(KeyError, match="2 different plans"):
        plan.tenants["chat"]


def test_a_plan_is_immutable():
    plan = make_plan()
    with pytest.raises(ValueError, match="frozen"):
        plan.cost = 1.0


@pytest.mark.parametrize(
    ("cost", "bound", "gap"), [(10.0, 9.0, 0.1), (-10.0, -11.0, 0.1), (0.0, 0.0, 0.0), (0.0, -1.0, None)]
)
def test_gap_is_relative_to_the_size_of_the_cost(cost, bound, gap):
    assert relative_gap(cost, bound) == (pytest.approx(gap) if gap is not None else None)
    assert make_plan(cost=cost, lower_bound=bound).gap == relative_gap(cost, bound)


def test_a_stated_gap_is_kept_for_the_checker():
    document = json.loads(make_plan().to_json())
    document["gap"] = 0.5
    assert Plan.loads(json.dumps(document)).gap == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "a plan is a JSON object, this is a list"),
        ('{"cost": NaN}', "NaN is not a number JSON knows"),
        ('{"cost": 1e999}', "cost: Input should be a finite number"),
        ("[" * 100_000, "not JSON"),
        ('{"fedopt": 2}', "fedopt: Input should be 1"),
        ('{"surprise": 1}', "surprise: Extra inputs are not permitted"),
        ('{"tenants": [{"id": "a", "theta": -1}]}', r"tenants\[0\].theta: Input should be greater than 0"),
        ('{"tenants": 7}', "tenants: Input should be a valid list"),
    ],
)
def test_malformed_plans_are_refused_with_their_place(text, message):
    with pytest.raises(PlanError, match=message) as caught:
        Plan.loads(text, "p.json")
    assert str(caught.value).startswith("p.json: ")
    assert caught.value.exit_code == 2


def test_unreadable_files_are_named(tmp_path: Path):
    with pytest.raises(PlanError, match=r"none.json: cannot be read: No such file"):
        Plan.load(tmp_path / "none.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PlanError, match="not UTF-8"):
        Plan.load(tmp_path / "binary")
    with pytest.raises(PlanError, match="cannot be read"):
        Plan.load(tmp_path)


def test_many_problems_are_cut_short():
    text = json.dumps({"tenants": [{"id": 1}] * 30})
    with pytest.raises(PlanError, match=r"… and \d+ more"):
        Plan.loads(text)


def test_hops_need_a_slash():
    assert split_hop("a/b/c") == ("a", "b/c")
    with pytest.raises(PlanError, match="domain/offer"):
        split_hop("a")


def test_schema_is_made_from_the_same_definitions():
    schema = plan_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert set(SPEC_FIELDS) <= set(schema["properties"])
    assert schema["properties"]["tenants"]["type"] == "array"
    assert set(schema["$defs"]["TenantPlan"]["properties"]) >= set(TENANT_FIELDS)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(data=st.data())
def test_a_mutated_plan_is_read_or_refused_never_worse(data):
    document = json.loads(make_plan().to_json())
    place = data.draw(st.sampled_from(["", "tenants.0", "domains.0", "history.0", "instance"]))
    target = document
    for part in filter(None, place.split(".")):
        target = target[int(part)] if part.isdigit() else target[part]
    name = data.draw(st.sampled_from(sorted(target)))
    target[name] = data.draw(JSON_VALUES)
    try:
        plan = Plan.loads(json.dumps(document))
    except PlanError:
        return
    assert Plan.loads(plan.to_json()) == plan
