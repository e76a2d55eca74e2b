"""The documents that make up an instance: what is asked of the network, in the user's own units."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, StrictInt, StrictStr, ValidationInfo, model_validator
from pydantic_core import CoreSchema

from .arrivals import Arrivals
from .base import (
    Document,
    Latitude,
    Longitude,
    Name,
    NonNegative,
    OpenProbability,
    Positive,
    Real,
    Share,
    Tilts,
)
from .costs import Cost, Linear
from .errors import InstanceError, Problem, choice_remedy
from .graph import RatedStages
from .impairments import Impairment, NoImpairment
from .quantities import Unit, converted, measures
from .weighing import weight_of, with_weighed_offers

if TYPE_CHECKING:
    import networkx

MAX_COUNT = 1_000_000_000
MAX_DOMAINS = 100_000
MAX_TENANTS = 1_000_000


class Units(Document):
    """The units of the numbers in the file, to which quantities with units are converted.

    `time` is a unit of time (or `slot`), `work` any word. `cost` says what a cost of 1 is, such as `EUR/h`.
    `stages` says of a stage by name what one unit of work is there, such as `200 token`; `define` names units
    of the reader's own, such as `L4: 1200 token/s`.
    """

    unhashed = frozenset({"cost", "stages", "define"})

    time: Literal["ns", "us", "µs", "ms", "s", "min", "h", "slot"] = "ms"
    work: Annotated[StrictStr, Field(min_length=1, max_length=50)] = "job"
    cost: Annotated[StrictStr, Field(min_length=1, max_length=200)] | None = None
    stages: dict[Name, StrictStr] = Field(default={})
    define: dict[Name, StrictStr] = Field(default={})

    @model_validator(mode="after")
    def _understood(self) -> Self:
        if self.cost is not None or self.stages or self.define:
            measures(self)
        return self

    def __hash__(self) -> int:
        return hash((self.time, self.work, self.cost))

    def rate(self, value: float, stage: str) -> str:
        """A rate on a stage in words, in the stage's own unit of work where `stages` gives it one."""
        if stage in self.stages:
            return measures(self).rate_text(value, stage)
        return f"{value:.6g} {self.work}/{self.time}"


class Offer(Document):
    """A reservation class of a domain; at a compute stage one per AI model and class.

    `latency` is in units of time: the latency of a rate-latency guardrail (`latency_kind: rate`) or a pure
    delay (`delay`). `max_rate` limits the rate that one tenant may reserve, `work_factor` is the capacity
    that a unit of reserved rate uses. `accuracy` and `staleness` (seconds) are compared with a tenant's SLO
    where they are given. `speed` makes the offer a pool of servers: one request is served at that rate (work
    per unit of time; a sequence being decoded), a reserved rate is so many servers, in whole numbers, and in
    whole replicas of `concurrency` servers each. A pool has no impairment and hands requests on in the order
    in which they came.
    """

    later = frozenset({"speed", "concurrency"})

    id: Name
    speed: Annotated[Positive | None, Unit("rate")] = None
    concurrency: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = 1
    latency: Annotated[NonNegative, Unit("time")] = 0.0
    latency_kind: Literal["rate", "delay"] = "rate"
    impairment: Impairment = NoImpairment()
    cost: Cost = Linear(rate=1.0)
    max_rate: Annotated[Positive | None, Unit("rate")] = None
    work_factor: Positive = 1.0
    accuracy: Annotated[Share | None, Unit("share")] = None
    staleness: Annotated[NonNegative | None, Unit("seconds")] = None

    @model_validator(mode="after")
    def _pool(self) -> Self:
        if self.speed is not None and not isinstance(self.impairment, NoImpairment):
            raise ValueError("an offer with a speed is a pool of servers, which has no impairment")
        if self.speed is None and self.concurrency > 1:
            raise ValueError("concurrency is that of a pool: state the speed of one request")
        return self


class WeighedOffer(Offer):
    """An offer as it is to tenants whose unit of work is `weight` units there: see `weighing`."""

    unwritten = frozenset({"weight"})

    weight: Positive


