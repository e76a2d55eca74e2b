"""The report of a day: what the state file says, over time."""

import re
from pathlib import Path

import pytest

from fedopt.cli import run
from fedopt.control import Store, identity_of, load_scenario, operate
from fedopt.report import ReportError
from fedopt.report.day import Clock, render_day

SCENARIO = Path(__file__).parents[2] / "instances" / "scenarios" / "quick-day.yaml"


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """The quick day by a policy that keeps no promise, and by fedopt."""
    file = tmp_path_factory.mktemp("day") / "state.db"
    scenario, instance = load_scenario(SCENARIO)
    with Store.open(file, identity_of(scenario, instance, 0)) as store:
        operate(scenario, instance, store, policies=["mean-rate", "fedopt"], seed=0)
    return file


@pytest.mark.parametrize(
    ("length", "periods", "unit", "third"),
    [
        ("900000 ms", 96, "h", "0.75 h"),
        ("20000 ms", 12, "min", "1 min"),
        ("1 s", 10, "s", "3 s"),
        ("12 h", 14, "d", "1.5 d"),
        ("1000 slot", 5, "period", "3"),
        ("", 5, "period", "3"),
    ],
)
def test_times_are_times(length, periods, unit, third):
    clock = Clock.of(length, periods)
    assert clock.unit == unit
    assert clock.text(3) == third


def test_a_day_shows_its_periods_events_and_verdicts(state):
    with Store.read(state) as store:
        page = render_day(store, "mean-rate")
        periods = store.rows("periods", "mean-rate")
        alarms = [event for event in store.rows("events", "mean-rate") if event["kind"] == "above-epsilon"]
    assert alarms
    for row in store_tallies(state, "mean-rate"):
        above = row["late"] > 0.001 * row["sent"]
        named = any((e["period"], e["subject"]) == (row["period"], row["tenant"]) for e in alarms)
        assert above == named, row
    assert "a day of mean-rate" in page
    assert page.count("above ε = 0.001") >= len(alarms)
    assert f"<dd>{len(periods)} of {len(periods)}</dd>" in page
    assert "All runs of the state file" in page
    assert ">20000 ms<" in page
    assert re.search(r"<th scope=\"row\" class=\"number\">0\.3333 min", page)
    assert re.findall(r"(?:src|href)=\"(?!#|data:)", page) == [], "nothing is loaded from outside"


def store_tallies(file, name):
    with Store.read(file) as store:
        return store.rows("tallies", name)


def test_fedopts_own_run_comes_first_and_others_are_refused_by_name(state):
    with Store.read(state) as store:
        assert "a day of fedopt" in render_day(store)
        with pytest.raises(ReportError, match="there are fedopt, mean-rate"):
            render_day(store, "peak")


def test_the_command_knows_a_state_file(state, tmp_path, capsys):
    target = tmp_path / "day.html"
    assert run(["report", str(state), "--run", "mean-rate", "-o", str(target)]) == 0
    assert "wrote" in capsys.readouterr().out
    assert "a day of mean-rate" in target.read_text(encoding="utf-8")
