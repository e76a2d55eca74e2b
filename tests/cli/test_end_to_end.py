"""The real method through the command line: plans, checks, stdout, signals, malformed files."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedopt.cli import run
from fedopt.plan import Plan

from ..instance.test_mutations import FILES, _malformed

INSTANCES = Path(__file__).parents[2] / "instances"
FEDOPT = [sys.executable, "-c", "from fedopt.cli import main; main()"]

IMPOSSIBLE = """\
fedopt: 1
name: impossible
stages: [access]
domains:
  - id: near
    stage: access
    operator: opA
    capacity: 10
    offers: [{id: std, latency: 8, latency_kind: delay}]
  - id: far
    stage: access
    operator: opB
    capacity: 10
    offers: [{id: std, latency: 2, latency_kind: delay}]
tenants:
  - id: chat
    arrivals: {model: poisson, rate: 0.5, size: 1.0}
    slo: {deadline: 7, epsilon: 0.001}
    policy: {operators: [opA]}
"""


@pytest.mark.parametrize("name", ["quickstart", "tandem", "metro-llm", "tight"])
def test_a_plan_passes_the_check(name, tmp_path, capsys):
    instance, plan = str(INSTANCES / f"{name}.yaml"), str(tmp_path / "plan.json")
    assert run(["solve", instance, "--out", plan, "-q"]) == 0
    document = Plan.load(plan)
    assert document.status == "optimal"
    assert document.catalogue_gap <= 1e-3
    assert document.lower_bound <= document.catalogue_bound
    assert run(["check", plan, instance]) == 0, capsys.readouterr().out
    assert run(["inspect", plan, "--json"]) == 0


@pytest.mark.parametrize(
    "guarantee", ["minplus:image", "minplus:fine", "minplus:monotone", "split", "paper-path", "paper-local"]
)
def test_other_guarantees_pass_the_check_too(guarantee, tmp_path, capsys):
    instance, plan = str(INSTANCES / "tight.yaml"), str(tmp_path / "plan.json")
    assert run(["solve", instance, "--guarantee", guarantee, "--out", plan, "-q"]) == 0
    assert run(["check", plan, instance]) == 0, capsys.readouterr().out


def test_profit_passes_the_check(tmp_path, capsys):
    instance, plan = str(INSTANCES / "tight.yaml"), str(tmp_path / "plan.json")
    assert run(["solve", instance, "--objective", "profit", "--out", plan, "-q"]) == 0
    assert run(["check", plan, instance]) == 0, capsys.readouterr().out


def test_infeasible_is_exit_3_with_the_smallest_changes(tmp_path, capsys):
    file = tmp_path / "impossible.yaml"
    file.write_text(IMPOSSIBLE)
    assert run(["solve", str(file)]) == 3
    text = capsys.readouterr().out
    assert "chat: the least delay of any path is 8 ms, its deadline 7 ms" in text
    assert "→ a deadline of" in text
    assert "→ operator opB allowed to serve chat" in text
    assert run(["explain", str(file), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    changes = {remedy["change"] for remedy in report["reasons"][0]["remedies"]}
    assert changes == {"deadline", "policy"}


def test_explain_values_what_binds(capsys):
    assert run(["explain", str(INSTANCES / "tight.yaml"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    kinds = {worth["constraint"] for worth in report["binding"]}
    assert {"capacity", "deadline", "epsilon"} <= kinds
    assert all(worth["saving"] > 0 for worth in report["binding"])


def test_compare_ranks_the_guarantees(capsys):
    guarantees = "minplus,minplus:monotone,paper-path"
    assert run(["compare", str(INSTANCES / "tight.yaml"), "--guarantees", guarantees, "--json"]) == 0
    costs = [row["cost"] for row in json.loads(capsys.readouterr().out)]
    assert costs == sorted(costs)


def test_json_is_pure_in_a_process_of_its_own():
    command = [*FEDOPT, "solve", str(INSTANCES / "tandem.yaml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "optimal"


def test_a_reader_that_goes_away_is_no_error():
    command = [*FEDOPT, "solve", str(INSTANCES / "tandem.yaml"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert "Traceback" not in errors
    assert process.returncode in (0, 1)


SLOW = """
import importlib, sys, time
from fedopt.cli import run
from fedopt.instance import Instance
from fedopt.plan import HistoryRow, InstanceReference, Plan

def solve(instance, *, progress, **options):
    print("started", file=sys.stderr, flush=True)
    for number in range({rounds}):
        time.sleep(0.02)
        if number == 3:
            print("rounds", file=sys.stderr, flush=True)
        if progress(HistoryRow(round=number + 1, cost=1.0, seconds=0.0)):
            break
    time.sleep({rest})
    reference = InstanceReference(name=instance.name, sha256=instance.sha256)
    return Plan(instance=reference, status="feasible", method="slow", guarantee="minplus", cost=1.0)

dispatch = importlib.import_module("fedopt.solve")
dispatch._solver = lambda method: solve
dispatch.check_method = lambda method: None
sys.exit(run(["solve", sys.argv[1], "--json"]))
"""


def interrupted(metro, word: str, **fields) -> tuple[int, str]:
    """Exit code and stdout of a slow solve that gets one Ctrl-C once it has said `word`."""
    command = [sys.executable, "-c", SLOW.format(**fields), str(metro)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while word not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    return process.returncode, output


def test_ctrl_c_after_a_round_gives_the_best_plan(metro):
    code, output = interrupted(metro, "rounds", rounds=100_000, rest=0)
    assert code == 0
    assert json.loads(output)["status"] == "feasible"


def test_ctrl_c_before_the_first_round_is_exit_4(metro):
    code, output = interrupted(metro, "started", rounds=0, rest=60)
    assert (code, output) == (4, "")


def malformed(numbers, tmp_path, capsys, seconds: float) -> None:
    """Each mutated file through solve, and what is solved through check: right, or exit code 2."""
    for k in numbers:
        content, suffix = _malformed(k)
        file, plan = tmp_path / f"{k}{suffix}", tmp_path / f"{k}.plan"
        file.write_bytes(content)
        start = time.monotonic()
        code = run(["solve", str(file), "--time-limit", "10", "-q", "--out", str(plan)])
        captured = capsys.readouterr()
        assert code in (0, 2, 3, 4), (k, captured.err)
        assert "Traceback" not in captured.err, k
        assert time.monotonic() - start < seconds, k
        if code == 2:
            assert str(file) in captured.err, k
            assert not plan.exists(), k
        else:
            assert run(["check", str(plan), str(file)]) == 0, (k, capsys.readouterr().out)


LARGE = [
    i for i, file in enumerate(sorted(INSTANCES.glob("*.yaml"))) if file.stem in ("abilene", "germany50")
]
EXAMPLES = len(list(INSTANCES.glob("*.yaml")))


def test_malformed_files_are_exit_2_or_solved(tmp_path, capsys):
    small = [k for k in range(FILES) if k % EXAMPLES not in LARGE]
    malformed(small[:30], tmp_path, capsys, seconds=300.0)


@pytest.mark.slow
def test_all_malformed_files_are_exit_2_or_solved(tmp_path, capsys):
    malformed(range(FILES), tmp_path, capsys, seconds=300.0)