class Domain(Document):
    """A part of the network under one operator, on one stage, with a capacity shared by all tenants.

    `capacity` is work per unit of time: Σ work_factor · reserved rate ≤ capacity; 0 is a drained site, which
    serves nobody. `dependent_with` names domains whose impairments may be correlated with this one's; the
    relation is read in both directions. `dependence: within-slot` says that only what falls into the same
    slot (or instant) may be correlated, and work of different slots is independent.
    `position` is longitude and latitude in degrees, for maps alone.
    `forwarding` says when the next stage may begin with a request: `whole` once all of it has been served
    here, `cut-through` while it is being served (links whose packets are far smaller than a request).
    """

    unhashed = frozenset({"position"})
    later = frozenset({"forwarding", "dependence"})

    id: Name
    stage: Name
    operator: Name | None = None
    region: Name | None = None
    trust: Real = 0.0
    capacity: Annotated[NonNegative, Unit("rate")]
    dependent_with: tuple[Name, ...] = ()
    dependence: Literal["any", "within-slot"] = "any"
    position: tuple[Longitude, Latitude] | None = None
    forwarding: Literal["whole", "cut-through"] = "whole"
    offers: Annotated[tuple[Offer, ...], Field(min_length=1)]


class Link(Document):
    """A way from a domain to a domain of the next stage; `delay` in units of time, `cost` per tenant."""

    from_: Name = Field(validation_alias="from", serialization_alias="from")
    to: Name
    delay: Annotated[NonNegative, Unit("time")] = 0.0
    cost: Annotated[NonNegative, Unit("cost")] = 0.0


class Milestone(Document):
    """A promise for part of the way: P(delay up to the end of stage `until` > deadline) ≤ epsilon.

    The delay runs from the arrival of a request, like that of the SLO itself. A `percentile` may be given in
    the place of `epsilon`.
    """

    until: Name
    deadline: Annotated[Positive, Unit("time")]
    epsilon: Annotated[OpenProbability, Unit("share")]

    @model_validator(mode="before")
    @classmethod
    def _by_percentile(cls, data: Any) -> Any:
        return _with_epsilon(data)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: Any) -> dict[str, Any]:
        return _with_percentile(handler.resolve_ref_schema(handler(core)))


class SLO(Document):
    """The promise to a tenant: P(delay > deadline) ≤ epsilon, of its requests or of the time.

    `deadline` is in units of time. A `percentile` such as 99.9 may be given in the place of `epsilon`, which
    is then 0.001. `min_accuracy` and `max_staleness` (seconds) admit only offers that
    state an accuracy or a staleness within the limit, on every stage where some offer states one (see
    `fedopt.instance.graph.RatedStages`). `milestones` are further promises, each up to the end of a stage:
    the first token by the end of prefill, say.
    """

    later = frozenset({"milestones"})

    deadline: Annotated[Positive, Unit("time")]
    epsilon: Annotated[OpenProbability, Unit("share")]
    of: Literal["requests", "time"] = "requests"
    min_accuracy: Annotated[Share | None, Unit("share")] = None
    max_staleness: Annotated[NonNegative | None, Unit("seconds")] = None

    milestones: tuple[Milestone, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _by_percentile(cls, data: Any) -> Any:
        return _with_epsilon(data)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: Any) -> dict[str, Any]:
        return _with_percentile(handler.resolve_ref_schema(handler(core)))


def _with_epsilon(data: Any) -> Any:
    """The document with a percentile turned into ε."""
    if not isinstance(data, Mapping) or "percentile" not in data:
        return data
    if "epsilon" in data:
        raise ValueError("epsilon and percentile say the same; leave one of them out")
    rest = {key: value for key, value in data.items() if key != "percentile"}
    return {**rest, "epsilon": _beyond(data["percentile"])}


