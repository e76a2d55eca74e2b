"""The commands of this room, as they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedopt.cli import run
from fedopt.instance import load, loads
from fedopt.instance.generating import generate
from fedopt.instance.importing import import_network


def test_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", "--tenants", "6", "--stages", "2", "--domains", "3", "--seed", "4"]) == 0
    assert loads(capsys.readouterr().out) == generate(6, 2, 3, 4)
    assert run(["generate", "--tenants", "6", "--kinds", "2", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tenants"]) == 2
    out = tmp_path / "i.yaml"
    assert run(["generate", "--tenants", "6", "--out", str(out), "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert load(out) == generate(6, 3, 8, 0)


def test_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "i.json"
    assert run(["import", "topohub:sndlib/abilene", "--areas", "4", "--out", str(out)]) == 0
    assert "tenants" in capsys.readouterr().err
    assert load(out) == import_network("topohub:sndlib/abilene", areas=4)
    assert run(["import", "topohub:sndlib/abilene"]) == 0
    assert capsys.readouterr().out.startswith("# Made by: fedopt import topohub:sndlib/abilene --areas 9")


def test_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert "tenants" in described["properties"]
    assert run(["schema", "instance", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == described
    out = tmp_path / "s.json"
    assert run(["schema", "instance", "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == described


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "topohub:sndlib/germany5"],
        ["import", "nowhere.xml"],
        ["schema", "instnace"],
        ["generate", "--tenants", "5", "--stages", "99"],
        ["generate", "--tenants", "0"],
        ["generate"],
    ],
)
def test_bad_input_ends_with_2_and_one_message(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert shown.err
