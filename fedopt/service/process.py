"""The server's end of a worker process: starting it, talking with it, ending it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fedopt
from fedopt.service.errors import ApiError
from fedopt.service.frames import Frame, FrameError, encode, receive
from fedopt.service.log import Log

__all__ = ["Helper", "Helpers", "WorkerEnded", "WorkerProcess"]

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
        """Start it and wait until it is warm. Raises WorkerEnded where it fails."""
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
        message, _ = await self.hear()
        if not message.get("ready"):
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

    async def hear(self) -> Frame:
        """The next message. Raises WorkerEnded."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            return await receive(self._process.stdout)
        except FrameError:
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
