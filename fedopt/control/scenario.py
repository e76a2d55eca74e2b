"""The scenario: an instance, a clock, and what happens on it. A typed document, strict, in the user's units.

Periods count from 0; `from` is the first period of a span, `until` the first one after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from fedopt.contracts.document import Time
from fedopt.instance import Instance, load
from fedopt.instance.arrivals import TraceArrivals
from fedopt.instance.base import Document, Name, NonNegative, OpenProbability, Positive, Probability
from fedopt.instance.errors import InstanceError, Problem, choice_remedy
from fedopt.instance.impairments import Impairment, LearnedImpairment, NoImpairment
from fedopt.instance.reading import read_document
from fedopt.plan.guarantees import MEASURED, check_guarantee

__all__ = [
    "Audits",
    "Budgets",
    "Degradation",
    "Failure",
    "Hidden",
    "Intent",
    "Learning",
    "Planning",
    "Reissue",
    "Scenario",
    "Stream",
    "Traffic",
    "load_scenario",
    "scenario_for",
]

Count = Annotated[StrictInt, Field(ge=0, le=1_000_000)]
Period = Annotated[StrictInt, Field(ge=0, le=10_000_000)]
MOST_MEMBERS = 1_000_000


class Stream(Document):
    """Intents that arrive by a seeded process: copies of the instance's tenant `like`.

    `present` are there at the start, `count` more arrive at uniformly random periods of [from, until) (a
    Poisson process given its number), or `rate` a period on average where no number is given. Each stays
    for an exponentially distributed number of periods of mean `stay`, at least one; without it, to the end.
    """

    like: Name
    present: Count = 0
    count: Count | None = None
    rate: NonNegative | None = None
    stay: Positive | None = None
    from_: Period = Field(default=0, validation_alias="from", serialization_alias="from")
    until: Period | None = None

    @model_validator(mode="after")
    def _one_process(self) -> Self:
        if self.count is not None and self.rate is not None:
            raise ValueError("give count or rate, not both")
        return self


class Intent(Document):
    """One listed tenant like one of the instance's: it is there in the periods [arrives, leaves)."""

    id: Name
    like: Name
    arrives: Period = 0
    leaves: Period | None = None

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.leaves is not None and self.leaves <= self.arrives:
            raise ValueError("leaves must be later than arrives")
        return self


class Traffic(Document):
    """From this period on, tenants like `like` (`*`: all) send `factor` times the work of the instance."""

    period: Period
    like: Annotated[StrictStr, Field(min_length=1, max_length=200)] = "*"
    factor: Positive


class _Span(Document):
    domain: Name
    from_: Period = Field(validation_alias="from", serialization_alias="from")
    until: Period

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.until <= self.from_:
            raise ValueError("until must be later than from")
        return self


class Degradation(_Span):
    """A domain whose impairment is truly `impairment` times what it was, while its contract says nothing."""

    impairment: Positive
    offer: Name | None = None


class Failure(_Span):
    """A domain that serves nobody. A failure raises an alarm: the loop knows it when it plans."""


class Reissue(Document):
    """A domain changes an offer's contract: from this period on the new law is both promised and true."""

    period: Period
    domain: Name
    offer: Name
    impairment: Impairment | None = None
    latency: NonNegative | None = None


class Hidden(Document):
    """What an offer without a contract truly is; nobody plans with it.

    Each tenant's work is served at `rate` (work per unit of time), whatever it reserved, behind its own part
    of the `impairment`, and is under way for `latency` besides.
    """

    domain: Name
    offer: Name
    rate: Positive
    latency: NonNegative = 0.0
    impairment: Impairment = NoImpairment()


class Learning(Document):
    """How offers without a contract are learned from accept/reject answers.

    Risks are stated at `confidence`; for each kind of traffic `delays` delays are told apart. `tests` senders
    of each kind and offer go beside the tenants in a period until something can be promised, the answers
    of the last `memory` periods count. `model` is the risk model that says which delays to ask for.
    """

    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    delays: Annotated[StrictInt, Field(ge=2, le=50)] = 10
    tests: Annotated[StrictInt, Field(ge=0, le=100)] = 4
    memory: Annotated[StrictInt, Field(ge=1, le=10_000)] = 24
    model: Literal["logistic", "convex"] = "logistic"


