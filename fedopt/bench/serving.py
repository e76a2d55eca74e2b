"""The HTTP service: small requests a second, and what a plan costs over HTTP beside one planned in process.

Server and workers are processes on the loopback interface with a token, as users run them; the callers are
threads of this process, so that with few cores part of what is measured is theirs; the processor time that
the server itself took stands beside it. No rate limit is in force.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from fedopt.bench.row import Row
from fedopt.service import documents as examples
from fedopt.service.settings import BASE

__all__ = ["rows"]

START_SECONDS = 180.0
CONNECTIONS = 8


def rows(requests: int, jobs: int) -> list[Row]:
    """Rows of small requests (`requests` of each kind), and of `jobs` small plans made in both ways."""
    body = json.dumps(examples.INSTANCE).encode()
    with tempfile.TemporaryDirectory(prefix="fedopt-bench-") as name, _served(Path(name)) as caller:
        first = _finished(caller, _posted(caller, body))
        job = f"/jobs/{first}"
        found = [
            _requests(caller, "look at a job", requests, 1, job),
            _requests(caller, "look at a job", requests, CONNECTIONS, job),
            _requests(caller, "fetch a plan of 2 kB", requests, 1, f"{job}/plan"),
            _requests(caller, "health, no token", requests, 1, "/health"),
        ]
        here = _in_process(body, jobs)
        found.append(Row("plan in process: read, solve, check", here))
        one = _one_by_one(caller, body, jobs)
        found.append(
            Row("the same over HTTP: post, follow, fetch", one, ratio_to="in process", ratio=here / one)
        )
        found.append(_together(caller, body, jobs))
        found += _report(caller, job, body)
    return found


class _Caller:
    """One connection to the server."""

    def __init__(self, port: int, token: str, server: int) -> None:
        self._port, self._token, self._server = port, token, server
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def another(self) -> _Caller:
        """A connection of its own for another thread."""
        return _Caller(self._port, self._token, self._server)

    def server_seconds(self) -> float | None:
        """Processor time of the server process so far; None where the system does not tell."""
        try:
            fields = Path(f"/proc/{self._server}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The answer's body. Raises RuntimeError for a refusal."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        kept = self._connection.sock is not None
        try:
            self._connection.request(method, BASE + path, body, headers)
            answer = self._connection.getresponse()
        except ConnectionError:  # a kept connection may be closed between two requests
            if not kept or method != "GET":
                raise
            self._connection.close()
            self._connection.request(method, BASE + path, body, headers)
            answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status}: {content[:500]!r}")
        return content


@contextmanager
def _served(folder: Path) -> Iterator[_Caller]:
    """A server whose workers are warm."""
    from fedopt.service.auth import make_token

    token = make_token("bench", folder / "tokens")
    command = [sys.executable, "-c", "from fedopt.cli import main; main()", "serve", "run", "--port", "0"]
    options = ["--tokens", str(folder / "tokens"), "--state", str(folder / "state"), "--rate", "0"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r":(\d+)/", line)
        if found is None:
            raise RuntimeError(f"the server did not start: {line}{process.stderr.read()}")
        threading.Thread(target=process.stderr.read, daemon=True).start()  # the log has to go somewhere
        caller = _Caller(int(found[1]), token, process.pid)
        end = time.monotonic() + START_SECONDS
        while not _ready(caller):
            if time.monotonic() > end:
                raise RuntimeError("the server's workers did not become ready")
            time.sleep(0.1)
        yield caller
    finally:
        process.terminate()
        process.wait()


def _ready(caller: _Caller) -> bool:
    try:
        return bool(caller.ask("GET", "/ready"))
    except RuntimeError:
        return False


def _posted(caller: _Caller, body: bytes) -> str:
    return str(json.loads(caller.ask("POST", "/solve", body))["jobId"])


def _finished(caller: _Caller, job: str) -> str:
    """Follow a job until it ends. Raises RuntimeError where it did not end well."""
    last = caller.ask("GET", f"/jobs/{job}/events").decode().rpartition("data: ")[2]
    if json.loads(last)["state"] != "DONE":
        raise RuntimeError(last)
    return job


def _requests(caller: _Caller, what: str, count: int, connections: int, path: str) -> Row:
    """So many requests over so many connections; seconds per request, and their rate."""
    callers = [caller.another() for _ in range(connections)]
    each = count // connections

    def run(one: _Caller) -> None:
        for _ in range(each):
            one.ask("GET", path)

    for one in callers:
        one.ask("GET", path)
    words = f"{what}, {connections} connection{'s' if connections > 1 else ''}"
    return _rated(words, callers, run, each * connections)


def _rated(words: str, callers: list[_Caller], run: Callable[[_Caller], None], total: int) -> Row:
    """The row of something that every caller does at once, `total` times in all."""
    before = callers[0].server_seconds()
    with ThreadPoolExecutor(len(callers)) as threads:
        started = time.perf_counter()
        for done in [threads.submit(run, one) for one in callers]:
            done.result()
        seconds = time.perf_counter() - started
    after = callers[0].server_seconds()
    more = {"per_second": total / seconds}
    if before is not None and after is not None:
        more["server_ms"] = 1000 * (after - before) / total
    return Row(words, seconds / total, more=more)


def _in_process(body: bytes, jobs: int) -> float:
    """Median seconds to do in this process what the service does with an instance."""
    import fedopt
    from fedopt.instance import loads

    taken = []
    for _ in range(jobs + 1):
        started = time.perf_counter()
        instance = loads(body)
        plan = fedopt.solve(instance)
        fedopt.check(plan, instance)
        plan.to_json()
        taken.append(time.perf_counter() - started)
    return median(taken[1:])


def _one_by_one(caller: _Caller, body: bytes, jobs: int) -> float:
    """Median seconds from posting an instance to having its plan, one after another."""
    taken = []
    for _ in range(jobs):
        started = time.perf_counter()
        job = _finished(caller, _posted(caller, body))
        caller.ask("GET", f"/jobs/{job}/plan")
        taken.append(time.perf_counter() - started)
    return median(taken)


def _together(caller: _Caller, body: bytes, jobs: int) -> Row:
    """Jobs that are posted over several connections at once, each followed to its end, through one worker."""
    callers = [caller.another() for _ in range(CONNECTIONS)]
    each = max(1, jobs // CONNECTIONS)

    def run(one: _Caller) -> None:
        for _ in range(each):
            _finished(one, _posted(one, body))

    return _rated(f"plans of {CONNECTIONS} callers at once, one worker", callers, run, each * CONNECTIONS)


def _report(caller: _Caller, job: str, body: bytes) -> list[Row]:
    """A report that is drawn in process, drawn by the service, and fetched once more."""
    import fedopt
    from fedopt.instance import loads
    from fedopt.report import Given, render

    instance = loads(body)
    given = Given(plan=fedopt.solve(instance), instance=instance)
    render(given, explain_seconds=0.0)
    started = time.perf_counter()
    render(given, explain_seconds=0.0)
    here = time.perf_counter() - started
    found = [Row("report in process", here)]
    caller.ask("GET", f"{_another(caller, body)}/report")  # the drawing process is begun
    for words, path in (
        ("report drawn by the service", _another(caller, body)),
        ("report fetched again", job),
    ):
        if path == job:
            caller.ask("GET", f"{job}/report")
        started = time.perf_counter()
        caller.ask("GET", f"{path}/report")
        seconds = time.perf_counter() - started
        found.append(Row(words, seconds, ratio_to="in process", ratio=here / seconds))
    return found


def _another(caller: _Caller, body: bytes) -> str:
    return f"/jobs/{_finished(caller, _posted(caller, body))}"
