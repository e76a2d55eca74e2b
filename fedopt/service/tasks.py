"""What workers do: read posted documents, plan, analyse plans, draw reports. Nothing here knows of HTTP.

No document that comes in can name a file: instances are read without a folder, and the arrivals of an intent
are looked at before anything opens them.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedopt.instance import Instance, InstanceError, Problem, dumps, loads
from fedopt.instance.reading import document_of, instance_of, read_fields, traces_in

if TYPE_CHECKING:
    from fedopt.plan import Plan
    from fedopt.plan.document import HistoryRow

__all__ = [
    "FileNamed",
    "Outcome",
    "audit",
    "decompose",
    "draw_report",
    "explain_plan",
    "read_instance",
    "read_intent",
    "resolve_intent",
    "settle_plan",
    "simulate_plan",
    "solve",
]

INSTANCE = "the posted instance"
INTENT = "the posted intent"

MOST_ROWS = 1_500_000
"""Requests in the telemetry of a simulation."""

Told = Callable[[dict[str, Any]], bool]
"""Told of every round of a solver; a true answer stops the solver at its best plan."""


class FileNamed(InstanceError):
    """A document that names a file, which one that comes over the network must not."""


@dataclass(frozen=True)
class Outcome:
    """What a task found: a few words about it and whole documents by name."""

    summary: dict[str, Any]
    documents: dict[str, str] = field(default_factory=dict)


def read_instance(body: bytes, json_only: bool) -> Outcome:
    """Read a posted instance. Raises InstanceError with every problem at its place."""
    fields, lines = read_fields(
        body, INSTANCE, json_only=json_only, remedy="post an instance: stages, domains, tenants, …"
    )
    _refuse_files(fields, INSTANCE)
    return _outcome(instance_of(fields, lines, INSTANCE))


def read_intent(body: bytes, json_only: bool) -> Outcome:
    """Read a posted intent with what it is to be resolved on: an instance, a plan in force, or a job.

    Raises InstanceError with every problem at its place.
    """
    from fedopt.control.intents import ServiceIntent

    remedy = "post {intent: …, instance: …} or {intent: …, job: …}"
    fields, lines = read_fields(body, INTENT, json_only=json_only, remedy=remedy)
    unknown = sorted(set(fields) - {"intent", "instance", "plan", "job"})
    if unknown:
        raise _wrong(INTENT, unknown[0][:60], "is not a field here", remedy)
    intent, instance, plan, job = (fields.get(name) for name in ("intent", "instance", "plan", "job"))
    if not isinstance(intent, dict):
        raise _wrong(INTENT, "intent", "is missing or holds no named fields", remedy)
    if (instance is None) == (job is None) or (plan is not None and instance is None):
        words = "must come with either an instance (and a plan, if one is in force) or a job"
        raise _wrong(INTENT, "", words, remedy)
    if job is not None and not isinstance(job, str):
        raise _wrong(INTENT, "job", "is no name of a job", "give the jobId of a job that has a plan")
    _refuse_files(fields, INTENT)
    asked = _within("intent", lambda: document_of(intent, lines, ServiceIntent, INTENT))
    documents = {"intent": asked.model_dump_json(by_alias=True, exclude_unset=True)}
    if job is not None:
        return Outcome({"name": asked.id, "job": job}, documents)
    if not isinstance(instance, dict):
        raise _wrong(INTENT, "instance", "holds no named fields", "write fields: stages, domains, tenants, …")
    read = _within("instance", lambda: instance_of(instance, lines, INTENT))
    asked.tenant(read)
    documents["instance"] = _as_text(read, INTENT)
    if plan is not None:
        documents["plan"] = json.dumps(plan, ensure_ascii=False)
        _plan_of(documents["plan"], read)
    return Outcome({"name": asked.id, "job": None, "sha256": read.sha256}, documents)


def solve(instance_text: bytes, options: Mapping[str, Any], warm_start: bytes, told: Told) -> Outcome:
    """Plan an instance, check the plan, and state its bounds. Raises what `fedopt.solve` raises."""
    from fedopt.plan import Plan, check
    from fedopt.solve import solve as plan_instance

    instance = loads(instance_text, INSTANCE)
    start = Plan.loads(warm_start.decode("utf-8"), "the plan to start from") if warm_start else None

    def progress(row: HistoryRow) -> bool:
        return told(_round(row))

    plan = plan_instance(
        instance,
        options["method"],
        guarantee=options["guarantee"],
        objective=options["objective"],
        gap=options["gap"],
        time_limit=options["timeLimit"],
        warm_start=start,
        progress=progress,
        simulation={"seed": options["seed"]},
    )
    report = check(plan, instance)
    summary = {
        "status": plan.status,
        "cost": _finite(plan.cost),
        "lowerBound": _finite(plan.lower_bound),
        "gap": _finite(plan.gap),
        "admitted": plan.admitted,
        "tenants": sum(tenant.count for tenant in instance.tenants),
        "checked": report.ok,
    }
    documents = {
        "plan": plan.to_json(),
        "check": json.dumps(report.to_dict(), ensure_ascii=False),
        "bounds": json.dumps(bounds(plan, instance), ensure_ascii=False, allow_nan=False),
    }
    return Outcome(summary, documents)


def resolve_intent(intent: bytes, instance_text: bytes, plan_text: bytes, guarantee: str) -> Outcome:
    """Resolve an intent against an instance and, where there is one, the plan in force."""
    from fedopt.control.intents import ServiceIntent, resolve

    fields, lines = read_fields(intent, INTENT, json_only=True)
    _refuse_files(fields, INTENT)
    asked = document_of(fields, lines, ServiceIntent, INTENT)
    instance = loads(instance_text, INSTANCE)
    plan = _plan_of(plan_text.decode("utf-8"), instance) if plan_text else None
    found = resolve(asked, instance, plan, guarantee)
    document = json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False)
    return Outcome({"resolved": found.resolved, "cost": _finite(found.cost)}, {"resolution": document})


def simulate_plan(plan_text: bytes, instance_text: bytes, options: Mapping[str, Any], told: Told) -> Outcome:
    """Simulate a plan request by request. Raises what `fedopt.simulate` raises."""
    from fedopt.plan import Plan
    from fedopt.simulate import simulate

    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        told({"round": done, "total": total, "seconds": time.monotonic() - began})

    plan, instance = Plan.loads(plan_text.decode("utf-8")), loads(instance_text, INSTANCE)
    found = simulate(
        plan,
        instance,
        trials=options["trials"],
        seed=options["seed"],
        confidence=options["confidence"],
        progress=progress,
    )
    broken = sum(tenant.verdict == "broken" for tenant in found.tenants)
    documents = {"simulation": found.to_json()}
    if options["telemetry"]:
        documents["telemetry"] = _telemetry(plan, instance, options["seed"])
    return Outcome({"kept": found.ok, "broken": broken}, documents)


def _telemetry(plan: Plan, instance: Instance, seed: int) -> str:
    """Simulated delays as CSV, a row a request; bounded in all, so fewer of each where there are many."""
    from fedopt.simulate.telemetry import telemetry

    entries = sum(entry.admitted for entry in plan.tenants)
    requests = None if entries * 300_000 <= MOST_ROWS else max(1000, MOST_ROWS // entries)
    rows = ["tenant,delay"]
    for tenant, delays in telemetry(plan, instance, requests=requests, seed=seed):
        if not isinstance(delays, str):
            name = f'"{tenant.replace(chr(34), chr(34) * 2)}"'
            rows += [f"{name},{delay:.9g}" for delay in delays]
    return "\n".join(rows) + "\n"


def audit(plan: bytes, instance: bytes, telemetry: bytes, options: Mapping[str, Any]) -> Outcome:
    """Audit telemetry against the promises of a plan's tenants. Raises TelemetryError, AuditError."""
    from fedopt.audit import Columns, Settings, audit_telemetry, read_telemetry
    from fedopt.audit.auditing import promises_of

    with _posted({"plan.json": plan, "instance.json": instance, "telemetry": telemetry}) as folder:
        promises, unit = promises_of(folder / "instance.json", folder / "plan.json")
        settings = Settings(confidence=options["confidence"])
        found = audit_telemetry(read_telemetry(folder / "telemetry", Columns(unit=unit)), promises, settings)
    verdicts = [part.verdict for part in (found, *found.series.values()) if part.verdict]
    worst = next((v for v in ("broken", "undecided", "kept") if v in verdicts), None)
    return Outcome({"verdict": worst}, {"audit": found.to_json()})


