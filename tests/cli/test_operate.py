"""`fedopt operate` and `fedopt state` from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedopt.cli import BAD_INPUT, BROKEN, DONE, run

SCENARIO = """
instance: network.yaml
periods: 4
period: 2000
slots: 2000
residents: true
"""
INSTANCE = """
stages: [edge]
domains:
  - {id: e, stage: edge, capacity: 10, offers: [{id: s, impairment: {model: exponential, mean: 0.1}}]}
tenants: [{id: chat, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 20, epsilon: 0.01}}]
"""


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network.yaml").write_text(INSTANCE, encoding="utf-8")
    file = tmp_path / "day.yaml"
    file.write_text(SCENARIO, encoding="utf-8")
    return file


def test_a_run_its_table_and_its_state(scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["operate", str(scenario), "--policies", "fedopt,mean-rate", "--json"]) == DONE
    answer = json.loads(capfd.readouterr().out)
    assert [row["run"] for row in answer["runs"]] == ["fedopt", "mean-rate"]
    assert answer["runs"][0]["admitted"] == 1
    state = answer["state"]
    assert Path(state).name == "day.state.db"
    assert run(["state", state, "periods", "--run", "fedopt", "--json"]) == DONE
    rows = json.loads(capfd.readouterr().out)
    assert [row["period"] for row in rows] == [0, 1, 2, 3]
    assert run(["state", state, "plans", "--json"]) == DONE
    assert json.loads(capfd.readouterr().out)[0]["plan"]["tenants"][0]["id"] == "chat"
    assert run(["state", state]) == DONE
    assert "mean-rate" in capfd.readouterr().out
    assert run(["state", state, "contracts"]) == DONE
    assert "e/s" in capfd.readouterr().out
    # done already: the same command says the same
    assert run(["operate", str(scenario), "--policies", "fedopt,mean-rate", "--json"]) == DONE
    assert json.loads(capfd.readouterr().out) == answer


def test_a_broken_promise_ends_with_its_own_code(
    scenario: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (
        SCENARIO
        + "degradations: [{domain: e, from: 0, until: 4, impairment: 9}]\naudits: {recalibrate: false}\n"
    )
    scenario.write_text(text, encoding="utf-8")
    assert run(["operate", str(scenario), "-q"]) == BROKEN
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["operate", "none.yaml"], "does not exist"),
        (["operate", "day.yaml", "--policies", "best"], "there is no policy"),
        (["operate", "day.yaml", "--v", "much"], "is not a number"),
        (["operate", "day.yaml", "--v", "-1"], "above 0"),
        (["state", "none.db"], "there is no state file"),
    ],
)
def test_bad_input_is_one_message(
    scenario: Path, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == BAD_INPUT
    captured = capfd.readouterr()
    assert message in captured.err
    assert captured.out == ""
