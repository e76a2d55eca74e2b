"""`fedopt decompose`: results, exit codes, state."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedopt.cli import run
from fedopt.papers.rade_simulator import PAPER_DOMAINS, TrueAcceptance


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


def test_stages_and_providers_are_part_of_the_state(history, capsys, tmp_path):
    """Resumed without a history, the same providers serve; answers of one domain alone are welcome."""
    state = tmp_path / "state.npz"
    history.write_text(history.read_text().replace("s2", "s1"))
    assert run(["decompose", str(history), *SLA, "--save", str(state), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert run(["decompose", *SLA, "--resume", str(state), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["domains"] == first["domains"]
    assert again["calibration"] == first["calibration"]
    one = tmp_path / "one.csv"
    one.write_text("domain,stage,delay,throughput,accepted\nURLLC,s0,20,0.5,1\n")
    arguments = ["decompose", str(one), *SLA, "--resume", str(state), "--save", str(state), "--json"]
    assert run(arguments) == 0
    assert [d["stage"] for d in json.loads(capsys.readouterr().out)["domains"]] == ["s0", "s1"]
    one.write_text("domain,stage,delay,throughput,accepted\nURLLC,s1,20,0.5,1\n")
    assert run(arguments) == 2
    assert "in stage 's0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [["--model", "convex"], ["--flip", "0.1"], ["--seed", "4"], ["--metric", "cost:sum"]]
)
def test_options_that_contradict_a_state_are_refused(history, capsys, tmp_path, option):
    state = tmp_path / "state.npz"
    assert run(["decompose", str(history), *SLA, "--model", "logistic", "--save", str(state)]) == 0
    before = state.read_bytes()
    assert run(["decompose", str(history), *SLA, "--resume", str(state), "--save", str(state), *option]) == 2
    assert "contradicts the saved state" in capsys.readouterr().err
    assert state.read_bytes() == before
    assert run(["decompose", *SLA, "--resume", str(state), "--model", "logistic"]) == 0


def test_a_bad_fit_is_said_and_not_chosen(history, capsys, tmp_path):
    """Controllers that accept beyond a delay without a doubt: no log-concave shape is as steep."""
    rng = np.random.default_rng(1)
    rows = [
        f"{name},{d},0.5,{int(d > least * (1 + 0.2 * (rng.random() - 0.5)))}"
        for name, least in (("a", 9.0), ("b", 40.0), ("c", 31.0))
        for d in rng.uniform(1, 95, 600)
    ]
    history.write_text("\n".join(["domain,delay,throughput,accepted", *rows]) + "\n")
    assert run(["decompose", str(history), *SLA, "--model", "convex"]) == 0
    assert "convex model fits badly" in capsys.readouterr().err
    assert run(["decompose", str(history), *SLA, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    delays = [domain["delay"] for domain in found["domains"]]
    assert all(delay > 1.08 * least for delay, least in zip(delays, (9.0, 40.0, 31.0), strict=True))
    assert found["probability"] > 0.9
    assert not found["warnings"]


def test_further_metrics(history, capsys):
    rng = np.random.default_rng(2)
    rows = []
    for name, dear in (("a", 1.0), ("b", 3.0)):
        for _ in range(300):
            delay, cost, hour = rng.uniform(2, 90), rng.uniform(0.5, 9), rng.integers(24)
            chance = 1 / (1 + np.exp(-6 * np.log(delay / 15) - 6 * np.log(cost / dear)))
            rows.append(f"{name},{delay},0.5,{int(rng.random() < chance)},{cost},{hour}")
    history.write_text("\n".join(["domain,delay,throughput,accepted,cost,hour", *rows]) + "\n")
    asked = ["--metric", "cost:sum", "--metric", "hour:context:24", "--context", "hour=9"]
    sla = ["--sla", "delay=90,throughput=0.5,cost=8"]
    assert run(["decompose", str(history), *sla, *asked, "--json"]) == 0
    a, b = json.loads(capsys.readouterr().out)["domains"]
    assert a["cost"] + b["cost"] == pytest.approx(8)
    assert b["cost"] > a["cost"]
    assert run(["decompose", str(history), *sla]) == 2
    assert "cost" in capsys.readouterr().err
