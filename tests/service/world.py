"""A server as a process of its own, and what callers do with it."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from fedopt.instance.generating import generate

ROOT = Path(__file__).resolve().parents[2]

HELLO = """\
fedopt: 1
name: hello
stages: [access, compute]
domains:
  - {id: metro, stage: access, capacity: 20, offers: [{id: gold, latency: 3, latency_kind: delay, impairment: {model: exponential, mean: 0.3}}]}
  - {id: near, stage: compute, capacity: 4, offers: [{id: llm, latency: 2, cost: {model: linear, rate: 2.0}}]}
  - {id: far, stage: compute, capacity: 40, offers: [{id: llm, latency: 12, cost: {model: linear, rate: 0.8}}]}
tenants:
  - {id: chat, count: 3, arrivals: {model: poisson, rate: 0.4}, slo: {deadline: 60, epsilon: 0.001}}
  - {id: voice, arrivals: {model: poisson, rate: 0.2}, slo: {deadline: 15, epsilon: 0.0001}}
"""  # noqa: E501

CITY = (ROOT / "instances" / "city.yaml").read_text(encoding="utf-8")
LONG = {"method": "admm", "gap": "0"}
"""With the city these options take a second, with STREET several, in many rounds that are told; with CROWD
a minute. A test that acts in the middle of a job takes one that is long enough on a fast machine too."""

STREET = generate(8, 3, 4, 0, binding=0.7).to_json()
CROWD = generate(30, 3, 6, 0, binding=0.7).to_json()

IMPOSSIBLE = HELLO.replace("deadline: 15", "deadline: 1")

YAML = {"Content-Type": "application/yaml"}
JSON = {"Content-Type": "application/json"}


class Server:
    """`fedopt serve` as a process. `start` may be called again after `kill` or `stop`: the state stays."""

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self.folder, self.options, self.port = folder, options, port
        self.state = folder / "state"
        self.log: list[dict[str, Any]] = []
        self.other: list[str] = []

    def start(self) -> Server:
        """Start it and wait for its address."""
        command = [sys.executable, "-c", "from fedopt.cli import main; main()", "serve", "run"]
        where = ["--state", str(self.state), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *where, *self.options],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        )
        addresses: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, addresses), daemon=True).start()
        address = addresses.get(timeout=60)
        assert address is not None, f"the server did not start: {self.other}"
        self.base = address
        self.port = int(re.search(r":(\d+)/", address)[1])  # type: ignore[index]
        return self

    def kill(self) -> None:
        """End it by SIGKILL, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """End it in good order; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of a kind."""
        return [line for line in self.log if line["event"] == event]

    def _read(self, process: subprocess.Popen[str], addresses: queue.Queue[str | None]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("{"):
                self.log.append(json.loads(line))
            else:
                self.other.append(line)
                found = re.search(r"https?://\S+", line)
                if found:
                    addresses.put(found[0])
        addresses.put(None)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Server]:
    """A server that is stopped in the end."""
    server = Server(folder, *options)
    server.start()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


class Caller:
    """One caller of a server."""

    def __init__(self, server: Server, token: str | None = None, **options: Any) -> None:
        self.server = server
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(headers=headers, timeout=60, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(self.server.base + path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.http.post(self.server.base + path, **options)

    def solve(
        self, text: str = HELLO, headers: dict[str, str] | None = None, **options: str
    ) -> dict[str, Any]:
        """Post an instance; the job."""
        answer = self.post("/solve", content=text, headers={**YAML, **(headers or {})}, params=options)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def job(self, job: str) -> dict[str, Any]:
        answer = self.get(f"/jobs/{job}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def ended(self, job: str, seconds: float = 240) -> dict[str, Any]:
        """The job when it is finished."""
        return until(
            lambda: (found := self.job(job))["state"] in ("DONE", "FAILED", "CANCELLED") and found, seconds
        )

    def events(
        self, job: str, after: int | None = None, most: int | None = None, seconds: float = 240
    ) -> list[tuple[int, str, Any]]:
        """(number, kind, data) of the events told, until the stream ends or `most` have come."""
        end = time.monotonic() + seconds
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        found: list[tuple[int, str, Any]] = []
        with self.http.stream("GET", f"{self.server.base}/jobs/{job}/events", headers=headers) as answer:
            if answer.status_code == 204:
                return []
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            fields: dict[str, str] = {}
            for line in answer.iter_lines():  # a line every few seconds, if only to keep the line open
                assert time.monotonic() < end, "the stream did not end"
                name, colon, value = line.partition(": ")
                if colon and name:
                    fields[name] = value
                elif not line and fields:
                    found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                    fields = {}
                    if most is not None and len(found) >= most:
                        break
        return found


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for something to hold; what it is."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return found
