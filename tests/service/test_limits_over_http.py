"""Limits as callers meet them: a server in this process, with limits small enough to run into."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading

import pytest

from fedopt.service.auth import ByToken, TokenFile
from fedopt.service.observability import Log
from fedopt.service.server import Server as HttpServer
from fedopt.service.server import listen
from fedopt.service.service import Service
from fedopt.service.settings import BASE, Settings
from tests.service.test_http import refused
from tests.service.world import CROWD, HELLO, LONG, YAML, Caller, until


class Here:
    """A server in a thread of this process."""

    def __init__(self, settings, tokens):
        self.log = io.StringIO()
        self.service = Service(settings, Log(self.log))
        self.server = HttpServer(self.service, ByToken(TokenFile(tokens)))
        listener = listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}{BASE}"
        self.thread = threading.Thread(target=self.server.run, args=([listener],))
        self.thread.start()

    def stop(self):
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()

    def lines(self):
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@pytest.fixture(scope="module")
def here(tmp_path_factory, tokens):
    settings = Settings(
        tmp_path_factory.mktemp("here"),
        queue=2,
        rate=200.0,
        at_once=6,
        streams=1,
        body_bytes=100_000,
        body_seconds=0.5,
        read_seconds=2.0,
        memory_bytes=1_500_000_000,
    )
    server = Here(settings, tokens[0])
    yield server
    server.stop()


@pytest.fixture
def caller(here, tokens, monkeypatch):
    """A caller for whose rate no time passes, and who has asked for nothing yet."""
    monkeypatch.setattr(here.service.limits, "_level", {})
    monkeypatch.setattr(here.service.limits, "_clock", lambda: 1000.0)
    return Caller(here, tokens[1])


def test_more_requests_than_the_rate_allows(caller, here, tokens):
    burst = 400
    answers = [caller.get("/jobs") for _ in range(burst + 3)]
    assert [answer.status_code for answer in answers] == [200] * burst + [429] * 3
    refused(answers[-1], 429, "TOO_MANY_REQUESTS", "200 requests per second")
    assert answers[-1].headers["retry-after"] == "1"
    assert Caller(here, tokens[2]).get("/jobs").status_code == 200, "another caller is not held up"


def test_more_jobs_than_may_wait_and_more_streams_than_may_be_open(caller, here, tokens):
    runs = caller.solve(CROWD, **LONG)["jobId"]
    caller.events(runs, most=3)
    waits = [caller.solve()["jobId"] for _ in range(2)]
    answer = caller.post("/solve", content=HELLO, headers=YAML)
    refused(answer, 429, "QUOTA_EXCEEDED", "2 jobs wait")
    assert int(answer.headers["retry-after"]) >= 1
    assert Caller(here, tokens[2]).solve()["jobId"], "another caller's queue is another"
    until(lambda: not here.service.limits._streaming)
    with caller.http.stream("GET", f"{here.base}/jobs/{waits[0]}/events") as stream:
        assert stream.status_code == 200
        refused(
            Caller(here, tokens[1]).get(f"/jobs/{runs}/events"), 429, "TOO_MANY_REQUESTS", "event streams"
        )
    for job in (runs, *waits):
        caller.post(f"/jobs/{job}/cancel")


def test_a_body_that_trickles_in_is_given_up(caller, here, tokens):
    head = (
        f"POST {BASE}/solve HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tokens[1]}\r\n"
        "Content-Type: application/yaml\r\nContent-Length: 1000\r\n\r\nstages:"
    )
    with socket.create_connection(("127.0.0.1", here.port), timeout=10) as slow:
        slow.sendall(head.encode())
        answer = ""
        while not answer.endswith("}"):  # head and body may come apart
            answer += slow.recv(10_000).decode()
    assert answer.startswith("HTTP/1.1 408")
    assert "FEDOPT.TOO_SLOW" in answer


def test_a_request_head_that_never_ends_is_given_up(here, monkeypatch):
    monkeypatch.setattr("fedopt.service.server.HEAD_SECONDS", 0.3)
    for begun in (b"", b"GET /fedopt/v1/jobs HTTP/1.1\r\nHost"):
        with socket.create_connection(("127.0.0.1", here.port), timeout=10) as slow:
            slow.sendall(begun)
            assert slow.recv(1000) == b""


def test_many_clients_keep_their_connections(here):
    kept = [http.client.HTTPConnection("127.0.0.1", here.port, timeout=10) for _ in range(20)]
    for _ in range(2):  # the second time over the connections of the first
        for one in kept:
            one.request("GET", "/health")
            assert one.getresponse().read()
    for one in kept:
        one.close()


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_json(here, said):
    with socket.create_connection(("127.0.0.1", here.port), timeout=10) as wrong:
        wrong.sendall(said + b"\r\n\r\n")
        answer = wrong.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 400")
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (body["status"], body["code"]) == (400, "INVALID_ARGUMENT")
    assert "Traceback" not in here.log.getvalue()


def test_a_document_that_takes_too_long_to_read_is_given_up(caller, here):
    text = HELLO + "x-padding: [" + "[], " * 24_000 + "]\n"
    here.service.settings.__dict__["read_seconds"] = 0.05
    try:
        refused(caller.post("/solve", content=text, headers=YAML), 422, "FEDOPT.TOO_COMPLEX", "0.05 s")
    finally:
        here.service.settings.__dict__["read_seconds"] = 2.0
    assert caller.post("/solve", content=HELLO, headers=YAML).status_code == 202


def test_a_defect_of_the_server_is_told_without_its_traceback(caller, here, monkeypatch):
    async def broken(*_):
        raise ZeroDivisionError("secret figures")

    monkeypatch.setattr(here.service, "jobs", broken)
    answer = caller.get("/jobs")
    body = refused(answer, 500, "INTERNAL")
    assert "secret" not in answer.text
    (line,) = until(lambda: [line for line in here.lines() if line["event"] == "defect"])
    assert "ZeroDivisionError: secret figures" in line["traceback"]
    assert line["correlator"] == answer.headers["x-correlator"]
    assert body["message"] == "this is a defect of the server"


def test_a_database_that_cannot_be_written_are_no_defect(caller, here, monkeypatch):
    import sqlite3

    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(type(here.service._store), "add", full)
    answer = caller.post("/solve", content=HELLO, headers=YAML)
    refused(answer, 503, "UNAVAILABLE", "job database")
    assert "disk is full" in here.log.getvalue()
    monkeypatch.undo()
    monkeypatch.setattr(type(here.service._store), "counts", full)
    assert caller.get("/ready").status_code == 503
