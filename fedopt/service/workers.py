"""Worker processes of the server: starting them, talking with them, giving them jobs, ending them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fedopt
from fedopt.service.documents import KINDS
from fedopt.service.errors import CODES, ApiError
from fedopt.service.messages import Message, MessageError, encode, receive
from fedopt.service.observability import Log, Metrics, span
from fedopt.service.settings import Settings
from fedopt.service.store import Job, Repository, State

__all__ = ["Helper", "Helpers", "Runner", "WorkerEnded", "WorkerProcess"]


LAST_LINES = 40
"""Lines of what a worker printed that are logged when it dies."""


class WorkerEnded(Exception):
    """The worker process ended by itself; `how` says by which signal or exit code."""

    def __init__(self, how: str) -> None:
        self.how = how
        super().__init__(how)


class WorkerProcess:
    """One worker process, from `begin` to `end`. Not for use by two tasks at a time."""

    def __init__(self, role: str, memory: int, threads: int, log: Log) -> None:
        self._role, self._memory, self._threads, self._log = role, memory, threads, log
        self._process: asyncio.subprocess.Process | None = None
        self._printed: deque[str] = deque(maxlen=LAST_LINES)
        self._printing: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Its number, None before it begins."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def begin(self) -> None:
        """Start it and wait until it speaks. Raises WorkerEnded where it fails."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "fedopt.service.worker",
            self._role,
            str(self._memory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(self._threads),
            start_new_session=True,
        )
        self._printing = asyncio.create_task(self._keep_printed())
        await self._hear("started")

    async def warm(self) -> None:
        """Wait until it has compiled what its first task needs. Raises WorkerEnded where it fails."""
        await self._hear("warm")

    async def _hear(self, word: str) -> None:
        message, _ = await self.hear()
        if not message.get(word):
            await self.end()
            raise WorkerEnded("it does not speak as a worker does")

    async def say(self, message: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
        """Send a message and the documents that go with it. Raises WorkerEnded."""
        assert self._process is not None
        assert self._process.stdin is not None
        lengths = {"lengths": [len(part) for part in parts]} if parts else {}
        try:
            self._process.stdin.write(encode({**message, **lengths}, b"".join(parts)))
            await self._process.stdin.drain()
        except OSError:
            raise await self._ended() from None

    async def hear(self) -> Message:
        """The next message. Raises WorkerEnded."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            return await receive(self._process.stdout)
        except MessageError:
            raise await self._ended() from None

    async def end(self) -> None:
        """Kill it and wait until it is gone."""
        if self._process is not None:
            if self._process.returncode is None:
                # not Process.kill(), which may collect the exit status that asyncio waits for
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        if self._printing is not None:
            await self._printing

    async def _ended(self) -> WorkerEnded:
        await self.end()
        assert self._process is not None
        code = self._process.returncode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._log.error("worker-ended", role=self._role, how=how, printed=list(self._printed))
        return WorkerEnded(how)

    async def _keep_printed(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        while True:
            try:
                line = await self._process.stderr.readline()
            except ValueError:  # a line longer than the buffer: dropped
                continue
            if not line:
                return
            self._printed.append(line.decode("utf-8", "replace").rstrip()[:500])


class Helper:
    """A worker that answers short questions one at a time; begun when it is first asked, begun anew when it
    died or took too long.
    """

    def __init__(self, role: str, memory: int, log: Log) -> None:
        self._role, self._memory, self._log = role, memory, log
        self._turn = asyncio.Lock()
        self._process: WorkerProcess | None = None

    async def ask(
        self, message: dict[str, Any], parts: Sequence[bytes], seconds: float
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The answer and its documents. Raises ApiError: what the worker refused, or that it took long."""
        async with self._turn:
            known = self._process
            try:
                async with asyncio.timeout(seconds):
                    return await self._answer(await self._ready(), message, parts)
            except TimeoutError:
                await self.end()
                words = f"this takes longer than the {seconds:g} s that this server allows"
                raise ApiError("FEDOPT.TOO_COMPLEX", words) from None
            except WorkerEnded as error:
                ended, self._process = error, None
            except asyncio.CancelledError:  # nobody waits for the answer that is on its way
                await self.end()
                raise
        if known is not None:
            return await self.ask(message, parts, seconds)  # it may have ended while it was idle: once more
        words = f"the process that worked on this ended ({ended.how}), most likely for want of memory"
        raise ApiError("FEDOPT.TOO_COMPLEX", words) from ended

    async def begin(self) -> None:
        """Begin it ahead of the first question."""
        async with self._turn:
            await self._ready()

    async def end(self) -> None:
        """End it; a later question begins it anew."""
        process, self._process = self._process, None
        if process is not None:
            await process.end()

    async def _ready(self) -> WorkerProcess:
        if self._process is None or not self._process.alive:
            process = WorkerProcess(self._role, self._memory, 1, self._log)
            try:
                await process.begin()
                await process.warm()
            except BaseException:
                await process.end()
                raise
            self._process = process
        return self._process

    async def _answer(
        self, process: WorkerProcess, message: dict[str, Any], parts: Sequence[bytes]
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        await process.say(message, parts)
        documents = {}
        while True:
            said, text = await process.hear()
            if "document" in said:
                documents[str(said["document"])] = text
            elif "failed" in said:
                failed = said["failed"]
                if "detail" in failed:
                    self._log.error("task-failed", task=message["task"], traceback=failed["detail"])
                raise ApiError(failed["code"], failed["message"], problems=failed.get("problems", ()))
            else:
                return said["done"], documents


class Helpers:
    """A few helpers of one kind. A caller has one at a time, so that none can keep all of them busy."""

    def __init__(self, count: int, role: str, memory: int, log: Log) -> None:
        self._all = [Helper(role, memory, log) for _ in range(count)]
        self._free = list(reversed(self._all))
        self._room = asyncio.Semaphore(count)
        self._turns: dict[str, asyncio.Lock] = {}

    async def ask(
        self, caller: str, message: dict[str, Any], parts: Sequence[bytes], seconds: float
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The answer of the first helper that is free, in the caller's turn. Raises ApiError."""
        async with self._turns.setdefault(caller, asyncio.Lock()), self._room:
            helper = self._free.pop()
            try:
                return await helper.ask(message, parts, seconds)
            finally:
                self._free.append(helper)

    async def begin(self) -> None:
        """Begin the one that is asked first."""
        await self._free[-1].begin()

    async def end(self) -> None:
        """End all."""
        await asyncio.gather(*(helper.end() for helper in self._all))


def _environment(threads: int) -> dict[str, str]:
    """The worker's environment: this fedopt, and its share of the cores unless the user said otherwise."""
    environment = dict(os.environ)
    here = str(Path(fedopt.__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, environment.get("PYTHONPATH")]))
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment.setdefault(name, str(threads))
    return environment


CANCEL_SECONDS = 0.5
"""What a solver is given to notice that it is not wanted, before its process is killed."""

EXTRA_SECONDS = 60.0
"""What reading, explaining and checking may add to a job's own time limit before its worker is killed."""

RETRY_SECONDS = 5.0


class Runner:
    """Workers of a server, from `begin` to `end`.

    Each is a process that takes the next job, tells of its rounds and writes down what came of it. A job that
    is cancelled, or takes too long, takes its process with it if it must.
    """

    def __init__(self, settings: Settings, repository: Repository, log: Log, metrics: Metrics) -> None:
        self._settings, self._repository, self._log, self._metrics = settings, repository, log, metrics
        self._waiting = asyncio.Condition()
        self._running: dict[str, _Run] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._warm = 0
        self.started = False
        self.failed = ""
        self.posted: dict[str, dict[str, str]] = {}
        """The trace of each waiting job's request; a server that begins again knows none."""
        self._draining = False

    @property
    def warm(self) -> int:
        """Workers that are ready for jobs or busy with them."""
        return self._warm

    @property
    def ready(self) -> bool:
        """Whether jobs will be worked on: a worker is ready, or one has started and none failed since."""
        return self._warm > 0 or (self.started and not self.failed)

    @property
    def running(self) -> int:
        """Jobs that are being worked on."""
        return len(self._running)

    def begin(self) -> None:
        """Start the workers."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._settings.workers)]

    async def wake(self) -> None:
        """Tell the workers that there is something to do."""
        async with self._waiting:
            self._waiting.notify_all()

    def order(self, job: str, order: str) -> bool:
        """Pass an order on to the job's worker, `cancel` or `stop`; False where no worker has the job."""
        run = self._running.get(job)
        if run is None:
            return False
        run.order = order
        run.ordered.set()
        return True

    async def drain(self, seconds: float) -> None:
        """Take no more jobs, and wait for the running ones, at most so long."""
        self._draining = True
        await self.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._running:
                    await asyncio.sleep(0.05)

    async def end(self) -> None:
        """End the workers at once; what they had in hand waits again."""
        self._draining = True
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._running.clear()
        await self._repository.do(lambda store: store.requeue())

    async def _work(self) -> None:
        """One worker's life: a process that is replaced when it ends."""
        threads = max(1, (os.cpu_count() or 1) // self._settings.workers)
        while True:
            process = WorkerProcess("plan", self._settings.memory_bytes, threads, self._log)
            try:
                await process.begin()
                self.started = True
                await process.warm()
                self._warm += 1
                self.failed = ""
                try:
                    await self._serve(process)
                finally:
                    self._warm -= 1
            except WorkerEnded as error:
                self._log.error("worker-failed", how=error.how)
                self.failed = error.how
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:
                self.failed = f"{type(error).__name__}: {error}"
                self._log.error("worker-failed", how=self.failed)
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                await asyncio.shield(process.end())

    async def _serve(self, process: WorkerProcess) -> None:
        """Give a process jobs as long as it lives."""
        while process.alive:
            job = await self._next()
            run = self._running[job.id] = _Run()
            began = time.monotonic()
            self._log.note("job-started", job=job.id, caller=job.owner, kind=job.kind, attempt=job.attempts)
            try:
                about: dict[str, str | int] = {
                    "fedopt.job": job.id,
                    "fedopt.job.kind": job.kind,
                    "fedopt.job.attempt": job.attempts,
                }
                with span(f"job {job.kind}", about, self.posted.pop(job.id, None)) as begun:
                    state = await self._one(process, job, run)
                    begun.set_attribute("fedopt.job.state", state)
            except WorkerEnded as error:
                words = (
                    f"the process that worked on this ended ({error.how}): a defect, or it took more memory "
                    "than there is"
                )
                state = await self._failed(job, "INTERNAL", words)
            except Exception:
                await self._back(job)
                raise
            finally:
                self._running.pop(job.id, None)
            seconds = time.monotonic() - began
            self._metrics.job(job.kind, state, seconds)
            self._log.note(
                "job-ended",
                job=job.id,
                caller=job.owner,
                kind=job.kind,
                state=state,
                seconds=round(seconds, 3),
            )

    async def _next(self) -> Job:
        while True:
            if not self._draining:
                job = await self._repository.do(lambda store: store.take())
                if job is not None:
                    self._repository.tell(job.id)
                    return job
            async with self._waiting:
                with contextlib.suppress(TimeoutError):  # woken or not, look again: no job is ever forgotten
                    async with asyncio.timeout(RETRY_SECONDS):
                        await self._waiting.wait()

    async def _one(self, process: WorkerProcess, job: Job, run: _Run) -> str:
        """Have a job done; the state it ends in. Raises WorkerEnded."""
        limit = job.options.get("timeLimit") or self._settings.job_seconds
        parts = [await self._document(job.id, name) for name in KINDS[job.kind].inputs]
        if not await self._repository.do(lambda store: store.running(job.id)):
            return "CANCELLED"  # while it was being handed over, when no order could reach it
        await process.say({"task": job.kind, "job": job.id, "options": dict(job.options)}, parts)
        answer = asyncio.create_task(self._answer(process, job))
        deadline = asyncio.get_running_loop().time() + limit + EXTRA_SECONDS
        try:
            while True:
                ordered = asyncio.create_task(run.ordered.wait())
                left = max(0.0, deadline - asyncio.get_running_loop().time())
                done, _ = await asyncio.wait(
                    {answer, ordered}, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                ordered.cancel()
                if answer in done:
                    return answer.result()
                if not done:
                    await process.end()
                    words = f"the job did not end {EXTRA_SECONDS:g} s after its limit of {limit:g} s"
                    return await self._failed(job, "TIMEOUT", words)
                run.ordered.clear()
                await process.say({"order": run.order, "job": job.id})
                if run.order == "cancel":
                    await asyncio.wait({answer}, timeout=CANCEL_SECONDS)
                    if not answer.done():
                        await process.end()
                    return "CANCELLED"
        finally:
            if not answer.done():
                answer.cancel()
            with contextlib.suppress(asyncio.CancelledError, WorkerEnded):
                await answer

    async def _answer(self, process: WorkerProcess, job: Job) -> str:
        """Hear a worker out about a job, and write down what it says."""
        documents: dict[str, bytes] = {}
        while True:
            message, text = await process.hear()
            if "progress" in message:
                await self._note(job, message["progress"])
            elif "document" in message:
                documents[str(message["document"])] = text
            elif "failed" in message:
                failed = message["failed"]
                if "detail" in failed:
                    self._log.error("job-defect", job=job.id, traceback=failed["detail"])
                if failed["code"] == "CANCELLED":
                    return "CANCELLED"
                return await self._failed(job, failed["code"], failed["message"], failed.get("problems"))
            else:
                return await self._finish(job, "DONE", result=message["done"], documents=documents)

    async def _note(self, job: Job, row: Mapping[str, Any]) -> None:
        await self._repository.do(lambda store: store.progress(job.id, row))
        self._repository.tell(job.id)

    async def _back(self, job: Job) -> None:
        await self._repository.do(lambda store: store.requeue(job.id))
        self._repository.tell(job.id)

    async def _failed(self, job: Job, code: str, message: str, problems: Any = None) -> State:
        error: Mapping[str, Any] = {
            "status": CODES[code][0],
            "code": code,
            "message": message[:512],
            **({"problems": problems} if problems else {}),
        }
        return await self._finish(job, "FAILED", error=error)

    async def _finish(self, job: Job, state: State, **found: Any) -> State:
        """Write down what came of a job; the state it is in then."""
        written = await self._repository.do(lambda store: store.finish(job.id, state, **found))
        self._repository.tell(job.id)
        return state if written else "CANCELLED"

    async def _document(self, job: str, name: str) -> bytes:
        return await self._repository.do(lambda store: store.document(job, name)) or b""


class _Run:
    """A job in a worker's hands, and what its caller ordered meanwhile."""

    def __init__(self) -> None:
        self.order = ""
        self.ordered = asyncio.Event()
