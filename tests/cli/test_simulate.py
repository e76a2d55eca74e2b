"""The commands simulate, reproduce and fit: documents, exit codes, messages."""

import json

import numpy as np
import pytest

from fedopt.cli import run
from fedopt.instance import loads
from fedopt.plan import InstanceReference, Plan, TenantPlan

TEXT = """
fedopt: 1
name: small
units: {time: ms, work: job}
slot: 1.0
stages: [only]
domains:
  - {id: a, stage: only, operator: o, region: r, capacity: 10,
     offers: [{id: x, latency: 2, latency_kind: delay, impairment: {model: exponential, mean: 0.3},
               cost: {model: linear, rate: 1.0}}]}
tenants:
  - {id: chat, arrivals: {model: poisson, rate: 0.5, size: 1.0}, slo: {deadline: 15, epsilon: 0.01}}
"""


@pytest.fixture
def files(tmp_path):
    instance = tmp_path / "small.yaml"
    instance.write_text(TEXT)
    document = loads(TEXT, "small.yaml")

    def plan(rate, status="feasible", sha256=document.sha256):
        path = tmp_path / f"plan-{rate}.json"
        entry = TenantPlan(id="chat", path=["a/x"], reservations={"a": rate}, log_bound=-5.0, form="ville")
        reference = InstanceReference(name="small", sha256=sha256)
        Plan(
            instance=reference, status=status, method="hand", guarantee="minplus", cost=rate, tenants=[entry]
        ).save(path)
        return str(path)

    return str(instance), plan


def test_a_kept_promise(files, capsys):
    instance, plan = files
    assert run(["simulate", plan(1.6), instance, "--slots", "100000", "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["tenants"][0]["kept"] is True
    assert document["tenants"][0]["verdict"] == "kept"


def test_a_broken_promise_exits_with_5(files, capsys, tmp_path):
    instance, plan = files
    out = tmp_path / "result.json"
    assert run(["simulate", plan(0.9), instance, "--slots", "100000", "--out", str(out)]) == 5
    assert "Broken: chat" in capsys.readouterr().out
    assert json.loads(out.read_text())["ok"] is False


def test_a_trace_in_place_of_the_model(files, tmp_path, capsys):
    instance, plan = files
    trace = tmp_path / "trace.csv"
    trace.write_text("when,size\n" + "\n".join(f"{t},0.5" for t in range(500)))
    line = ["simulate", plan(1.2), instance, "--slots", "50000", "--traffic", f"chat={trace}:when:size"]
    assert run(line) == 0
    for wrong, told in (
        (f"code={trace}", "TENANT=FILE"),
        (f"chat={trace}:when:work", "no column 'work'"),
        ("chat=none.csv", "none.csv"),
    ):
        assert run([*line[:-1], wrong]) == 2
        assert told in capsys.readouterr().err
    run([*line[:-1], f"chat={trace}"])
    told = capsys.readouterr().err
    assert "Times are taken from 'when', the first column." in told
    assert "Every row brings one unit of work" in told


def test_a_plan_for_another_instance_is_refused(files, capsys):
    instance, plan = files
    assert run(["simulate", plan(1.6, sha256="0" * 64), instance]) == 2
    assert "another instance" in capsys.readouterr().err


def test_fit_prints_a_model_and_checks_it(tmp_path, capsys):
    rng = np.random.default_rng(1)
    path = tmp_path / "trace.csv"
    times = np.cumsum(rng.exponential(2.0, 5_000))
    path.write_text(
        "t,tokens\n"
        + "\n".join(f"{t:.3f},{int(n)}" for t, n in zip(times, rng.integers(1, 9, 5_000), strict=True))
    )
    assert run(["fit", "arrivals", str(path), "--work", "tokens=0.1", "--windows", "32", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["model"] == "envelope"
    assert run(["fit", "impairment", str(path), "--work", "tokens=0.1", "--windows", "32"]) == 0
    assert "held out the envelope holds" in capsys.readouterr().out
    for wrong in (["--work", "tokens"], ["--of-day", "noon"], ["--theta", "big"], ["--work", "words=1"]):
        assert run(["fit", "arrivals", str(path), *wrong]) == 2
    assert run(["fit", "arrivals", str(tmp_path / "none.csv")]) == 2


def test_reproduce_writes_files(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert run(["reproduce", "tre", "table1", "--quick", "--out", str(tmp_path), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["table1"]
    assert {file.name for file in tmp_path.iterdir()} == {"tre-table1.csv", "tre-table1.md", "tre-table1.png"}
    assert run(["reproduce", "tre", "fig9"]) == 2
    assert "fig2" in capsys.readouterr().err
    assert run(["reproduce", "nature"]) == 2
