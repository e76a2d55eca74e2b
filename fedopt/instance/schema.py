"""JSON Schema of the documents, made from the classes that read them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pydantic import BaseModel

from .errors import InstanceError, Problem, choice_remedy
from .quantities import EXAMPLES

KINDS = {
    "instance": ("fedopt.instance.documents", "Instance"),
    "plan": ("fedopt.plan.document", "Plan"),
    "contract": ("fedopt.contracts.document", "Contract"),
    "audit": ("fedopt.audit.document", "Audit"),
    "scenario": ("fedopt.control.scenario", "Scenario"),
    "intent": ("fedopt.control.intents", "ServiceIntent"),
}
"""Where the class of each kind of document lives; a kind whose part is not installed is not offered."""


FIELDS = {
    "fedopt": "Version of the format: 1.",
    "name": "What plans and reports call the instance.",
    "units": "The units of the numbers in the file.",
    "slot": "Length of a time slot, for laws that are stated per slot.",
    "theta": "Grid of tilts for tables; optional where every model is parametric.",
    "stages": "Names of the stages in the order in which a request crosses them.",
    "domains": "The parts of the network; every stage has one at least.",
    "links": "Ways to domains of the next stage; without the field every domain reaches every one.",
    "tenants": "Who sends requests, and what is promised to them.",
    "id": "Name, unlike its neighbours'; without '/'.",
    "stage": "The stage that the domain is part of.",
    "operator": "Who runs the domain; policies and federated methods go by it.",
    "region": "Where it lies, for policies.",
    "trust": "How far it is trusted, for policies.",
    "capacity": "Shared by all tenants: Σ work_factor · reserved rate is at most this. 0: a drained site.",
    "dependent_with": "Domains whose impairments may be correlated with this one's.",
    "dependence": "within-slot: only work of the same slot may be correlated; any: nothing is known.",
    "position": "Longitude and latitude in degrees, for maps alone.",
    "forwarding": "When the next stage may begin with a request: whole (once it is served) or cut-through.",
    "offers": "Reservation classes; at a compute stage one for each AI model and class.",
    "speed": "Makes the offer a pool: one request is served at this rate, a reservation is whole servers.",
    "concurrency": "Servers of one replica of a pool; reservations are whole replicas.",
    "latency": "Of the guardrail or the pure delay.",
    "latency_kind": "rate: a rate-latency guardrail; delay: a pure delay.",
    "impairment": "Work with priority that takes the domain's rate away.",
    "cost": "Convex, non-decreasing cost of the total reserved rate.",
    "Link.cost": "Paid by every tenant that uses the link.",
    "Units.cost": "What a cost of 1 is, such as EUR/h; quantities of money need it.",
    "max_rate": "The largest rate that one tenant may reserve.",
    "work_factor": "Capacity used for a unit of reserved rate; a larger AI model uses more.",
    "accuracy": "Of the AI model, compared with min_accuracy.",
    "staleness": "Age of the AI model in seconds, compared with max_staleness.",
    "from": "Domain where the link starts.",
    "to": "Domain of the next stage where it ends.",
    "delay": "Propagation delay.",
    "Ask.delay": "Delays of the table, ascending.",
    "count": "Identical tenants, each provisioned on its own.",
    "arrivals": "How work comes in.",
    "slo": "What is promised: P(delay > deadline) ≤ epsilon.",
    "policy": "Where the tenant's work may go.",
    "work": "Unit of work, any word.",
    "Tenant.work": "What one unit of the tenant's work is on a stage, where it is not 1: {gpu: 300 token}.",
    "payment": "Value of serving one of them.",
    "penalty": "What a broken promise costs.",
    "deadline": "From the arrival of a request to its end.",
    "epsilon": "Probability of missing the deadline, at most.",
    "percentile": "In the place of epsilon: 99.9 is an epsilon of 0.001.",
    "of": "requests: that share of the requests; time: of the instants.",
    "min_accuracy": "Least accuracy of the AI model; offers that state none fail it where others state one.",
    "max_staleness": "Largest staleness in seconds; offers that state none fail it where others state one.",
    "operators": "The allowed ones; without the field all are.",
    "regions": "The allowed ones; without the field all are.",
    "min_trust": "Least trust of every domain.",
    "forbid": "Domains, or single offers as domain/offer.",
    "model": "Which model it is.",
    "basis": "What the numbers rest on: stated, fitted to a record at a confidence, or an estimate.",
    "confidence": "With basis: fitted, that of the upper bound.",
    "LearnedImpairment.confidence": "Of every risk of the table by itself.",
    "asks": "What answers taught, by kind of traffic.",
    "throughput": "Traffic is shaped to at most this.",
    "risk": "Upper confidence limits on the probability of a longer delay.",
    "estimate": "What the learner's risk model expects.",
    "answers": "How many answers were counted.",
    "rho": "ρ(θ) at the points of theta.",
    "sigma": "σ(θ) at the points of theta.",
    "kappa": "κ(θ) at the points of theta.",
    "eta": "η(θ) at the points of theta.",
    "independent_increments": "Declares that disjoint intervals are independent.",
    "monotone": "Declares that an interval's impairment is at least that of its parts.",
    "request_size": "What a request brings at once, where the SLO is about requests.",
    "mean": "Mean work per unit of time.",
    "shape": "Shape per unit of time; a slot's is shape · slot.",
    "scale": "Scale of the gamma law; the mean is shape · scale.",
    "rate": "Mean number of requests or pieces per unit of time.",
    "TokenBucket.rate": "Long-run rate of the bucket.",
    "Linear.rate": "Cost of a unit of rate.",
    "Quadratic.rate": "Cost of the first unit of rate.",
    "quad": "Half of what the price rises by with a unit of rate.",
    "fixed": "Charge of every tenant that reserves the offer.",
    "points": "[rate, cost] with rising rates from 0 on; the first cost is the fixed charge.",
    "size": "Work of one request or piece.",
    "burst": "Work that may come at once.",
    "peak": "Work per unit of time while on; of a table: the most that a slot brings.",
    "on_to_off": "Probability of going off from one slot to the next.",
    "off_to_on": "Probability of going on from one slot to the next.",
    "cv": "Coefficient of variation.",
    "batch": "Requests that come together.",
    "gaps": "The law of the gaps between requests.",
    "rates": "Requests per unit of time in each state of the chain.",
    "changes": "How often per unit of time each state (row) changes to each other.",
    "parts": "Independent arrivals that are added.",
    "milestones": "Further promises, each up to the end of a stage.",
    "until": "The stage at whose end the milestone's deadline runs out.",
    "file": "CSV file with a header, relative to the instance's file.",
    "time_column": "Column of the arrival times, in the instance's unit of time.",
    "work_column": "Column of the work.",
    "time": "Unit of time: ns, us, ms, s, min, h or slot.",
    "Units.stages": "What one unit of work is on a stage: {gpu: 200 token}.",
    "define": "Units of your own: {L4: 1200 token/s}.",
    "exponential": "Mean of the exponential law.",
    "maximum": "No request is larger.",
    "gamma": "Mean and coefficient of variation.",
    "uniform": "Least and largest size.",
    "lognormal": "Mean and coefficient of variation of the uncut law.",
    "pareto": "Least size and tail index.",
    "discrete": "Sizes and how often each occurs.",
    "sizes": "common: a request has one size on all stages; otherwise it is drawn anew at each.",
    "DiscreteSize__Parameters.sizes": "The sizes of the histogram.",
    "weights": "How often each occurs, in any unit.",
    "minimum": "The least size.",
    "low": "The least size.",
    "high": "The largest size.",
    "GammaSize__Parameters.mean": "Mean size.",
    "ParetoSize__Parameters.shape": "Tail index.",
}
"""What each field of an instance means, by its name, or by `Document.name` where documents differ."""


def kinds() -> list[str]:
    """The kinds of documents that this installation can describe."""
    return [kind for kind in KINDS if _class(kind) is not None]


def schema(kind: str = "instance") -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a kind of document; raises `InstanceError` for an unknown kind."""
    document = _class(kind) if kind in KINDS else None
    if document is None:
        known = kinds()
        problem = Problem(kind, "is no kind of document here", choice_remedy(kind, known, "kind"))
        raise InstanceError([problem], source="schema")
    described = document.model_json_schema(by_alias=True)
    if kind == "instance":
        # Files may hold anchors and remarks under names that begin with x-.
        described["patternProperties"] = {"^x-": {}}
        for name, part in {"Instance": described, **described["$defs"]}.items():
            _describe(name, part.get("properties", {}))
    _with_quantities(described, allowed=kind == "instance")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described}


