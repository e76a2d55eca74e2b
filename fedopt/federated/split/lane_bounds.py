"""Lower bounds on what a unit costs on every lane there is: from sweeps where they suffice, else by the
lane's own linear program over all tangents."""

from __future__ import annotations

import math
from collections.abc import Container

import numpy as np
import numpy.typing as npt

from fedopt.federated.split.bounds import Key, LaneProgram, Tangent, Tangents
from fedopt.federated.split.catalogue import Catalogue, KindLanes, Sweep

__all__ = ["LaneBounds"]

Floats = npt.NDArray[np.float64]
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
