"""What a request may say: parameters and headers with their bounds, and a body small and readable enough."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
import re
from collections.abc import AsyncIterator, Sequence
from email.message import Message
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fedopt.errors import optional
from fedopt.formulations.files import available
from fedopt.plan.guarantees import GUARANTEES
from fedopt.service.errors import ApiError

with optional("HTTP services", "serve"):
    from fastapi import Header, Path, Query, Request

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = [
    "CSV",
    "JSON",
    "LINES",
    "METHODS",
    "YAML",
    "Confidence",
    "ExplainTime",
    "Gap",
    "Guarantee",
    "JobId",
    "Key",
    "LastEvent",
    "LearnedName",
    "Method",
    "Objective",
    "Order",
    "PageNumber",
    "PerPage",
    "Period",
    "RiskModel",
    "Rule",
    "Seed",
    "SplitSLA",
    "TimeLimit",
    "Trials",
    "WantedState",
    "WarmStart",
    "WithTelemetry",
    "allowed_time",
    "body_of",
    "built_in",
    "job_in_body",
    "known_parameters",
    "named_job",
]


METHODS = ("central", "admm", "bundle", *(f"model:{name}" for name, _, _ in available()))
"""What plans over HTTP: the methods, and the model files that come with fedopt, by name."""

MOST_SEED = 2**53 - 1
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

LearnedName = Annotated[
    str,
    Path(max_length=63, pattern="^[a-z0-9][a-z0-9-]{0,62}$", description="What the caller calls it."),
]
JobId = Annotated[
    str,
    Path(
        alias="jobId",
        pattern=UUID,
        max_length=36,
        json_schema_extra={"format": "uuid"},
        description="The job.",
    ),
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=r"^[!-~]+$",
        description="A key of the caller's own choice: the same request again under the same key is given "
        "the same job, however often it is sent.",
    ),
]
Method = Annotated[
    str, Query(description="How to plan.", json_schema_extra={"enum": list(METHODS)}, max_length=64)
]
Guarantee = Annotated[
    Literal[GUARANTEES],  # type: ignore[valid-type]
    Query(description="What every tenant is promised."),
]
Objective = Annotated[
    Literal["cost", "profit"], Query(description="cost: serve all at least cost; profit: admit what pays.")
]
Gap = Annotated[float, Query(ge=0, le=1, allow_inf_nan=False, description="Relative gap to certify.")]
TimeLimit = Annotated[
    float | None,
    Query(
        alias="timeLimit",
        ge=0,
        allow_inf_nan=False,
        description="Time limit in seconds; the best plan found by then is returned.",
    ),
]
Seed = Annotated[int, Query(ge=0, le=MOST_SEED, description="Seed of the guarantee `simulated`.")]
WarmStart = Annotated[
    str | None,
    Query(
        alias="warmStart",
        pattern=UUID,
        max_length=36,
        json_schema_extra={"format": "uuid"},
        description="A job that is DONE: its plan to start from.",
    ),
]
LastEvent = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^[0-9]{1,15}$",
        max_length=15,
        description="Number of the last event that was seen; those after it follow.",
    ),
]
WantedState = Annotated[
    Literal["QUEUED", "RUNNING", "DONE", "FAILED", "CANCELLED"] | None,
    Query(description="Only jobs in this state."),
]
Order = Annotated[
    Literal["asc", "desc"], Query(description="By creation: asc from the oldest, desc from the newest.")
]
PageNumber = Annotated[int, Query(ge=1, le=10_000_000, description="The page, from 1.")]
Trials = Annotated[int, Query(ge=2, le=4096, description="Independent trials of each tenant.")]
WithTelemetry = Annotated[
    bool, Query(description="Also keep the delays of simulated requests, which can then be audited.")
]
Confidence = Annotated[
    float, Query(ge=0.5, le=0.999999, allow_inf_nan=False, description="Confidence of every interval.")
]
ExplainTime = Annotated[
    float, Query(alias="timeLimit", ge=0, le=600, allow_inf_nan=False, description="Time limit in seconds.")
]
Rule = Annotated[
    Literal["marginal", "shapley"],
    Query(description="How payments are shared."),
]
Period = Annotated[str, Query(max_length=100, description="Name of the period, for the statements.")]
SplitSLA = Annotated[
    str,
    Query(
        max_length=200,
        pattern=r"^[a-z]+=[0-9.eE+-]+(,[a-z]+=[0-9.eE+-]+)*$",
        description="The SLA in the history's units: `delay=100,throughput=0.5`.",
    ),
]
RiskModel = Annotated[
    Literal["auto", "convex", "logistic", "spline", "isotonic", "trees", "network"],
    Query(description="The risk model."),
]
PerPage = Annotated[int, Query(alias="perPage", ge=1, le=100, description="Jobs on a page.")]


async def known_parameters(request: Request) -> None:
    """Refuse query parameters that the route has not, and those given twice: they were meant to matter."""
    route = request.scope.get("route")
    dependant = getattr(route, "dependant", None)
    if dependant is None:
        return
    known = [field.alias for field in dependant.query_params]
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
            raise ApiError("INVALID_ARGUMENT", f"there is no query parameter {name[:60]!r}; {hint}")
        if given.count(name) > 1:
            raise ApiError("INVALID_ARGUMENT", f"the query parameter {name} is given twice")


def built_in(method: str) -> str:
    """The method, if it is one that comes with fedopt. Raises ApiError."""
    if method in METHODS:
        return method
    if method.startswith("model:"):
        words = (
            "over HTTP only the models that come with fedopt run, by name; a model file is code. There are "
        )
        raise ApiError("FEDOPT.FILE_NOT_ALLOWED", words + ", ".join(m for m in METHODS if ":" in m))
    near = difflib.get_close_matches(method, METHODS, n=1)
    hint = f"did you mean {near[0]}? There" if near else "there"
    raise ApiError("INVALID_ARGUMENT", f"there is no method {method[:60]!r}; {hint} are {', '.join(METHODS)}")


def allowed_time(asked: float | None, most: float) -> float:
    """The time limit in force. Raises ApiError for more than the server allows."""
    if asked is not None and asked > most:
        raise ApiError("OUT_OF_RANGE", f"timeLimit: at most {most:g} s on this server")
    return most if asked is None else asked


JSON = "application/json"
YAML = ("application/yaml", "application/x-yaml", "text/yaml")
CSV = "text/csv"
LINES = "application/x-ndjson"

DRAINED_SECONDS = 1.0
"""What the rest of a body that is refused may take, so that its sender comes to hear why."""


async def body_of(
    request: Request, most: int, seconds: float, kinds: Sequence[str] = (JSON, *YAML)
) -> tuple[bytes, bool]:
    """(the body, whether it is JSON). Raises ApiError for one too large, too slow, or of another kind."""
    json_only = _kind(request, kinds) == JSON
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        await _drain(request.stream(), most)
        raise _too_large(most)
    parts, size = [], 0
    stream = request.stream()
    try:
        async with asyncio.timeout(seconds):
            async for part in stream:
                size += len(part)
                if size > most:
                    await _drain(stream, most)
                    raise _too_large(most)
                parts.append(part)
    except TimeoutError:
        raise ApiError("FEDOPT.TOO_SLOW", f"a body must arrive within {seconds:g} s") from None
    return b"".join(parts), json_only


def job_in_body(name: str, description: str) -> dict[str, Any]:
    """The schema of a body that names a job in the place of its document."""
    job = {"type": "string", "format": "uuid", "pattern": UUID, "maxLength": 36, "description": description}
    return {"type": "object", "required": [name], "additionalProperties": False, "properties": {name: job}}


def named_job(body: bytes, name: str) -> str | None:
    """The job that a body names as its only member, None where it has no member of that name.

    Raises ApiError for a body that is no JSON object, or names no job.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError("INVALID_ARGUMENT", "the body is not JSON") from None
    if not isinstance(found, dict):
        raise ApiError("INVALID_ARGUMENT", "the body is no JSON object")
    if name not in found:
        return None
    job = found[name]
    if len(found) > 1 or not isinstance(job, str) or re.fullmatch(UUID, job) is None:
        raise ApiError("INVALID_ARGUMENT", f'{name} must be the id of a job, and alone: {{"{name}": JOB}}')
    return job


