"""What truly happens, period by period: a pure function of scenario, instance and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedopt.control.scenario import Reissue, Scenario, Stream
from fedopt.instance import (
    EnvelopeArrivals,
    ExponentialImpairment,
    ExponentialWork,
    GammaImpairment,
    Instance,
    NoImpairment,
    OnOff,
    OnOffImpairment,
    Poisson,
    PoissonImpairment,
    TableImpairment,
    TokenBucket,
)

__all__ = ["Member", "Moment", "Timeline", "scaled_arrivals", "scaled_impairment"]

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


def scaled_impairment(impairment: Any, factor: float) -> Any:
    """An impairment whose every slot loses `factor` times the work. Raises ValueError for a kind that cannot
    be scaled.
    """
    if factor == 1.0 or isinstance(impairment, NoImpairment):
        return impairment
    if isinstance(impairment, ExponentialImpairment):
        return impairment.model_copy(update={"mean": impairment.mean * factor})
    if isinstance(impairment, GammaImpairment):
        return impairment.model_copy(update={"scale": impairment.scale * factor})
    if isinstance(impairment, PoissonImpairment):
        size = impairment.size
        larger = (
            size * factor
            if isinstance(size, int | float)
            else size.model_copy(update={"exponential": size.exponential * factor})
        )
        return impairment.model_copy(update={"size": larger})
    if isinstance(impairment, OnOffImpairment):
        return impairment.model_copy(update={"peak": impairment.peak * factor})
    if isinstance(impairment, TableImpairment):
        return impairment.model_copy(
            update={
                "theta": tuple(theta / factor for theta in impairment.theta),
                "kappa": tuple(kappa * factor for kappa in impairment.kappa),
                "eta": tuple(eta * factor for eta in impairment.eta),
            }
        )
    raise ValueError(f"an impairment of the kind {type(impairment).__name__} cannot be scaled")
