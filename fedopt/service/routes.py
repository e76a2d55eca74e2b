"""The routes: posting, analyses of a plan, jobs, results, the server itself, and the page."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import fedopt
from fedopt.errors import optional
from fedopt.service import documents as examples
from fedopt.service.documents import (
    Bounds,
    CheckResult,
    Health,
    Job,
    JobList,
    Pagination,
    Readiness,
    ReadInstance,
)
from fedopt.service.errors import ApiError
from fedopt.service.learned import LEARNED_EXAMPLE, LearnedAnswers, Learning, Splits, SplitsWanted, read
from fedopt.service.middleware import CALLER
from fedopt.service.openapi import json_body, links_to_job, ref, refusals
from fedopt.service.parameters import (
    CSV,
    JSON,
    LINES,
    YAML,
    Confidence,
    ExplainTime,
    Gap,
    Guarantee,
    JobId,
    Key,
    LastEvent,
    LearnedName,
    Method,
    Objective,
    Order,
    PageNumber,
    Period,
    PerPage,
    RiskModel,
    Rule,
    Seed,
    SplitSLA,
    TimeLimit,
    Trials,
    WantedState,
    WarmStart,
    WithTelemetry,
    allowed_time,
    body_of,
    built_in,
    job_in_body,
    named_job,
)
from fedopt.service.settings import BASE

with optional("HTTP services", "serve"):
    from fastapi import APIRouter, Request, Response
    from fastapi.responses import HTMLResponse, JSONResponse
    from sse_starlette import EventSourceResponse, ServerSentEvent

if TYPE_CHECKING:
    from fedopt.service.service import Service
    from fedopt.service.store import Job as Entry

__all__ = ["TAGS", "page", "routers"]

SEND_SECONDS = 30.0
"""What a reader of events may take to accept one."""

CLOSING_SECONDS = 10.0
"""What a stream is given to end by itself when the server does; the library would cut it off at once."""

TAGS = [
    {"name": "Posting", "description": "What makes jobs."},
    {"name": "Analyses", "description": "Simulate, audit, explain and settle a plan; decompose an SLA."},
    {"name": "Learned domains", "description": "Answers of domains without a contract, and splits by them."},
    {"name": "Jobs", "description": "Looking at jobs, following and ending them."},
    {"name": "Results", "description": "The documents of a job."},
    {"name": "Server", "description": "Endpoints without authentication."},
]

ACCEPTED: dict[str, Any] = {
    "status_code": 202,
    "response_model": Job,
    "response_model_exclude_none": True,
    "response_description": "Taken in; the job says how it goes on.",
}
LOCATION = {
    "Location": {
        "description": "Where the job is found.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    }
}
EVENT: dict[str, Any] = {
    "type": "object",
    "description": "One event of the stream.",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {
            "type": "string",
            "maxLength": 15,
            "pattern": "^[0-9]+$",
            "description": "Number of the event in its job, from 1.",
        },
        "event": {
            "type": "string",
            "enum": ["state", "progress"],
            "description": "state: the job changed its state; progress: a round of the solver.",
        },
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"anyOf": [ref("Job"), ref("Progress")]},
            "description": "The job, or the round, as JSON.",
        },
    },
}

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""What the page may load: its own script and style, and answers of this server."""

OF_EVERY_JOB = ("getJob", "followJob", "cancelJob", "deleteJob", "getInstance")
OF_A_PLAN = (*OF_EVERY_JOB, "stopJob", "getPlan", "getBounds", "getCheck", "getReport",
             "simulate", "audit", "explain", "settle")  # fmt: skip
OF_AN_INTENT = (*OF_EVERY_JOB, "getResolution")

TAKING_IN = (
    "OUT_OF_RANGE",
    "FEDOPT.FILE_NOT_ALLOWED",
    "FEDOPT.TOO_SLOW",
    "FEDOPT.TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "FEDOPT.KEY_REUSED",
    "FEDOPT.TOO_COMPLEX",
    "QUOTA_EXCEEDED",
)


def routers(service: Service, document: Callable[[], dict[str, Any]]) -> list[APIRouter]:
    """All routes; `document` makes the OpenAPI document."""
    return [
        _posting(service),
        _analyses(service),
        _learned(service),
        _jobs(service),
        _results(service),
        _server(service, document),
    ]


