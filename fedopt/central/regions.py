"""Whole units where each path offers a convex region of reservations instead of points (the split guarantee).

Two programs meet. From below (`region_bound`): every path of a kind that can matter, held only by supporting
cuts at prices. From above: the paths chosen there, priced by column generation over them alone, one region a
unit. New prices give new cuts.

The points at which cuts touch the regions are a catalogue of their own: an exchange search over them gives
plans long before the lower program does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import highspy
import numpy as np

from fedopt.calculus import split
from fedopt.central.generation import Relaxation
from fedopt.central.integer import Choice, exchanged, rounded, watch
from fedopt.central.master import Master
from fedopt.central.region_bound import SAFE, Candidate, SupportCut, from_below
from fedopt.central.run import Run
from fedopt.pricing import Abandoned, Column, Oracle
from fedopt.pricing.regions import SplitSizing

__all__ = ["proven_region_plan"]

_MOST_ROUNDS = 60
_MOST_PATHS = 30_000  # candidates; beyond, the program from below is out of reach
_TURNED = (0.25, 4.0)  # one price at a time, for the first cuts
_AT_ONCE = 256  # paths sized between two looks at the clock
_LAST = 3  # prices of an adaptation that become cuts


class _Search:
    """The best plan so far, the candidate paths with their cuts, and the points these touch."""

    def __init__(self, master: Master, oracle: Oracle, relaxation: Relaxation, run: Run, gap: float) -> None:
        if not isinstance(oracle.sizing, SplitSizing):
            raise TypeError("regions need a sizing that has regions")
        self.master, self.oracle, self.relaxation, self.run, self.gap = master, oracle, relaxation, run, gap
        self.sizing = oracle.sizing
        self.prices = relaxation.duals.prices(oracle.network)
        self.best: Choice | None = None
        self.paths: dict[tuple[int, int], Candidate] = {}
        self.cuts: list[SupportCut] = []
        self.points: list[Column] = list(master.columns)

    def proven(self) -> bool:
        """Whether the best plan meets the gap."""
        best = self.best
        return best is not None and best.cost - self.run.lower_bound <= self.gap * abs(best.cost)

    def over(self) -> bool:
        """Whether there is nothing left to do, or no time."""
        return self.proven() or self.run.expired()

    def take(self, choice: Choice | None) -> None:
        """Keep a plan if it is the best one."""
        if choice is not None and (self.best is None or choice.cost < self.best.cost):
            self.best = choice
            self.run.cost = min(self.run.cost, choice.cost)
        self.run.record(len(self.points))

    def cutoff(self) -> float:
        """A cost below which there need be no plan for the gap to be met."""
        return math.inf if self.best is None else self.best.cost - 0.5 * self.gap * abs(self.best.cost)

    def exchange(self, columns: list[Column], seconds: float) -> None:
        """Look for a plan among points, and let its units' rates adapt."""
        start = rounded(self.master, self.relaxation)
        found = exchanged(self.master, columns, self.relaxation, self.run, self.gap, seconds, start)
        if found is None:
            return
        self.take(found)
        chosen: dict[tuple[int, int], int] = {}
        for column, units in zip(found.columns, found.units, strict=True):
            key = column.kind, column.path
            chosen[key] = chosen.get(key, 0) + round(float(units))
        self.adapt(chosen)

    def adapt(self, chosen: dict[tuple[int, int], int]) -> None:
        """The best reservations on chosen paths; the last prices met on the way become cuts."""
        if not chosen:
            return
        found, prices = _inner(self, chosen)
        self.take(found)
        few = [self.paths[key] for key in chosen if key in self.paths]
        for price in prices[-_LAST:-1]:
            self._add_cuts(price, self.touch(price, few))
        if prices and not self.over():
            self._add_cuts(prices[-1], self.touch(prices[-1], self.near(self.cutoff())))

    def _add_cuts(self, prices: np.ndarray, values: dict[int, dict[int, float]]) -> None:
        self.cuts += [SupportCut(kind, prices, own) for kind, own in values.items()]

    def widen(self, cutoff: float) -> bool:
        """Have all paths as candidates that may be part of a plan below the cut-off, with first cuts; False
        if they are too many, or there was no time."""
        room = cutoff - self.relaxation.bound
        self.cuts, self.paths = [], {}
        base: dict[int, dict[int, float]] = {}
        for kind in self.oracle.network.kinds:
            k, least = kind.index, self._base(kind.index)
            most = _MOST_PATHS - len(self.paths)
            try:
                within = self.oracle.within(kind, self.prices, least + room, most, self.run.expired)
            except Abandoned:
                return False
            proven = self.sizing.least(kind, self.prices)  # not the answer itself, which lies above it
            for column in within:
                value = float(proven[column.path]) * SAFE
                above = column.cost(self.prices) - least
                path = Candidate(k, column.path, column.offers, column.charge, value, above)
                self.paths[k, column.path] = path
                self.points.append(column)
                base.setdefault(k, {})[column.path] = value
        self._add_cuts(self.prices, base)
        # a stage's prices are turned together, for a path has one of them: the cuts turn one offer's alone
        for position in range(self.oracle.network.stages):
            for factor in _TURNED:
                self._turn(position, factor)
        return not self.run.expired()

    def _turn(self, position: int, factor: float) -> None:
        prices = np.maximum(self.prices, 1e-6 * self.prices.max(initial=0.0))
        turned = prices.copy()
        at = np.unique([path.offers[position] for path in self.paths.values()]).astype(np.int64)
        turned[at] *= factor
        values = self.touch(turned, self.paths.values())
        for kind, members in _by_kind(self.paths.values()).items():
            names = [path.path for path in members]
            offers = np.array([path.offers for path in members])
            base = np.array([path.value for path in members])
            found = np.array([values.get(kind, {}).get(name, 0.0) for name in names])
            once = np.isin(offers, at).sum(axis=1) == 1
            for o in np.unique(offers[:, position]):
                one = prices.copy()
                one[o] *= factor
                # the others are at prices of which none is below that share of the relaxation's
                own = np.where((offers == o).any(axis=1), min(factor, 1.0) * base, base)
                own = np.where(once & (offers[:, position] == o), found, own)
                self.cuts.append(SupportCut(kind, one, dict(zip(names, own.tolist(), strict=True))))

    def _base(self, kind: int) -> float:
        base = float(self.relaxation.least[kind])
        return min(base, self.oracle.network.kinds[kind].payment) if self.master.profit else base

    def near(self, cutoff: float) -> list[Candidate]:
        """The candidates that may still be part of a plan below the cut-off."""
        room = cutoff - self.relaxation.bound
        return [path for path in self.paths.values() if path.least < room]

    def touch(self, prices: np.ndarray, paths: Iterable[Candidate]) -> dict[int, dict[int, float]]:
        """By kind and path the least priced cost at prices, from below; its points join the others."""
        values: dict[int, dict[int, float]] = {}
        for kind, members in _by_kind(paths).items():
            for begin in range(0, len(members), _AT_ONCE):
                if self.run.expired():
                    return values
                part = members[begin : begin + _AT_ONCE]
                which = np.array([path.path for path in part])
                nothing = np.full(len(part), math.inf)
                sized = self.sizing.size(self.oracle.network.kinds[kind], which, prices, nothing)
                self.points += [column for columns in sized for column in columns]
                proven = self.sizing.least(self.oracle.network.kinds[kind], prices)[which]
                own = values.setdefault(kind, {})
                for path, least in zip(part, proven, strict=True):
                    if math.isfinite(least):
                        own[path.path] = float(least) * SAFE
        return values


