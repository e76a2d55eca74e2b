"""The command report: what it writes, where, and what it refuses."""

import json

import pytest

from fedopt.cli import run
from fedopt.instance import load
from tests.cli.conftest import answer


@pytest.fixture
def plan(metro, tmp_path):
    file = tmp_path / "plan.json"
    answer(load(metro)).save(file)
    return file


def test_it_writes_one_page_and_says_so_in_json(plan, metro, tmp_path, capsys):
    page = tmp_path / "report.html"
    arguments = ["report", str(plan), "-i", str(metro), "-o", str(page), "--json", "--explain-seconds", "0"]
    assert run(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == str(page)
    assert said["bytes"] == page.stat().st_size
    assert (said["instance"], said["entries"], said["given"]) == ("metro", 1, ["instance", "plan"])
    assert page.read_text().startswith("<!doctype html>")


def test_without_out_it_lies_beside_the_plan(plan, capsys):
    assert run(["report", str(plan)]) == 0
    assert plan.with_suffix(".html").exists()
    assert capsys.readouterr().out == f"wrote {plan.with_suffix('.html')}\n"
    assert run(["report", str(plan), "-q"]) == 0
    assert capsys.readouterr().out == ""


def test_simulation_and_audit_are_read(plan, metro, tmp_path):
    simulation, page = tmp_path / "simulation.json", tmp_path / "report.html"
    arguments = ["simulate", str(plan), str(metro), "--slots", "60000", "--trials", "4", "-q"]
    assert run([*arguments, "--quantile", "0.5", "--quantile", "0.99", "--out", str(simulation)]) in (0, 5)
    assert json.loads(simulation.read_text())["tenants"][0]["quantiles"].keys() == {"0.5", "0.99"}
    assert (
        run(["report", str(plan), "-i", str(metro), "--simulation", str(simulation), "-o", str(page), "-q"])
        == 0
    )
    assert "simulated P(late)" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "{plan}"], "is the input"),
        (["--simulation", "{plan}"], "not a valid simulation"),
        (["--settlement", "{plan}"], "not a valid settlement"),
        (["--audit", "{plan}"], "not a valid audit"),
        (["--audit", "absent.json"], "cannot be read"),
        (["--tenant", "nobody"], "no tenant 'nobody'"),
    ],
)
def test_bad_input_is_one_message(plan, arguments, message, capsys):
    given = [argument.format(plan=plan) for argument in arguments]
    assert run(["report", str(plan), *given]) == 2
    assert message in capsys.readouterr().err


def test_another_instance_is_refused(plan, metro, capsys):
    metro.write_text(metro.read_text().replace("deadline: 30", "deadline: 31"))
    assert run(["report", str(plan), "-i", str(metro)]) == 2
    assert "another instance than metro.yaml" in capsys.readouterr().err


def test_a_quantile_lies_between_zero_and_one(plan, metro, capsys):
    assert run(["simulate", str(plan), str(metro), "--quantile", "99"]) == 2
    assert "strictly between 0 and 1" in capsys.readouterr().err