def _posting(service: Service) -> APIRouter:
    """What makes jobs."""
    router = APIRouter(tags=["Posting"])

    @router.post(
        "/solve",
        operation_id="solve",
        summary="Plan an instance",
        **ACCEPTED,
        responses={202: {"headers": LOCATION, "links": links_to_job(*OF_A_PLAN)}, **refusals(*TAKING_IN)},
        openapi_extra={
            "requestBody": json_body(
                "The instance, as a file of fedopt has it. Nothing in it can name a file of the server.",
                ref("Instance"),
                examples.INSTANCE,
                YAML[0],
            )
        },
    )
    async def solve(
        request: Request,
        response: Response,
        method: Method = "central",
        guarantee: Guarantee = "minplus",
        objective: Objective = "cost",
        gap: Gap = 1e-3,
        time_limit: TimeLimit = None,
        seed: Seed = 0,
        warm_start: WarmStart = None,
        idempotency_key: Key = None,
    ) -> Job:
        """Take an instance in and plan it, as `fedopt solve` does; then check the plan. The instance is read
        before the answer, so that what is wrong with it is said at once.
        """
        options = {
            "method": built_in(method),
            "guarantee": guarantee,
            "objective": objective,
            "gap": gap,
            "timeLimit": allowed_time(time_limit, service.settings.job_seconds),
            "seed": seed,
            "warmStart": warm_start,
        }
        body, json_only = await _body(request, service)
        entry = await service.solve(request.scope[CALLER], body, json_only, options, idempotency_key)
        return _taken(entry, response)

    @router.post(
        "/resolve-intent",
        operation_id="resolveIntent",
        summary="Resolve an intent",
        **ACCEPTED,
        responses={202: {"headers": LOCATION, "links": links_to_job(*OF_AN_INTENT)}, **refusals(*TAKING_IN)},
        openapi_extra={
            "requestBody": json_body(
                "The intent, and what it is resolved on.", ref("IntentRequest"), examples.INTENT, YAML[0]
            )
        },
    )
    async def resolve_intent(
        request: Request,
        response: Response,
        guarantee: Guarantee = "minplus",
        idempotency_key: Key = None,
    ) -> Job:
        """Take an intent in and find the AI model, path and SLO that serve it, as `fedopt intent` does."""
        body, json_only = await _body(request, service)
        options = {"guarantee": guarantee}
        entry = await service.intent(request.scope[CALLER], body, json_only, options, idempotency_key)
        return _taken(entry, response)

    @router.post(
        "/read-instance",
        operation_id="readInstance",
        summary="Read an instance without planning it",
        response_model=ReadInstance,
        response_description="The instance has no problems.",
        responses=refusals("FEDOPT.FILE_NOT_ALLOWED", "FEDOPT.TOO_SLOW", "FEDOPT.TOO_LARGE",
                           "UNSUPPORTED_MEDIA_TYPE", "FEDOPT.TOO_COMPLEX"),
        openapi_extra={
            "requestBody": json_body("The instance.", ref("Instance"), examples.INSTANCE, YAML[0])
        },
    )  # fmt: skip
    async def read_instance(request: Request) -> JSONResponse:
        """Every problem of the instance with its place and a remedy, or the instance in canonical form."""
        body, json_only = await _body(request, service)
        return JSONResponse(await service.read_instance(request.scope[CALLER], body, json_only))

    return router


