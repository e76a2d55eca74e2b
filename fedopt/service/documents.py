"""What the API says of jobs, in its own words: lowerCamelCase fields, times by RFC 3339.

Instances, plans, checks, intents and resolutions are fedopt's own documents and come unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fedopt.service.errors import LONGEST_MESSAGE, MOST_PROBLEMS
from fedopt.service.store import Job as Entry
from fedopt.service.store import State

__all__ = [
    "INSTANCE",
    "INTENT",
    "KINDS",
    "Bounds",
    "CheckResult",
    "ErrorInfo",
    "Health",
    "Job",
    "JobError",
    "JobList",
    "Pagination",
    "Progress",
    "ReadInstance",
    "Readiness",
]


@dataclass(frozen=True)
class Kind:
    """A kind of job: the documents its worker is given, and those that its result consists of."""

    inputs: tuple[str, ...]
    results: tuple[str, ...]


KINDS = {
    "solve": Kind(("instance", "warm-start"), ("plan", "check", "bounds", "report")),
    "intent": Kind(("intent", "instance", "plan-in-force"), ("resolution",)),
    "simulate": Kind(("plan", "instance"), ("simulation", "telemetry")),
    "audit": Kind(("plan", "instance", "telemetry"), ("audit",)),
    "explain": Kind(("plan", "instance"), ("explanation",)),
    "settle": Kind(("plan", "instance", "audited"), ("settlement",)),
    "decompose": Kind(("history",), ("decomposition",)),
}


class ApiDocument(BaseModel):
    """A document of this API."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


Text = Annotated[str, Field(max_length=LONGEST_MESSAGE)]
Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]


class ProblemInfo(ApiDocument):
    """One thing that is wrong with a posted document."""

    place: Text = Field(description="Path into the document, such as `tenants[3].slo.epsilon`.")
    line: int | None = Field(None, description="Line of the posted text, where it is YAML.")
    message: Text = Field(description="What is wrong.")
    remedy: Text = Field(description="What would make it right.")


class ErrorInfo(ApiDocument):
    """Why a request was refused."""

    status: int = Field(ge=100, le=599, description="The HTTP status.")
    code: str = Field(max_length=96, description="What kind of error it is, in SCREAMING_SNAKE_CASE.")
    message: Text = Field(description="The error in words.")
    problems: list[ProblemInfo] = Field(
        default=[], max_length=MOST_PROBLEMS, description="The wrong places of a posted document, if any."
    )


class JobError(ErrorInfo):
    """Why a job failed; `status` is what a request with the same fault would have had."""


class Progress(ApiDocument):
    """A round of the solver with the best cost and lower bound so far, or the trials of a simulation."""

    round: int = Field(description="Number of the round; of a simulation: trials that are done.")
    total: int | None = Field(None, description="Of a simulation: trials in all.")
    cost: float | None = Field(None, description="Cost of the best plan so far.")
    lower_bound: float | None = Field(
        None, description="Lower bound so far, of the plans the method chooses from."
    )
    primal_residual: float | None = Field(None, description="Of ADMM: how far from agreement.")
    dual_residual: float | None = Field(None, description="Of ADMM: how far prices still move.")
    columns: int | None = Field(None, description="Of the central method: columns of the master.")
    seconds: float = Field(description="Seconds since the solver began.")


class SolveResult(ApiDocument):
    """What a plan says in short."""

    kind: Literal["solve"] = Field("solve", description="A plan.")
    status: Literal["optimal", "feasible", "infeasible", "limit"] = Field(
        description="optimal: certified to the gap asked for; feasible: the gap is larger or unknown; "
        "infeasible: proven to have no plan (the plan document says why); "
        "limit: a limit was reached before any plan."
    )
    cost: float | None = Field(None, description="Cost of the plan.")
    lower_bound: float | None = Field(None, description="Proven lower bound on the cost of every plan.")
    gap: float | None = Field(None, description="Certified relative gap.")
    admitted: int = Field(ge=0, description="Tenants that are served.")
    tenants: int = Field(ge=0, description="Tenants of the instance.")
    checked: bool = Field(description="Whether the independent check found the plan correct.")


class IntentResult(ApiDocument):
    """What the resolution of an intent says in short."""

    kind: Literal["intent"] = Field("intent", description="A resolution.")
    resolved: bool = Field(description="Whether there is a way to serve it.")
    cost: float | None = Field(None, description="Cost of the cheapest way.")


