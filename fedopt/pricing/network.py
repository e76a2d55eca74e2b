"""An instance as arrays in slots: offers, domains, links and the kinds of tenants; the one place of this
conversion.

Tenants that differ in nothing but their names are one kind: what is computed for a path is computed once a
kind.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.calculus.forms import FINE, allowed_forms
from fedopt.calculus.path import Path, groups, log_difference
from fedopt.calculus.whole import Handover, slots_lost
from fedopt.errors import InputError
from fedopt.instance.costs import Linear
from fedopt.instance.graph import admissible
from fedopt.instance.impairments import NoImpairment
from fedopt.laws import WholeRequests, build, own_arrival, pack
from fedopt.plan.paths import handover_of, pools_of, speaks_of_slots, within_slot

if TYPE_CHECKING:
    from fedopt.instance import Instance, Tenant

__all__ = ["Abandoned", "Network", "PathSet", "TenantClass", "TooManyPaths"]

MOST_PATHS = 4_000_000
_Terms = tuple[int, tuple[int, ...], float, float, float, np.ndarray, tuple[int, float]]


class TooManyPaths(InputError):
    """A tenant has more admissible paths than can be enumerated."""


class Abandoned(Exception):
    """A listing was given up: it was to stop, or grew beyond what was asked for."""


@dataclass(frozen=True, eq=False)
class TenantClass:
    """Tenants that are served alike: the same arrivals, promise and admissible offers (and payment, where
    that counts).

    Attributes:
        index: position among the classes (`kind` in names).
        family: classes that differ in nothing but what they pay are of one family, and are priced once.
        tenants: (tenant id, count) of its members.
        count: units in all.
        tenant: one of its members, for what they share.
        arrival: row of the arrivals in the network's model table, with what hand-overs add to them on the
            path that has most of them.
        by_handovers: rows of the arrivals with what 0, 1, … hand-overs add.
        deadline: slots of the fluid whose bounds are those of whole requests (`calculus.whole`).
        log_epsilon: natural logarithm of the allowed violation probability, of the same fluid.
        broken: natural logarithm of what that leaves out of the promised one.
        pool: slots by which offers that are pools of servers delay its requests, shape (offers,).
        least_charged: arrival and log_epsilon with what no admissible path is without.
        allowed: which offers its policy and SLO admit, shape (offers,).
    """

    index: int
    family: int
    tenants: tuple[tuple[str, int], ...]
    count: int
    tenant: Tenant
    arrival: int
    by_handovers: tuple[int, ...]
    deadline: float
    log_epsilon: float
    broken: float
    pool: np.ndarray
    least_charged: tuple[int, float]
    allowed: np.ndarray

    @property
    def relaxed(self) -> TenantClass:
        """The kind as if it took the path with the fewest hand-overs: what it needs no path needs less of."""
        arrival, log_epsilon = self.least_charged
        if (arrival, log_epsilon) == (self.arrival, self.log_epsilon):
            return self
        return replace(self, arrival=arrival, log_epsilon=log_epsilon, family=-1 - self.family)

    @property
    def service(self) -> tuple[int, float, float, bool]:
        """What a path must do for it, whoever may use the path: arrivals' row, deadline, log ε, per
        request."""
        return self.arrival, self.deadline, self.log_epsilon, self.biased

    @property
    def biased(self) -> bool:
        """Whether the promise is about requests."""
        return self.tenant.slo.of == "requests"

    @property
    def payment(self) -> float:
        """What one unit pays."""
        return self.tenant.payment


@dataclass(frozen=True, eq=False)
class PathSet:
    """The admissible paths of a kind whose pure delays leave something of the deadline, P paths of L offers.

    Attributes:
        offers: offer indices, shape (P, L).
        links: delay of the links and of pools, slots, shape (P,).
        window: whole slots left for queueing, shape (P,).
        charge: fixed and link charges of a unit, shape (P,).
    """

    offers: np.ndarray
    links: np.ndarray
    window: np.ndarray
    charge: np.ndarray

    def __len__(self) -> int:
        return len(self.offers)


class Network:
    """Offers, domains and kinds of an instance, as arrays in slots and work per slot.

    paid: whether payments count, so that tenants who pay differently are of different kinds.
    """

    def __init__(self, instance: Instance, paid: bool = False) -> None:
        self.instance = instance
        self.paid = paid
        slot = self.slot = float(instance.slot)
        self.stages = len(instance.stages)
        stage_of = {stage: s for s, stage in enumerate(instance.stages)}
        self.domain_ids = [domain.id for domain in instance.domains]
        self.capacity = np.array([domain.capacity * slot for domain in instance.domains])
        entries = [(d, domain, offer) for d, domain in enumerate(instance.domains) for offer in domain.offers]
        self.names = [f"{domain.id}/{offer.id}" for _, domain, offer in entries]
        self.domain = np.array([d for d, _, _ in entries])
        self.stage = np.array([stage_of[domain.stage] for _, domain, _ in entries])
        self.latency = np.array([offer.latency / slot for _, _, offer in entries])
        self.guardrail = np.array([offer.latency_kind == "rate" for _, _, offer in entries])
        self.factor = np.array([offer.work_factor for _, _, offer in entries])
        most = np.array(
            [math.inf if offer.max_rate is None else offer.max_rate * slot for _, _, offer in entries]
        )
        self.stated_most = most
        self.most = np.minimum(most, self.capacity[self.domain] / self.factor)
        self.curves: list[Any] = [offer.cost for _, _, offer in entries]
        self.fixed = np.array([float(offer.cost.fixed) for _, _, offer in entries])
        self._stated = [(domain, offer) for _, domain, offer in entries]
        self.slotted = speaks_of_slots(instance)
        if self.slotted:  # each domain begins with a slot: pure delays end with one
            self.latency = np.where(self.guardrail, self.latency, np.ceil(self.latency - 1e-9))
        self.speed = np.array([(offer.speed or 0.0) * slot for _, _, offer in entries])
        self._replica = self.speed * np.array([offer.concurrency for _, _, offer in entries])
        self.stated_most = self.in_servers(self.stated_most, np.arange(len(entries)), np.floor)
        self.most = self.in_servers(self.most, np.arange(len(entries)), np.floor)
        self._link_arrays()
        self._models()

    def in_servers(self, rates: np.ndarray, offers: np.ndarray, rounded: Callable[[Any], Any]) -> np.ndarray:
        """Rates of offers, of pools rounded to whole numbers of replicas."""
        speed = self._replica[offers]
        if not speed.any():
            return rates
        part = np.where(speed > 0.0, speed, 1.0)
        slack = 1e-9 if rounded is np.floor else -1e-9
        return np.where(speed > 0.0, rounded(rates / part + slack) * part, rates)

    def pure(self, kind: TenantClass) -> np.ndarray:
        """Pure delays of offers, for a kind, slots, shape (offers,)."""
        return np.where(self.guardrail, 0.0, self.latency) + kind.pool

    def _link_arrays(self) -> None:
        count = len(self.domain_ids)
        index = {name: d for d, name in enumerate(self.domain_ids)}
        if self.instance.links is None:
            self.link_delay = np.zeros((count, count))
            self.link_cost = np.zeros((count, count))
            return
        self.link_delay = np.full((count, count), math.inf)
        self.link_cost = np.full((count, count), math.inf)
        for link in self.instance.links:
            delay = link.delay / self.slot
            self.link_delay[index[link.from_], index[link.to]] = (
                math.ceil(delay - 1e-9) if self.slotted else delay
            )
            self.link_cost[index[link.from_], index[link.to]] = link.cost

    def _models(self) -> None:
        slot, instance = self.slot, self.instance
        models: list[Any] = []
        rows: dict[str, int] = {}
        keys: list[bytes | None] = []

        def row(document: Any) -> int:
            key = (
                document.model_dump_json()
                if hasattr(document, "model_dump_json")
                else f"object {id(document)}"
            )
            if key not in rows:
                rows[key] = len(models)
                keys.append(key.encode() if hasattr(document, "model_dump_json") else None)
                models.append(build(document, slot))
            return rows[key]

        self.row = np.array([row(offer.impairment) for _, offer in self._stated])
        members: dict[tuple[Any, ...], list[Tenant]] = {}
        masks: dict[object, bytes] = {}
        for tenant in instance.tenants:
            slo = tenant.slo
            own = tuple(sorted((tenant.work or {}).items()))
            asked = (tenant.policy, slo.min_accuracy, slo.max_staleness, own)
            if asked not in masks:
                allowed = [
                    not admissible(tenant, domain, offer, instance.rated) for domain, offer in self._stated
                ]
                masks[asked] = np.array(allowed).tobytes()
            promise = (slo.deadline, slo.epsilon, slo.of)
            family = (row(tenant.arrivals), *promise, masks[asked], slo.milestones)
            members.setdefault((family, tenant.payment if self.paid else None), []).append(tenant)
        families = {family: f for f, family in enumerate(dict.fromkeys(key[0] for key in members))}
        self.families = len(families)
        pool = self.speed > 0.0
        per_speed = np.divide(1.0, self.speed, out=np.zeros(len(pool)), where=pool)
        handed = np.array([domain.forwarding == "whole" for domain, _ in self._stated]) & ~pool
        self._handed = handed
        promises: dict[Any, _Terms] = {}

        def charged(base: int, count: int, cost: Handover) -> int:
            """The row of arrivals with what so many hand-overs add."""
            law = WholeRequests(models[base], count * cost.size, count * cost.slope, not self.slotted)
            key = str((keys[base] or id(models[base]), law.size, law.slope, law.without_slots))
            if key not in rows:
                rows[key] = len(models)
                keys.append(key.encode() if keys[base] is not None else None)
                models.append(law)
            return rows[key]

        for family in families:
            base, deadline, epsilon, _, mask, _ = family
            first = next(iter(members[key] for key in members if key[0] == family))[0]
            usable = np.frombuffer(mask, dtype=bool)
            if models[base].per_stage:  # by the form of whole requests, with the deadline as it is
                left, nothing = math.log(epsilon), np.zeros(len(pool))
                promises[family] = base, (base,), deadline / slot, left, -math.inf, nothing, (base, left)
                continue
            open_ = usable & handed
            count = sum(bool(open_[self.stage == stage].any()) for stage in range(self.stages - 1))
            cost = handover_of(instance, first, models[base]) if count else Handover()
            certain = sum(
                bool(open_[here].any() and not (usable & ~handed)[here].any())
                for here in (self.stage == stage for stage in range(self.stages - 1))
            )
            lost = slots_lost(models[base].slot_start, self.stages) if self.slotted else 1
            broken, delays = cost.log_broken, np.zeros(len(self.speed))
            mine, last = usable & pool, self.stage == self.stages - 1
            if mine.any():
                pools = pools_of(instance, first, own_arrival(models[base]))
                delays = np.where(mine, pools.delays(per_speed, last, self.slotted), 0.0)
                if pools.exceeded and (mine & last).any():
                    broken = float(np.logaddexp(broken, math.log(pools.exceeded)))
            left = log_difference(math.log(epsilon), broken)
            mixed = bool((mine & last).any() and (usable & ~mine & last).any())
            alike = (certain > 0 or not count) and not mixed
            by_handovers = tuple(charged(base, max(h, certain), cost) for h in range(count + 1))
            promises[family] = (
                by_handovers[-1],
                by_handovers,
                deadline / slot - lost,
                left,
                broken,
                delays,
                (by_handovers[0], left if alike else math.log(epsilon)),
            )
        self.kinds = [
            TenantClass(
                index,
                families[key[0]],
                tuple((tenant.id, tenant.count) for tenant in tenants),
                sum(tenant.count for tenant in tenants),
                tenants[0],
                *promises[key[0]],
                np.frombuffer(key[0][4], dtype=bool) & self._serves(models[key[0][0]]),
            )
            for index, (key, tenants) in enumerate(members.items())
        ]
        self.objects, self._model_keys = models, keys
        self.models = pack(models)
        self._dependent = [instance.dependent_group.get(name) for name in self.domain_ids]
        self._paths: dict[object, PathSet] = {}

    def _serves(self, law: Any) -> np.ndarray:
        """Which offers can serve a law at all: sizes drawn anew in each domain want servers that are theirs
        alone and hand on whole requests."""
        if not law.per_stage:
            return np.ones(len(self.names), dtype=bool)
        last = self.stage == self.stages - 1
        return np.array(
            [
                isinstance(offer.impairment, NoImpairment)
                and offer.speed is None
                and (domain.forwarding == "whole" or bool(end))
                and (offer.latency_kind == "delay" or offer.latency == 0.0)
                for (domain, offer), end in zip(self._stated, last, strict=True)
            ]
        )

    def model_key(self, row: int) -> bytes | None:
        """What tells a model from others, whichever its row; None for a user's own."""
        return self._model_keys[row]

    def without_costs(self) -> Network:
        """The same network with nothing to pay and no capacity in the way of a single unit: what is missing
        is the question."""
        free = copy.copy(self)
        free.curves = [Linear(rate=0.0)] * len(self.names)
        free.fixed = np.zeros(len(self.names))
        free.link_cost = np.where(np.isfinite(self.link_cost), 0.0, math.inf)
        free.most = self.stated_most
        free._paths = {}
        return free

    def at_most(self, kind: TenantClass) -> int:
        """How many paths a kind could have at most, links and delays aside."""
        return math.prod(int(n) for n in np.bincount(self.stage[kind.allowed], minlength=self.stages))

    def has_path(self, kind: TenantClass) -> bool:
        """Whether some admissible path's pure delays leave anything of the deadline."""
        pure = self.pure(kind)
        here = np.flatnonzero(kind.allowed & (self.stage == 0))
        spent = pure[here]
        for stage in range(1, self.stages):
            there = np.flatnonzero(kind.allowed & (self.stage == stage))
            hops = self.link_delay[np.ix_(self.domain[here], self.domain[there])]
            spent = (spent[:, None] + hops).min(axis=0, initial=math.inf) + pure[there]
            here = there
        return bool(spent.min(initial=math.inf) <= kind.deadline + 1e-9)

    def paths(self, kind: TenantClass) -> PathSet:
        """The admissible paths of a kind; kinds with the same policy and deadline share one set.

        Raises TooManyPaths where they cannot be enumerated.
        """
        key = (kind.allowed.tobytes(), kind.deadline, kind.pool.tobytes())
        if key not in self._paths:
            self._paths[key] = self._enumerate(kind.allowed, kind)
        return self._paths[key]

    def _enumerate(self, allowed: np.ndarray, kind: TenantClass) -> PathSet:
        pure = self.pure(kind)
        first = np.flatnonzero(allowed & (self.stage == 0))
        offers, links, charge, spent = first[:, None], kind.pool[first], self.fixed[first], pure[first]
        for stage in range(1, self.stages):
            following = np.flatnonzero(allowed & (self.stage == stage))
            if len(offers) * len(following) > 4 * MOST_PATHS:
                raise TooManyPaths(
                    f"tenant {kind.tenants[0][0]} has over {MOST_PATHS:,} admissible paths; "
                    "narrow its policy or give the links that exist"
                )
            delay = self.link_delay[np.ix_(self.domain[offers[:, -1]], self.domain[following])]
            total = spent[:, None] + delay + pure[following]
            left, right = np.nonzero(total <= kind.deadline + 1e-9)
            cost = self.link_cost[self.domain[offers[left, -1]], self.domain[following[right]]]
            offers, links, charge, spent = (
                np.concatenate([offers[left], following[right, None]], axis=1),
                links[left] + delay[left, right] + kind.pool[following[right]],
                charge[left] + cost + self.fixed[following[right]],
                total[left, right],
            )
        window = np.floor(kind.deadline - spent + 1e-9).astype(np.int64)
        return PathSet(offers, links, window, charge)

    def prices_of_rates(self) -> np.ndarray:
        """Marginal cost of each offer at rate 0, per work/slot, shape (offers,)."""
        return np.array([float(curve.marginal(0.0)) for curve in self.curves]) / self.slot

    def links(self, offers: np.ndarray, kind: TenantClass) -> np.ndarray:
        """Delay of the links and pools along paths of a kind, offers (N, L), slots, shape (N,)."""
        domains = self.domain[offers]
        return self.link_delay[domains[:, :-1], domains[:, 1:]].sum(axis=1) + kind.pool[offers].sum(axis=1)

    def charge(self, offers: np.ndarray) -> float:
        """Fixed and link charges of a unit on one path, shape (L,)."""
        domains = self.domain[offers]
        return float(self.fixed[offers].sum() + self.link_cost[domains[:-1], domains[1:]].sum())

    def lags(self, offers: np.ndarray) -> np.ndarray:
        """Rate-latency latencies of offers, slots, 0 for pure delays."""
        return np.where(self.guardrail, self.latency, 0.0)[offers]

    @property
    def has_dependence(self) -> bool:
        """Whether the impairments of some domains may be dependent."""
        return any(self._dependent)

    def dependent(self, offers: np.ndarray) -> tuple[tuple[int, ...], ...]:
        """Groups of positions of one path, shape (L,), whose impairments may be dependent."""
        return groups([self._dependent[int(d)] for d in self.domain[offers]])

    def within_slot(self, offers: np.ndarray) -> bool:
        """Whether the domains of one path, shape (L,), depend on each other within a slot only."""
        names = [self._dependent[int(d)] for d in self.domain[offers]]
        return within_slot(self.instance, names, list(self.models.iid[self.row[offers]]))

    def exponents(self, offers: np.ndarray, forms: bool = False) -> np.ndarray:
        """Equal Hölder exponents of many paths, shape (P, L); forms: those that the fine form needs where
        domains depend within a slot only, which are 1."""
        values = np.ones(offers.shape)
        if self.has_dependence:
            for p, path in enumerate(offers):
                if forms and self.within_slot(path):
                    continue
                for group in self.dependent(path):
                    values[p, list(group)] = len(group)
        return values

    def forms(self, kind: TenantClass, offers: np.ndarray, exponents: np.ndarray) -> np.ndarray:
        """Masks of the minplus forms whose assumptions hold, for paths of shape (P, L)."""
        models, rows = self.models, self.row[offers]
        own = kind.arrival
        monotone = models.monotone[rows].all(axis=1)
        independent = models.independent[rows].all(axis=1) & models.independent[own]
        iid = models.iid[rows].all(axis=1)  # arrivals enter the image form at θ alone
        dependent = (exponents > 1.0).any(axis=1)
        table = np.array([allowed_forms(*(bool(code >> b & 1) for b in range(4))) for code in range(16)])
        masks = table[monotone + 2 * independent + 4 * iid + 8 * dependent]
        if self.has_dependence:
            within = np.array([self.within_slot(path) for path in offers], dtype=bool)
            masks = np.where(within, masks & 1 << FINE, masks)
        return masks

    def arrivals(self, kind: TenantClass, offers: np.ndarray) -> np.ndarray:
        """Rows of a kind's arrivals with what the hand-overs of paths add, offers (P, L), shape (P,)."""
        rows = np.array(kind.by_handovers)
        count = self._handed[offers[:, :-1]].sum(axis=1) if len(rows) > 1 else np.zeros(len(offers), int)
        return rows[count]

    def path(self, kind: TenantClass, offers: np.ndarray, links: float) -> Path:
        """One path as the calculus takes it: the fluid whose bounds are those of whole requests."""
        arrival = self.objects[int(self.arrivals(kind, offers[None])[0])]
        by_requests = bool(arrival.per_stage)
        return Path(
            arrival=arrival,
            impairments=tuple(self.objects[row] for row in self.row[offers]),
            latencies=self.latency[offers],
            rate_latency=self.guardrail[offers],
            deadline=kind.deadline - links,
            log_epsilon=kind.log_epsilon,
            per_request=kind.biased,
            dependent=self.dependent(offers),
            within_slot=self.within_slot(offers),
            broken=kind.broken,
            whole=(True,) * len(offers) if by_requests else None,
        )

    def hops(self, offers: np.ndarray) -> Iterator[tuple[str, str]]:
        """(domain id, "domain/offer") along a path."""
        for offer in offers:
            yield self.domain_ids[self.domain[offer]], self.names[offer]
