"""The server's log, its metrics and its traces.

The log is one JSON object a line, with the correlation id of what it belongs to. Neither headers nor query
strings nor bodies are logged: that is where tokens and business figures are. Metrics are Prometheus's and
name no caller and no job. Traces are OpenTelemetry's, where its API is installed and a tracer is configured
(`opentelemetry-instrument fedopt serve run …`): a span for each request, in the caller's trace where the
request names one (`traceparent`), and below it one for the work on the job that it posted.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from fedopt.errors import optional

with optional("HTTP services", "serve"):
    from prometheus_client import (
        CONTENT_TYPE_LATEST,
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        generate_latest,
    )

try:
    from opentelemetry import propagate, trace
except ModuleNotFoundError:  # the extra `tracing`, which nothing but spans needs
    propagate = trace = None  # type: ignore[assignment]

__all__ = ["Log", "Metrics", "Relay", "Span", "span", "trace_context"]


JOB_BUCKETS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


class Log:
    """Writes lines to a stream (stderr), whole ones, from any thread."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._lock = threading.Lock()

    def note(self, event: str, **fields: Any) -> None:
        """Something that happened as it should; nothing when quiet."""
        if not self._quiet:
            self._write("info", event, fields)

    def warn(self, event: str, **fields: Any) -> None:
        """Something that the operator should know."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """A defect."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": now, "level": level, "event": event, **fields}, ensure_ascii=True)
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads the log any more; that is no reason to stop serving


class Span:
    """A span as far as the service uses one: here, one that nobody records."""

    def update_name(self, name: str) -> None:
        """Name it anew, once more is known."""

    def set_attribute(self, key: str, value: str | int | float) -> None:
        """Say something of it."""


@contextmanager
def span(
    name: str,
    attributes: Mapping[str, str | int],
    within: Mapping[str, str] | None = None,
    server: bool = False,
) -> Iterator[Any]:
    """A span of the trace that the headers `within` name, else of the current one.

    Without OpenTelemetry's API it is a `Span` that does nothing.
    """
    if trace is None:
        yield Span()
        return
    tracer = trace.get_tracer("fedopt")
    kind = trace.SpanKind.SERVER if server else trace.SpanKind.INTERNAL
    context = propagate.extract(within) if within else None
    with tracer.start_as_current_span(name, context, kind=kind, attributes=attributes) as begun:
        yield begun


def trace_context() -> dict[str, str]:
    """The headers that name the current span; empty where there is none."""
    carrier: dict[str, str] = {}
    if trace is not None:
        propagate.inject(carrier)
    return carrier


class Metrics:
    """What the server counts: requests by route and status, jobs by kind and end, and what is at hand now."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        several: dict[str, Any] = {"namespace": "fedopt", "registry": self._registry}
        self._requests = Counter(
            "http_requests", "Requests answered.", ("method", "route", "status"), **several
        )
        self._request_seconds = Histogram(
            "http_request_seconds", "Seconds to answer a request, streams excepted.", ("route",), **several
        )
        self._jobs_ended = Counter("jobs_ended", "Jobs that ended.", ("kind", "state"), **several)
        self._job_seconds = Histogram(
            "job_seconds", "Seconds of work on a job.", ("kind",), buckets=JOB_BUCKETS, **several
        )
        self._jobs = Gauge("jobs", "Jobs in the database.", ("state",), **several)
        self._workers = Gauge("workers_ready", "Worker processes that are ready or busy.", **several)
        self._ready = Gauge("ready", "1 where new jobs are accepted.", **several)

    def request(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count an answer; `seconds` is None for a stream."""
        self._requests.labels(method, route, str(status)).inc()
        if seconds is not None:
            self._request_seconds.labels(route).observe(seconds)

    def job(self, kind: str, state: str, seconds: float) -> None:
        """Count a job that ended."""
        self._jobs_ended.labels(kind, state).inc()
        self._job_seconds.labels(kind).observe(seconds)

    def text(self, jobs: Mapping[str, int], workers: int, ready: bool) -> tuple[bytes, str]:
        """The exposition and its media type."""
        for state in ("QUEUED", "RUNNING", "DONE", "FAILED", "CANCELLED"):
            self._jobs.labels(state).set(jobs.get(state, 0))
        self._workers.set(workers)
        self._ready.set(ready)
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class Relay(logging.Handler):
    """Passes what libraries log on to the server's log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One line, with the traceback if there is one."""
        fields = {"logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        (self._log.error if record.levelno >= logging.ERROR else self._log.warn)("library", **fields)
