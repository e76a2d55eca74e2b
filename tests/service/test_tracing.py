"""Spans of requests and jobs, seen by a tracer of OpenTelemetry's own API (its SDK is the user's choice)."""

import asyncio
from contextlib import contextmanager

import pytest

from fedopt.service import observability
from fedopt.service.middleware import Limits, Middleware
from fedopt.service.observability import Log, Metrics, span, trace_context

trace = pytest.importorskip("opentelemetry.trace")

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
PARENT = 0x00F067AA0BA902B7


class Recorded(trace.NonRecordingSpan):
    """A span that remembers what it was told."""

    def __init__(self, name, parent, kind, attributes):
        self.name, self.kind, self.parent, self.attributes = name, kind, parent, dict(attributes or {})
        trace_id = parent.trace_id if parent.is_valid else 1
        super().__init__(trace.SpanContext(trace_id, id(self) % 2**63 + 1, False, trace.TraceFlags(1)))

    def update_name(self, name):
        self.name = name

    def set_attribute(self, key, value):
        self.attributes[key] = value


class Tracer:
    """Keeps all spans."""

    def __init__(self):
        self.spans = []

    @contextmanager
    def start_as_current_span(self, name, context=None, kind=None, attributes=None):
        parent = trace.get_current_span(context).get_span_context()
        self.spans.append(Recorded(name, parent, kind, attributes))
        with trace.use_span(self.spans[-1]):
            yield self.spans[-1]


@pytest.fixture
def tracer(monkeypatch):
    found = Tracer()
    monkeypatch.setattr(trace, "get_tracer", lambda name: found)
    return found


def test_a_request_is_a_span_of_its_callers_trace_and_its_job_is_below_it(tracer):
    carried = {}

    async def app(scope, receive, send):
        carried.update(trace_context())
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(message=None):
        return {}

    middleware = Middleware(app, None, Limits(0.0, 1, 1), Log(quiet=True), Metrics(), 5.0)
    headers = [(b"traceparent", f"00-{TRACE:032x}-{PARENT:016x}-01".encode())]
    scope = {"type": "http", "method": "GET", "path": "/fedopt/v1/health", "headers": headers}
    asyncio.run(middleware(scope, nothing, nothing))
    with span("job solve", {"fedopt.job": "x"}, carried):
        pass
    request, job = tracer.spans
    assert (request.kind, request.parent.trace_id, request.parent.span_id) == (
        trace.SpanKind.SERVER,
        TRACE,
        PARENT,
    )
    assert request.name.startswith("GET ")
    assert request.attributes["http.response.status_code"] == 202
    assert request.attributes["fedopt.correlator"]
    assert (job.parent.trace_id, job.parent.span_id) == (TRACE, request.get_span_context().span_id)
    assert job.attributes == {"fedopt.job": "x"}


def test_a_request_without_a_trace_begins_one(tracer):
    with span("GET", {}, {"traceparent": "", "tracestate": ""}, server=True):
        assert trace_context()["traceparent"].startswith("00-")
    assert not tracer.spans[0].parent.is_valid


def test_without_the_api_nothing_is_traced(monkeypatch):
    monkeypatch.setattr(observability, "trace", None)
    with span("GET", {}, {"traceparent": "x"}) as begun:
        begun.update_name("GET /x")
        begun.set_attribute("a", 1)
        assert trace_context() == {}
