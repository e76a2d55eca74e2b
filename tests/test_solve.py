import importlib
import math
import subprocess
import sys

import pytest

import fedopt
from fedopt.instance import loads
from fedopt.plan import GuaranteeError, InstanceReference, Plan
from fedopt.solve import METHODS, OptionError, check_method

dispatch = importlib.import_module("fedopt.solve")

INSTANCE = loads(
    """
fedopt: 1
name: one
stages: [s]
domains: [{id: a, stage: s, capacity: 10, offers: [{id: o}]}]
tenants: [{id: t, arrivals: {model: poisson, rate: 0.5, size: 1.0}, slo: {deadline: 30, epsilon: 0.001}}]
""",
    "one.yaml",
)


def test_public_names_are_what_they_say():
    assert fedopt.load is importlib.import_module("fedopt.instance").load
    assert set(fedopt.__all__) <= set(dir(fedopt))
    with pytest.raises(AttributeError, match="no attribute 'slove'"):
        fedopt.slove  # noqa: B018


@pytest.mark.parametrize(
    "first", ["import fedopt.solve", "import fedopt", "from fedopt.solve import METHODS"]
)
def test_solve_is_a_function_whatever_was_imported_first(first):
    code = f"{first}\nimport fedopt\nassert callable(fedopt.solve)\nassert callable(fedopt.check)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "magic"}, OptionError, "there is no method 'magic'"),
        ({"guarantee": "magic"}, GuaranteeError, "there is no guarantee"),
        ({"objective": "magic"}, OptionError, "there is no objective"),
        ({"gap": -1.0}, OptionError, "gap"),
        ({"gap": float("inf")}, OptionError, "gap"),
        ({"time_limit": float("nan")}, OptionError, "time limit"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message) as caught:
        fedopt.solve(INSTANCE, **options)
    assert caught.value.exit_code == 2


def test_every_method_has_its_solver():
    for method in METHODS:
        assert callable(dispatch._solver(method))
        check_method(method)
    check_method("model:joint")
    with pytest.raises(OptionError, match="there are central, admm, bundle, consensus, model:NAME_OR_PATH"):
        check_method("model:")


def test_infeasible_plans_are_explained_unless_not_wanted(monkeypatch):
    reference = InstanceReference(name="one", sha256=INSTANCE.sha256)
    plan = Plan(instance=reference, status="infeasible", method="fake", guarantee="minplus")
    monkeypatch.setattr(dispatch, "_solver", lambda method: lambda instance, **options: plan)
    monkeypatch.setattr(dispatch, "check_method", lambda method: None)
    asked = []
    explaining = importlib.import_module("fedopt.explain")
    monkeypatch.setattr(explaining, "infeasibility", lambda *given: asked.append(given) or [])
    assert fedopt.solve(INSTANCE, explain=False) == plan
    assert fedopt.solve(INSTANCE).status == "infeasible"
    assert asked == [(INSTANCE, "minplus")]


@pytest.fixture(scope="module")
def measured():
    """A tandem of two domains, its plan under minplus, and under simulated with few slots."""
    offer = "{id: o, impairment: {model: exponential, mean: 0.3}}"
    tandem = loads(
        f"""
fedopt: 1
name: two
stages: [s, r]
domains:
  - {{id: a, stage: s, capacity: 10, offers: [{offer}]}}
  - {{id: b, stage: r, capacity: 10, offers: [{offer}]}}
tenants: [{{id: t, arrivals: {{model: poisson, rate: 0.5}}, slo: {{deadline: 15, epsilon: 0.02}}}}]
""",
        "two.yaml",
    )
    simulation = {"seed": 3, "slots": 400_000}
    return tandem, fedopt.solve(tandem), fedopt.solve(tandem, guarantee="simulated", simulation=simulation)


def test_simulated_reserves_less_than_the_theorem_and_says_what_it_is(measured):
    _, proven, plan = measured
    entry, before = plan.tenants["t"], proven.tenants["t"]
    assert (plan.guarantee, plan.status, plan.lower_bound, plan.gap) == ("simulated", "feasible", None, None)
    assert (entry.form, entry.theta, plan.domains[0].price) == ("simulated", None, None)
    assert 0.8 < entry.reservations["a"] < before.reservations["a"]
    assert entry.log_bound <= math.log(0.02)
    assert plan.cost == pytest.approx(sum(entry.reservations.values()))
    assert any("a measurement and not a theorem" in note for note in plan.notes)
    assert Plan.loads(plan.to_json()) == plan


