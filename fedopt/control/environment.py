"""The environment of a run: who is there and what is broken in every period, and what domains then deliver.

A timeline is drawn from the scenario, the instance and the seed alone; a period's environment has the domains
at what they promised and at what they deliver, and the tenants as they behave and were promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedopt.contracts import Contract
from fedopt.control.hidden import HiddenServer
from fedopt.control.scenario import Hidden, Reissue, Scenario, Stream
from fedopt.instance import (
    EnvelopeArrivals,
    ExponentialWork,
    Instance,
    LearnedImpairment,
    OnOff,
    Poisson,
    Tenant,
    TokenBucket,
)
from fedopt.instance.weighing import scaled_impairment
from fedopt.laws import build

__all__ = [
    "Environment",
    "Member",
    "Moment",
    "Timeline",
    "environment",
    "expected_requests",
    "scaled_arrivals",
    "tenant_now",
    "true_instance",
]


_STREAMS = 0x53545245
_EVER = 1 << 60


@dataclass(frozen=True)
class Member:
    """A tenant of the day: its id, the tenant of the instance that it is like, and its periods [arrives,
    leaves).
    """

    id: str
    like: str
    arrives: int
    leaves: int


@dataclass(frozen=True)
class Moment:
    """One period: who is there, the traffic factor by tenant of the instance, and the domains' true state.

    degraded: factor on the true impairment by "domain/offer"; failed: domains that serve nobody; reissued:
    what domains change in their contracts now.
    """

    period: int
    members: tuple[Member, ...]
    factors: Mapping[str, float]
    degraded: Mapping[str, float]
    failed: frozenset[str]
    reissued: tuple[Reissue, ...]


class Timeline:
    """The moments of a scenario."""

    def __init__(self, scenario: Scenario, instance: Instance, seed: int) -> None:
        self.scenario = scenario
        self.instance = instance
        self.seed = seed
        self.members = tuple(self._everyone())

    def at(self, period: int) -> Moment:
        """The moment of one period."""
        scenario, offers = self.scenario, self._offers
        degraded: dict[str, float] = {}
        for part in scenario.degradations:
            if part.from_ <= period < part.until:
                for name in offers(part.domain) if part.offer is None else [f"{part.domain}/{part.offer}"]:
                    degraded[name] = degraded.get(name, 1.0) * part.impairment
        return Moment(
            period,
            tuple(member for member in self.members if member.arrives <= period < member.leaves),
            self.factors(period),
            degraded,
            frozenset(part.domain for part in scenario.failures if part.from_ <= period < part.until),
            tuple(part for part in scenario.reissues if part.period == period),
        )

    def factors(self, period: int) -> dict[str, float]:
        """The traffic factor of every tenant of the instance in a period."""
        factors = {tenant.id: 1.0 for tenant in self.instance.tenants}
        for part in sorted(self.scenario.traffic, key=lambda part: part.period):
            if part.period <= period:
                for name in factors if part.like == "*" else [part.like]:
                    factors[name] = part.factor
        return factors

    def peaks(self) -> dict[str, float]:
        """The largest traffic factor of every tenant over the whole horizon."""
        starts = {0, *(part.period for part in self.scenario.traffic if part.period < self.scenario.periods)}
        rows = [self.factors(period) for period in starts]
        return {name: max(row[name] for row in rows) for name in rows[0]}

    def _offers(self, domain: str) -> list[str]:
        return [f"{domain}/{offer.id}" for offer in self.instance.domain(domain).offers]

    def _everyone(self) -> list[Member]:
        found = (
            [Member(t.id, t.id, 0, _EVER) for t in self.instance.tenants] if self.scenario.residents else []
        )
        for intent in self.scenario.intents:
            leaves = _EVER if intent.leaves is None else intent.leaves
            found.append(Member(intent.id, intent.like, intent.arrives, leaves))
        taken = {member.id for member in found}
        for number, stream in enumerate(self.scenario.streams):
            for member in self._brought(number, stream):
                if member.id in taken:
                    raise ValueError(f"a stream and an intent share the id {member.id!r}")
                taken.add(member.id)
                found.append(member)
        return sorted(found, key=lambda member: (member.arrives, member.id))

    def _brought(self, number: int, stream: Stream) -> list[Member]:
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, _STREAMS, number]))
        last = self.scenario.periods if stream.until is None else min(stream.until, self.scenario.periods)
        span = max(last - stream.from_, 0)
        count = stream.count if stream.count is not None else int(rng.poisson((stream.rate or 0.0) * span))
        arrivals = np.sort(rng.integers(stream.from_, max(last, stream.from_ + 1), size=count if span else 0))
        arrivals = np.concatenate([np.zeros(stream.present, dtype=np.int64), arrivals])
        if stream.stay is None:
            stays = np.full(len(arrivals), _EVER)
        else:
            stays = np.ceil(rng.exponential(stream.stay, size=len(arrivals))).astype(np.int64)
        return [
            Member(
                f"{stream.like}-{number + 1}-{i + 1}",
                stream.like,
                int(a),
                min(int(a) + max(int(s), 1), _EVER),
            )
            for i, (a, s) in enumerate(zip(arrivals, stays, strict=True))
        ]


def scaled_arrivals(arrivals: Any, factor: float) -> Any:
    """Arrivals with `factor` times as much work in every interval, of the same kind: more requests, not
    larger ones, where there are requests. Raises ValueError for a kind that cannot be scaled.
    """
    if factor == 1.0:
        return arrivals
    if isinstance(arrivals, Poisson):
        return arrivals.model_copy(update={"rate": arrivals.rate * factor})
    if isinstance(arrivals, ExponentialWork):
        return arrivals.model_copy(update={"mean": arrivals.mean * factor})
    if isinstance(arrivals, OnOff):
        return arrivals.model_copy(update={"peak": arrivals.peak * factor})
    if isinstance(arrivals, TokenBucket):
        return arrivals.model_copy(update={"rate": arrivals.rate * factor, "burst": arrivals.burst * factor})
    if isinstance(arrivals, EnvelopeArrivals):
        # work X·f has log-moment Λ(θf): the table at θ/f; requests grow with it
        update: dict[str, Any] = {
            "theta": tuple(theta / factor for theta in arrivals.theta),
            "rho": tuple(rho * factor for rho in arrivals.rho),
            "sigma": tuple(sigma * factor for sigma in arrivals.sigma),
        }
        size = arrivals.request_size
        if isinstance(size, int | float):
            update["request_size"] = size * factor
        elif size is not None:
            update["request_size"] = size.model_copy(update={"exponential": size.exponential * factor})
        return arrivals.model_copy(update=update)
    raise ValueError(f"arrivals of the kind {type(arrivals).__name__} cannot be scaled")


@dataclass(frozen=True)
class Environment:
    """A moment with the tenants that are served in it.

    promised: every offer as its domain promised it of its own accord; truth: as the domains deliver; hidden:
    what offers without a contract truly are, by "domain/offer".
    """

    moment: Moment
    promised: Instance
    truth: Instance
    hidden: Mapping[str, HiddenServer] = field(default_factory=dict)

    def epsilon(self, tenant: str) -> float:
        """What a tenant was promised."""
        return self.truth.tenant(tenant).slo.epsilon


def environment(
    instance: Instance,
    promised: Mapping[str, Contract],
    moment: Moment,
    served: Iterable[str],
    tests: Iterable[Tenant] = (),
    hidden: Iterable[Hidden] = (),
) -> Environment:
    """The environment of a period with the tenants `served` and test senders.

    promised: contract by "domain/offer"; hidden: what offers without one truly are.
    """
    domains = instance.with_(
        {
            f"domains.{c.domain}.offers.{c.offer}.{name}": value
            for c in promised.values()
            for name, value in (("impairment", c.impairment), ("latency", c.latency))
            if getattr(instance.offer(c.subject)[1], name) != value
        }
    )
    present = set(served)
    tenants = tuple(
        tenant_now(instance, member.id, member.like, moment.factors)
        for member in moment.members
        if member.id in present
    )
    everybody = (*tenants, *tests)
    found = domains.with_(tenants=everybody) if everybody else domains
    return Environment(moment, found, true_instance(found, moment), _servers(hidden, moment, instance.slot))


def _servers(hidden: Iterable[Hidden], moment: Moment, slot: float) -> dict[str, HiddenServer]:
    found = {}
    for part in hidden:
        name = f"{part.domain}/{part.offer}"
        impairment = scaled_impairment(part.impairment, moment.degraded.get(name, 1.0))
        found[name] = HiddenServer.of(part.rate, part.latency, impairment, slot)
    return found


def true_instance(instance: Instance, moment: Moment) -> Instance:
    """The instance with the impairments that the degraded domains truly have."""
    changes = {}
    for name, factor in moment.degraded.items():
        domain, offer = instance.offer(name)
        if isinstance(offer.impairment, LearnedImpairment):
            continue  # what it truly is stands elsewhere
        changes[f"domains.{domain.id}.offers.{offer.id}.impairment"] = scaled_impairment(
            offer.impairment, factor
        )
    return instance.with_(changes) if changes else instance


def tenant_now(instance: Instance, name: str, like: str, factors: Mapping[str, float]) -> Tenant:
    """A tenant like one of the instance's, at the traffic factor of that one."""
    pattern = instance.tenant(like)
    arrivals = scaled_arrivals(pattern.arrivals, factors[like])
    return pattern.model_copy(update={"id": name, "arrivals": arrivals})


def expected_requests(tenant: Tenant, slots: int, slot: float) -> float:
    """Requests (work where there are none) that a tenant sends in so many slots, on average."""
    law = build(tenant.arrivals, slot)
    size = getattr(law, "size", None)
    return slots * (law.mean / size if size else law.mean)
