"""Scenarios are refused with every problem at its place, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedopt.control.scenario import Scenario, load_scenario, scenario_for
from fedopt.instance import Instance, InstanceError


def _scenario(**fields: Any) -> Scenario:
    base: dict[str, Any] = {"instance": "x.yaml", "periods": 4, "period": 2000, "residents": True}
    return Scenario.model_validate(base | fields)


def test_every_unknown_name_is_told_with_a_near_miss(network: Instance) -> None:
    scenario = _scenario(
        streams=[{"like": "chatt"}],
        degradations=[{"domain": "c9", "from": 0, "until": 1, "impairment": 2}],
        reissues=[{"period": 0, "domain": "a1", "offer": "zz"}],
        budgets={"v": 1, "domains": {"nowhere": 1.0}},
    )
    with pytest.raises(InstanceError) as caught:
        scenario_for(scenario, network)
    places = {problem.place for problem in caught.value.problems}
    assert places == {
        "streams[0].like",
        "degradations[0].domain",
        "reissues[0].offer",
        "budgets.domains.nowhere",
    }
    assert "did you mean 'chat'" in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"degradations": [{"domain": "c1", "from": 3, "until": 3, "impairment": 2}]},
        {"streams": [{"like": "chat", "count": 1, "rate": 2}]},
        {"intents": [{"id": "x", "like": "chat", "arrives": 2, "leaves": 1}]},
        {"planning": {"guarantee": "minplu"}},
        {"planning": {"guarantee": "simulated"}},
        {"planning": {"gap": 0.01, "replan_gap": 0.001}},
        {"periods": 0},
        {"surprise": 1},
        {"start": "yesterday"},
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InstanceError):
        _scenario(**fields)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"period": 10}, "period"),
        ({"residents": False}, ""),
        ({"intents": [{"id": "x", "like": "chat"}, {"id": "x", "like": "scan"}]}, "intents"),
        ({"streams": [{"like": "chat", "rate": 1e9}]}, "streams"),
        ({"budgets": {"v": 1, "menu": [2000]}}, "budgets.menu"),
    ],
)
def test_what_the_instance_makes_impossible_is_refused(
    network: Instance, fields: dict[str, Any], place: str
) -> None:
    with pytest.raises(InstanceError) as caught:
        scenario_for(_scenario(**fields), network)
    assert place in {problem.place for problem in caught.value.problems}


def test_a_file_is_read_with_lines_and_its_instance_beside_it(tmp_path: Path) -> None:
    good = Path(__file__).parents[2] / "instances" / "scenarios" / "quick-day.yaml"
    scenario, instance = load_scenario(good)
    assert scenario.steps(instance) == 20_000
    bad = tmp_path / "bad.yaml"
    bad.write_text("instance: x.yaml\nperiods: 4\nperiod: -1\n", encoding="utf-8")
    with pytest.raises(InstanceError) as caught:
        load_scenario(bad)
    assert [problem.line for problem in caught.value.problems] == [3]
    with pytest.raises(InstanceError, match="does not exist"):
        load_scenario(tmp_path / "none.yaml")


def test_it_survives_its_own_plain_form(day: Scenario) -> None:
    assert Scenario.model_validate(day.to_dict()) == day
