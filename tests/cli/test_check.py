import json

import pytest

from fedopt.cli import run


@pytest.fixture
def saved(metro_plan, tmp_path):
    file = tmp_path / "plan.json"

    def save(**changes):
        metro_plan.model_copy(update=changes).save(file)
        return str(file)

    return save


def test_a_correct_plan(saved, metro, capsys):
    assert run(["check", saved(), str(metro)]) == 0
    assert "The plan is correct: 1 entry checked against its instance." in " ".join(
        capsys.readouterr().out.split()
    )


def test_without_the_instance(saved, capsys):
    assert run(["check", saved()]) == 0
    assert "no instance" in capsys.readouterr().out


def test_a_wrong_plan_is_exit_5(saved, metro, capsys):
    assert run(["check", saved(cost=9.0, gap=1 / 9), str(metro), "--json"]) == 5
    report = json.loads(capsys.readouterr().out)
    assert [finding["constraint"] for finding in report["findings"]] == ["cost"]


def test_a_plan_that_promises_nothing(saved, metro, capsys):
    empty = {
        "status": "infeasible",
        "tenants": (),
        "cost": None,
        "lower_bound": None,
        "gap": None,
        "domains": [],
    }
    assert run(["check", saved(**empty), str(metro)]) == 0
    assert "promises nothing" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{", "[]", '{"fedopt": 1}'])
def test_a_malformed_plan_is_exit_2(tmp_path, capsys, text):
    (tmp_path / "bad.json").write_text(text)
    assert run(["check", str(tmp_path / "bad.json")]) == 2
    assert "bad.json" in capsys.readouterr().err
