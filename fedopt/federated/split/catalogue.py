"""Every lane that there could be: kinds of tenants, admissible paths, a public grid of θ; and a lower bound
on each from one sweep of answers.

The θ are those of the instance, or a ladder whose middle anybody can work out from the tenant alone. Of a
long ladder a window is looked at, chosen by what the domains answer at every octave.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fedopt.calculus.split import LARGEST_LOG_BUDGET
from fedopt.federated.protocol.messages import Service
from fedopt.federated.split.bounds import Key, LaneProgram, Tangent, Tangents
from fedopt.federated.split.lanes import LARGEST_MARGIN, LEAST_MARGIN, Lane
from fedopt.pricing import Network, TenantClass

__all__ = ["Catalogue", "KindLanes", "LaneBounds", "Sweep", "public_grid", "service_of"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
_OCTAVE = 8  # points of a ladder
_BELOW, _ABOVE = 5, 8  # octaves of a ladder on either side of its middle
_AROUND = 5  # points of a window on either side of where the cheapest θ is thought to be
_MOST_NATS = 1e4  # of load or burst; nobody reserves that much
_FEW = 16  # points of an instance's own grid that are all looked at


def public_grid(network: Network, kind: TenantClass) -> Floats:
    """The θ at which a kind's lanes may be looked at, 1/work, (M,): the instance's own, or a ladder around
    the θ at which the load θρ uses up log(1/ε) over the deadline.
    """
    own = network.instance.theta
    if own is not None:
        return np.array(own, float)
    arrival = network.objects[kind.arrival]
    thetas = np.geomspace(1e-6, 1e6, 4000)
    with np.errstate(all="ignore"):
        load = thetas * np.broadcast_to(arrival.rho(thetas), thetas.shape)
    enough = np.isfinite(load) & (load <= -kind.log_epsilon / max(kind.deadline, 1.0))
    middle = thetas[enough][-1] if enough.any() else thetas[0]
    return np.asarray(middle * 2.0 ** (np.arange(-_BELOW * _OCTAVE, _ABOVE * _OCTAVE + 1) / _OCTAVE))


def service_of(network: Network, kind: TenantClass) -> Service:
    """What a kind asks of every domain, at the θ of its grid where its own arrivals allow them."""
    arrival, thetas = network.objects[kind.arrival], public_grid(network, kind)
    with np.errstate(all="ignore"):
        load = thetas * np.broadcast_to(arrival.rho(thetas), thetas.shape)
        start = np.broadcast_to(_start(arrival, thetas, kind.biased), thetas.shape)
    fine = (load < _MOST_NATS) & (start < _MOST_NATS)
    return Service(
        theta=tuple(thetas[fine].tolist()),
        load=tuple(load[fine].tolist()),
        start=tuple(start[fine].tolist()),
        log_epsilon=min(kind.log_epsilon, LARGEST_LOG_BUDGET),
    )


def _start(arrival: object, thetas: Floats, biased: bool) -> Floats:
    start = thetas * arrival.sigma(thetas)  # type: ignore[attr-defined]
    return start + arrival.request_log_bias(thetas) if biased else start  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class KindLanes:
    """The lanes of a kind: θ of its service by paths. Of the service's θ those from `first` on count,
    `thetas` of them, `step` apart.

    offers, powers: along each path, (P, L); slots: what its domains share, charge: of a unit, (P,); hops: the
    different (offer, power), and which of them each hop of each path is, (P, L).
    """

    kind: int
    service: int
    first: int
    thetas: int
    step: int
    offers: Indices
    powers: Floats
    slots: Floats
    charge: Floats
    hops: tuple[tuple[int, float], ...]
    index: Indices

    def lane(self, theta: int, path: int) -> Lane:
        """One of them; theta counts from `first`."""
        return Lane(
            self.kind,
            path,
            self.service,
            self.first + theta * self.step,
            self.offers[path],
            self.powers[path],
            float(self.slots[path]),
            float(self.charge[path]),
        )

    def key(self, theta: int, hop: tuple[int, float]) -> Key:
        """What one of its hops is asked by; theta counts from `first`."""
        return (self.service, self.first + theta * self.step, *hop)


class Catalogue:
    """The services that the tenants ask for, and the lanes of each kind."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.services: list[Service] = []
        self.kinds: list[KindLanes] = []
        known: dict[object, int] = {}
        for kind in network.kinds:
            key = (kind.service, tuple(public_grid(network, kind)))
            if key not in known:
                known[key] = len(self.services)
                self.services.append(service_of(network, kind))
            service, paths = known[key], network.paths(kind)
            slots = np.floor(kind.deadline - paths.links + 1e-9) + 1.0
            powers = network.exponents(paths.offers)
            both = np.stack([paths.offers, powers], axis=-1).reshape(-1, 2)
            hops, index = np.unique(both, axis=0, return_inverse=True)
            points = len(self.services[service].theta)
            step = 1 if points <= _FEW else _OCTAVE
            self.kinds.append(
                KindLanes(
                    kind.index,
                    service,
                    0,
                    -(-points // step),
                    step,
                    paths.offers.astype(np.int64),
                    powers,
                    slots,
                    paths.charge,
                    tuple((int(offer), float(power)) for offer, power in hops),
                    index.reshape(paths.offers.shape),
                )
            )
        self.stage_of = network.stage

    def keys(self) -> list[Key]:
        """Everything that a sweep asks about: service, θ, offer, exponent."""
        found: dict[Key, None] = {}
        for lanes in self.kinds:
            for theta in range(lanes.thetas):
                found.update((lanes.key(theta, hop), None) for hop in lanes.hops)
        return list(found)

    def narrow(self, costs: Mapping[Key, float]) -> None:
        """Look at every point of a window of each ladder, given what hops cost at its octaves (+inf where
        nothing will do)."""
        windows: dict[int, tuple[int, int]] = {}
        for lanes in self.kinds:
            if lanes.step > 1 and len(lanes.charge):
                low, high = _window(_cheapest(lanes, costs), lanes.step)
                before = windows.get(lanes.service, (low, high))
                windows[lanes.service] = min(low, before[0]), max(high, before[1])
        for n, lanes in enumerate(self.kinds):
            if lanes.service in windows:
                low, high = windows[lanes.service]
                first, last = max(low, 0), min(high, len(self.services[lanes.service].theta) - 1)
                self.kinds[n] = replace(lanes, first=first, thetas=last - first + 1, step=1)


def _cheapest(lanes: KindLanes, costs: Mapping[Key, float]) -> Floats:
    """What a unit costs at least on a kind's lanes at each θ, (θ,)."""
    least = np.empty(lanes.thetas)
    for theta in range(lanes.thetas):
        own = np.array([costs.get(lanes.key(theta, hop), math.inf) for hop in lanes.hops])
        least[theta] = (own[lanes.index].sum(axis=1) + lanes.charge).min()
    return least


def _window(least: Floats, step: int) -> tuple[int, int]:
    """Points of a ladder around the least of a parabola through the cheapest octave and its neighbours."""
    at = int(np.argmin(least))
    shift = 0.0
    if 0 < at < len(least) - 1 and np.isfinite(least[at - 1 : at + 2]).all():
        left, middle, right = least[at - 1 : at + 2]
        bend = left - 2.0 * middle + right
        shift = 0.5 * float(left - right) / float(bend) if bend > 0.0 else 0.0
    centre = round((at + shift) * step)
    around = _AROUND if np.isfinite(least[at]) else len(least) * step
    return centre - around, centre + around


@dataclass(frozen=True, eq=False)
class Sweep:
    """One tangent of every key, and the bounds on all lanes that follow; `bases`: the base burst of each key.

    A lane's bound is the least of the tangents' sum over its shares, in which each kind of share goes where
    it saves most; where all domains of a lane were asked at the same prices nothing is lost by that.
    """

    tangents: dict[Key, Tangent]
    impossible: frozenset[Key]
    bases: dict[Key, float]
    _known: dict[int, tuple[Floats, npt.NDArray[np.bool_]]] = field(default_factory=dict)

    def bounds(self, lanes: KindLanes, worth: Floats) -> Floats:
        """Lower bounds on what a unit costs on every lane of a kind, charge included, (θ, P)."""
        if lanes.kind not in self._known:
            self._known[lanes.kind] = self._parts(lanes)
        parts, never = self._known[lanes.kind]
        parts = parts * worth[lanes.offers][..., None]
        total = parts[..., 0].sum(axis=2) + lanes.slots * parts[..., 1].min(axis=2, initial=0.0)
        total += parts[..., 2].min(axis=2, initial=0.0)
        margins = parts[..., 3] + parts[..., 4:].sum(axis=2)
        margins = margins[..., :-1]  # nobody is behind the last
        total += np.where(margins >= 0.0, margins * LEAST_MARGIN, margins * LARGEST_MARGIN).sum(axis=2)
        return np.where(never, math.inf, np.maximum(total, 0.0) + lanes.charge)

    def _parts(self, lanes: KindLanes) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The tangents of every hop of all lanes, (θ, P, L, 4 + L); the lanes of which no rate will do."""
        count, length = lanes.offers.shape
        parts = np.zeros((lanes.thetas, count, length, 4 + length))
        for theta in range(lanes.thetas):
            keys = [lanes.key(theta, hop) for hop in lanes.hops]
            rows = np.array([self._row(key, length) for key in keys]).reshape(-1, 4 + length)[lanes.index]
            asked = np.array([self.tangents[k].base if k in self.tangents else 0.0 for k in keys])
            own = np.array([self.bases.get(k, 0.0) for k in keys])[lanes.index]
            before = np.cumsum(own, axis=1) - own
            short = (before < asked[lanes.index] - 1e-12) & np.isfinite(rows[..., 0])
            rows[short] = 0.0  # the tangent is not for so small a burst
            parts[theta] = rows
        never = np.isinf(parts[..., 0].sum(axis=2))
        return np.where(np.isinf(parts), 0.0, parts), never

    def _row(self, key: Key, length: int) -> Floats:
        row = np.zeros(4 + length)
        if key in self.impossible:
            row[0] = math.inf
        elif key in self.tangents:
            tangent = self.tangents[key]
            row[:4] = tangent.constant, tangent.slots, tangent.risk, tangent.margin
            row[4 : 4 + len(tangent.before)] = tangent.before
        return row


Place = tuple[int, int]
"""A lane of a kind: its θ and its path."""

_KEPT = 5  # sweeps that count


class LaneBounds:
    """Bounds at any prices; `tangents` may grow meanwhile.

    bases: the base burst of every key, nats.
    """

    def __init__(self, catalogue: Catalogue, tangents: Tangents, bases: dict[Key, float]) -> None:
        self._catalogue, self._tangents, self._bases = catalogue, tangents, bases
        self._sweeps: list[Sweep] = []
        self._programs: dict[tuple[int, Place], LaneProgram] = {}
        self._past: dict[int, _Past] = {}

    def sweep(self, tangents: dict[Key, Tangent]) -> None:
        """Take one tangent of every key."""
        self._sweeps.append(Sweep(tangents, frozenset(self._tangents.impossible), self._bases))
        del self._sweeps[:-_KEPT]

    def base(self, lanes: KindLanes, place: Place) -> Floats:
        """Base bursts of a lane's domains, nats, (L,)."""
        theta, path = place
        return np.array([self._bases[lanes.key(theta, lanes.hops[i])] for i in lanes.index[path]])

    def exact(self, kind: int, place: Place, worth: Floats) -> float:
        """The bound of a lane's own program, charge included."""
        lanes, key = self._catalogue.kinds[kind], (kind, place)
        if key not in self._programs:
            lane = lanes.lane(*place)
            self._programs[key] = LaneProgram(lane, self.base(lanes, place), self._tangents)
        pay = worth[lanes.offers[place[1]]]
        value = self._programs[key].least(pay)
        self._past.setdefault(kind, _Past()).note(place, pay, value)
        return float(lanes.charge[place[1]]) + value

    def deciding(self, kind: int, place: Place) -> list[list[Tangent]]:
        """The tangents of each hop of a lane that have decided its bounds so far."""
        program = self._programs.get((kind, place))
        length = self._catalogue.kinds[kind].offers.shape[1]
        return [[] for _ in range(length)] if program is None else [list(b.values()) for b in program.binding]

    def rough(self, kind: int, worth: Floats) -> Floats:
        """What sweeps and earlier answers of programs say of every lane of a kind, (θ, P). What was found at
        other prices holds in proportion: the least is concave in the prices, and grows with each."""
        lanes = self._catalogue.kinds[kind]
        bounds = np.array(np.max([sweep.bounds(lanes, worth) for sweep in self._sweeps], axis=0))
        if kind in self._past:
            (thetas, paths), past, values = self._past[kind].arrays()
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(past > 0.0, worth[lanes.offers[paths]] / past, math.inf).min(axis=1)
                scaled = np.where(np.isfinite(ratio), ratio * values, 0.0)
            known = np.where(np.isinf(values), values, scaled) + lanes.charge[paths]
            bounds[thetas, paths] = np.maximum(bounds[thetas, paths], known)
        return bounds

    def least(self, kind: int, worth: Floats, charged: bool = True) -> float:
        """The least bound of a kind's lanes; programs are asked of those alone that could be the least.
        charged: whether charges count."""
        lanes = self._catalogue.kinds[kind]
        off = np.zeros(len(lanes.charge)) if charged else lanes.charge
        bounds = self.rough(kind, worth) - off
        asked: set[Place] = set()
        while bounds.size:
            theta, path = place = _first(bounds)
            if place in asked or math.isinf(bounds[place]):
                break
            asked.add(place)
            bounds[theta, path] = max(bounds[place], self.exact(kind, place, worth) - off[path])
        return float(bounds.min(initial=math.inf))

    def below(self, kind: int, worth: Floats, enough: float, most: int, but: Container[Place]) -> list[Place]:
        """Up to so many lanes whose bound is below enough, the least first, without those in `but`."""
        bounds = self.rough(kind, worth)
        asked: set[Place] = set()
        found: list[Place] = []
        while bounds.size and len(found) < most:
            place = _first(bounds)
            if not bounds[place] < enough:
                break
            if place in but:
                bounds[place] = math.inf
            elif place in asked:
                found.append(place)
                bounds[place] = math.inf
            else:
                asked.add(place)
                bounds[place] = max(bounds[place], self.exact(kind, place, worth))
        return found


class _Past:
    """The last answers of the programs of a kind's lanes: at which prices, what was found."""

    def __init__(self) -> None:
        self._index: dict[Place, int] = {}
        self._pays: list[Floats] = []
        self._values: list[float] = []
        self._arrays: tuple[npt.NDArray[np.int64], Floats, Floats] | None = None

    def note(self, place: Place, pay: Floats, value: float) -> None:
        """Take an answer, in place of an earlier one of the same lane."""
        self._arrays = None
        if place in self._index:
            n = self._index[place]
            self._pays[n], self._values[n] = pay, value
        else:
            self._index[place] = len(self._values)
            self._pays.append(pay)
            self._values.append(value)

    def arrays(self) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """θ and paths, (2, n), prices, (n, L), and what was found, (n,)."""
        if self._arrays is None:
            places = np.array(list(self._index), dtype=np.int64).T
            self._arrays = places, np.array(self._pays), np.array(self._values)
        return self._arrays


def _first(bounds: Floats) -> Place:
    theta, path = divmod(int(np.argmin(bounds)), bounds.shape[1])
    return theta, path
