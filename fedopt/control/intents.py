"""Intents: what a service needs, in its own words, resolved to an AI model, a path and an SLO.

An intent says how good the answers must be, how soon and for which share of requests, and where data may go.
It is resolved against an instance (and, where there is one, the plan in force): every offer of the last stage
is an alternative, and each that was not chosen says why.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StrictStr, model_validator

from fedopt.control.admission import Ledger, Prices, Pricing
from fedopt.instance import SLO, Instance, InstanceError, LearnedImpairment, Policy, Problem, Tenant
from fedopt.instance.arrivals import Arrivals
from fedopt.instance.base import Document, Name, NonNegative, OpenProbability, Positive, Share
from fedopt.instance.graph import admissible
from fedopt.instance.reading import read_document
from fedopt.instance.writing import plain
from fedopt.plan import Plan, TenantPlan

__all__ = ["Alternative", "Answers", "Resolution", "ServiceIntent", "load_intent", "resolve"]

SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ns|us|µs|ms|s|min|h)")


def _duration(text: str) -> str:
    found = _DURATION.fullmatch(text)
    if found is None or not float(found[1]) > 0:
        raise ValueError(f"must be a time such as '2 s' or '150 ms', is {text[:40]!r}")
    return text


class Answers(Document):
    """Answers come `within` a time ("2 s") for a `share` of the requests (or of the time)."""

    within: Annotated[StrictStr, AfterValidator(_duration)]
    share: OpenProbability = 0.999
    of: Literal["requests", "time"] = "requests"

    def deadline(self, unit: str) -> float:
        """The time in an instance's unit. Raises ValueError where that is a slot."""
        if unit not in SECONDS:
            raise ValueError(f"an instance that counts time in {unit}s has no seconds to promise")
        number, own = _DURATION.fullmatch(self.within).groups()  # type: ignore[union-attr]
        return float(number) * (SECONDS[own] / SECONDS[unit])


class ServiceIntent(Document):
    """What a service needs. Traffic is given by `arrivals`, or is that of the instance's tenant `like`.

    `policy` says where its data may go, `most` what it may cost per period of the instance's prices.
    """

    fedopt: Literal[1] = 1
    id: Name
    service: Annotated[StrictStr, Field(min_length=1, max_length=200)] = "service"
    like: Name | None = None
    arrivals: Arrivals | None = None
    answers: Answers
    min_accuracy: Share | None = None
    max_staleness: NonNegative | None = None
    policy: Policy = Policy()
    most: Positive | None = None

    @model_validator(mode="after")
    def _traffic(self) -> Self:
        if (self.like is None) == (self.arrivals is None):
            raise ValueError("give the traffic once: arrivals, or like a tenant of the instance")
        return self

    def tenant(self, instance: Instance) -> Tenant:
        """The tenant that this intent makes of the instance. Raises InstanceError."""
        try:
            deadline = self.answers.deadline(instance.units.time)
        except ValueError as error:
            remedy = "give the instance a unit of time"
            raise InstanceError([Problem("answers.within", str(error), remedy)], self.id) from None
        return Tenant(
            id=self.id,
            arrivals=self.arrivals or instance.tenant(str(self.like)).arrivals,
            slo=SLO(
                deadline=deadline,
                epsilon=round(1 - self.answers.share, 15),
                of=self.answers.of,
                min_accuracy=self.min_accuracy,
                max_staleness=self.max_staleness,
            ),
            policy=self.policy,
        )


@dataclass(frozen=True)
class Alternative:
    """One offer of the last stage: chosen, or why not. cost: of the cheapest way through it, None where there
    is none.
    """

    offer: str
    accuracy: float | None
    chosen: bool
    cost: float | None
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dict(vars(self))


@dataclass(frozen=True)
class Resolution:
    """An intent resolved: the tenant it makes, the entry that serves it (None where nothing does), and every
    alternative, the chosen one first.
    """

    intent: ServiceIntent
    tenant: Tenant
    entry: TenantPlan | None
    cost: float | None
    alternatives: tuple[Alternative, ...]

    @property
    def resolved(self) -> bool:
        """Whether there is a way to serve it."""
        return self.entry is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "intent": self.intent.id,
            "service": self.intent.service,
            "resolved": self.resolved,
            "tenant": plain(self.tenant),
            "cost": self.cost,
            "entry": None if self.entry is None else self.entry.model_dump(mode="json"),
            "alternatives": [alternative.to_dict() for alternative in self.alternatives],
        }

    def to_text(self) -> str:
        """In words."""
        slo = self.tenant.slo
        lines = [f"{self.intent.id} ({self.intent.service}): P(delay > {slo.deadline:g}) ≤ {slo.epsilon:g}"]
        if self.entry is not None and self.entry.log_bound is not None:
            lines.append(f"  served over {' → '.join(self.entry.path)} at cost {self.cost:.6g}")
            lines.extend(_promises(self.entry))
        else:
            lines.append("  cannot be served")
        lines.extend(f"  {'*' if a.chosen else '-'} {a.offer}: {a.why}" for a in self.alternatives)
        return "\n".join(lines)


