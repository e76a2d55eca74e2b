"""What the service does, request by request, over whatever protocol: the desk between callers and workers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fedopt.service.documents import KINDS, Job
from fedopt.service.errors import ApiError
from fedopt.service.learned import Learned
from fedopt.service.middleware import Limits
from fedopt.service.observability import Log, Metrics, trace_context
from fedopt.service.settings import Settings
from fedopt.service.store import Job as Entry
from fedopt.service.store import Repository, Store
from fedopt.service.workers import Helpers, Runner

__all__ = ["Event", "Service"]

Event = tuple[int, str, str]
"""Number, kind and data of something that happened to a job."""

PURGE_SECONDS = 600.0

MAKER = {document: name for name, kind in KINDS.items() for document in kind.results}
"""The kind of job that has a document as its result."""


class Service:
    """A running service, from `begin` to `end`. A method that takes a caller sees that caller's jobs alone.

    Raises StorageError.
    """

    def __init__(self, settings: Settings, log: Log) -> None:
        self.settings, self.log, self.metrics = settings, log, Metrics()
        self.limits = Limits(settings.rate, settings.at_once, settings.streams)
        self._store = Store(settings.state, _told)
        self.learned = Learned(settings.state)
        self.draining = False
        self.closing = False

    async def begin(self) -> None:
        """Take up where the last server left off, and start the workers."""
        settings, log = self.settings, self.log
        self.repository = Repository(self._store, log)
        self.runner = Runner(settings, self.repository, log, self.metrics)
        self._readers = Helpers(2, "read", settings.memory_bytes, log)
        self._drawers = Helpers(1, "draw", settings.memory_bytes, log)
        again, failed = await self.repository.do(lambda store: store.recover(settings.attempts))
        if again or failed:
            log.warn("recovered", again=again, failed=failed)
        self.runner.begin()
        self._background = [asyncio.create_task(work) for work in (self._purge(), self._warm_helpers())]

    async def drain(self) -> None:
        """Take no new jobs, give the running ones their time."""
        self.draining = True
        await self.runner.drain(self.settings.grace_seconds)

    def close_streams(self) -> None:
        """End event streams; their readers may come back to the next server."""
        self.draining = self.closing = True
        self.repository.tell_all()

    async def end(self) -> None:
        """Stop everything; what is not finished will be when a server begins again."""
        self.close_streams()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.runner.end()
        await asyncio.gather(self._readers.end(), self._drawers.end())
        await asyncio.to_thread(self.learned.end)
        self.repository.close()

    # --- jobs -----------------------------------------------------------------------------------------

    async def solve(
        self, caller: str, body: bytes, json_only: bool, options: dict[str, Any], key: str | None
    ) -> Entry:
        """Take in an instance to plan. `options["warmStart"]` names a job whose plan to start from."""
        if key is not None and (earlier := await self._earlier(caller, key, body, options)):
            return earlier
        await self._check_room(caller)
        documents: dict[str, bytes] = {}
        if options["warmStart"] is not None:
            documents["warm-start"] = await self._plan_of(caller, options["warmStart"], "warmStart")
        summary, read = await self._read(caller, "read-instance", body, json_only)
        return await self._add(
            caller, "solve", summary["name"], options, {**documents, **read}, key, _print(body, options)
        )

    async def intent(
        self, caller: str, body: bytes, json_only: bool, options: dict[str, Any], key: str | None
    ) -> Entry:
        """Take in an intent to resolve, on the instance that came with it or on that of a job."""
        if key is not None and (earlier := await self._earlier(caller, key, body, options)):
            return earlier
        await self._check_room(caller)
        summary, documents = await self._read(caller, "read-intent", body, json_only)
        if summary["job"] is not None:
            documents["plan"] = await self._plan_of(caller, summary["job"], "job")
            documents["instance"] = await self._content(summary["job"], "instance")
        if "plan" in documents:
            documents["plan-in-force"] = documents.pop("plan")
        return await self._add(
            caller, "intent", summary["name"], options, documents, key, _print(body, options)
        )

    async def analyse(
        self,
        caller: str,
        kind: str,
        job: str,
        options: dict[str, Any],
        key: str | None,
        attached: Mapping[str, bytes] | None = None,
    ) -> Entry:
        """Take in an analysis of the plan of a job: simulate, audit, explain or settle it.

        `attached` are the documents that came with the request. Raises ApiError where the job has no plan.
        """
        attached = attached or {}
        options = {"job": job, **options}
        body = b"".join(attached.values())
        if key is not None and (earlier := await self._earlier(caller, key, body, options)):
            return earlier
        await self._check_room(caller)
        planned = await self.job(caller, job)
        plan = await self.document(caller, job, "plan")
        if kind != "explain" and (planned.result or {}).get("cost") is None:
            raise ApiError("INCOMPATIBLE_STATE", f"there is no plan to {kind}: the instance has none")
        documents = {"plan": plan, "instance": await self._content(job, "instance"), **attached}
        return await self._add(caller, kind, planned.name, options, documents, key, _print(body, options))

    async def decompose(self, caller: str, history: bytes, options: dict[str, Any], key: str | None) -> Entry:
        """Take in a history of answers and an SLA that is to be decomposed over its domains."""
        if key is not None and (earlier := await self._earlier(caller, key, history, options)):
            return earlier
        await self._check_room(caller)
        documents, printed = {"history": history}, _print(history, options)
        return await self._add(caller, "decompose", options["sla"], options, documents, key, printed)

    async def read_instance(self, caller: str, body: bytes, json_only: bool) -> dict[str, Any]:
        """Read an instance and plan nothing: its summary and its canonical form."""
        summary, documents = await self._read(caller, "read-instance", body, json_only)
        return {**summary, "instance": json.loads(documents["instance"])}

    async def job(self, caller: str, job: str) -> Entry:
        """A job. Raises ApiError where the caller has none of that name."""
        return await self.repository.do(lambda store: store.get(caller, job))

    async def jobs(
        self, caller: str, state: str | None, oldest_first: bool, page: int, per_page: int
    ) -> tuple[list[Entry], int]:
        """A page of jobs, and how many there are."""
        first = (page - 1) * per_page
        return await self.repository.do(
            lambda store: store.page(caller, state, oldest_first, first, per_page)
        )

    async def cancel(self, caller: str, job: str) -> Entry:
        """Cancel a job; no result is produced. Raises ApiError where it is finished."""
        entry, ran = await self.repository.do(lambda store: store.cancel(caller, job))
        self.runner.posted.pop(job, None)
        if ran:
            self.runner.order(job, "cancel")
        self.repository.tell(job)
        return entry

    async def stop(self, caller: str, job: str) -> Entry:
        """Have the solver of a running job stop at the best plan so far."""
        entry = await self.job(caller, job)
        if entry.state != "RUNNING" or entry.kind != "solve" or not self.runner.order(job, "stop"):
            raise ApiError(
                "INCOMPATIBLE_STATE", f"only a running solver can be stopped; the job is {entry.state}"
            )
        return entry

    async def delete(self, caller: str, job: str) -> None:
        """Forget a finished job and its documents."""
        await self.repository.do(lambda store: store.delete(caller, job))
        self.repository.tell(job)

    async def document(self, caller: str, job: str, name: str) -> bytes:
        """A document of a job. Raises ApiError where there is none, or not yet."""
        entry = await self.job(caller, job)
        maker = MAKER.get(name)
        if maker is not None:
            if entry.kind != maker:
                raise ApiError("NOT_FOUND", f"a job of the kind {entry.kind} has no {name}")
            if entry.state != "DONE":
                raise ApiError("INCOMPATIBLE_STATE", f"there is no {name}: the job is {entry.state}")
        if name == "report":
            return await self._report(caller, job)
        return await self._content(job, name)

    async def events(self, caller: str, job: str, after: int) -> AsyncIterator[Event]:
        """What happened to a job after event number `after`, and then what happens, until it is finished or
        the server ends.
        """
        with self.repository.watched(job) as changed:
            while True:
                changed.clear()
                try:
                    ended, found = await self._news(caller, job, after)
                except ApiError:  # deleted meanwhile
                    return
                for event in found:
                    after = event[0]
                    yield event
                if found:
                    continue
                if ended or self.closing:
                    return
                await changed.wait()

    async def _news(self, caller: str, job: str, after: int) -> tuple[bool, list[Event]]:
        """(whether a job is finished, what happened to it after an event), seen at one instant: the end of a
        job is an event, too.
        """
        return await self.repository.do(
            lambda store: (store.get(caller, job).ended, store.events(job, after))
        )

    async def ended_by(self, caller: str, job: str, after: int) -> bool:
        """Whether a job is finished and event `after` was its last: nothing more will be told."""
        ended, found = await self._news(caller, job, after)
        return ended and not found

    async def readiness(self) -> tuple[str, dict[str, int]]:
        """(why no new job is taken, empty where one is; counts of workers and jobs)."""
        try:
            counts = await self.repository.do(lambda store: store.probe())
        except ApiError as error:
            return error.message, {"workers": self.runner.warm, "queued": 0, "running": 0}
        found = {
            "workers": self.runner.warm,
            "queued": counts.get("QUEUED", 0),
            "running": counts.get("RUNNING", 0),
        }
        if self.draining:
            return "the server is ending", found
        if self.runner.ready:
            return "", found
        failed = self.runner.failed
        return f"the workers fail to start: {failed}"[:200] if failed else "the workers are starting", found

    async def metrics_text(self) -> tuple[bytes, str]:
        """The metrics in Prometheus's text format, and its media type."""
        reason, _ = await self.readiness()
        try:
            jobs = await self.repository.do(lambda store: store.counts())
        except ApiError:
            jobs = {}
        return self.metrics.text(jobs, self.runner.warm, not reason)

    # --- parts ------------------------------------------------------------------------------------------

    async def _earlier(self, caller: str, key: str, body: bytes, options: Mapping[str, Any]) -> Entry | None:
        printed = _print(body, options)
        return await self.repository.do(lambda store: store.known(caller, key, printed))

    async def _check_room(self, caller: str) -> None:
        """Before a body is read: refuse it where its job could not be taken in anyway."""
        if self.draining:
            raise ApiError("UNAVAILABLE", "the server is ending", retry_after=self.settings.grace_seconds)
        most = self.settings.queue
        if await self.repository.do(lambda store: store.waiting(caller)) >= most:
            seconds = await self.repository.do(lambda store: store.seconds_per_job())
            raise ApiError("QUOTA_EXCEEDED", f"{most} jobs wait already", retry_after=seconds)

    async def _read(
        self, caller: str, task: str, body: bytes, json_only: bool
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        message = {"task": task, "json": json_only}
        return await self._readers.ask(caller, message, [body], self.settings.read_seconds)

    async def _add(
        self,
        caller: str,
        kind: str,
        name: str,
        options: Mapping[str, Any],
        documents: Mapping[str, bytes],
        key: str | None,
        fingerprint: str,
    ) -> Entry:
        most = self.settings.queue
        entry, new = await self.repository.do(
            lambda store: store.add(
                caller, kind, name, options, documents, most=most, key=key, fingerprint=fingerprint
            )
        )
        if new:
            if context := trace_context():
                self.runner.posted[entry.id] = context
            await self.runner.wake()
        return entry

    async def _plan_of(self, caller: str, job: str, place: str) -> bytes:
        """The plan of a job that a request refers to."""
        try:
            return await self.document(caller, job, "plan")
        except ApiError as error:
            raise ApiError("INVALID_ARGUMENT", f"{place}: {error.message}") from None

    async def _content(self, job: str, name: str) -> bytes:
        content = await self.repository.do(lambda store: store.document(job, name))
        if content is None:
            raise ApiError("NOT_FOUND", f"the job has no {name}")
        return content

    async def _report(self, caller: str, job: str) -> bytes:
        """The report of a plan, drawn when it is first asked for."""
        known = await self.repository.do(lambda store: store.document(job, "report"))
        if known is not None:
            return known
        parts = [await self._content(job, "plan"), await self._content(job, "instance")]
        seconds = 0.9 * self.settings.request_seconds
        _, documents = await self._drawers.ask(caller, {"task": "report"}, parts, seconds)
        page = documents["report"]
        await self.repository.do(lambda store: store.put(job, "report", page))
        return page

    async def _purge(self) -> None:
        """Forget old jobs, again and again."""
        while True:
            before = time.time() - 3600 * self.settings.keep_hours
            with contextlib.suppress(ApiError):
                await self._forget(before)
            await asyncio.sleep(PURGE_SECONDS)

    async def _forget(self, before: float) -> None:
        await self.repository.do(lambda store: store.purge(before, self.settings.keep_jobs))

    async def _warm_helpers(self) -> None:
        """Begin what the first caller would wait for: reading at once, drawing when the workers are ready."""
        try:
            await self._readers.begin()
            while not self.runner.warm:
                await asyncio.sleep(0.2)
            await self._drawers.begin()
        except Exception as error:
            self.log.error("worker-failed", how=f"{type(error).__name__}: {error}")


def _told(entry: Entry) -> dict[str, Any]:
    return Job.of(entry).model_dump(mode="json", by_alias=True, exclude_none=True)


def _print(body: bytes, options: Mapping[str, Any]) -> str:
    """The fingerprint of a request, to tell a repeated one from another under the same key."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    digest.update(b"\0" + body)
    return digest.hexdigest()
