"""The commands of this room, as they are called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
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


def test_import_with_traffic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.exponential(0.01, 4_000))
    trace = tmp_path / "trace.csv"
    rows = [f"{t:.6f},{n}" for t, n in zip(times, rng.integers(1, 9, times.size), strict=True)]
    trace.write_text("at,tokens\n" + "\n".join(rows) + "\n")
    out = tmp_path / "i.yaml"
    network = ["import", "topohub:sndlib/abilene", "--areas", "3", "--sites", "2", "--transits", "3"]
    columns = ["--traffic", str(trace), "--time", "at", "--work", "tokens=0.1", "--unit", "s"]
    assert run([*network, *columns, "--windows", "64", "--out", str(out)]) == 0
    instance = load(out)
    plain = import_network("topohub:sndlib/abilene", areas=3, sites=2, transits=3)
    assert [(t.id, t.count) for t in instance.tenants] == [(t.id, t.count) for t in plain.tenants]
    (arrivals,) = {tenant.arrivals for tenant in instance.tenants}
    assert arrivals.model == "envelope"
    assert instance.theta == arrivals.theta
    # 0.1 requests per ms of 0.45 work each: the envelope's rates lie above that, and not by much
    assert 0.045 * 0.9 < min(arrivals.rho) < 0.045 * 1.5
    assert f"--traffic {trace} --windows 64 --unit s --time at --work tokens=0.1" in out.read_text()
    capsys.readouterr()
    for wrong, told in (
        (["--traffic", "none.csv"], "none.csv"),
        ([*columns, "--work", "tokens"], "COLUMN=WEIGHT"),
        ([*columns[:-1], "days"], "there are ns"),
        ([*columns[:-3], "words=1"], "no column 'words'"),
    ):
        assert run([*network, *wrong]) == 2
        assert told in capsys.readouterr().err


def test_the_end_of_a_trace_that_exceeds_the_rest_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    gaps = np.concatenate([rng.exponential(10, 2_000), rng.exponential(2, 4_000)])
    trace = tmp_path / "rising.csv"
    trace.write_text("t\n" + "\n".join(f"{t:.3f}" for t in np.cumsum(gaps)) + "\n")
    assert run(["import", "topohub:sndlib/abilene", "--traffic", str(trace)]) == 5
    captured = capsys.readouterr()
    assert "exceed the envelope" in captured.err
    assert loads(captured.out).theta