def _with_percentile(described: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema in which either epsilon or percentile is given."""
    rank = {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 100}, {"type": "string"}]}
    described["properties"]["percentile"] = {"title": "Percentile", **rank}
    described["required"] = [name for name in described["required"] if name != "epsilon"]
    described["oneOf"] = [{"required": ["epsilon"]}, {"required": ["percentile"]}]
    return described


def _beyond(percentile: object) -> float:
    """The probability beyond a percentile such as 99.9, `p99.9` or `99.9 %`, free of 1 − p's rounding."""
    found = re.fullmatch(r"\s*p?\s*([0-9]+(?:\.[0-9]+)?)\s*%?\s*", str(percentile))
    rank = None if found is None or isinstance(percentile, bool) else Decimal(found[1])
    if rank is None or not 0 < rank < 100:
        raise ValueError(f"percentile must be a number between 0 and 100, such as 99.9, is {percentile!r}")
    return float((100 - rank) / 100)


class Policy(Document):
    """Where a tenant's work may go. `operators` and `regions` are lists of the allowed ones where given.

    `forbid` names domains, or single offers as `domain/offer`.
    """

    operators: tuple[Name, ...] | None = None
    regions: tuple[Name, ...] | None = None
    min_trust: Real | None = None
    forbid: tuple[StrictStr, ...] = ()


class Tenant(Document):
    """Who sends work and what is promised; `count` identical ones, each provisioned on its own.

    `payment` is the value of serving one of them and `penalty` what a broken promise costs. `work` says, of
    stages by name, what one unit of the tenant's work is there: `{radio: 40 kbit, gpu: 300 token}`.
    """

    later = frozenset({"work"})

    id: Name
    count: Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)] = 1
    work: Annotated[dict[Name, Positive] | None, Unit("work")] = None
    arrivals: Arrivals
    slo: SLO
    policy: Policy = Policy()
    payment: Annotated[NonNegative, Unit("cost")] = 0.0
    penalty: Annotated[NonNegative, Unit("cost")] = 0.0

    def __hash__(self) -> int:
        return hash((self.id, self.count, self.arrivals, self.slo, self.policy))