def _analyses(service: Service) -> APIRouter:
    """Analyses of a plan, each a job of its own."""
    router = APIRouter(tags=["Analyses"])

    def accepted(operation: str, *links: str) -> dict[str, Any]:
        found = {"headers": LOCATION, "links": links_to_job(*OF_EVERY_JOB, *links)}
        return {
            "operation_id": operation,
            **ACCEPTED,
            "responses": {202: found, **refusals("NOT_FOUND", "INCOMPATIBLE_STATE", *TAKING_IN)},
        }

    @router.post(
        "/jobs/{jobId}/simulate", summary="Simulate the plan", **accepted("simulate", "getSimulation")
    )
    async def simulate(
        request: Request,
        response: Response,
        job_id: JobId,
        trials: Trials = 32,
        seed: Seed = 0,
        confidence: Confidence = 0.95,
        telemetry: WithTelemetry = False,
        idempotency_key: Key = None,
    ) -> Job:
        """Simulate the plan of a job request by request, as `fedopt simulate` does."""
        options = {"trials": trials, "seed": seed, "confidence": confidence, "telemetry": telemetry}
        return await taken(request, response, "simulate", job_id, options, idempotency_key)

    @router.post("/jobs/{jobId}/explain", summary="Explain the plan", **accepted("explain", "getExplanation"))
    async def explain(
        request: Request,
        response: Response,
        job_id: JobId,
        time_limit: ExplainTime = 60.0,
        idempotency_key: Key = None,
    ) -> Job:
        """Say why there is no plan, or which constraints bind and what relaxing each is worth."""
        options = {"timeLimit": time_limit}
        return await taken(request, response, "explain", job_id, options, idempotency_key)

    @router.post(
        "/jobs/{jobId}/audit",
        summary="Audit telemetry against the plan",
        **accepted("audit", "getAudit"),
        openapi_extra={
            "requestBody": {
                "description": "Telemetry: a row a request with its tenant and delay, CSV or JSON lines; or "
                "the job of a simulation that kept its own.",
                "required": True,
                "content": {
                    CSV: {"schema": {"type": "string"}},
                    LINES: {"schema": {"type": "string"}},
                    JSON: {"schema": job_in_body("simulation", "A simulation with telemetry.")},
                },
            }
        },
    )
    async def audit(
        request: Request,
        response: Response,
        job_id: JobId,
        confidence: Confidence = 0.95,
        idempotency_key: Key = None,
    ) -> Job:
        """Extreme quantiles with intervals and the verdict on every promise, as `fedopt audit` does."""
        body, is_json = await _body(request, service, (CSV, LINES, JSON))
        simulation = named_job(body, "simulation") if is_json else None
        if simulation is not None:
            body = await service.document(request.scope[CALLER], simulation, "telemetry")
        elif is_json:
            raise ApiError("INVALID_ARGUMENT", 'post telemetry, or name a simulation: {"simulation": JOB}')
        options = {"confidence": confidence, "simulation": simulation}
        attached = {"telemetry": body}
        return await taken(request, response, "audit", job_id, options, idempotency_key, attached)

    @router.post(
        "/jobs/{jobId}/settle",
        summary="Settle the plan",
        **accepted("settle", "getSettlement"),
        openapi_extra={
            "requestBody": {
                "description": "An audit, as `fedopt audit --out` writes it, or the job of one.",
                "required": True,
                "content": {
                    JSON: {
                        "schema": {
                            "anyOf": [
                                job_in_body("audit", "A job of the kind `audit` that is DONE."),
                                {"type": "object", "properties": {"audit": False}},
                            ]
                        }
                    }
                },
            }
        },
    )
    async def settle(
        request: Request,
        response: Response,
        job_id: JobId,
        rule: Rule = "marginal",
        period: Period = "",
        idempotency_key: Key = None,
    ) -> Job:
        """Payments to the domains that earned them and refunds from those that caused broken promises."""
        audited, _ = await _body(request, service, (JSON,))
        job = named_job(audited, "audit")
        if job is not None:
            audited = await service.document(request.scope[CALLER], job, "audit")
        options = {"rule": rule, "period": period, "audit": job}
        attached = {"audited": audited}
        return await taken(request, response, "settle", job_id, options, idempotency_key, attached)

    @router.post(
        "/decompose",
        summary="Decompose an SLA",
        **accepted("decompose", "getDecomposition"),
        openapi_extra={
            "requestBody": {
                "description": "A history with the columns domain, delay, throughput and accepted (0 or 1).",
                "required": True,
                "content": {CSV: {"schema": {"type": "string"}}},
            }
        },
    )
    async def decompose(
        request: Request,
        response: Response,
        sla: SplitSLA,
        model: RiskModel = "auto",
        seed: Seed = 0,
        idempotency_key: Key = None,
    ) -> Job:
        """Learn risk models from accept/reject answers and split an SLA, as `fedopt decompose` does."""
        body, _ = await _body(request, service, (CSV,))
        options = {"sla": sla, "model": model, "seed": seed}
        entry = await service.decompose(request.scope[CALLER], body, options, idempotency_key)
        return _taken(entry, response)

    async def taken(
        request: Request,
        response: Response,
        kind: str,
        job: str,
        options: dict[str, Any],
        key: str | None,
        attached: dict[str, bytes] | None = None,
    ) -> Job:
        entry = await service.analyse(request.scope[CALLER], kind, job, options, key, attached)
        return _taken(entry, response)

    return router