def explain_plan(plan_text: bytes, instance_text: bytes, seconds: float) -> Outcome:
    """Say why there is no plan, or which constraints bind and what relaxing each is worth."""
    from fedopt.explain import explain
    from fedopt.plan import Plan

    plan = Plan.loads(plan_text.decode("utf-8"))
    instance = loads(instance_text, INSTANCE)
    known = plan if plan.has_plan else None
    found = explain(instance, plan.guarantee, plan=known, seconds=seconds).to_dict()
    return Outcome({"status": found["status"]}, {"explanation": json.dumps(found, ensure_ascii=False)})


def settle_plan(
    plan_text: bytes, instance_text: bytes, audited: bytes, options: Mapping[str, Any]
) -> Outcome:
    """Settle a plan by an audit of the period. Raises SettlementError, AuditError."""
    from fedopt.audit import Audit
    from fedopt.audit.settlement import settle, verdicts_of
    from fedopt.plan import Plan

    plan = Plan.loads(plan_text.decode("utf-8"))
    with _posted({"audit": audited}) as folder:
        verdicts = verdicts_of(Audit.load(folder / "audit"), plan)
    found = settle(
        loads(instance_text, INSTANCE),
        plan,
        verdicts,
        rule=options["rule"],
        period=options["period"],
    )
    return Outcome({"conserved": found.conserved}, {"settlement": found.to_json()})


