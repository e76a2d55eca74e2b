"""Knapsack cuts: what whole units cannot share of a domain's capacity.

Few units fit into a domain together, but shares of units fill it to the brim, and the relaxation pays too
little.  For each domain the best inequality is sought that every choice of whole units within its capacity
obeys and the relaxation's solution does not: exact separation, as Avella, Boccia and Vasilyev do for one load
a unit (A computational study of exact knapsack separation for the generalized assignment problem, 2010). Here
a unit's load depends on its column; coefficients that grow with the load reach every column.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import highspy
import numpy as np

from fedopt.central.master import Master
from fedopt.central.run import Run
from fedopt.kernels import formula
from fedopt.pricing import Column, Network

__all__ = ["Cut", "Knapsacks", "Strengthened"]

_MOST_HEADS = 500  # beyond, a domain holds many and the relaxation is near
_MOST_LABELS = 20_000  # of one domain's sets of units; beyond, it goes without cuts
_LEAST = 1e-5  # violation of a cut worth having
_SETS = 5  # sets of units that one look for the best adds
_KEPT = 300  # of the latest ones of a domain, to begin with
_SAFE = 1e-9  # relative: what coefficients give away to rounding
_STALLED, _LITTLE = 8, 0.05  # rounds that together close so small a share of the gap are the last


@dataclass(frozen=True, eq=False)
class Cut:
    """Σ of a coefficient over the units in a domain ≤ 1.

    Attributes:
        domain: its index.
        steps: by kind the loads (ascending, work/slot) from which on a unit counts so much.
    """

    domain: int
    steps: dict[int, tuple[np.ndarray, np.ndarray]]

    def coefficients(self, kinds: np.ndarray, loads: np.ndarray) -> np.ndarray:
        """The coefficient of columns of these kinds with these loads in the domain, shape (N,)."""
        result = np.zeros(len(kinds))
        for kind, (weights, values) in self.steps.items():
            own = np.flatnonzero((kinds == kind) & (loads > 0.0))
            place = np.searchsorted(weights, loads[own], side="right")
            result[own] = np.concatenate([[0.0], values])[place]
        return result

    def of(self, network: Network, columns: list[Column]) -> np.ndarray:
        """Its coefficients over these columns, shape (columns,)."""
        kinds = np.array([column.kind for column in columns])
        return self.coefficients(kinds, _loads(network, columns, self.domain))


@dataclass(frozen=True, eq=False)
class Strengthened:
    """What the cuts leave.

    Attributes:
        columns: those that a plan below the cut-off may use.
        cuts: the ones that bind.
        reduced: reduced costs of the columns.
        bound: what every plan of the columns costs at least; infinite where there is none.
    """

    columns: list[Column]
    cuts: list[Cut]
    reduced: np.ndarray
    bound: float


@formula
def _labels(weight, value, start, times, skip, capacity, most):
    """Sets of items, at most `times` of each group, that fit and that no lighter set is worth as much as.

    Returns weight, value, parent and item of all labels, and which of them are the last ones (by weight).
    """
    w, v = np.zeros(most), np.zeros(most)
    parent, item = np.full(most, -1), np.full(most, -1)
    last, count = np.zeros(1, dtype=np.int64), 1
    for group in range(len(start) - 1):
        first, end = start[group], start[group + 1]
        if group == skip or first == end:
            continue
        for _ in range(times[group]):
            size = len(last) * (end - first + 1)
            new_w, new_v = np.empty(size), np.empty(size)
            new_parent, new_item = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
            n = 0
            for label in last:
                new_w[n], new_v[n], new_parent[n], new_item[n] = w[label], v[label], label, -1
                n += 1
                for i in range(first, end):
                    if value[i] > 0.0 and w[label] + weight[i] <= capacity:
                        new_w[n], new_v[n] = w[label] + weight[i], v[label] + value[i]
                        new_parent[n], new_item[n] = label, i
                        n += 1
            kept, most_value = np.empty(n, dtype=np.int64), -1.0
            k = 0
            for p in np.argsort(new_w[:n]):
                if new_v[p] > most_value + 1e-12:
                    most_value = new_v[p]
                    kept[k] = p
                    k += 1
            if count + k > most:
                return w[:count], v[:count], parent[:count], item[:count], np.empty(0, dtype=np.int64)
            last = np.empty(k, dtype=np.int64)
            for j in range(k):
                p = kept[j]
                w[count], v[count] = new_w[p], new_v[p]
                parent[count], item[count] = new_parent[p], new_item[p]
                last[j] = count
                count += 1
    return w[:count], v[:count], parent[:count], item[:count], last


class _Knapsack:
    """A domain, the kinds with columns in it and all their different loads there."""

    def __init__(self, domain: int, network: Network, kinds: np.ndarray, loads: np.ndarray) -> None:
        self.domain = domain
        self.capacity = float(network.capacity[domain]) * (1.0 + _SAFE)
        self.counts = [kind.count for kind in network.kinds]
        self._sets: list[dict[tuple[int, float], float]] = []  # units of (kind, load) that fit together
        fits = (loads > 0.0) & (loads <= self.capacity)
        self.loads = {int(k): np.unique(loads[fits & (kinds == k)]) for k in np.unique(kinds[fits])}

    def separate(self, kinds: np.ndarray, loads: np.ndarray, x: np.ndarray) -> Cut | None:
        """The most violated inequality at columns in use (kind, load > 0 and share x of each), or None."""
        items, place = np.unique(np.stack([kinds, loads], axis=1), axis=0, return_inverse=True)
        share = np.bincount(place.reshape(-1), weights=x, minlength=len(items))
        if np.abs(share - np.round(share)).max() < 1e-6:
            return None
        values = self._facet(items, share)
        if values is None:
            return None
        steps: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for kind in np.unique(items[:, 0]):
            own = items[:, 0] == kind
            steps[int(kind)] = _rising(items[own, 1], np.maximum.accumulate(values[own]))
        present = np.bincount(items[:, 0].astype(int), weights=share)
        order = sorted(steps, key=lambda kind: -present[kind])
        self._lift(steps, [*order, *(kind for kind in self.loads if kind not in steps)])
        return Cut(self.domain, {kind: step for kind, step in steps.items() if len(step[0])})

    def _facet(self, items: np.ndarray, share: np.ndarray) -> np.ndarray | None:
        """The values π ≥ 0 with π·p ≤ 1 for every set p of items that fits and the largest π·share."""
        groups, start = np.unique(items[:, 0], return_index=True)
        start = np.append(start, len(items))
        lightest = np.minimum.reduceat(items[:, 1], start[:-1])
        times = np.minimum([self.counts[int(k)] for k in groups], self.capacity // lightest).astype(np.int64)
        lp = highspy.Highs()
        lp.setOptionValue("output_flag", False)
        lp.setOptionValue("threads", 1)
        lp.setOptionValue("presolve", "off")
        for i, part in enumerate(share):
            lp.addVar(0.0, 1.0)
            lp.changeColCost(i, -float(part))
        index = {(int(kind), float(load)): i for i, (kind, load) in enumerate(items)}
        for fitting in self._sets[-_KEPT:]:  # met before, and these items can make them
            own = [index[item] for item in fitting if item in index]
            if len(own) == len(fitting):
                lp.addRow(-highspy.kHighsInf, 1.0, len(own), own, list(fitting.values()))
        while True:
            lp.run()
            values = np.array(lp.getSolution().col_value)
            if values @ share <= 1.0 + _LEAST:
                return None
            _, v, parent, item, last = _labels(
                items[:, 1].copy(), values, start, times, -1, self.capacity, _MOST_LABELS
            )
            if len(last) == 0:
                return None
            most = float(v[last[-1]])
            if most <= 1.0 + 1e-9:
                values = values / max(most, 1.0) * (1.0 - _SAFE)
                return values if values @ share > 1.0 + _LEAST else None
            for label in last[: -1 - _SETS : -1]:
                if v[label] <= 1.0 + 1e-9:
                    break
                fitting = {}
                while label >= 0:
                    if item[label] >= 0:
                        key = (int(items[item[label], 0]), float(items[item[label], 1]))
                        fitting[key] = fitting.get(key, 0.0) + 1.0
                    label = parent[label]
                self._sets.append(fitting)
                own = [index[key] for key in fitting]
                lp.addRow(-highspy.kHighsInf, 1.0, len(own), own, list(fitting.values()))

    def _lift(self, steps: dict[int, tuple[np.ndarray, np.ndarray]], order: list[int]) -> None:
        """Raise the coefficients of one kind after the other to the most that the others leave it.

        A unit of load w leaves capacity C − w, of which the others are worth at most V(C − w): it may count
        1 − V(C − w). Kinds of several units share one function and are left as they are.
        """
        for kind in order:
            if self.counts[kind] > 1:
                continue
            others = [other for other in steps if other != kind and len(steps[other][0])]
            weight = np.concatenate([np.zeros(0), *(steps[other][0] for other in others)])
            value = np.concatenate([np.zeros(0), *(steps[other][1] for other in others)])
            start = np.cumsum([0, *(len(steps[other][0]) for other in others)])
            times = np.array(
                [min(self.counts[k], int(self.capacity // steps[k][0][0])) for k in others], dtype=np.int64
            )
            w, v, _, _, last = _labels(weight, value, start, times, -1, self.capacity, _MOST_LABELS)
            if len(last) == 0:
                return
            loads = self.loads[kind]
            place = np.searchsorted(w[last], self.capacity - loads, side="right") - 1
            steps[kind] = _rising(loads, np.maximum(1.0 - v[last][place] - _SAFE, 0.0))


def _loads(network: Network, columns: list[Column], domain: int) -> np.ndarray:
    """What each column takes of a domain's capacity, work/slot."""
    offers, rates = _arrays(network, columns)
    return np.where(network.domain[offers] == domain, network.factor[offers] * rates, 0.0).sum(axis=1)


