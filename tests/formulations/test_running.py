"""Running a user's own model file, and the errors of its steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedopt.formulations import ModelError, solve
from fedopt.instance import Instance, loads
from fedopt.plan.checking import check

OWN = '''
"""First path of every tenant."""
from fedopt.formulations import Decision, Program, size_route, to_plan
GUARANTEES = ("split", "minplus")

def build(instance, guarantee="split", stretch=1.0):
    program = Program(instance)
    return program, guarantee, [program.routes(t)[0] for t in program.tenants]

def solve(model):
    pass

def extract(model):
    program, guarantee, routes = model
    sized = [size_route(route, guarantee, program.prices(route)) for route in routes]
    decisions = [Decision(route, 1, s) for route, s in zip(routes, sized)]
    return to_plan(program, decisions, method="own", guarantee=guarantee, objective="cost")
'''


def instance() -> Instance:
    domains = [
        {
            "id": name,
            "stage": name,
            "capacity": 9.0,
            "offers": [{"id": "o", "latency": 2.0, "impairment": {"model": "exponential", "mean": 0.2}}],
        }
        for name in ("access", "compute")
    ]
    tenant = {
        "id": "chat",
        "arrivals": {"model": "poisson", "rate": 0.5, "size": 1.0},
        "slo": {"deadline": 40.0, "epsilon": 1e-3},
    }
    document = {"fedopt": 1, "stages": ["access", "compute"], "domains": domains, "tenants": [tenant]}
    return loads(json.dumps(document), "two")


@pytest.fixture
def own(tmp_path: Path) -> str:
    file = tmp_path / "own.py"
    file.write_text(OWN, encoding="utf-8")
    return str(file)


@pytest.mark.parametrize("guarantee", ["split", "minplus", "minplus:ville"])
def test_a_file_of_the_users_own(own, guarantee):
    problem = instance()
    plan = solve(problem, own, guarantee=guarantee, stretch=2.0)
    assert plan.method == "model:own"
    assert plan.timing["total"] > 0
    assert check(plan, problem).ok, check(plan, problem).text()


def test_options_guarantees_and_objectives_that_a_model_does_not_know(own):
    with pytest.raises(ModelError, match="does not take strech; its options are stretch"):
        solve(instance(), own, strech=1.0)
    with pytest.raises(ModelError, match="knows the guarantees split, minplus, not 'paper-path'"):
        solve(instance(), own, guarantee="paper-path")
    with pytest.raises(ModelError, match="knows the objectives"):
        solve(instance(), "risk_split", objective="fun")


def test_the_default_guarantee_gives_way_to_the_models_own():
    plan = solve(instance(), "risk_split")
    assert plan.guarantee == "split"
    assert any("plans under the guarantee split" in note for note in plan.notes)


def test_a_step_that_fails_names_file_and_line(tmp_path: Path):
    file = tmp_path / "bad.py"
    file.write_text(
        "def build(instance):\n    return 1 // 0\n\ndef solve(model): ...\ndef extract(model): ...\n"
    )
    with pytest.raises(ModelError, match=r"bad\.py:2: build failed: ZeroDivisionError"):
        solve(instance(), str(file))
    file.write_text("def build(instance): ...\ndef solve(model): ...\ndef extract(model): ...\n")
    with pytest.raises(ModelError, match="extract must return a Plan"):
        solve(instance(), str(file))
