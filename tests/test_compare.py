import importlib
import json

import pytest

import fedopt
from fedopt.compare import HEADINGS, largest_difference
from fedopt.errors import FedoptError
from fedopt.instance import loads
from fedopt.plan import GuaranteeError, HistoryRow, InstanceReference, Plan, TenantPlan
from fedopt.solve import OptionError

dispatch = importlib.import_module("fedopt.solve")

INSTANCE = loads(
    """
fedopt: 1
name: one
stages: [s]
domains: [{id: a, stage: s, capacity: 10, offers: [{id: o}]}]
tenants:
  - {id: t, count: 2, arrivals: {model: poisson, rate: 0.5, size: 1.0}, slo: {deadline: 30, epsilon: 0.001}}
""",
    "one.yaml",
)


def plan(method: str, rate: float, **fields) -> Plan:
    entry = TenantPlan(id="t", count=2, path=["a/o"], theta=1.0, reservations={"a": rate}, cost=2 * rate)
    return Plan(
        **{
            "instance": InstanceReference(name="one", sha256=INSTANCE.sha256),
            "status": "optimal",
            "method": method,
            "guarantee": "minplus",
            "cost": 2 * rate,
            "lower_bound": 1.9 * rate,
            "tenants": [entry],
            "history": [HistoryRow(round=1, seconds=0.0)],
            **fields,
        }
    )


class Refusal(FedoptError):
    exit_code = 2


@pytest.fixture
def methods(monkeypatch):
    """Three methods: one plain, one that exchanges, one that refuses."""

    def refuse(instance, **options):
        raise Refusal("this method knows no split")

    answers = {
        "central": lambda instance, **options: plan("central", 1.0),
        "admm": lambda instance, **options: plan(
            "admm", 1.25, ledger={"totals": {"numbers": 12, "bytes": 96}}
        ),
        "bundle": refuse,
        "nothing": lambda instance, **options: plan(
            "nothing", 1.0, status="infeasible", cost=None, lower_bound=None, tenants=[]
        ),
    }
    monkeypatch.setattr(dispatch, "_solver", answers.__getitem__)
    monkeypatch.setattr(dispatch, "METHODS", tuple(answers))


def test_rows_side_by_side(methods):
    comparison = fedopt.compare(INSTANCE, methods=["central", "admm", "bundle", "nothing"])
    central, admm, bundle, nothing = comparison.rows
    assert (central.cost, central.rounds, central.numbers_exchanged, central.difference) == (
        2.0,
        1,
        None,
        0.0,
    )
    assert central.gap == pytest.approx(0.05)
    assert (admm.numbers_exchanged, admm.bytes_exchanged, admm.difference) == (12, 96, 0.5)
    assert (bundle.status, bundle.cost, bundle.problem) == ("refused", None, "this method knows no split")
    assert (nothing.status, nothing.difference) == ("infeasible", None)
    assert comparison.plans[2] is None


def test_guarantees_too(methods):
    comparison = fedopt.compare(INSTANCE, guarantees=["minplus", "split"])
    assert [(row.method, row.guarantee) for row in comparison.rows] == [
        ("central", "minplus"),
        ("central", "split"),
    ]


def test_json_is_a_list_of_rows_with_the_published_fields(methods):
    rows = json.loads(fedopt.compare(INSTANCE).to_json())
    published = ["method", "guarantee", "cost", "lower_bound", "gap", "seconds", "rounds"]
    published += ["numbers_exchanged", "bytes_exchanged"]
    assert set(published) <= set(rows[0])


def test_markdown(methods):
    lines = fedopt.compare(INSTANCE, methods=["central", "bundle"]).to_markdown().splitlines()
    assert lines[0] == "| " + " | ".join(HEADINGS) + " |"
    assert len(lines) == 4
    assert lines[2].startswith("| central | minplus | optimal | 2 | 1.9 | 5 % |")
    assert "| refused | – |" in lines[3]


def test_frame(methods):
    pytest.importorskip("pandas")
    frame = fedopt.compare(INSTANCE, methods=["central", "admm"]).to_frame()
    assert frame["cost"].tolist() == [2.0, 2.5]
    assert list(frame.columns)[:2] == ["method", "guarantee"]


def test_unknown_names_are_errors_before_anything_is_solved(methods):
    with pytest.raises(OptionError):
        fedopt.compare(INSTANCE, methods=["central", "magic"])
    with pytest.raises(GuaranteeError):
        fedopt.compare(INSTANCE, guarantees=["magic"])


def test_a_defect_is_not_a_refusal(methods, monkeypatch):
    monkeypatch.setattr(dispatch, "_solver", lambda name: lambda instance, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fedopt.compare(INSTANCE)


def test_difference_of_groups_with_several_entries():
    one = plan("x", 1.0)
    halves = [one.tenants[0].model_copy(update={"count": 1})] * 2
    two = one.model_copy(update={"tenants": type(one.tenants)(halves)})
    assert largest_difference(one, two) == 0.0
    assert largest_difference(one, one.model_copy(update={"tenants": type(one.tenants)()})) == 2.0


def test_simulated_beside_the_theorem_it_starts_from():
    text = """
    fedopt: 1
    name: one
    stages: [s]
    domains: [{id: a, stage: s, capacity: 10, offers: [{id: o}]}]
    tenants: [{id: t, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 6, epsilon: 0.05}}]
    """
    simulation = {"slots": 100_000, "seed": 1}
    instance = loads(text, "one.yaml")
    rows = fedopt.compare(instance, ["central"], ["minplus", "simulated"], simulation=simulation).rows
    assert [row.guarantee for row in rows] == ["minplus", "simulated"]
    assert rows[1].cost < rows[0].cost
    assert (rows[1].status, rows[1].lower_bound) == ("feasible", None)
    assert rows[1].difference > 0
