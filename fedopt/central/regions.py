"""Whole heads where each path offers a convex region of reservations instead of points (the split guarantee).

Two programs meet. From below: a mixed-integer one with every path of a kind that can matter, its heads n_p,
and the kind's rate Z_o on every offer, held only by supporting cuts Σ_o q_o Z_o ≥ Σ_p h_p(q)·n_p, where
h_p(q) is the least priced cost of a path at prices q: one row bounds all paths of a kind. From above: the
paths chosen there, priced by column generation over them alone, one region a head. New prices give new cuts.

The points at which cuts touch the regions are a catalogue of their own: an exchange search over them gives
plans long before the lower program does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import highspy
import numpy as np

from fedopt.calculus import split
from fedopt.central.generation import Relaxation, Run
from fedopt.central.integer import Choice, exchanged, rounded, watch
from fedopt.central.master import Master
from fedopt.oracle import Abandoned, Column, Oracle
from fedopt.oracle.regions import SplitSizing

__all__ = ["proven_region_plan"]

_MOST_ROUNDS = 60
_MOST_PATHS = 30_000  # candidates; beyond, the program from below is out of reach
_TURNED = (0.25, 4.0)  # one price at a time, for the first cuts
_LAST = 3  # prices of an adaptation that become cuts
_SAFE = 1.0 - 1e-9  # of a cut's value: what it gives away to rounding


@dataclass(eq=False)
class _Path:
    """A candidate path of a kind, with its least cost at the relaxation's prices and how far that lies above
    its kind's least."""

    kind: int
    path: int
    offers: np.ndarray
    charge: float
    value: float
    least: float


@dataclass(eq=False)
class _Cut:
    """Σ_o prices_o Z_o ≥ Σ_p value_p n_p for a kind; prices per work/slot, (offers,); value by path index."""

    kind: int
    prices: np.ndarray
    values: dict[int, float]


class _Search:
    """The best plan so far, the candidate paths with their cuts, and the points these touch."""

    def __init__(self, master: Master, oracle: Oracle, relaxation: Relaxation, run: Run, gap: float) -> None:
        if not isinstance(oracle.sizing, SplitSizing):
            raise TypeError("regions need a sizing that has regions")
        self.master, self.oracle, self.relaxation, self.run, self.gap = master, oracle, relaxation, run, gap
        self.sizing = oracle.sizing
        self.prices = relaxation.duals.prices(oracle.network)
        self.best: Choice | None = None
        self.paths: dict[tuple[int, int], _Path] = {}
        self.cuts: list[_Cut] = []
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
        """Look for a plan among points, and let its heads' rates adapt."""
        start = rounded(self.master, self.relaxation)
        found = exchanged(self.master, columns, self.relaxation, self.run, self.gap, seconds, start)
        if found is None:
            return
        self.take(found)
        chosen: dict[tuple[int, int], int] = {}
        for column, heads in zip(found.columns, found.heads, strict=True):
            key = column.kind, column.path
            chosen[key] = chosen.get(key, 0) + round(float(heads))
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
        self.cuts += [_Cut(kind, prices, own) for kind, own in values.items()]

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
                value = float(proven[column.path]) * _SAFE
                above = column.cost(self.prices) - least
                path = _Path(k, column.path, column.offers, column.charge, value, above)
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
                self.cuts.append(_Cut(kind, one, dict(zip(names, own.tolist(), strict=True))))

    def _base(self, kind: int) -> float:
        base = float(self.relaxation.least[kind])
        return min(base, self.oracle.network.kinds[kind].payment) if self.master.profit else base

    def near(self, cutoff: float) -> list[_Path]:
        """The candidates that may still be part of a plan below the cut-off."""
        room = cutoff - self.relaxation.bound
        return [path for path in self.paths.values() if path.least < room]

    def touch(self, prices: np.ndarray, paths: Iterable[_Path]) -> dict[int, dict[int, float]]:
        """By kind and path the least priced cost at prices, from below; its points join the others."""
        values: dict[int, dict[int, float]] = {}
        for kind, members in _by_kind(paths).items():
            if self.run.expired():
                break
            which = np.array([path.path for path in members])
            nothing = np.full(len(members), math.inf)
            sized = self.sizing.size(self.oracle.network.kinds[kind], which, prices, nothing)
            self.points += [column for columns in sized for column in columns]
            proven = self.sizing.least(self.oracle.network.kinds[kind], prices)[which]
            values[kind] = {
                path.path: float(least) * _SAFE
                for path, least in zip(members, proven, strict=True)
                if math.isfinite(least)
            }
        return values


def _by_kind(paths: Iterable[_Path]) -> dict[int, list[_Path]]:
    found: dict[int, list[_Path]] = {}
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
            outer = _outer(search, search.near(cutoff))
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
        None if best is None else Choice(best.columns, best.heads, best.cost, min(run.lower_bound, best.cost))
    )