def _by_kind(paths: Iterable[Candidate]) -> dict[int, list[Candidate]]:
    found: dict[int, list[Candidate]] = {}
    for path in paths:
        found.setdefault(path.kind, []).append(path)
    return found


def proven_region_plan(
    master: Master, oracle: Oracle, relaxation: Relaxation, run: Run, gap: float
) -> Choice | None:
    """A plan with a bound over all paths and regions; None if none was found in time, infinite cost if
    there is none."""
    search = _Search(master, oracle, relaxation, run, gap)
    if master.profit:
        search.take(Choice([], np.zeros(0), 0.0, -math.inf))  # nobody has to be served
    search.exchange(master.columns, 2.0)
    slack = 0.05
    while not search.over():
        best = search.best
        cutoff = (
            search.cutoff() if best is not None else run.lower_bound + slack * max(abs(run.lower_bound), 1.0)
        )
        if best is None and slack > 1e6:
            cutoff = math.inf  # in the end, everything
        slack *= 20.0
        complete = search.widen(cutoff)
        search.exchange(search.points, 4.0)
        if not complete:
            break
        for _ in range(_MOST_ROUNDS):
            if search.over():
                break
            cutoff = min(cutoff, search.cutoff())
            outer = from_below(master, search.near(cutoff), search.cuts, search.sizing, search.best, gap, run)
            if outer is None:
                break
            chosen, bound = outer
            if not chosen and search.best is None and math.isinf(cutoff):
                return Choice([], np.zeros(0), math.inf, math.inf)
            run.lower_bound = max(run.lower_bound, min(bound, cutoff))
            if not chosen:
                break
            search.adapt(chosen)
        if search.best is not None or math.isinf(cutoff):
            break
    best = search.best
    return (
        None if best is None else Choice(best.columns, best.units, best.cost, min(run.lower_bound, best.cost))
    )