class Instance(Document):
    """A provisioning problem: stages of domains with offers, links between them, and tenants.

    `slot` is the length of a time slot in units of time. `theta` is a grid of tilts (1/work), optional where
    every model is parametric. Without `links` every domain of a stage reaches every domain of the next.
    """

    fedopt: Literal[1] = 1
    name: Annotated[StrictStr, Field(min_length=1, max_length=200)] = "instance"
    units: Units = Units()
    slot: Annotated[Positive, Unit("time")] = 1.0
    theta: Annotated[Tilts | None, Unit("tilt")] = None
    stages: Annotated[tuple[Name, ...], Field(min_length=1)]
    domains: Annotated[tuple[Domain, ...], Field(min_length=1, max_length=MAX_DOMAINS)]
    links: tuple[Link, ...] | None = None
    tenants: Annotated[tuple[Tenant, ...], Field(min_length=1, max_length=MAX_TENANTS)]

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        from .consistency import inconsistencies

        if not (isinstance(info.context, dict) and info.context.get("checked_by_reader")):
            problems = inconsistencies(self)
            if problems:
                raise InstanceError(problems, source=f"instance {self.name!r}")
        domains, problems = with_weighed_offers(self, WeighedOffer)
        if problems:
            raise InstanceError(problems, source=f"instance {self.name!r}")
        object.__setattr__(self, "domains", domains)
        return self

    @classmethod
    def _with_numbers(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        changed, problems = converted(data, cls)
        if problems:
            raise InstanceError(problems, source="instance")
        return changed

    @cached_property
    def _domains_by_id(self) -> dict[str, Domain]:
        return {domain.id: domain for domain in self.domains}

    @cached_property
    def _tenants_by_id(self) -> dict[str, Tenant]:
        return {tenant.id: tenant for tenant in self.tenants}

    @cached_property
    def _offers_by_name(self) -> dict[str, tuple[Domain, Offer]]:
        return {
            f"{domain.id}/{offer.id}": (domain, offer) for domain in self.domains for offer in domain.offers
        }

    @cached_property
    def rated(self) -> RatedStages:
        """The stages whose offers must state an accuracy or a staleness to be admitted under a limit."""
        return RatedStages.of(self.stages, self.domains)

    def domain(self, id: str) -> Domain:
        """The domain of that id; raises `InstanceError` with a near miss where there is none."""
        return _found(self._domains_by_id, id, "domain")

    def tenant(self, id: str) -> Tenant:
        """The tenant of that id; raises `InstanceError` with a near miss where there is none."""
        return _found(self._tenants_by_id, id, "tenant")

    def offer(self, name: str) -> tuple[Domain, Offer]:
        """The domain and offer of a name `domain/offer`; raises `InstanceError` where there is none."""
        return _found(self._offers_by_name, name, "offer")

    def rate_text(self, place: str, rate: float) -> str | None:
        """A rate in words of the stage's own unit of work; None where `units.stages` gives it none.

        `place` is a domain, whose capacity counts units of the instance's work, or an offer
        (`domain/offer`), whose rate counts units of its tenants' own work.
        """
        domain = self.domain(place.partition("/")[0])
        if domain.stage not in self.units.stages:
            return None
        weight = weight_of(self.offer(place)[1]) if "/" in place else None
        return self.units.rate(rate * (weight or 1.0), domain.stage)

    @cached_property
    def dependent_group(self) -> dict[str, str]:
        """For each domain that may depend on others the name of its group: all that are linked by a chain of
        declarations, whether a path crosses the links of the chain or not."""
        group: dict[str, str] = {}
        near: dict[str, set[str]] = {}
        for first, second in (tuple(pair) for pair in self.dependent_pairs if len(pair) == 2):
            near.setdefault(first, set()).add(second)
            near.setdefault(second, set()).add(first)
        for name in near:
            waiting = [] if name in group else [name]
            while waiting:
                member = waiting.pop()
                if member not in group:
                    group[member] = name
                    waiting.extend(near[member])
        return group

    @cached_property
    def slot_dependent_groups(self) -> frozenset[str]:
        """The names of the groups of `dependent_group` all of whose domains declare `within-slot`."""
        lasting = {
            self.dependent_group[domain.id]
            for domain in self.domains
            if domain.dependence == "any" and domain.id in self.dependent_group
        }
        return frozenset(self.dependent_group.values()) - lasting

    @cached_property
    def dependent_pairs(self) -> frozenset[frozenset[str]]:
        """The pairs of domain ids whose impairments may be correlated."""
        return frozenset(
            frozenset((domain.id, other)) for domain in self.domains for other in domain.dependent_with
        )

    @cached_property
    def sha256(self) -> str:
        """The hash of the canonical JSON; the order of lists that are sets does not matter."""
        from .writing import sha256

        return sha256(self)

    def with_(self, changes: Mapping[str, Any] | None = None, /, **fields: Any) -> Instance:
        """A changed copy for a what-if question.

        Fields of the instance are given by name (`with_(slot=0.5)`), places inside it as dotted paths
        (`with_({"tenants.chat.slo.deadline": 110})`); list entries are named by id or index, `*` means all.
        Raises `InstanceError` where a place does not exist or the result is no valid instance.
        """
        from .changing import changed

        return changed(self, {**(changes or {}), **fields})

    def graph(self, tenant: str | Tenant | None = None) -> networkx.DiGraph:
        """The stage graph of the instance, or what of it a tenant may use; see `fedopt.instance.graph`."""
        from .graph import stage_graph

        return stage_graph(self, tenant)

    def to_dict(self) -> dict[str, Any]:
        """The instance as mappings, lists and scalars, without what has its default value."""
        from .writing import plain

        return plain(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the instance to a file, atomically: as JSON where its name ends in `.json`, else as YAML."""
        from .writing import dump

        return dump(self, path)

    def to_json(self) -> str:
        """The instance as JSON text that `loads` reads back."""
        from .writing import dumps

        return dumps(self, "json")


def _found(items: Mapping[str, Any], id: str, what: str) -> Any:
    try:
        return items[id]
    except KeyError:
        remedy = choice_remedy(id, sorted(items), what)
        raise InstanceError([Problem("", f"there is no {what} {id!r}", remedy)]) from None