def _learned(service: Service) -> APIRouter:
    """What domains answered, and splits of SLAs by what was learned of it; answered at once."""
    router = APIRouter(tags=["Learned domains"])
    codes = ("FEDOPT.TOO_SLOW", "FEDOPT.TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE")

    @router.post(
        "/learned/{name}/observe",
        operation_id="observe",
        summary="Learn from answers",
        response_model=Learning,
        response_description="Learned, and on disk.",
        responses=refusals("QUOTA_EXCEEDED", *codes),
        openapi_extra={"requestBody": json_body("Answers.", ref("LearnedAnswers"), LEARNED_EXAMPLE)},
    )
    async def observe(request: Request, name: LearnedName) -> Learning:
        """Take in what domains answered: one answer or many, late or repeated. Nothing of a request with a
        wrong answer is learned from.
        """
        body, _ = await _body(request, service, (JSON,))
        return await service.learned.observe(request.scope[CALLER], name, read(LearnedAnswers, body))

    @router.post(
        "/learned/{name}/decompose",
        operation_id="decomposeByAnswers",
        summary="Split SLAs by what was learned",
        response_model=Splits,
        response_description="The SLAs split, in their order.",
        responses=refusals("NOT_FOUND", *codes),
        openapi_extra={"requestBody": json_body("SLAs.", ref("SplitsWanted"), {"slas": [{"delay": 100.0}]})},
    )
    async def decompose_by_answers(request: Request, name: LearnedName) -> Splits:
        """Split one SLA or many so that all domains most likely accept."""
        body, _ = await _body(request, service, (JSON,))
        return await service.learned.decompose(request.scope[CALLER], name, read(SplitsWanted, body))

    return router


