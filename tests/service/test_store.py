"""The job database of a server: what is taken in once is there once, whatever happens in between."""

from __future__ import annotations

import os
import sqlite3
import stat

import pytest

from fedopt.service.errors import ApiError
from fedopt.service.store import Store
from fedopt.storage import StorageError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def opened(folder):
    return Store(folder, lambda job: {"state": job.state}, Clock())


@pytest.fixture
def store(tmp_path):
    store = opened(tmp_path / "state")
    yield store
    store.close()


def added(store, owner="a", name="x", most=100, **fields):
    job, new = store.add(owner, "solve", name, {"gap": 0.1}, {"instance": b"{}"}, most=most, **fields)
    assert new
    return job.id


def told(store, job):
    return [(number, kind) for number, kind, _ in store.events(job, 0)]


def test_a_job_from_waiting_to_done(store):
    job = added(store)
    assert store.get("a", job).state == "QUEUED"
    assert store.waiting("a") == 1
    taken = store.take()
    assert taken is not None
    assert (taken.id, taken.state, taken.attempts) == (job, "RUNNING", 1)
    assert store.take() is None
    assert store.running(job)
    store.progress(job, {"round": 1, "seconds": 0.5})
    assert store.finish(job, "DONE", result={"cost": 1.5}, documents={"plan": b"the plan"})
    found = store.get("a", job)
    assert (found.state, found.result, found.progress) == (
        "DONE",
        {"cost": 1.5},
        {"round": 1, "seconds": 0.5},
    )
    assert found.created < found.started < found.finished
    assert store.document(job, "plan") == b"the plan"
    assert told(store, job) == [(1, "state"), (2, "state"), (3, "progress"), (4, "state")]
    assert store.events(job, 3) == [(4, "state", '{"state": "DONE"}')]


def test_what_is_finished_stays_as_it_is(store):
    job = added(store)
    store.take()
    store.finish(job, "FAILED", error={"code": "INTERNAL"})
    before = store.get("a", job)
    assert not store.finish(job, "DONE", result={}, documents={"plan": b"late"})
    store.progress(job, {"round": 9})
    store.requeue(job)
    assert store.recover(3) == ([], [])
    assert store.take() is None
    assert store.get("a", job) == before
    assert store.document(job, "plan") is None
    with pytest.raises(ApiError, match="INCOMPATIBLE_STATE"):
        store.cancel("a", job)


def test_the_result_of_a_cancelled_job_is_not_written(store):
    job = added(store)
    store.take()
    assert store.cancel("a", job)[1] is True
    assert store.cancel("a", job)[1] is False
    assert not store.running(job)
    assert not store.finish(job, "DONE", documents={"plan": b"late"})
    assert store.get("a", job).state == "CANCELLED"
    assert store.document(job, "plan") is None


def test_jobs_of_a_dead_server_wait_again_and_are_given_up_in_the_end(store):
    job, other = added(store), added(store)
    for attempt in (1, 2):
        taken = store.take()
        assert taken is not None
        assert (taken.id, taken.attempts) == (job, attempt)
        store.progress(job, {"round": 1})
        assert store.recover(3) == ([job], [])
        assert store.get("a", job).progress is None
    store.take()
    assert store.recover(3) == ([], [job])
    assert store.get("a", job).state == "FAILED"
    assert store.get("a", job).attempts == 3
    assert store.get("a", other).state == "QUEUED"


def test_ending_in_good_order_is_not_held_against_a_job(store):
    job = added(store)
    for _ in range(10):
        store.take()
        store.requeue()
    assert store.recover(1) == ([], [])
    assert store.get("a", job).state == "QUEUED"


def test_callers_take_turns(store):
    for _ in range(3):
        added(store, "greedy")
    added(store, "modest")
    added(store, "late")
    order = []
    while (job := store.take()) is not None:
        order.append(job.owner)
        store.finish(job.id, "DONE")
    assert order == ["greedy", "modest", "late", "greedy", "greedy"]


def test_a_key_stands_for_one_request_of_one_caller(store):
    options = {"key": "k", "fingerprint": "f"}
    job = added(store, **options)
    again, new = store.add("a", "solve", "x", {}, {}, most=1, **options)
    assert (again.id, new) == (job, False), "also where no further job would be taken in"
    with pytest.raises(ApiError, match="KEY_REUSED"):
        store.add("a", "solve", "x", {}, {}, most=1, key="k", fingerprint="g")
    assert added(store, "b", **options) != job
    store.cancel("a", job)
    store.delete("a", job)
    assert added(store, **options) != job, "a key is forgotten with its job"


def test_no_more_jobs_wait_than_may(store):
    added(store, most=2)
    added(store, most=2)
    with pytest.raises(ApiError, match="QUOTA_EXCEEDED") as refusal:
        added(store, most=2)
    assert int(refusal.value.headers["Retry-After"]) >= 1
    added(store, "b", most=2)
    store.take()
    added(store, most=2)


def test_forgetting(store):
    kept = [added(store, name=str(i)) for i in range(5)]
    with pytest.raises(ApiError, match="cancel it first"):
        store.delete("a", kept[0])
    for job in kept[:4]:
        store.take()
        store.finish(job, "DONE", documents={"plan": b"p"})
    store.delete("a", kept[0])
    with pytest.raises(ApiError, match="NOT_FOUND"):
        store.get("a", kept[0])
    assert store.document(kept[0], "plan") is None
    assert store.events(kept[0], 0) == []
    assert store.purge(0.0, keep=2) == 1
    assert store.get("a", kept[2]).state == "DONE"
    assert store.purge(1e12, keep=2) == 2
    assert store.get("a", kept[4]).state == "QUEUED", "what waits is never forgotten"
    store.put(kept[3], "report", b"late")
    assert store.document(kept[3], "report") is None


def test_pages(store):
    jobs = [added(store) for _ in range(5)]
    added(store, "b")
    page, total = store.page("a", None, True, 2, 2)
    assert ([job.id for job in page], total) == (jobs[2:4], 5)
    page, total = store.page("a", None, False, 0, 2)
    assert [job.id for job in page] == [jobs[4], jobs[3]]
    store.cancel("a", jobs[1])
    page, total = store.page("a", "CANCELLED", True, 0, 10)
    assert ([job.id for job in page], total) == ([jobs[1]], 1)
    assert store.counts() == {"QUEUED": 5, "CANCELLED": 1}


def test_a_transaction_that_fails_leaves_nothing(store):
    job = added(store)
    store.take()
    with pytest.raises(TypeError):
        store.finish(job, "DONE", documents={"plan": "no bytes"})
    assert store.get("a", job).state == "RUNNING"
    assert told(store, job) == [(1, "state"), (2, "state")]


def test_the_folder_is_the_owners_and_one_servers(tmp_path):
    folder = tmp_path / "state"
    store = opened(folder)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(folder / "jobs.db").st_mode) == 0o600
    with pytest.raises(StorageError, match="another fedopt serve is using"):
        opened(folder)
    job = added(store)
    store.close()
    again = opened(folder)
    assert again.get("a", job).state == "QUEUED"
    again.close()


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be used"):
        opened(tmp_path / "file")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "jobs.db").write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(StorageError, match=r"jobs\.db"):
        opened(tmp_path / "state")
    opened(tmp_path / "newer").close()
    with sqlite3.connect(tmp_path / "newer" / "jobs.db") as database:
        database.execute("UPDATE meta SET value = '99'")
    with pytest.raises(StorageError, match="its format is 99"):
        opened(tmp_path / "newer")