class SimulationResult(ApiDocument):
    """The result of a simulation in short."""

    kind: Literal["simulate"] = Field("simulate", description="A simulation.")
    kept: bool = Field(description="Whether no promise and no proven bound was seen broken.")
    broken: int = Field(ge=0, description="Entries of the plan whose promise was seen broken.")


class AuditResult(ApiDocument):
    """The result of an audit in short."""

    kind: Literal["audit"] = Field("audit", description="An audit.")
    verdict: str | None = Field(None, description="kept, broken or undecided, over all promises.")


class ExplanationResult(ApiDocument):
    """The result of an explanation in short."""

    kind: Literal["explain"] = Field("explain", description="An explanation.")
    status: str = Field(description="Status of the plan that is explained.")


class SettlementResult(ApiDocument):
    """The result of a settlement in short."""

    kind: Literal["settle"] = Field("settle", description="A settlement.")
    conserved: bool = Field(description="Whether payments and refunds add up to the cent.")


class DecompositionResult(ApiDocument):
    """The result of a decomposition in short."""

    kind: Literal["decompose"] = Field("decompose", description="A decomposition of an SLA.")
    probability: float = Field(description="Estimated probability that every domain accepts its share.")


class Job(ApiDocument):
    """A job: what was asked and how far it is."""

    job_id: str = Field(max_length=36, json_schema_extra={"format": "uuid"}, description="Names the job.")
    kind: Literal["solve", "intent", "simulate", "audit", "explain", "settle", "decompose"] = Field(
        description="What is done: planning, resolving an intent, or an analysis of a plan."
    )
    name: str = Field(max_length=1000, description="Name of the instance, or of the intent.")
    state: State = Field(
        description="QUEUED, RUNNING, then DONE (there is an answer, which may be that there is no plan), "
        "FAILED (`error` says why) or CANCELLED."
    )
    options: dict[str, Any] = Field(description="The options in force, defaults included.")
    created_at: Time = Field(description="When it was taken in.")
    started_at: Time | None = Field(None, description="When its last attempt began.")
    finished_at: Time | None = Field(None, description="When it was finished.")
    attempts: int = Field(
        ge=0, description="How often it was begun: more than once where the server ended in between."
    )
    progress: Progress | None = Field(None, description="The last round that was told.")
    result: (
        Annotated[
            SolveResult
            | IntentResult
            | SimulationResult
            | AuditResult
            | ExplanationResult
            | SettlementResult
            | DecompositionResult,
            Field(discriminator="kind"),
        ]
        | None
    ) = Field(None, description="Of a job that is DONE: the answer in short.")
    error: JobError | None = Field(None, description="Of a job that FAILED: why.")

    @classmethod
    def of(cls, entry: Entry) -> Job:
        """A job as the database has it."""
        return cls(
            job_id=entry.id,
            kind=entry.kind,  # type: ignore[arg-type]
            name=entry.name[:1000],
            state=entry.state,
            options=dict(entry.options),
            created_at=_time(entry.created) or "",
            started_at=_time(entry.started),
            finished_at=_time(entry.finished),
            attempts=entry.attempts,
            progress=None if entry.progress is None else Progress.model_validate(entry.progress),
            result=None if entry.result is None else {"kind": entry.kind, **entry.result},  # type: ignore[arg-type]
            error=None if entry.error is None else JobError.model_validate(entry.error),
        )


class ReadInstance(ApiDocument):
    """An instance that was read without problems."""

    name: str = Field(max_length=1000, description="Its name.")
    sha256: str = Field(max_length=64, description="Its checksum, which plans for it carry.")
    tenants: int = Field(ge=0, description="Tenants, identical ones counted.")
    instance: dict[str, Any] = Field(description="The instance as JSON, without what has its default value.")


class Pagination(ApiDocument):
    """Which page this is, and how many there are."""

    page: int = Field(ge=1, description="Number of this page, from 1.")
    per_page: int = Field(ge=1, le=100, description="Jobs on a page.")
    total_count: int = Field(ge=0, description="Jobs on all pages.")
    total_pages: int = Field(ge=0, description="Pages.")


class JobList(ApiDocument):
    """A page of the caller's jobs."""

    items: list[Job] = Field(max_length=100, description="The jobs of this page.")
    pagination: Pagination = Field(description="Which page this is.")