def _jobs(service: Service) -> APIRouter:
    """Looking at jobs, following and ending them."""
    router = APIRouter(tags=["Jobs"])

    @router.get(
        "/jobs",
        operation_id="listJobs",
        summary="List jobs",
        response_model=JobList,
        response_model_exclude_none=True,
        response_description="A page of the caller's jobs.",
        responses={200: {"headers": _PAGE_HEADERS}, **refusals()},
    )
    async def list_jobs(
        request: Request,
        response: Response,
        state: WantedState = None,
        order: Order = "desc",
        page: PageNumber = 1,
        per_page: PerPage = 20,
    ) -> JobList:
        """The jobs of the caller, page by page. A page beyond the last is empty."""
        entries, total = await service.jobs(request.scope[CALLER], state, order == "asc", page, per_page)
        pages = math.ceil(total / per_page)
        response.headers["X-Total-Count"] = str(total)
        response.headers["X-Total-Pages"] = str(pages)
        response.headers["Link"] = _links(request, page, pages)
        pagination = Pagination(page=page, per_page=per_page, total_count=total, total_pages=pages)
        return JobList(items=[Job.of(entry) for entry in entries], pagination=pagination)

    @router.get(
        "/jobs/{jobId}",
        operation_id="getJob",
        summary="Look at a job",
        response_model=Job,
        response_model_exclude_none=True,
        response_description="The job as it is now.",
        responses=refusals("NOT_FOUND"),
    )
    async def get_job(request: Request, job_id: JobId) -> Job:
        """Its state, last round, and answer in short."""
        return Job.of(await service.job(request.scope[CALLER], job_id))

    @router.get(
        "/jobs/{jobId}/events",
        operation_id="followJob",
        summary="Follow a job",
        response_class=EventSourceResponse,
        responses={
            200: {
                "description": "Server-sent events: `state` with the job as data whenever its state changes, "
                "`progress` with a round. The stream ends with the job.",
                "content": {"text/event-stream": {"schema": EVENT}},
            },
            204: {"description": "The job is finished and its last event was seen: do not come back."},
            **refusals("NOT_FOUND"),
        },
    )
    async def follow_job(request: Request, job_id: JobId, last_event_id: LastEvent = None) -> Response:
        """What happened to the job from its beginning, or after the event named in `Last-Event-ID`, and then
        what happens. Numbers of events stay the same across restarts of the server.
        """
        caller, after = request.scope[CALLER], int(last_event_id or 0)
        if await service.ended_by(caller, job_id, after):
            return Response(status_code=204)

        async def told() -> AsyncIterator[ServerSentEvent]:
            async for number, kind, data in service.events(caller, job_id, after):
                yield ServerSentEvent(data, event=kind, id=str(number))

        return EventSourceResponse(
            told(),
            ping=service.settings.ping_seconds,
            send_timeout=SEND_SECONDS,
            shutdown_grace_period=CLOSING_SECONDS,
        )

    @router.post(
        "/jobs/{jobId}/cancel",
        operation_id="cancelJob",
        summary="Cancel a job",
        response_model=Job,
        response_model_exclude_none=True,
        response_description="The job, cancelled.",
        responses=refusals("NOT_FOUND", "INCOMPATIBLE_STATE"),
    )
    async def cancel_job(request: Request, job_id: JobId) -> Job:
        """Cancels the job; no result is produced. A finished job cannot be cancelled."""
        return Job.of(await service.cancel(request.scope[CALLER], job_id))

    @router.post(
        "/jobs/{jobId}/stop",
        operation_id="stopJob",
        summary="Stop a solver at its best plan",
        status_code=202,
        response_model=Job,
        response_model_exclude_none=True,
        response_description="The solver is told; the job is DONE soon, with the best plan it has.",
        responses=refusals("NOT_FOUND", "INCOMPATIBLE_STATE"),
    )
    async def stop_job(request: Request, job_id: JobId) -> Job:
        """What Ctrl-C is to `fedopt solve`. Only a solver that runs can be stopped, after its first round."""
        return Job.of(await service.stop(request.scope[CALLER], job_id))

    @router.delete(
        "/jobs/{jobId}",
        operation_id="deleteJob",
        summary="Forget a job",
        status_code=204,
        response_class=Response,
        response_description="It is gone.",
        responses=refusals("NOT_FOUND", "INCOMPATIBLE_STATE"),
    )
    async def delete_job(request: Request, job_id: JobId) -> Response:
        """Delete a finished job, its documents and its idempotency key."""
        await service.delete(request.scope[CALLER], job_id)
        return Response(status_code=204)

    return router


def _results(service: Service) -> APIRouter:
    """The documents of a job."""
    router = APIRouter(tags=["Results"])

    def offer(name: str, operation: str, summary: str, words: str, schema: Any, *refused: str) -> None:
        html = schema is None
        media = "text/html" if html else CSV if name == "telemetry" else JSON
        content = (
            {media: {"schema": {"type": "string"} if html else schema}}
            if isinstance(schema, dict) or html
            else {}
        )

        async def get(request: Request, job_id: JobId) -> Response:
            found = await service.document(request.scope[CALLER], job_id, name)
            return (HTMLResponse if html else Response)(found, media_type=media)

        router.add_api_route(
            f"/jobs/{{jobId}}/{name}",
            get,
            operation_id=operation,
            summary=summary,
            description=words,
            response_class=HTMLResponse if html else JSONResponse,
            response_model=None if isinstance(schema, dict) or html else schema,
            response_description=words,
            responses={**({200: {"content": content}} if content else {}), **refusals("NOT_FOUND", *refused)},
        )

    wait = "INCOMPATIBLE_STATE"
    offer("instance", "getInstance", "The instance of a job", "The instance, as JSON.", ref("Instance"))
    offer("plan", "getPlan", "The plan", "The plan, as `fedopt solve --out` writes it.", ref("Plan"), wait)
    offer("bounds", "getBounds", "What the plan proves", "Bounds of cost and of every tail.", Bounds, wait)
    offer(
        "check", "getCheck", "What the check found", "As `fedopt check --json` prints it.", CheckResult, wait
    )
    offer(
        "report",
        "getReport",
        "The report",
        "The plan as one self-contained HTML page, as `fedopt report --explain-seconds 0` writes it; "
        "drawn when it is first asked for.",
        None,
        wait,
        "FEDOPT.TOO_COMPLEX",
    )
    offer(
        "resolution",
        "getResolution",
        "The resolution of an intent",
        "As `fedopt intent --json` prints it.",
        ref("Resolution"),
        wait,
    )
    for name, operation, command in (
        ("simulation", "getSimulation", "simulate"),
        ("audit", "getAudit", "audit"),
        ("explanation", "getExplanation", "explain"),
        ("settlement", "getSettlement", "settle"),
        ("decomposition", "getDecomposition", "decompose"),
    ):
        words = f"As `fedopt {command} --json` prints it."
        offer(name, operation, f"The {name}", words, {"type": "object"}, wait)
    words = "Simulated delays as CSV, a row a request, where the simulation was asked to keep them."
    offer("telemetry", "getTelemetry", "The telemetry of a simulation", words, {"type": "string"}, wait)
    return router