def _describe(document: str, properties: dict[str, Any]) -> None:
    """Give every field of a document its description."""
    document = document.rpartition("arrivals__")[2]
    for name, field in properties.items():
        text = FIELDS.get(f"{document}.{name}") or FIELDS.get(name)
        if text is not None:
            field.setdefault("description", text)


def _with_quantities(part: Any, allowed: bool) -> None:
    """Let the fields with a unit take a text such as `1.5 s`, in the documents where quantities are read."""
    if isinstance(part, list):
        for item in part:
            _with_quantities(item, allowed)
    if not isinstance(part, dict):
        return
    unit = part.pop("x-unit", None)
    for item in part.values():
        _with_quantities(item, allowed)
    if unit is None or not allowed:
        return
    kinds = [name.strip() for name in unit.split(",")]
    text = {"type": "string", "pattern": "[0-9]", "examples": [EXAMPLES[name] for name in kinds]}
    about = {key: part.pop(key) for key in ("title", "description", "default") if key in part}
    _numbers_or(part, text)
    part.update(about)
    part["x-unit"] = unit


def _numbers_or(part: dict[str, Any], text: dict[str, Any]) -> None:
    """Turn every number in a schema into a number or the text, lists and alternatives included."""
    if part.get("type") == "number":
        number = dict(part)
        part.clear()
        part["anyOf"] = [number, text]
        return
    for key in ("anyOf", "oneOf", "prefixItems"):
        for item in part.get(key, []):
            _numbers_or(item, text)
    if isinstance(part.get("items"), dict):
        _numbers_or(part["items"], text)


def _class(kind: str) -> type[BaseModel] | None:
    module, name = KINDS[kind]
    try:
        return getattr(import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is not None and module.startswith(error.name):
            return None
        raise