class TailBound(ApiDocument):
    """What is promised to an entry of a plan and what is proven; probabilities as natural logarithms."""

    id: str = Field(description="The tenant.")
    count: int = Field(ge=0, description="Identical tenants that this entry holds for.")
    admitted: bool = Field(description="Whether they are served.")
    path: list[str] = Field(description='"domain/offer" per stage.')
    deadline: float = Field(description="The deadline, in the instance's unit of time.")
    of: Literal["requests", "time"] = Field(description="Whether the promise counts requests or time.")
    epsilon: float = Field(description="The violation probability that is allowed.")
    log_epsilon: float = Field(description="Its natural logarithm.")
    log_bound: float | None = Field(None, description="Natural logarithm of the proven bound on it.")
    form: str | None = Field(None, description="The theorem that proves it.")
    theta: float | None = Field(None, description="The tilt at which it is proven, 1/work.")
    kept: bool | None = Field(None, description="Whether the bound keeps the promise.")
    learned: list[str] = Field(
        default=[], description="Domains without a contract, whose part of the bound is learned, not proven."
    )


class Bounds(ApiDocument):
    """What a plan proves: a bound on its cost's distance from the least, and one on every tail."""

    status: str = Field(description="Status of the plan.")
    guarantee: str = Field(description="The guarantee it was made under.")
    objective: str = Field(description="cost or profit.")
    cost: float | None = Field(None, description="Cost of the plan.")
    lower_bound: float | None = Field(None, description="Proven lower bound on the cost of every plan.")
    gap: float | None = Field(None, description="Certified relative gap.")
    tenants: list[TailBound] = Field(description="The entries of the plan.")


class Finding(BaseModel):
    """One thing that is wrong with a plan."""

    constraint: str = Field(description="Which constraint.")
    message: str = Field(description="What is wrong.")
    tenant: str | None = Field(None, description="Whose, if one's.")
    domain: str | None = Field(None, description="Where, if in one domain.")


class CheckResult(BaseModel):
    """What the independent check of the plan found, as `fedopt check --json` prints it."""

    ok: bool = Field(description="Whether nothing is wrong.")
    entries: int = Field(ge=0, description="Entries that were looked at.")
    against_instance: bool = Field(description="Whether the instance was at hand; here it always is.")
    findings: list[Finding] = Field(description="What is wrong.")
    notes: list[str] = Field(description="What no check can decide.")


class Health(ApiDocument):
    """The process answers."""

    status: Literal["UP"] = Field("UP", description="Always UP: a server that is down does not answer.")
    version: str = Field(max_length=40, description="Version of fedopt.")


class Readiness(ApiDocument):
    """Whether new jobs are taken."""

    status: Literal["READY", "NOT_READY"] = Field(description="READY, or NOT_READY with HTTP status 503.")
    reason: str = Field("", max_length=200, description="Why not.")
    workers: int = Field(ge=0, description="Workers that are warm.")
    queued: int = Field(ge=0, description="Jobs that wait.")
    running: int = Field(ge=0, description="Jobs that run.")


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


INSTANCE: dict[str, Any] = {
    "fedopt": 1,
    "name": "hello",
    "stages": ["access", "compute"],
    "domains": [
        {
            "id": "metro",
            "stage": "access",
            "capacity": 20,
            "offers": [
                {
                    "id": "gold",
                    "latency": 3,
                    "latency_kind": "delay",
                    "impairment": {"model": "exponential", "mean": 0.3},
                }
            ],
        },
        {
            "id": "near",
            "stage": "compute",
            "capacity": 4,
            "offers": [{"id": "llm", "latency": 2, "cost": {"model": "linear", "rate": 2.0}}],
        },
        {
            "id": "far",
            "stage": "compute",
            "capacity": 40,
            "offers": [{"id": "llm", "latency": 12, "cost": {"model": "linear", "rate": 0.8}}],
        },
    ],
    "tenants": [
        {
            "id": "chat",
            "count": 3,
            "arrivals": {"model": "poisson", "rate": 0.4},
            "slo": {"deadline": 60, "epsilon": 0.001},
        },
        {
            "id": "voice",
            "arrivals": {"model": "poisson", "rate": 0.2},
            "slo": {"deadline": 15, "epsilon": 0.0001},
        },
    ],
}

INTENT: dict[str, Any] = {
    "intent": {
        "id": "chat-42",
        "service": "chat completion",
        "like": "chat",
        "answers": {"within": "60 ms", "share": 0.999},
    },
    "instance": INSTANCE,
}
