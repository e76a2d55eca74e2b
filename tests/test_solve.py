import importlib
import subprocess
import sys

import pytest

import fedopt
from fedopt.instance import loads
from fedopt.plan import GuaranteeError, InstanceReference, Plan
from fedopt.solve import OptionError, available_methods, check_method

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


def test_a_method_that_is_not_installed_does_not_exist(monkeypatch):
    monkeypatch.setitem(dispatch.METHODS, "ghost", "fedopt.ghost.deeper")
    assert "ghost" not in available_methods()
    assert available_methods()[-1] == "model:NAME_OR_PATH"
    with pytest.raises(OptionError, match="there is no method 'ghost'"):
        check_method("ghost")


def test_infeasible_plans_are_explained_unless_not_wanted(monkeypatch):
    reference = InstanceReference(name="one", sha256=INSTANCE.sha256)
    plan = Plan(instance=reference, status="infeasible", method="fake", guarantee="minplus")
    monkeypatch.setattr(dispatch, "_solver", lambda method: lambda instance, **options: plan)
    monkeypatch.setattr(dispatch, "check_method", lambda method: None)
    asked = []
    explaining = importlib.import_module("fedopt.explain")
    monkeypatch.setattr(explaining, "infeasibility", lambda *given: asked.append(given) or [])
    assert fedopt.solve(INSTANCE, explain=False) is plan
    assert fedopt.solve(INSTANCE).status == "infeasible"
    assert asked == [(INSTANCE, "minplus")]
