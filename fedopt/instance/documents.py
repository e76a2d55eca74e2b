"""The documents that make up an instance: what is asked of the network, in the user's own units."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, StrictInt, StrictStr, ValidationInfo, model_validator

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
from .impairments import Impairment, NoImpairment
from .policy import RatedStages

if TYPE_CHECKING:
    import networkx

MAX_COUNT = 1_000_000_000
MAX_DOMAINS = 100_000
MAX_TENANTS = 1_000_000


class Units(Document):
    """The units of the numbers in the file: `time` a unit of time (or `slot`), `work` any word."""

    time: Literal["ns", "us", "µs", "ms", "s", "min", "h", "slot"] = "ms"
    work: Annotated[StrictStr, Field(min_length=1, max_length=50)] = "job"


class Offer(Document):
    """A reservation class of a domain; at a compute stage one per AI model and class.

    `latency` is in units of time: the latency of a rate-latency guardrail (`latency_kind: rate`) or a pure
    delay (`delay`). `max_rate` limits the rate that one tenant may reserve, `work_factor` is the capacity
    that a unit of reserved rate uses. `accuracy` and `staleness` (seconds) are compared with a tenant's SLO
    where they are given.
    """

    id: Name
    latency: NonNegative = 0.0
    latency_kind: Literal["rate", "delay"] = "rate"
    impairment: Impairment = NoImpairment()
    cost: Cost = Linear(rate=1.0)
    max_rate: Positive | None = None
    work_factor: Positive = 1.0
    accuracy: Share | None = None
    staleness: NonNegative | None = None


class Domain(Document):
    """A part of the network under one operator, on one stage, with a capacity shared by all tenants.

    `capacity` is work per unit of time: Σ work_factor · reserved rate ≤ capacity; 0 is a drained site, which
    serves nobody. `dependent_with` names
    domains whose impairments may be correlated with this one's; the relation is read in both directions.
    `position` is longitude and latitude in degrees, for maps alone.
    """

    id: Name
    stage: Name
    operator: Name | None = None
    region: Name | None = None
    trust: Real = 0.0
    capacity: NonNegative
    dependent_with: tuple[Name, ...] = ()
    position: tuple[Longitude, Latitude] | None = None
    offers: Annotated[tuple[Offer, ...], Field(min_length=1)]


class Link(Document):
    """A way from a domain to a domain of the next stage; `delay` in units of time, `cost` per tenant."""

    from_: Name = Field(validation_alias="from", serialization_alias="from")
    to: Name
    delay: NonNegative = 0.0
    cost: NonNegative = 0.0


class SLO(Document):
    """The promise to a tenant: P(delay > deadline) ≤ epsilon, of its requests or of the time.

    `deadline` is in units of time. `min_accuracy` and `max_staleness` (seconds) admit only offers that
    state an accuracy or a staleness within the limit, on every stage where some offer states one (see
    `fedopt.instance.policy.RatedStages`).
    """

    deadline: Positive
    epsilon: OpenProbability
    of: Literal["requests", "time"] = "requests"
    min_accuracy: Share | None = None
    max_staleness: NonNegative | None = None


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

    `payment` is the value of serving one of them and `penalty` what a broken promise costs.
    """

    id: Name
    count: Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)] = 1
    arrivals: Arrivals
    slo: SLO
    policy: Policy = Policy()
    payment: NonNegative = 0.0
    penalty: NonNegative = 0.0


class Instance(Document):
    """A provisioning problem: stages of domains with offers, links between them, and tenants.

    `slot` is the length of a time slot in units of time. `theta` is a grid of tilts (1/work), optional where
    every model is parametric. Without `links` every domain of a stage reaches every domain of the next.
    """

    fedopt: Literal[1] = 1
    name: Annotated[StrictStr, Field(min_length=1, max_length=200)] = "instance"
    units: Units = Units()
    slot: Positive = 1.0
    theta: Tilts | None = None
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
        return self

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
