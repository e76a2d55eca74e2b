"""A worker process: takes tasks from the server on its standard input, answers on its standard output.

    python -m fedopt.service.worker ROLE MEMORY_BYTES

It ends when the server does, however the server ended, and stops in the middle of a task when told to.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any, BinaryIO

from fedopt.service import messages, tasks
from fedopt.service.errors import plain_problems

PROGRESS_SECONDS = 0.2
"""Rounds that follow each other faster than this are not told one by one."""

WARM_UP = """
stages: [one, two]
domains:
  - {id: a, stage: one, capacity: 9, offers: [{id: x, latency: 2, impairment: {model: poisson, rate: 0.2}}]}
  - {id: b, stage: two, capacity: 9, offers: [{id: y, impairment: {model: exponential, mean: 0.2}}]}
tenants:
  - {id: t, arrivals: {model: poisson, rate: 0.3}, slo: {deadline: 40, epsilon: 0.001}}
"""
"""Planned once before the first task, so that no caller waits for imports and compiled kernels."""


class Cancelled(BaseException):
    """The task in hand is not wanted any more. Not an Exception: no solver may take it for a failure."""


class Conversation:
    """What the server says, heard by a thread of its own: tasks in turn, and orders about the one in hand."""

    def __init__(self, listened: BinaryIO, spoken: BinaryIO) -> None:
        self._listened, self._spoken = listened, spoken
        self._tasks: queue.SimpleQueue[messages.Message] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._order: tuple[str, str] = ("", "")
        threading.Thread(target=self._listen, daemon=True).start()

    def task(self) -> messages.Message:
        """The next task; waits for it."""
        return self._tasks.get()

    def say(self, message: dict[str, Any], text: bytes = b"") -> None:
        """Send a frame."""
        with self._writing:
            self._spoken.write(messages.encode(message, text))
            self._spoken.flush()

    def ordered(self, job: str) -> str:
        """The order about a job, `cancel` or `stop`; empty where there is none."""
        about, order = self._order
        return order if about == job else ""

    def _listen(self) -> None:
        while True:
            try:
                frame = messages.read(self._listened)
            except messages.MessageError:
                frame = None
            if frame is None:
                os._exit(0)  # the server has gone: nobody wants the answer
            message, _ = frame
            if "order" in message:
                self._order = (message["job"], message["order"])
            else:
                self._tasks.put(frame)


def main(role: str, memory: int) -> None:
    """Serve tasks until the server goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the server's to deal with
    spoken = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints, prints into the server's log
    _bound(memory)
    _end_with_parent()
    conversation = Conversation(sys.stdin.buffer, spoken)
    conversation.say({"started": True})  # jobs can be taken; they wait for what follows
    _warm_up(role)
    conversation.say({"warm": True})
    while True:
        message, text = conversation.task()
        try:
            outcome = _done(message, text, conversation)
        except Cancelled:
            conversation.say({"failed": {"code": "CANCELLED", "message": "cancelled"}})
        except MemoryError:
            words = "the task needs more memory than a worker of this server may use"
            conversation.say({"failed": {"code": "FEDOPT.TOO_COMPLEX", "message": words}})
        except Exception as error:
            conversation.say({"failed": failure(error)})
        else:
            for name, document in outcome.documents.items():
                conversation.say({"document": name}, document.encode("utf-8"))
            conversation.say({"done": outcome.summary})


def failure(error: Exception) -> dict[str, Any]:
    """An error as the server hears of it. `detail` is for its log alone."""
    if getattr(error, "exit_code", None) != 2:
        kind = type(error).__name__
        detail = "".join(traceback.format_exception(error))
        return {"code": "INTERNAL", "message": f"this is a defect of fedopt ({kind})", "detail": detail}
    if isinstance(error, tasks.InstanceError):
        first = " ".join(str(error.problems[0]).split())
        others = len(error.problems) - 1
        more = f" (and {others} more)" if others else ""
        code = "FEDOPT.FILE_NOT_ALLOWED" if isinstance(error, tasks.FileNamed) else "INVALID_ARGUMENT"
        problems = plain_problems(error.problems)
        return {"code": code, "message": f"{error.source}: {first}{more}", "problems": problems}
    return {"code": "INVALID_ARGUMENT", "message": _without_folders(" ".join(str(error).split()))}


def _done(message: Mapping[str, Any], text: bytes, conversation: Conversation) -> tasks.Outcome:
    """Do a task. `text` holds its documents one after another; `lengths` says where they end."""
    parts = []
    for length in message.get("lengths", ()):
        parts.append(text[:length])
        text = text[length:]
    match message["task"]:
        case "read-instance":
            return tasks.read_instance(parts[0], message["json"])
        case "read-intent":
            return tasks.read_intent(parts[0], message["json"])
        case "solve":
            teller = _Teller(message["job"], conversation)
            return tasks.solve(parts[0], message["options"], parts[1], teller)
        case "intent":
            return tasks.resolve_intent(parts[0], parts[1], parts[2], message["options"]["guarantee"])
        case "simulate":
            return tasks.simulate_plan(
                parts[0], parts[1], message["options"], _Teller(message["job"], conversation)
            )
        case "audit":
            return tasks.audit(parts[0], parts[1], parts[2], message["options"])
        case "explain":
            return tasks.explain_plan(parts[0], parts[1], message["options"]["timeLimit"])
        case "settle":
            return tasks.settle_plan(parts[0], parts[1], parts[2], message["options"])
        case "decompose":
            return tasks.decompose(parts[0], message["options"])
        case "report":
            return tasks.draw_report(parts[0], parts[1])
        case other:
            raise RuntimeError(f"there is no task {other!r}")


class _Teller:
    """Passes a solver's rounds on to the server, not too often, and its orders to the solver."""

    def __init__(self, job: str, conversation: Conversation) -> None:
        self._job, self._conversation = job, conversation
        self._last = 0.0

    def __call__(self, row: dict[str, Any]) -> bool:
        order = self._conversation.ordered(self._job)
        if order == "cancel":
            raise Cancelled
        now = time.monotonic()
        if now - self._last >= PROGRESS_SECONDS:
            self._last = now
            self._conversation.say({"progress": row})
        return order == "stop"


def _warm_up(role: str) -> None:
    if role == "read":
        return
    options = {"method": "central", "guarantee": "minplus", "objective": "cost", "gap": 1e-3}
    text = WARM_UP.encode()
    found = tasks.solve(text, {**options, "timeLimit": None, "seed": 0}, b"", lambda row: False)
    if role == "draw":
        tasks.draw_report(found.documents["plan"].encode(), text)


def _bound(memory: int) -> None:
    """Bound the memory; and where the machine as a whole has none left, let it be a worker that goes."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:
        stream.write("1000")


def _end_with_parent() -> None:
    """Ask Linux to end this process with the server; elsewhere the end of standard input does it."""
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def _without_folders(message: str) -> str:
    """The message without the folder in which fedopt is installed, which is no caller's business."""
    from fedopt.formulations.files import folder

    return message.replace(f"{folder()}{os.sep}", "")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