def _arrays(network: Network, columns: list[Column]) -> tuple[np.ndarray, np.ndarray]:
    """Offers and rates of columns, shapes (columns, stages)."""
    shape = (len(columns), network.stages)
    offers = np.array([column.offers for column in columns], dtype=np.int64).reshape(shape)
    return offers, np.array([column.rates for column in columns], dtype=float).reshape(shape)


def _rising(weights: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The steps of a function that does not fall: where it is higher than before."""
    higher = np.diff(values, prepend=0.0) > 1e-9
    return weights[higher], values[higher]


class Knapsacks:
    """The relaxation over given columns, cut ever closer to whole units."""

    def __init__(self, template: Master, columns: list[Column]) -> None:
        self.network = network = template.network
        self._program = program = Master(network, template.profit, 0.0)
        program.adopt_tangents(template)
        program.add(columns)
        program.forbid_overflow()
        # HiGHS prices columns to 1e-9, so its optimum may lie that far, a unit, above the true one.
        program.highs.setOptionValue("dual_feasibility_tolerance", 1e-9)
        units = sum(kind.count for kind in network.kinds)
        self._doubt = 1e-9 * (units + len(network.capacity))
        self._kinds = np.array([column.kind for column in program.columns])
        offers, rates = _arrays(network, program.columns)
        domains, taken = network.domain[offers], network.factor[offers] * rates
        self._knapsacks: list[tuple[_Knapsack, np.ndarray, np.ndarray]] = []  # with its columns and loads
        for d in range(len(network.capacity) if units <= _MOST_HEADS else 0):
            load = np.where(domains == d, taken, 0.0).sum(axis=1)
            own = np.flatnonzero(load > 0.0)
            if len(own):
                knapsack = _Knapsack(d, network, self._kinds[own], load[own])
                self._knapsacks.append((knapsack, own, load[own]))
        self._present = np.ones(len(self._kinds), dtype=bool)
        self._reduced = np.zeros(len(self._kinds))
        self._cuts: list[tuple[int, Cut]] = []

    def strengthen(self, cutoff: float, run: Run) -> Strengthened:
        """Cut until no cut helps, and leave out the columns that no plan below the cut-off uses (their
        reduced cost is too large).

        Reports through `run` once a second and ends when `run` says so. A later call with a lower cut-off
        goes on from there.
        """
        lp, first = self._program.highs, self._program.first_column
        history: list[float] = []
        last = time.perf_counter()
        while True:
            lp.run()
            if lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                infeasible = lp.getModelStatus() == highspy.HighsModelStatus.kInfeasible
                return Strengthened([], [], np.zeros(0), math.inf if infeasible else -math.inf)
            solution = lp.getSolution()
            values = np.array(solution.col_value)
            if self._program.refine(values):
                continue
            bound = float(lp.getInfo().objective_function_value) - self._doubt
            history.append(bound)
            x = values[first:]
            self._leave_out(bound, np.array(solution.col_dual)[first:], x, cutoff)
            if time.perf_counter() - last >= 1.0:
                last = time.perf_counter()
                run.lower_bound = max(run.lower_bound, min(bound, cutoff))
                run.record(int(self._present.sum()))
            little = _LITTLE * (cutoff - bound)
            stalled = len(history) > _STALLED and bound - history[-1 - _STALLED] < little
            done = bound >= cutoff or stalled or run.expired()
            found = [] if done else self._separated(x)
            if not found:
                row = np.array(solution.row_value)
                return Strengthened(
                    [self._program.columns[j] for j in np.flatnonzero(self._present)],
                    [cut for at, cut in self._cuts if row[at] > 1.0 - 1e-6],
                    self._reduced[self._present],
                    bound,
                )
            for cut, own, loads in found:
                self._cuts.append((lp.getNumRow(), cut))
                coefficients = np.zeros(len(self._kinds))
                coefficients[own] = cut.coefficients(self._kinds[own], loads)
                self._program.add_cut(coefficients * self._present)

    def _leave_out(self, bound: float, reduced: np.ndarray, x: np.ndarray, cutoff: float) -> None:
        """Fix columns at 0 that would cost more than the cut-off."""
        self._reduced = reduced
        gone = np.flatnonzero(self._present & (bound + reduced > cutoff) & (x < 1e-9))
        self._present[gone] = False
        indices = (self._program.first_column + gone).astype(np.int32)
        self._program.highs.changeColsBounds(len(gone), indices, np.zeros(len(gone)), np.zeros(len(gone)))

    def _separated(self, x: np.ndarray) -> list[tuple[Cut, np.ndarray, np.ndarray]]:
        """The most violated cut of each domain, with the domain's columns and their loads."""
        found = []
        for knapsack, own, loads in self._knapsacks:
            used = x[own] > 1e-7
            if used.any():
                cut = knapsack.separate(self._kinds[own[used]], loads[used], x[own[used]])
                if cut is not None and cut.steps:
                    found.append((cut, own, loads))
        return found
