"""What every command does alike: errors as JSON, files in either order, examples, narrow terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group
from rich.table import Table

from fedopt.cli import command_lines, run
from fedopt.cli._output import fitted
from fedopt.cli._progress import TrialProgress
from fedopt.instance import load
from tests.cli.conftest import answer

FEDOPT = [sys.executable, "-m", "fedopt"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["solve", "nowhere.yaml"], 2, "InstanceError"),
        (["solve", "metro.yaml", "--gap", "wide"], 2, "BadParameter"),
        (["solve", "metro.yaml", "--method", "magic"], 2, "OptionError"),
        (["check", "nowhere.json"], 2, "PlanError"),
        (["compare", "metro.yaml", "--methods", ","], 2, "CommandError"),
        (["slove", "metro.yaml"], 2, "UsageError"),
    ],
)
def test_with_json_an_error_is_a_document_too(arguments, code, kind, metro, monkeypatch, capsys):
    monkeypatch.chdir(metro.parent)
    assert run([*arguments, "--json"]) == code
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    assert (error["exit_code"], error["kind"]) == (code, kind)
    assert error["message"].splitlines()[0] in captured.err


def test_the_problems_of_an_instance_are_told_one_by_one(metro, capsys):
    metro.write_text(metro.read_text().replace("deadline: 30", "deadline: soon"))
    assert run(["solve", str(metro), "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["error"]["problems"]
    assert (problem["place"], problem["line"]) == ("tenants[0].slo.deadline", 16)


@pytest.mark.parametrize("command", ["check", "simulate"])
def test_plan_and_instance_may_change_places(command, metro, tmp_path, capsys):
    plan = tmp_path / "plan.json"
    answer(load(metro)).save(plan)
    more = ["--slots", "2000", "--trials", "2"] if command == "simulate" else []
    codes = [run([command, *map(str, files), *more, "-q"]) for files in ((plan, metro), (metro, plan))]
    assert codes[0] == codes[1]
    assert "the other way round" in capsys.readouterr().err


def test_the_wrong_kind_of_document_is_named(metro, tmp_path, capsys):
    plan = tmp_path / "plan.json"
    answer(load(metro)).save(plan)
    assert run(["solve", str(plan)]) == 2
    assert "is a plan, not an instance" in capsys.readouterr().err
    assert run(["check", str(metro)]) == 2
    assert "fedopt solve makes a plan of it" in capsys.readouterr().err
    load(metro).save(tmp_path / "metro.json")
    assert run(["check", str(tmp_path / "metro.json")]) == 2
    assert "is an instance, not a plan" in capsys.readouterr().err


def test_shipped_examples_are_found_from_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "instances/quickstart.yaml"):
        assert run(["solve", name, "-q"]) == 0
        assert "which comes with fedopt" in capsys.readouterr().err
    assert run(["solve", "elsewhere/quickstart.yaml"]) == 2


@pytest.mark.parametrize("name", command_lines())
def test_no_colour_means_plain_text(name):
    shown = _on_a_terminal([*FEDOPT, name, "--help"], {"NO_COLOR": "1"})
    assert "Usage" in shown
    assert "\x1b" not in shown


def _on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # how Linux says that the other side is closed
                break
            if not part:
                break
            parts.append(part)
    os.close(ours)
    return b"".join(parts).decode()


@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "germany50"], ["schema", "instance"]])
def test_a_reader_that_leaves_is_no_error(arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*FEDOPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 0
    assert "Error" not in said
    assert "defect" not in said


WORDS = st.from_regex(r"[a-z]{1,12}( [a-z]{1,12}){0,3}", fullmatch=True)
NUMBERS = st.floats(1e-9, 1e9).map(lambda value: f"{value:.6g}")


@given(st.lists(st.tuples(WORDS, NUMBERS, NUMBERS, WORDS), min_size=1, max_size=5), st.integers(24, 120))
def test_no_cell_is_cut_however_narrow_the_terminal(rows, width):
    table = Table("name", "first", "second", "what it is")
    for row in rows:
        table.add_row(*row)
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as captured:
        console.print(fitted(Group(table), console))
    shown = captured.get()
    assert "…" not in shown
    assert max(len(line) for line in shown.splitlines()) <= width
    words = re.findall(r"[\w.+-]+", shown)
    for row in rows:
        for cell in row:
            for word in cell.split():
                assert word in words


def test_time_left_is_told_when_the_pace_is_known(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("fedopt.cli._progress.time.monotonic", lambda: now[0])
    with TrialProgress("trials") as progress:
        for done, at in ((1, 60.0), (2, 61.0), (11, 70.0), (51, 110.0)):
            now[0] = at
            progress(done, 101)
    lines = capsys.readouterr().err.splitlines()
    # A minute went into compiling before the first trial; each of the others takes a second.
    assert [line.strip() for line in lines] == [
        "1 of 101 trials",
        "2 of 101 trials",
        "11 of 101 trials, about 90 s left",
        "51 of 101 trials, about 50 s left",
    ]


def test_info_says_what_runs(capsys):
    assert run(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["libraries"]["numba"]
    assert facts["cores"] >= 1
    assert run(["info"]) == 0
    assert "kernels" in capsys.readouterr().out


def test_examples_are_listed_and_copied(tmp_path, capsys):
    assert run(["examples", "--copy", str(tmp_path / "mine"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"quickstart", "tandem"} <= {row["name"] for row in rows}
    assert all(load(row["path"]) and row["about"] for row in rows)