def test_simulated_is_checked_by_everything_but_the_theorem(measured):
    instance, _, plan = measured
    report = fedopt.check(plan, instance)
    assert report.ok
    assert "measurement by simulation, not a theorem" in report.text()
    for change, constraint in (
        ({"log_bound": math.log(0.03)}, "guarantee"),
        ({"log_bound": None}, "bound"),
        ({"cost": 0.1}, "cost"),
        ({"reservations": {"a": 0.75, "b": 2.0}}, "isolation"),
    ):
        entry = plan.tenants["t"].model_copy(update=change)
        wrong = plan.model_copy(update={"tenants": type(plan.tenants)([entry])})
        assert constraint in {finding.constraint for finding in fedopt.check(wrong, instance).findings}
    proven = plan.model_copy(update={"guarantee": "minplus"})
    assert [finding.constraint for finding in fedopt.check(proven, instance).findings] == ["form"]


def test_a_stopped_measurement_keeps_the_theorem(measured):
    instance, proven, _ = measured
    plan = fedopt.solve(instance, guarantee="simulated", progress=lambda row: True)
    assert plan.guarantee == "simulated"
    assert plan.tenants["t"].form == proven.tenants["t"].form
    assert "because time was up" in plan.notes[-1]
    assert fedopt.check(plan, instance).ok


def test_simulated_without_a_proven_plan_is_the_answer_of_minplus():
    tight = INSTANCE.with_({"domains.a.capacity": 0.4})
    plan = fedopt.solve(tight, guarantee="simulated", explain=False)
    assert (plan.status, plan.guarantee) == ("infeasible", "minplus")
    assert "starts from a plan under minplus" in plan.notes[-1]


def test_a_measurement_keeps_to_the_time_limit_within_an_entry(measured):
    instance, proven, _ = measured
    rows = []

    def progress(row):
        rows.append(row)
        return len(rows) > len(proven.history) + 3  # in the middle of the bisection

    plan = fedopt.solve(instance, guarantee="simulated", progress=progress, simulation={"slots": 20_000})
    assert len(rows) == len(proven.history) + 4
    assert [row.round for row in rows] == sorted({row.round for row in rows})
    assert plan.tenants["t"] == proven.tenants["t"]


QUALITY = """
fedopt: 1
name: quality
stages: [transport, compute]
domains:
  - {id: wan, stage: transport, capacity: 50, offers: [{id: std}]}
  - {id: edge, stage: compute, capacity: 50, offers: [{id: large, cost: {model: linear, rate: 1}}]}
  - {id: far, stage: compute, capacity: 50, offers: [{id: o, accuracy: 0.9, cost: {model: linear, rate: 9}}]}
tenants:
  - {id: t, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 60, epsilon: 0.001, min_accuracy: 0.85}}
"""


def test_an_offer_that_states_no_accuracy_serves_nobody_who_asks_for_one():
    instance = loads(QUALITY)
    plan = fedopt.solve(instance)
    assert plan.tenants["t"].path == ["wan/std", "far/o"]
    cheap = plan.model_dump()
    cheap["tenants"][0]["path"] = ["wan/std", "edge/large"]
    broken = fedopt.check(Plan.model_validate(cheap), instance)
    assert "edge/large states no accuracy, 0.85 is asked for" in str(broken)
    (reason,) = fedopt.solve(instance.with_({"domains.far.offers.o.accuracy": 0.8})).explanation
    assert "edge/large (states no accuracy)" in reason.message
    assert "far/o (accuracy 0.8 is below 0.85)" in reason.message
    assert [remedy.place for remedy in reason.remedies] == ["tenants.t.slo.min_accuracy"]


@pytest.mark.parametrize(
    ("method", "guarantee"),
    [("central", "minplus"), ("central", "split"), ("admm", "minplus"), ("bundle", "minplus")],
)
def test_a_drained_site_is_as_good_as_none(method, guarantee):
    instance = loads(QUALITY).with_({"tenants.t.slo.min_accuracy": None, "domains.edge.capacity": 0})
    plan = fedopt.solve(instance, method, guarantee=guarantee)
    assert plan.tenants["t"].path == ["wan/std", "far/o"]
    assert fedopt.check(plan, instance).ok
    without = instance.with_(domains=tuple(d for d in instance.domains if d.id != "edge"))
    assert plan.cost == pytest.approx(fedopt.solve(without, method, guarantee=guarantee).cost, rel=1e-3)
    (reason,) = fedopt.solve(instance.with_({"domains.far.capacity": 0})).explanation
    assert "drained (capacity 0): edge, far" in reason.message
