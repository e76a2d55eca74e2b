"""`fedopt decompose`: results, exit codes, state."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedopt.cli import run
from fedopt.learn.simulator import PAPER_DOMAINS, TrueAcceptance


@pytest.fixture
def history(tmp_path):
    rng = np.random.default_rng(0)
    truth = TrueAcceptance(PAPER_DOMAINS.capacity, PAPER_DOMAINS.service, np.full(3, 0.5))
    delay = 100 * rng.dirichlet(np.ones(3), 80).T
    throughput = rng.uniform(0.4, 0.6, (3, 80))
    accepted = rng.random((3, 80)) < np.exp(truth.log_probability(delay, throughput))
    lines = ["domain,delay,throughput,accepted,stage"]
    for n, name in enumerate(PAPER_DOMAINS.names):
        lines += [f"{name},{delay[n, k]},{throughput[n, k]},{int(accepted[n, k])},s{n}" for k in range(80)]
    path = tmp_path / "history.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


SLA = ["--sla", "delay=100,throughput=0.5"]


def test_json_alone_on_stdout(history, capsys, tmp_path):
    out = tmp_path / "split.json"
    assert run(["decompose", str(history), *SLA, "--json", "--out", str(out)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(out.read_text())
    assert sum(domain["delay"] for domain in document["domains"]) == pytest.approx(100)
    assert [domain["domain"] for domain in document["domains"]] == list(PAPER_DOMAINS.names)
    assert document["gap"] < 1e-6
    assert 0 < document["calibration"]["brier"] < 0.25


def test_extrapolation_is_said(history, capsys):
    assert run(["decompose", str(history), "--sla", "delay=100,throughput=2"]) == 0
    assert "extrapolate" in capsys.readouterr().err


def test_text_and_resuming(history, capsys, tmp_path):
    state = tmp_path / "state.npz"
    assert run(["decompose", str(history), *SLA, "--model", "logistic", "--save", str(state)]) == 0
    assert "P(accept)" in capsys.readouterr().out
    assert run(["decompose", str(history), *SLA, "--resume", str(state), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "logistic"


def test_one_provider_per_stage(history, capsys):
    text = history.read_text().replace("s2", "s1")
    history.write_text(text)
    assert run(["decompose", str(history), *SLA, "--json"]) == 0
    domains = json.loads(capsys.readouterr().out)["domains"]
    assert [domain["stage"] for domain in domains] == ["s0", "s1"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--sla"),
        (["--sla", "delay=ten"], 2, "cannot read"),
        ([*SLA, "--model", "forest"], 2, "no risk model"),
        ([*SLA, "--method", "magic"], 2, "no method"),
        ([*SLA, "--min-delay", "URLLC=60,mMTC=60"], 3, "add up to 120"),
        ([*SLA, "--min-delay", "core=6"], 2, "no domain 'core'"),
        ([*SLA, "--resume", "absent.npz"], 2, "absent.npz"),
    ],
)
def test_exit_codes(history, capsys, arguments, code, message):
    assert run(["decompose", str(history), *arguments]) == code
    assert message in capsys.readouterr().err


def test_bad_histories(history, capsys):
    lines = history.read_text().splitlines()
    history.write_text("\n".join(lines[:11]) + "\n")
    assert run(["decompose", str(history), *SLA]) == 2
    assert "fewer than 20" in capsys.readouterr().err
    assert run(["decompose", str(history), *SLA, "--thin", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["warnings"]
    assert "prior" in captured.err
    history.write_text("\n".join([lines[0], "a,1,1,maybe,s"]) + "\n")
    assert run(["decompose", str(history), *SLA]) == 2
    assert run(["decompose", str(history.parent / "absent.csv"), *SLA]) == 2
