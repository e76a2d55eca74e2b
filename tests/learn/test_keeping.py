"""Nothing that was learned is lost: files, databases, other processes, sudden ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fedopt.learn import SLA, Answer, History, Orchestrator, Schema, Settings, StateError, keep, load, save
from fedopt.learn.keeping import SNAPSHOT_EVERY, updating
from fedopt.learn.metrics import Context, Metric
from fedopt.storage import StorageError
from tests.learn.conftest import random_history

NAMES = ("urllc", "mmtc", "embb")


def begun() -> Orchestrator:
    history = History(NAMES, ("ran", "ran", "core"), random_history(1, 100, 3)[1])
    return Orchestrator.from_history(history, Settings(capacity=60, flip=0.02, half_life_time=40.0), seed=3)


def same(one: Orchestrator, other: Orchestrator) -> bool:
    a, b = one.state(), other.state()
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=k == "model.came") for k in a)


ANSWERS = [
    Answer("mmtc", True, 40.0, 0.5, time=3.0),
    Answer("urllc", False, 3.0, 0.5, request="r", time=7.0),
    Answer("new", True, 8.0, 0.4, stage="core"),
]


def test_a_saved_state_is_everything(tmp_path):
    path, orchestrator = tmp_path / "state.npz", begun()
    orchestrator.observe(ANSWERS)
    orchestrator.decompose(SLA(90, 0.5), request="later")
    save(orchestrator, path)
    again = load(path)
    assert same(orchestrator, again)
    assert again.settings == orchestrator.settings
    assert again.stages == orchestrator.stages
    for one in (orchestrator, again):
        one.observe([Answer("urllc", True, request="later"), Answer("mmtc", True, 9.0, 0.5)])
    assert same(orchestrator, again)
    assert again.decompose(SLA(95, 0.45)).delay == orchestrator.decompose(SLA(95, 0.45)).delay


def test_metrics_and_context_are_part_of_it(tmp_path):
    schema = Schema((Metric("cost", "sum", 3.0),), (Context("slice", values=("gold", "silver")),))
    orchestrator = Orchestrator(("a",), schema=schema)
    orchestrator.observe(
        [Answer("a", k % 3 > 0, 5.0 + k, 0.5, {"cost": 2, "slice": "gold"}) for k in range(30)]
    )
    save(orchestrator, tmp_path / "state.npz")
    again = load(tmp_path / "state.npz")
    assert again.schema == schema
    assert same(orchestrator, again)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_what_is_no_state_is_refused(tmp_path, content):
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"state\.npz"):
        load(path)


def test_updates_of_a_file_wait_for_each_other(tmp_path):
    path = tmp_path / "state.npz"
    save(begun(), path)

    def update(delay: float) -> None:
        with updating(path):
            orchestrator = load(path)
            time.sleep(0.05)
            orchestrator.observe(Answer("embb", True, delay, 0.5))
            save(orchestrator, path)

    threads = [threading.Thread(target=update, args=(50.0 + k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(load(path).buffer.delay[2, :4].tolist()) == {50.0, 51.0, 52.0, 53.0}


def test_kept_on_disk_before_it_counts(tmp_path):
    path, plain = tmp_path / "learned.db", begun()
    kept = keep(path, begun)
    with pytest.raises(StorageError, match="another process"):
        keep(path, begun)
    for one in (plain, kept):
        one.decompose(SLA(90, 0.5), request="later")
        one.observe(ANSWERS)
        one.observe(Answer("mmtc", False, 9.0, 0.5, request="later"))
    kept._lock.release()  # as if the process had died: nothing was closed
    found = keep(path, lambda: pytest.fail("it is there"))
    assert same(found, plain)
    found.close()
    again = keep(path, begun)
    assert same(again, plain)
    again.close()


def test_refused_answers_are_not_kept(tmp_path):
    kept = keep(tmp_path / "learned.db", begun)
    with pytest.raises(ValueError, match="label"):
        kept.observe([ANSWERS[0], Answer("mmtc", 7, 1.0)])
    kept._lock.release()
    assert same(keep(tmp_path / "learned.db", begun), begun())


def test_snapshots_bound_what_is_read_again(tmp_path):
    kept = keep(
        tmp_path / "learned.db", lambda: Orchestrator(("a",), Settings(model="logistic", capacity=20))
    )
    for k in range(SNAPSHOT_EVERY + 20):
        kept.observe(Answer("a", k % 2, 5.0 + k % 7, 0.5))
    (events,) = kept._database.execute("SELECT count(*) FROM events").fetchone()
    assert events < SNAPSHOT_EVERY
    kept.close()


SOAK = """
import sys, numpy as np
from fedopt.learn import Answer, Orchestrator, Settings, keep
kept = keep(sys.argv[1], lambda: Orchestrator(("a", "b"), Settings(model="logistic", capacity=50)))
k = int(kept.buffer.seen[0])
while True:
    kept.observe([Answer(name, (k * 7 + n) % 10 > 3, 1.0 + k % 40, 0.5) for n, name in enumerate("ab")])
    k += 1
    print(k, flush=True)
"""


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path):
    path = tmp_path / "learned.db"
    for seconds in (0.3, 0.1):
        process = subprocess.Popen([sys.executable, "-c", SOAK, str(path)], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        said = process.stdout.read().split("\n")
        process.wait()
        acknowledged = max((int(line) for line in said[:-1] if line), default=1)
        kept = keep(path, lambda: pytest.fail("it is there"))
        assert acknowledged <= kept.buffer.seen[0] <= acknowledged + 1
        reference = Orchestrator(("a", "b"), Settings(model="logistic", capacity=50))
        for k in range(int(kept.buffer.seen[0])):
            reference.observe(
                [Answer(name, (k * 7 + n) % 10 > 3, 1.0 + k % 40, 0.5) for n, name in enumerate("ab")]
            )
        assert same(kept, reference)
        kept.close()