def _kind(request: Request, kinds: Sequence[str]) -> str:
    """The media type of the body. Raises ApiError for one that the route does not take, or not in UTF-8."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError("UNSUPPORTED_MEDIA_TYPE", "send the body as it is, without Content-Encoding")
    parsed = Message()
    parsed["content-type"] = request.headers.get("content-type", "")
    kind, charset = parsed.get_content_type(), parsed.get_param("charset", "utf-8")
    if kind not in kinds or "content-type" not in request.headers:
        shown = " or ".join(one for one in kinds if one not in YAML[1:])
        raise ApiError("UNSUPPORTED_MEDIA_TYPE", f"send {shown}, and say so in Content-Type")
    if str(charset).lower().replace("-", "") != "utf8":
        raise ApiError("UNSUPPORTED_MEDIA_TYPE", "send the body in UTF-8")
    return kind


def _too_large(most: int) -> ApiError:
    return ApiError("FEDOPT.TOO_LARGE", f"a body has at most {most} bytes", headers={"Connection": "close"})


async def _drain(stream: AsyncIterator[bytes], most: int) -> None:
    """Read on for a moment and forget what comes."""
    dropped = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAINED_SECONDS):
            async for part in stream:
                dropped += len(part)
                if dropped > 4 * most:
                    return
