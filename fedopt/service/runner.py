"""The jobs that wait, and the workers that take them one after another."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from typing import Any

from fedopt.service.books import Books
from fedopt.service.errors import CODES
from fedopt.service.log import Log
from fedopt.service.process import WorkerEnded, WorkerProcess
from fedopt.service.settings import Settings
from fedopt.service.store import Job, State

__all__ = ["Runner"]

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

    def __init__(self, settings: Settings, books: Books, log: Log) -> None:
        self._settings, self._books, self._log = settings, books, log
        self._waiting = asyncio.Condition()
        self._running: dict[str, _Run] = {}
        self._workers: list[asyncio.Task[None]] = []
        self._warm = 0
        self._draining = False

    @property
    def warm(self) -> int:
        """Workers that are ready for jobs or busy with them."""
        return self._warm

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
        await self._books.do(lambda store: store.requeue())

    async def _work(self) -> None:
        """One worker's life: a process that is replaced when it ends."""
        threads = max(1, (os.cpu_count() or 1) // self._settings.workers)
        while True:
            process = WorkerProcess("plan", self._settings.memory_bytes, threads, self._log)
            try:
                await process.begin()
                self._warm += 1
                try:
                    await self._serve(process)
                finally:
                    self._warm -= 1
            except WorkerEnded as error:
                self._log.error("worker-failed", how=error.how)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:
                self._log.error("worker-failed", how=f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                await asyncio.shield(process.end())

    async def _serve(self, process: WorkerProcess) -> None:
        """Give a process jobs as long as it lives."""
        while process.alive:
            job = await self._next()
            run = self._running[job.id] = _Run()
            self._log.note("job-started", job=job.id, caller=job.owner, kind=job.kind, attempt=job.attempts)
            try:
                state = await self._one(process, job, run)
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
            self._log.note("job-ended", job=job.id, caller=job.owner, state=state)

    async def _next(self) -> Job:
        while True:
            if not self._draining:
                job = await self._books.do(lambda store: store.take())
                if job is not None:
                    self._books.tell(job.id)
                    return job
            async with self._waiting:
                with contextlib.suppress(TimeoutError):  # woken or not, look again: no job is ever forgotten
                    async with asyncio.timeout(RETRY_SECONDS):
                        await self._waiting.wait()

    async def _one(self, process: WorkerProcess, job: Job, run: _Run) -> str:
        """Have a job done; the state it ends in. Raises WorkerEnded."""
        limit = job.options.get("timeLimit") or self._settings.job_seconds
        parts = [await self._document(job.id, name) for name in _PARTS[job.kind]]
        if not await self._books.do(lambda store: store.running(job.id)):
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
        await self._books.do(lambda store: store.progress(job.id, row))
        self._books.tell(job.id)

    async def _back(self, job: Job) -> None:
        await self._books.do(lambda store: store.requeue(job.id))
        self._books.tell(job.id)

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
        written = await self._books.do(lambda store: store.finish(job.id, state, **found))
        self._books.tell(job.id)
        return state if written else "CANCELLED"

    async def _document(self, job: str, name: str) -> bytes:
        return await self._books.do(lambda store: store.document(job, name)) or b""


class _Run:
    """A job in a worker's hands, and what its caller ordered meanwhile."""

    def __init__(self) -> None:
        self.order = ""
        self.ordered = asyncio.Event()


_PARTS = {"solve": ("instance", "warm-start"), "intent": ("intent", "instance", "plan-in-force")}
"""The documents that a worker is given, by kind of job."""