class Planning(Document):
    """How to plan: the gap to certify in a full plan, and the gap at which patching a plan ends.

    `effort` bounds the nodes of a search for whole heads (method central), so that no period waits for a
    proof and what is found depends on no clock; where it binds, the plan states the gap that it reached.

    `headroom` is the part of ε that tenants are planned with: what is left is for the time between a
    degradation and the plan that knows of it. `margin` is what the mean-rate baseline adds to the means.
    """

    guarantee: StrictStr = "minplus"
    method: StrictStr = "central"
    gap: Positive = 2e-3
    replan_gap: Positive = 5e-3
    effort: Annotated[StrictInt, Field(ge=1)] = 2000
    headroom: Probability = 1.0
    margin: NonNegative = 0.25

    @model_validator(mode="after")
    def _known(self) -> Self:
        try:
            check_guarantee(self.guarantee)
        except ValueError as error:
            raise ValueError(str(error)) from None
        if self.guarantee == MEASURED:
            raise ValueError("the loop plans under a theorem; the baseline `simulated` measures")
        if self.replan_gap < self.gap:
            raise ValueError("replan_gap must not be below gap")
        return self


class Audits(Document):
    """How telemetry is audited.

    Every period each domain reports how its own impairment exceeded the reference of its contract; a domain
    named at `alarm` (false alarms per test) has its `worst` tenants audited at `confidence`, and its contract
    raised as far as they show. After `calm` periods without an alarm it re-issues what it promised at first.
    """

    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    alarm: OpenProbability = 1e-5
    worst: Annotated[StrictInt, Field(ge=1, le=1000)] = 3
    calm: Annotated[StrictInt, Field(ge=1, le=100_000)] = 3
    recalibrate: StrictBool = True


class Budgets(Document):
    """Drift-plus-penalty: long-run budgets kept by virtual queues, weighed against cost by `v`.

    `menu` are the factors of ε that a tenant may be planned with in a period (above 1: less than the theorem
    asks, as long as its violation budget has nothing to catch up on); `domains` the cost per period that each
    named domain may cause in the long run. Cost comes within O(1/v) of the least, backlogs grow with v.
    """

    v: Positive
    menu: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=12)] = (4.0, 2.0, 1.0, 0.5)
    domains: dict[str, NonNegative] = Field(default_factory=dict)


class Scenario(Document):
    """What happens to an instance over `periods` control periods.

    The tenants of the instance are the patterns that streams and intents copy; `residents` says whether
    they are served themselves, all day. `period` is the length of a control period in the instance's unit of
    time. `slots` bounds how many slots of each period are simulated packet by packet (its first ones); the
    rest of the period is taken to go on like them.
    """

    fedopt: Literal[1] = 1
    name: Annotated[StrictStr, Field(min_length=1, max_length=200)] = "scenario"
    instance: Annotated[StrictStr, Field(min_length=1, max_length=4096)]
    start: Time = "2026-01-01T00:00:00Z"
    periods: Annotated[StrictInt, Field(ge=1, le=10_000_000)]
    period: Positive
    slots: Annotated[StrictInt, Field(ge=1000, le=100_000_000)] = 30_000
    residents: StrictBool = False
    streams: tuple[Stream, ...] = ()
    intents: tuple[Intent, ...] = ()
    traffic: tuple[Traffic, ...] = ()
    degradations: tuple[Degradation, ...] = ()
    failures: tuple[Failure, ...] = ()
    reissues: tuple[Reissue, ...] = ()
    hidden: tuple[Hidden, ...] = ()
    planning: Planning = Planning()
    audits: Audits = Audits()
    learning: Learning = Learning()
    budgets: Budgets | None = None

    def to_dict(self) -> dict[str, Any]:
        """The scenario as plain data, defaults included."""
        return self.model_dump(mode="json", by_alias=True)

    def steps(self, instance: Instance) -> int:
        """Slots of a period that are simulated."""
        return min(self.slots, int(self.period / instance.slot))


def load_scenario(path: str | os.PathLike[str]) -> tuple[Scenario, Instance]:
    """A scenario file and the instance that it names (relative to it).

    Raises InstanceError with every problem of either file, each with its place and a remedy.
    """
    scenario = read_document(path, Scenario, "a scenario")
    file = Path(path).parent / scenario.instance
    if not file.is_file():
        remedy = "name the instance's file, relative to this one"
        raise InstanceError([Problem("instance", f"there is no file {file}", remedy)], str(path))
    instance = load(file)
    return scenario_for(scenario, instance, str(path)), instance


def scenario_for(scenario: Scenario, instance: Instance, source: str = "scenario") -> Scenario:
    """The scenario, checked against its instance. Raises InstanceError with every name that it lacks."""
    problems = [
        *_unknown(scenario, instance),
        *_without_contract(scenario, instance),
        *_impossible(scenario, instance),
    ]
    if problems:
        raise InstanceError(problems, source)
    return scenario