def _inner(search: _Search, chosen: dict[tuple[int, int], int]) -> tuple[Choice | None, list[np.ndarray]]:
    """(the best reservations for so many units on chosen paths, the prices met), by column generation over
    these paths."""
    master, network, run = search.master, search.oracle.network, search.run
    program = Master(network, master.profit, _overflow_price(master))
    program.adopt_tangents(master)
    program.limit_paths(chosen)
    program.add([column for column in search.points if (column.kind, column.path) in chosen])
    met: list[np.ndarray] = []
    for _ in range(200):
        missing = {key for key in chosen if not program.has_path(key)}
        prices = np.maximum(master.list_prices(), 1e-12)
        if not missing:
            solution, duals = program.solve()
            prices = duals.prices(network)
        met.append(prices)
        fresh: list[Column] = []
        for kind, path in chosen:
            (columns,) = search.sizing.size(
                network.kinds[kind], np.array([path]), prices, np.array([math.inf])
            )
            fresh.extend(columns)
        added = program.add(fresh)
        search.points.extend(fresh)
        if not added or run.expired():
            if missing:
                return None, met
            break
        if not missing:
            worst = min(column.cost(prices) - program.worth(column, duals) for column in fresh)
            if worst > -0.02 * search.gap * max(abs(solution.value), 1e-9) / len(fresh):
                break
    master.adopt_tangents(program)  # where the loads are: the program from below must know the costs there
    if (solution.overflow > 1e-9 * network.capacity).any():
        return None, met
    return _whole(master, list(program.columns), search.sizing, search.gap, run), met


def _overflow_price(master: Master) -> float:
    return float(master.highs.getLp().col_cost_[0])


def _whole(master: Master, columns: list[Column], sizing: SplitSizing, gap: float, run: Run) -> Choice | None:
    """The cheapest plan over given columns in which each unit keeps to one region; mixtures become one
    reservation."""
    network = master.network
    program = Master(network, master.profit, 0.0)
    program.adopt_tangents(master)
    program.add(columns)
    lp = program.highs
    for option, value in (
        ("mip_rel_gap", 0.1 * gap),
        ("mip_feasibility_tolerance", 1e-9),
        ("time_limit", run.left()),
    ):
        lp.setOptionValue(option, float(value))
    lp.setOptionValue("primal_feasibility_tolerance", 1e-9)
    watch(lp, run, len(columns))
    for d in range(len(network.capacity)):
        lp.changeColBounds(d, 0.0, 0.0)
    pieces: dict[tuple[int, int], list[int]] = {}
    for j, column in enumerate(program.columns):
        pieces.setdefault((column.kind, column.piece), []).append(j)
    for (kind, _), members in pieces.items():
        lp.addCol(0.0, 0.0, float(network.kinds[kind].count), 0, [], [])
        y = lp.getNumCol() - 1
        lp.changeColIntegrality(y, highspy.HighsVarType.kInteger)
        lp.addRow(
            0.0,
            0.0,
            len(members) + 1,
            [*(program.first_column + j for j in members), y],
            [*([1.0] * len(members)), -1.0],
        )
    for _ in range(20):
        lp.run()
        info = lp.getInfo()
        if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        values = np.array(lp.getSolution().col_value)
        x = values[program.first_column : program.first_column + len(program.columns)]
        merged, units = [], []
        for (kind, _), members in pieces.items():
            total = float(x[members].sum())
            if total > 0.5:
                merged.append(
                    _merge(network.kinds[kind], [program.columns[j] for j in members], x[members], sizing)
                )
                units.append(float(round(total)))
        whole = Master(network, master.profit, 0.0)
        whole.columns = merged
        counts = np.array(units)
        if whole.overloaded(counts):
            program.tighten()
            continue
        if not program.refine(values):
            break
    return Choice(merged, counts, whole.cost(counts), -math.inf)


def _merge(kind, columns: list[Column], weights: np.ndarray, sizing: SplitSizing) -> Column:
    """One reservation for units that a program mixed from columns of one convex region."""
    weights = np.maximum(weights, 0.0) / np.maximum(weights, 0.0).sum()
    if weights.max() > 1.0 - 1e-12:
        return columns[int(weights.argmax())]
    rates = sum(weight * column.rates for weight, column in zip(weights, columns, strict=True))
    first = columns[0]
    terms = split.terms(sizing.path(kind, first.path), first.proof["theta"])
    deadlines, budgets = split.shares(terms, rates)
    proof = {"form": "split", "theta": first.proof["theta"], "deadlines": deadlines, "budgets": budgets}
    return Column(first.kind, first.path, first.piece, first.offers, rates, first.charge, proof)
