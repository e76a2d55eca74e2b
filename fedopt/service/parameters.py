"""What a request may say beside its body: parameters and headers, their bounds, and what is refused."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from fedopt.formulations.files import available
from fedopt.plan.guarantees import GUARANTEES
from fedopt.service.errors import ApiError
from fedopt.service.serve_extra import serve_extra

with serve_extra():
    from fastapi import Header, Path, Query, Request

__all__ = [
    "METHODS",
    "Gap",
    "Guarantee",
    "JobId",
    "Key",
    "LastEvent",
    "Method",
    "Objective",
    "Order",
    "PageNumber",
    "PerPage",
    "Seed",
    "TimeLimit",
    "WantedState",
    "WarmStart",
    "allowed_time",
    "built_in",
    "known_parameters",
]

METHODS = ("central", "admm", "bundle", *(f"model:{name}" for name, _, _ in available()))
"""What plans over HTTP: the methods, and the model files that come with fedopt, by name."""

MOST_SEED = 2**53 - 1
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

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
        description="Seconds after which the best plan counts; the server's own limit where none is given.",
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