def _server(service: Service, document: Callable[[], dict[str, Any]]) -> APIRouter:
    """Endpoints without authentication."""
    router = APIRouter(tags=["Server"])
    open_to_all: dict[str, Any] = {"openapi_extra": {"security": []}}

    @router.get(
        "/health",
        operation_id="getHealth",
        summary="Whether the server answers",
        response_model=Health,
        response_description="It does.",
        responses=refusals(),
        **open_to_all,
    )
    async def health() -> Health:
        """For a supervisor that restarts what does not answer."""
        return Health(status="UP", version=fedopt.__version__)

    @router.get(
        "/ready",
        operation_id="getReadiness",
        summary="Whether new jobs are taken",
        response_model=Readiness,
        response_description="They are.",
        responses={
            **refusals(),
            503: {
                "description": "They are not: the server is starting, ending, or has no job database.",
                "content": {"application/json": {"schema": {"anyOf": [ref("Readiness"), ref("ErrorInfo")]}}},
            },
        },
        **open_to_all,
    )
    async def ready(response: Response) -> Readiness:
        """For a load balancer."""
        reason, counts = await service.readiness()
        response.status_code = 503 if reason else 200
        return Readiness(status="NOT_READY" if reason else "READY", reason=reason, **counts)

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(document))  # the first time it takes a second

    return router


def page(service: Service) -> APIRouter:
    """The page for people and the metrics for machines: outside the API, unversioned, open to all."""
    router = APIRouter(include_in_schema=False)

    def offer(path: str, name: str, media: str) -> None:
        content = (files("fedopt.service") / "page" / name).read_bytes()
        headers = {"Content-Security-Policy": PAGE_POLICY, "Referrer-Policy": "no-referrer"}

        async def get() -> Response:
            return Response(content, media_type=media, headers=headers)

        router.add_api_route(path, get, methods=["GET"])

    offer("/", "index.html", "text/html")
    offer("/page.css", "page.css", "text/css")
    offer("/page.js", "page.js", "text/javascript")

    @router.get("/metrics")
    async def metrics() -> Response:
        text, media = await service.metrics_text()
        return Response(text, headers={"Content-Type": media})

    return router


async def _body(
    request: Request, service: Service, kinds: Sequence[str] = (JSON, *YAML)
) -> tuple[bytes, bool]:
    return await body_of(request, service.settings.body_bytes, service.settings.body_seconds, kinds)


def _taken(entry: Entry, response: Response) -> Job:
    response.headers["Location"] = f"{BASE}/jobs/{entry.id}"
    return Job.of(entry)


def _links(request: Request, page: int, pages: int) -> str:
    """Links to other pages by RFC 8288, relative, with the other parameters kept."""
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "page"]
    found = {"first": 1, "prev": page - 1, "next": page + 1, "last": max(pages, 1)}
    kept = {
        rel: number
        for rel, number in found.items()
        if rel in ("first", "last") or (1 <= number <= pages and (rel != "prev" or page > 1))
    }
    return ", ".join(
        f'<{BASE}/jobs?{urlencode([*others, ("page", number)])}>; rel="{rel}"' for rel, number in kept.items()
    )


_PAGE_HEADERS: dict[str, Any] = {
    "X-Total-Count": {"description": "Jobs on all pages.", "schema": {"type": "integer", "minimum": 0}},
    "X-Total-Pages": {"description": "Pages.", "schema": {"type": "integer", "minimum": 0}},
    "Link": {"description": "first, prev, next and last page (RFC 8288).", "schema": {"type": "string"}},
}
