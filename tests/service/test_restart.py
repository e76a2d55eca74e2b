"""What a server's end leaves behind, good order or not: real processes, killed while they work."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.service.test_http import refused
from tests.service.world import HELLO, LONG, STREET, YAML, Caller, Server, running, until

psutil = pytest.importorskip("psutil")

OPEN = ("--no-auth", "--rate", "0")


def workers(server):
    """The processes of a server's workers."""
    return psutil.Process(server.process.pid).children()


def test_a_killed_server_loses_nothing_and_doubles_nothing(tmp_path):
    with running(tmp_path, *OPEN) as server:
        caller = Caller(server)
        done = caller.ended(caller.solve(headers={"Idempotency-Key": "once"})["jobId"])
        plan = caller.get(f"/jobs/{done['jobId']}/plan").text
        runs = caller.solve(STREET, **LONG)["jobId"]
        waits = caller.solve(HELLO)["jobId"]
        before = caller.events(runs, most=5)
        assert before[-1][1] == "progress"
        theirs = workers(server)
        server.kill()
        psutil.wait_procs(theirs, timeout=10)
        assert not [process for process in theirs if process.is_running()], "workers end with their server"

        server.start()
        caller = Caller(server)
        assert caller.job(done["jobId"]) == done, "a finished job is as it was, and was not begun again"
        assert caller.get(f"/jobs/{done['jobId']}/plan").text == plan
        assert caller.solve(headers={"Idempotency-Key": "once"})["jobId"] == done["jobId"]
        again = caller.ended(runs)
        assert (again["state"], again["attempts"]) == ("DONE", 2)
        assert again["result"]["checked"]
        assert caller.ended(waits)["attempts"] == 1
        after = caller.events(runs, after=before[-1][0])
        assert [number for number, _, _ in after] == list(range(6, 6 + len(after)))
        assert [data["state"] for _, kind, data in after if kind == "state"] == ["QUEUED", "RUNNING", "DONE"]
        assert caller.get("/jobs").json()["pagination"]["totalCount"] == 3
        assert [line["again"] for line in server.said("recovered")] == [[runs]]


def test_a_server_that_is_told_to_end_puts_back_what_it_cannot_finish(tmp_path):
    with running(tmp_path, *OPEN, "--grace", "0") as server:
        caller = Caller(server)
        job = caller.solve(STREET, **LONG)["jobId"]
        seen = caller.events(job, most=3)
        server.process.send_signal(signal.SIGTERM)
        seen += caller.events(job, after=seen[-1][0])
        assert seen[-1][2].get("state") != "DONE", "the stream ends with its server"
        assert server.stop() == 0
        server.start()
        caller = Caller(server)
        rest = caller.events(job, after=seen[-1][0])
        assert [number for number, _, _ in seen + rest] == list(range(1, len(seen + rest) + 1))
        assert (rest[-1][2]["state"], rest[-1][2]["attempts"]) == ("DONE", 2)
        assert not server.said("recovered"), "it ended in good order"
        assert server.stop(signal.SIGINT) == 0
        assert not server.said("defect")
        assert not server.said("library"), server.said("library")


def test_a_running_job_is_given_its_time_while_requests_are_answered(tmp_path):
    with running(tmp_path, *OPEN, "--grace", "60") as server:
        caller = Caller(server)
        runs = caller.solve(STREET, **LONG)["jobId"]
        waits = caller.solve(HELLO)["jobId"]
        caller.events(runs, most=3)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: server.said("ending"))
        answer = caller.post("/solve", content=HELLO, headers=YAML)
        refused(answer, 503, "UNAVAILABLE", "ending")
        assert int(answer.headers["retry-after"]) >= 1
        ready = caller.get("/ready")
        assert (ready.status_code, ready.json()["reason"]) == (503, "the server is ending")
        assert caller.job(waits)["state"] == "QUEUED"
        told = caller.events(runs)
        assert told[-1][2]["state"] == "DONE"
        assert server.stop() == 0
        server.start()
        caller = Caller(server)
        assert caller.job(runs)["attempts"] == 1
        assert caller.ended(waits)["state"] == "DONE"


def test_another_server_in_the_same_place_is_refused(tmp_path):
    with running(tmp_path, *OPEN) as first:
        second = Server(tmp_path, *OPEN)
        with pytest.raises(AssertionError, match="did not start"):
            second.start()
        assert second.process.wait(10) == 2
        until(lambda: any("another fedopt serve is using" in line for line in second.other))
        third = Server(tmp_path / "elsewhere", *OPEN, port=first.port)
        with pytest.raises(AssertionError, match="did not start"):
            third.start()
        assert third.process.wait(10) == 2
        until(lambda: any("cannot be listened on" in line for line in third.other))


def test_a_worker_that_dies_or_hears_nothing_is_replaced(tmp_path):
    with running(tmp_path, *OPEN) as server:
        caller = Caller(server)
        runs = caller.solve(STREET, **LONG)["jobId"]
        deaf = caller.solve(STREET, **LONG)["jobId"]
        waits = caller.solve(HELLO)["jobId"]
        caller.events(runs, most=3)
        for one in workers(server):
            if {"plan", "read"} & set(one.cmdline()):
                one.kill()
        ended = caller.ended(runs)
        assert (ended["state"], ended["error"]["code"]) == ("FAILED", "INTERNAL")
        assert "signal 9" in ended["error"]["message"]

        caller.events(deaf, most=3)
        (worker,) = [one for one in workers(server) if "plan" in one.cmdline()]
        worker.suspend()  # as a solver that does not come back from compiled code
        assert caller.post(f"/jobs/{deaf}/cancel").json()["state"] == "CANCELLED"
        assert caller.ended(waits)["state"] == "DONE"
        assert not worker.is_running()
        assert caller.ended(caller.solve(HELLO)["jobId"])["state"] == "DONE"


@pytest.mark.slow
def test_twenty_kills_at_random_instants(tmp_path):
    """Jobs are posted all the time, each under its key; the server is killed at random. In the end every job
    is done, once in the database, and its plan is the one that the undisturbed solver makes.
    """
    rng = random.Random(1)
    options = (*OPEN, "--queue", "100000")
    server = Server(tmp_path, *options)
    finished: dict[str, dict] = {}
    posted = 0
    for _ in range(20):
        server.start()
        caller = Caller(server)
        end = time.monotonic() + rng.uniform(0.2, 8)
        while time.monotonic() < end:
            text = HELLO.replace("name: hello", f"name: n{posted}")
            caller.solve(text, headers={"Idempotency-Key": f"k{posted}"})
            posted += 1
            done = {"state": "DONE", "perPage": 100}
            for job in caller.get("/jobs", params=done).json()["items"]:
                assert finished.setdefault(job["jobId"], job) == job
            time.sleep(rng.uniform(0, 0.2))
        server.kill()
    with running(tmp_path, *options) as server:
        caller = Caller(server)
        until(lambda: (left := caller.get("/ready").json())["queued"] + left["running"] == 0, 600)
        jobs = [
            job
            for page in range(1, posted // 100 + 2)
            for job in caller.get("/jobs", params={"page": page, "perPage": 100}).json()["items"]
        ]
        assert sorted(job["name"] for job in jobs) == sorted(f"n{i}" for i in range(posted))
        assert {job["state"] for job in jobs} == {"DONE"}
        costs = {job["result"]["cost"] for job in jobs}
        assert max(costs) - min(costs) < 1e-9
        assert {job["jobId"]: job for job in jobs if job["jobId"] in finished} == finished