def _unknown(scenario: Scenario, instance: Instance) -> Iterator[Problem]:
    tenants = {tenant.id for tenant in instance.tenants}
    domains = {domain.id: {offer.id for offer in domain.offers} for domain in instance.domains}

    def missing(name: str, known: set[str], what: str, place: str) -> Iterator[Problem]:
        if name not in known:
            remedy = choice_remedy(name, sorted(known), what)
            yield Problem(place, f"the instance has no {what} {name!r}", remedy)

    for group in ("streams", "intents", "traffic"):
        for i, part in enumerate(getattr(scenario, group)):
            if part.like != "*":
                yield from missing(part.like, tenants, "tenant", f"{group}[{i}].like")
    for group in ("degradations", "failures", "reissues", "hidden"):
        for i, part in enumerate(getattr(scenario, group)):
            yield from missing(part.domain, set(domains), "domain", f"{group}[{i}].domain")
            offer = getattr(part, "offer", None)
            if offer is not None and part.domain in domains:
                yield from missing(offer, domains[part.domain], "offer", f"{group}[{i}].offer")
    for name in scenario.budgets.domains if scenario.budgets is not None else ():
        yield from missing(name, set(domains), "domain", f"budgets.domains.{name}")


def _without_contract(scenario: Scenario, instance: Instance) -> Iterator[Problem]:
    """Offers without a contract need a truth, and no others may have one."""
    offers = {f"{domain.id}/{offer.id}": offer for domain in instance.domains for offer in domain.offers}
    learned = {name for name, o in offers.items() if isinstance(o.impairment, LearnedImpairment)}
    names = [f"{part.domain}/{part.offer}" for part in scenario.hidden]
    for i, name in enumerate(names):
        place = f"hidden[{i}]"
        if name in offers and name not in learned:
            remedy = "give the offer the impairment {model: learned}, or leave this out"
            yield Problem(place, f"{name} has a contract, so nothing of it is hidden", remedy)
        if name in names[:i]:
            yield Problem(place, f"{name} is given twice", "leave one of them out")
        if isinstance(scenario.hidden[i].impairment, LearnedImpairment):
            yield Problem(f"{place}.impairment", "what is true cannot be learned", "give a law")
    for name in sorted(learned - set(names)):
        domain, _, offer = name.partition("/")
        remedy = f"add - {{domain: {domain}, offer: {offer}, rate: …}} to hidden"
        yield Problem("hidden", f"{name} has no contract, and nothing says what it truly is", remedy)
    for i, part in enumerate(scenario.reissues):
        if f"{part.domain}/{part.offer}" in learned or isinstance(part.impairment, LearnedImpairment):
            remedy = "leave it out; degradations change what is hidden"
            yield Problem(f"reissues[{i}]", "re-issues a contract where there is none", remedy)


def _impossible(scenario: Scenario, instance: Instance) -> Iterator[Problem]:
    if scenario.period / instance.slot < 1000:
        message = f"a period is {scenario.period / instance.slot:g} slots; an audit needs 1000 or more"
        yield Problem("period", message, "give longer periods, or an instance with shorter slots")
    names = [intent.id for intent in scenario.intents]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("intents", f"the id {name!r} is given twice", "give every intent an id of its own")
    for i, tenant in enumerate(instance.tenants):
        if tenant.count != 1:
            message = (
                f"tenants[{i}] of the instance has count {tenant.count}; here everyone is followed alone"
            )
            yield Problem("instance", message, "set count: 1 and let a stream bring the others")
        if tenant.slo.milestones:
            message = f"{tenant.id!r} has milestones, which an operation of many periods does not follow"
            yield Problem("instance", message, "leave milestones out of its SLO")
        if scenario.traffic and isinstance(tenant.arrivals, TraceArrivals):
            yield Problem(
                "traffic", f"the trace of {tenant.id!r} cannot be scaled", "leave it out of traffic"
            )
        if scenario.budgets is not None and max(scenario.budgets.menu) * tenant.slo.epsilon >= 1:
            message = f"the menu makes ε of {tenant.id!r} a probability of 1 or more"
            yield Problem("budgets.menu", message, "leave out the largest factor")
    if not (scenario.streams or scenario.intents or scenario.residents):
        yield Problem("", "nobody is ever served", "give streams, intents, or residents: true")
    brought = sum(s.present + (s.count or 0) + (s.rate or 0.0) * scenario.periods for s in scenario.streams)
    if brought > MOST_MEMBERS:
        yield Problem("streams", f"bring more than {MOST_MEMBERS:,} tenants", "lower count or rate")