def _promises(entry: TenantPlan) -> list[str]:
    """What is a theorem of an entry's promise, and what is learned."""
    whole = math.exp(float(entry.log_bound or 0.0))
    risk = math.fsum(promise.risk for promise in entry.learned.values())
    lines = [f"  a theorem ({entry.form}): P ≤ {whole - risk:.3g} under the contracts in force"]
    lines.extend(
        f"  learned, no theorem: P({domain} takes more than {promise.delay:g}) ≤ {promise.risk:.3g} at "
        f"{promise.confidence:.0%} confidence, from {promise.answers:,} answers"
        for domain, promise in entry.learned.items()
    )
    if entry.learned:
        lines.append(f"  together: P ≤ {whole:.3g}")
    return lines


def load_intent(path: str | os.PathLike[str]) -> ServiceIntent:
    """Read an intent from a YAML or JSON file. Raises InstanceError with every problem at its place."""
    return read_document(path, ServiceIntent, "an intent")


def resolve(
    intent: ServiceIntent, instance: Instance, plan: Plan | None = None, guarantee: str = "minplus"
) -> Resolution:
    """Resolve an intent: the cheapest way that keeps its promise, and why every other AI model lost.

    plan: the plan in force on the instance; what it has reserved is not there any more, and its prices count.
    Raises InstanceError where the intent names what the instance has not.
    """
    tenant = intent.tenant(instance)
    pricing = Pricing(instance, guarantee)
    entries = {} if plan is None else {e.id: e for e in plan.tenants if e.admitted and e.id != intent.id}
    ledger = Ledger(instance, entries)
    on = (Prices({}, {}) if plan is None else Prices.of(plan)).on(instance)
    last = instance.stages[-1]
    offers = [(d, o) for d in instance.domains if d.stage == last for o in d.offers]
    names = [f"{domain.id}/{offer.id}" for domain, offer in offers]
    ways: dict[str, tuple[float, TenantPlan]] = {}
    lost: dict[str, str] = {}
    for name, (domain, offer) in zip(names, offers, strict=True):
        reasons = admissible(tenant, domain, offer, instance.rated)
        if reasons:
            lost[name] = "not admissible: " + "; ".join(reasons)
            continue
        forbid = (*tenant.policy.forbid, *(other for other in names if other != name))
        only = tenant.model_copy(update={"policy": tenant.policy.model_copy(update={"forbid": forbid})})
        answer = pricing.price(only, on)
        way = next(((cost, entry) for cost, entry in answer.candidates if not ledger.full(entry)), None)
        if way is not None:
            ways[name] = way
        elif answer.candidates:
            full = sorted({d for _, entry in answer.candidates for d in ledger.full(entry)})
            lost[name] = f"no room left in {', '.join(full)}"
        else:
            lost[name] = (
                "nothing that was learned of it suffices: it has no contract"
                if isinstance(offer.impairment, LearnedImpairment)
                else "no admissible path to it keeps the deadline at any reservation allowed"
            )
    best = min(ways, key=lambda name: (ways[name][0], name), default=None)
    if best is not None and intent.most is not None and ways[best][0] > intent.most:
        dear = {
            name: f"costs {cost:.6g}; the intent may cost {intent.most:g}" for name, (cost, _) in ways.items()
        }
        lost, best = lost | dear, None
    found = []
    for name, (_, offer) in zip(names, offers, strict=True):
        cost = ways[name][0] if name in ways else None
        why = "chosen: the cheapest way that keeps the promise" if name == best else lost.get(name, "")
        if cost is not None and not why and best is not None:
            more = cost - ways[best][0]
            why = f"costs {cost:.6g}, {more:.3g} more than {best}"
        found.append(Alternative(name, offer.accuracy, name == best, cost, why))
    found.sort(key=lambda a: (not a.chosen, a.cost is None, a.cost or 0.0, a.offer))
    if best is None:
        return Resolution(intent, tenant, None, None, tuple(found))
    cost, entry = ways[best]
    return Resolution(intent, tenant, entry.model_copy(update={"id": intent.id}), cost, tuple(found))