def decompose(history: bytes, options: Mapping[str, Any]) -> Outcome:
    """Learn risk models from a history of answers and decompose an SLA over its domains."""
    from fedopt.learn.decide import Question, decide

    question = Question(options["sla"], options["model"], seed=options["seed"])
    with _posted({"history": history}) as folder:
        found = decide(question, folder / "history")
    document = json.dumps(found, ensure_ascii=False, allow_nan=False)
    return Outcome({"probability": found["probability"]}, {"decomposition": document})


def draw_report(plan_text: bytes, instance_text: bytes) -> Outcome:
    """The HTML report of a plan. What binds is listed with its price; nothing is solved again for it."""
    from fedopt.plan import Plan
    from fedopt.report import Given, render

    plan = Plan.loads(plan_text.decode("utf-8"))
    page = render(Given(plan=plan, instance=loads(instance_text, INSTANCE)), explain_seconds=0.0)
    return Outcome({}, {"report": page})


def bounds(plan: Plan, instance: Instance) -> dict[str, Any]:
    """What a plan proves: the bound of the cost, and of every entry's tail beside what was promised.

    Bounds of tails are natural logarithms; their probabilities may be smaller than a number can say.
    """
    entries = []
    for entry in plan.tenants:
        slo = instance.tenant(entry.id).slo
        log_epsilon = math.log(slo.epsilon)
        kept = None if entry.log_bound is None else entry.log_bound <= log_epsilon + 1e-9
        entries.append(
            {
                "id": entry.id,
                "count": entry.count,
                "admitted": entry.admitted,
                "path": entry.path,
                "deadline": slo.deadline,
                "of": slo.of,
                "epsilon": slo.epsilon,
                "logEpsilon": log_epsilon,
                "logBound": _finite(entry.log_bound),
                "form": entry.form,
                "theta": entry.theta,
                "kept": kept if entry.admitted else None,
                "learned": sorted(entry.learned),
            }
        )
    return {
        "status": plan.status,
        "guarantee": plan.guarantee,
        "objective": plan.objective,
        "cost": _finite(plan.cost),
        "lowerBound": _finite(plan.lower_bound),
        "gap": _finite(plan.gap),
        "tenants": entries,
    }


@contextmanager
def _posted(files: Mapping[str, bytes]) -> Iterator[Path]:
    """Posted documents as files of the working folder, so that no message tells where they lie."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for name, content in files.items():
            Path(name).write_bytes(content)
        yield Path()


def _plan_of(text: str, instance: Instance) -> Plan:
    """A posted plan that is in force on the instance. Raises PlanError, InstanceError where it is not its."""
    from fedopt.plan import Plan, check

    plan = Plan.loads(text, "the posted plan")
    if plan.instance.sha256 != instance.sha256:
        raise _wrong(INTENT, "plan", "is another instance's", "post the instance that the plan was made for")
    report = check(plan, instance)
    if not report.ok:
        raise _wrong(
            INTENT,
            "plan",
            f"is wrong: {report.findings[0]}"[:300],
            "post a plan that fedopt check finds correct",
        )
    return plan


def _outcome(instance: Instance) -> Outcome:
    tenants = sum(tenant.count for tenant in instance.tenants)
    summary = {"name": instance.name, "sha256": instance.sha256, "tenants": tenants}
    return Outcome(summary, {"instance": _as_text(instance, INSTANCE)})


def _as_text(instance: Instance, source: str) -> str:
    """The instance as JSON. Raises InstanceError for names that are no text: halves of a surrogate pair."""
    text = dumps(instance, "json")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _wrong(
            source, "", "holds half a surrogate pair, which is no text", "write names in UTF-8"
        ) from None
    return text


def _within(place: str, read: Callable[[], Any]) -> Any:
    """What `read` gives; the places of its problems begin with `place`."""
    from dataclasses import replace

    try:
        return read()
    except InstanceError as error:
        problems = [
            replace(problem, place=f"{place}.{problem.place}" if problem.place else place)
            for problem in error.problems
        ]
        raise InstanceError(problems, error.source) from None


def _refuse_files(fields: Mapping[str, Any], source: str) -> None:
    """Raise FileNamed where something is to be read from a file of the server."""
    problems = [
        Problem(
            place,
            "names a file, and a posted document cannot make the server open one",
            "fit the trace where it lies (fedopt fit arrivals FILE) and post the envelope",
        )
        for place in traces_in(dict(fields))
    ]
    if problems:
        raise FileNamed(problems, source)


def _wrong(source: str, place: str, message: str, remedy: str) -> InstanceError:
    return InstanceError([Problem(place, message, remedy)], source)


def _round(row: HistoryRow) -> dict[str, Any]:
    told = {
        "round": row.round,
        "cost": _finite(row.cost),
        "lowerBound": _finite(row.lower_bound),
        "primalResidual": _finite(row.primal_residual),
        "dualResidual": _finite(row.dual_residual),
        "columns": row.columns,
        "seconds": row.seconds,
    }
    return {name: value for name, value in told.items() if value is not None}


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None
