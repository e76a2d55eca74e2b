"""Sweeps on this process, on processes of this machine and on a real Dask cluster."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest

import fedopt
from fedopt.instance import loads
from fedopt.sweep import SweepError, Table, Workers, cases_of, parse_axis, sweep
from fedopt.sweep.workers import WorkerLost

EDGE = """
name: edge
stages: [edge]
domains:
  - {id: edge-1, stage: edge, capacity: 10, offers: [{id: standard, latency: 2}]}
tenants:
  - {id: chat, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 20, epsilon: 1e-3}}
"""


@pytest.fixture
def edge():
    return loads(EDGE)


def cases(edge, *axes, **options):
    found = [parse_axis(axis) for axis in axes or ("tenants.chat.slo.deadline=1,15,20",)]
    return list(cases_of([("edge", edge, None)], found, **{"guarantees": ["minplus:ville"], **options}))


def test_rows_are_what_solving_one_by_one_gives(edge):
    records = sweep(cases(edge, guarantees=["minplus:ville", "split"]), Workers(jobs=1))
    assert [(row["tenants.chat.slo.deadline"], row["guarantee"]) for row in records] == [
        (deadline, guarantee) for deadline in (1, 15, 20) for guarantee in ("minplus:ville", "split")
    ]
    assert [row["status"] for row in records] == ["infeasible"] * 2 + ["optimal"] * 4
    assert records[0]["problem"].startswith("chat:")
    alone = fedopt.solve(edge.with_({"tenants.chat.slo.deadline": 15}), guarantee="minplus:ville")
    assert records[2]["cost"] == alone.cost
    assert records[2]["admitted"] == 1


def test_what_goes_wrong_in_a_row_stops_nothing(edge, monkeypatch):
    def solver(instance, *given, **options):
        if instance.slot == 2:
            raise ZeroDivisionError("a defect")
        return fedopt.solve(instance, *given, **options)

    monkeypatch.setattr("fedopt.sweep.cases.solve", solver)
    records = sweep(cases(edge, "slot=0,1,2"), Workers(jobs=1))
    assert [row["status"] for row in records] == ["refused", "optimal", "failed"]
    assert "slot" in records[0]["problem"]
    assert records[2]["problem"] == "ZeroDivisionError: a defect"


def test_an_interrupted_sweep_goes_on_where_it_was(edge, tmp_path, monkeypatch):
    table, asked = Table(tmp_path / "rows.csv"), cases(edge)
    done = []

    def interrupt(count, total):
        done.append(count)
        if count == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(asked, Workers(jobs=1), table, progress=interrupt)
    assert set(table.known(asked)) == {case.key for case in asked[:2]}
    solved = []
    monkeypatch.setattr(
        "fedopt.sweep.cases.solve",
        lambda *given, **options: solved.append(1) or fedopt.solve(*given, **options),
    )
    records = sweep(asked, Workers(jobs=1), table, resume=True)
    assert len(solved) == 1
    assert [row["status"] for row in records] == ["infeasible", "optimal", "optimal"]
    assert len(table.known(asked)) == 3
    sweep(asked, Workers(jobs=1), table, resume=True)
    assert len(solved) == 1


def test_processes_give_the_same_rows(edge):
    here, there = (sweep(cases(edge), Workers(jobs=jobs)) for jobs in (1, 2))
    for row in (*here, *there):
        row.pop("seconds")
    assert there == here


def test_a_worker_that_dies_is_named():
    with pytest.raises(WorkerLost, match="a worker process ended") as caught:
        list(Workers(jobs=2).run(_die, [0, 1]))
    assert caught.value.exit_code == 4


def _die(task):
    os._exit(1)


@pytest.fixture(scope="module")
def cluster():
    """The address of a Dask scheduler of this machine with two worker processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=40
    ) as running:
        yield running.scheduler_address


def test_a_dask_cluster_gives_the_same_rows(edge, cluster, tmp_path):
    table = Table(tmp_path / "rows.csv")
    seen = []
    there = sweep(
        cases(edge),
        Workers("dask", address=cluster),
        table,
        progress=lambda done, total: seen.append((done, total)),
    )
    here = sweep(cases(edge), Workers(jobs=1))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert len(table.known(cases(edge))) == 3
    for row in (*here, *there):
        row.pop("seconds")
    assert there == here


def test_the_tasks_of_a_dask_cluster_run_on_its_workers(cluster):
    found = dict(Workers("dask", address=cluster).run(_process, list(range(8))))
    assert sorted(found) == list(range(8))
    assert os.getpid() not in found.values()


def _process(task):
    time.sleep(0.02)
    return os.getpid()


def test_a_cluster_that_does_not_answer():
    pytest.importorskip("distributed")
    workers = Workers("dask", address="tcp://127.0.0.1:9", patience=0.2)
    with pytest.raises(SweepError, match="no Dask scheduler answers at"):
        list(workers.run(_process, [1]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "slurm"}, "there are loky, dask, ray"),
        ({"backend": "dask"}, "needs the address"),
        ({"address": "tcp://10.0.0.1:8786"}, "--backend dask or ray"),
        ({"jobs": 0}, "1 or more"),
    ],
)
def test_workers_that_cannot_be(given, message):
    with pytest.raises(SweepError, match=message):
        Workers(**given)


def test_ctrl_c_leaves_a_table_to_go_on_with(tmp_path):
    """The command itself, interrupted in the middle, then resumed."""
    instance, out = tmp_path / "edge.yaml", tmp_path / "rows.csv"
    instance.write_text(EDGE)
    deadlines = ",".join(str(10 + i) for i in range(200))
    line = ["sweep", str(instance), "--set", f"tenants.chat.slo.deadline={deadlines}", "--jobs", "1"]
    line += ["--guarantees", "minplus:ville", "--out", str(out), "-q"]
    command = [
        sys.executable,
        "-c",
        # a test run in the background of a shell ignores Ctrl-C, and so would its children
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from fedopt.cli import run; sys.exit(run(sys.argv[1:]))",
        *line,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while not out.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    with out.open() as stream:
        first = list(csv.DictReader(stream))
    assert 0 < len(first) < 200, said
    assert process.returncode == 4
    assert "--resume" in said.decode()
    subprocess.run([*command, "--resume"], check=True, timeout=120)
    with out.open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 200
    assert rows[: len(first)] == first


def test_the_command_prints_one_document(tmp_path, capsys):
    from fedopt.cli import run

    instance = tmp_path / "edge.yaml"
    instance.write_text(EDGE)
    line = ["sweep", str(instance), str(tmp_path / "none.yaml"), "--guarantees", "minplus:ville", "-j", "1"]
    assert run([*line, "--json"]) == 0
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert [row["status"] for row in rows] == ["optimal", "refused"]
    assert "none.yaml" in captured.err
    assert run([*line[:2], "--set", "tenants.chat.slo.deadline=1", *line[3:]]) == 3
    assert run([*line, "--resume"]) == 2
    assert run([*line, "--out", str(tmp_path / "rows.xlsx")]) == 2
    assert run([*line, "--guarantees", "minplu"]) == 2