def _outer(search: _Search, paths: list[_Path]) -> tuple[dict[tuple[int, int], int], float] | None:
    """({(kind, path): heads}, bound) of the program from below; None without an answer in time."""
    master, gap, run = search.master, search.gap, search.run
    network, profit = master.network, master.profit
    program = Master(network, profit, 0.0)
    program.adopt_tangents(master)
    program.forbid_overflow()
    lp = program.highs
    heads: dict[tuple[int, int], int] = {}
    users: dict[tuple[int, int], list[int]] = {}
    for path in paths:
        kind = network.kinds[path.kind]
        empty = Column(path.kind, path.path, 0, path.offers, np.zeros(len(path.offers)), path.charge)
        rows, values, cost = program.entries(empty)
        n = heads[path.kind, path.path] = lp.getNumCol()
        lp.addCol(cost, 0.0, float(kind.count), 1, rows[:1], values[:1])
        if kind.count > 1:
            lp.changeColIntegrality(n, highspy.HighsVarType.kInteger)
        for o in path.offers:
            users.setdefault((path.kind, int(o)), []).append(n)
    rate = {key: _offer(search, program, *key, users[key]) for key in users}
    offers: dict[int, list[int]] = {}
    for k, o in rate:
        offers.setdefault(k, []).append(o)
    listed = {k: [path.path for path in paths if path.kind == k] for k in offers}
    for cut in search.cuts:
        if cut.kind not in offers:
            continue
        at = [rate[cut.kind, o] for o in offers[cut.kind] if cut.prices[o] > 0.0]
        paid = [float(cut.prices[o]) for o in offers[cut.kind] if cut.prices[o] > 0.0]
        for path_index in listed[cut.kind]:
            if cut.values.get(path_index, 0.0) > 0.0:
                at.append(heads[cut.kind, path_index])
                paid.append(-cut.values[path_index])
        lp.addRow(0.0, highspy.kHighsInf, len(at), at, paid)
    if search.best is not None:
        start = dict.fromkeys([*heads.values(), *(z + 1 for z in rate.values())], 0.0)
        for column, count in zip(search.best.columns, search.best.heads, strict=True):
            if (column.kind, column.path) in heads:
                start[heads[column.kind, column.path]] += float(count)
                for o in column.offers:
                    start[rate[column.kind, int(o)] + 1] += float(count)
        lp.setSolution(len(start), np.array(list(start), dtype=np.int32), np.array(list(start.values())))
    lp.setOptionValue("mip_rel_gap", 0.25 * gap)
    lp.setOptionValue("mip_feasibility_tolerance", 1e-9)
    lp.setOptionValue("time_limit", run.left())
    watch(lp, run, len(paths))
    lp.run()
    if lp.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return {}, math.inf
    info = lp.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    solved = np.array(lp.getSolution().col_value)
    chosen = {key: round(solved[n]) for key, n in heads.items() if solved[n] > 0.5}
    return chosen, float(info.mip_dual_bound)


def _offer(search: _Search, program: Master, kind: int, o: int, users: list[int]) -> int:
    """A kind's rate on an offer, as a variable of the program, held between what its heads there need to be
    stable and what they may have at most.

    The heads are a whole number, and what a search branches on: offers are far fewer than paths, and a single
    head that is whole on every offer is whole on its path.
    """
    network, lp = program.network, program.highs
    payment = network.kinds[kind].payment if program.profit else 0.0  # not for this column: heads bring it
    unit = Column(kind, 0, 0, np.array([o]), np.ones(1), payment)
    rows, values, cost = program.entries(unit)
    rate = lp.getNumCol()
    lp.addCol(cost, 0.0, highspy.kHighsInf, len(rows) - 1, rows[1:], values[1:])
    lp.addCol(0.0, 0.0, float(network.kinds[kind].count), 0, [], [])
    total = rate + 1
    lp.changeColIntegrality(total, highspy.HighsVarType.kInteger)
    lp.addRow(0.0, 0.0, len(users) + 1, [*users, total], [*([1.0] * len(users)), -1.0])
    mean = search.sizing.mean(network.kinds[kind], o) * _SAFE
    lp.addRow(0.0, highspy.kHighsInf, 2, [rate, total], [1.0, -mean])
    if math.isfinite(network.most[o]):
        lp.addRow(-highspy.kHighsInf, 0.0, 2, [rate, total], [1.0, -float(network.most[o])])
    return rate


def _inner(search: _Search, chosen: dict[tuple[int, int], int]) -> tuple[Choice | None, list[np.ndarray]]:
    """(the best reservations for so many heads on chosen paths, the prices met), by column generation over
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
    """The cheapest plan over given columns in which each head keeps to one region; mixtures become one
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
        merged, heads = [], []
        for (kind, _), members in pieces.items():
            total = float(x[members].sum())
            if total > 0.5:
                merged.append(
                    _merge(network.kinds[kind], [program.columns[j] for j in members], x[members], sizing)
                )
                heads.append(float(round(total)))
        whole = Master(network, master.profit, 0.0)
        whole.columns = merged
        counts = np.array(heads)
        if whole.overloaded(counts):
            program.tighten()
            continue
        if not program.refine(values):
            break
    return Choice(merged, counts, whole.cost(counts), -math.inf)


def _merge(kind, columns: list[Column], weights: np.ndarray, sizing: SplitSizing) -> Column:
    """One reservation for heads that a program mixed from columns of one convex region."""
    weights = np.maximum(weights, 0.0) / np.maximum(weights, 0.0).sum()
    if weights.max() > 1.0 - 1e-12:
        return columns[int(weights.argmax())]
    rates = sum(weight * column.rates for weight, column in zip(weights, columns, strict=True))
    first = columns[0]
    terms = split.terms(sizing.path(kind, first.path), first.proof["theta"])
    deadlines, budgets = split.shares(terms, rates)
    proof = {"form": "split", "theta": first.proof["theta"], "deadlines": deadlines, "budgets": budgets}
    return Column(first.kind, first.path, first.piece, first.offers, rates, first.charge, proof)
