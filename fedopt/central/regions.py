"""Whole heads where each path offers a convex region of reservations instead of points (the split guarantee).

Two mixed-integer programs meet.  From below: every path of a kind with its number of heads n and their
total rates Z, held only by supporting cuts Σ p_i Z_i ≥ h(p)·n, where h(p) is the least priced cost of the
path at prices p. From above: the paths chosen there, priced by column generation over them alone, one
region a head.  New prices give new cuts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import highspy
import numpy as np

from fedopt.calculus import split
from fedopt.central.generation import Relaxation, Run
from fedopt.central.integer import Choice, watch
from fedopt.central.master import Master
from fedopt.oracle import Column, Oracle
from fedopt.oracle.regions import SplitSizing

__all__ = ["proven_region_plan"]

_MOST_ROUNDS = 60


@dataclass(eq=False)
class _Path:
    """A candidate path of a kind and the supporting cuts known of its region: Σ prices·rates ≥ value."""

    kind: int
    path: int
    offers: np.ndarray
    charge: float
    cuts: list[tuple[np.ndarray, float]]


def proven_region_plan(
    master: Master, oracle: Oracle, relaxation: Relaxation, run: Run, gap: float
) -> Choice | None:
    """A plan with a bound over all paths and regions; None if none was found in time, infinite cost if
    there is none."""
    sizing = oracle.sizing
    if not isinstance(sizing, SplitSizing):
        raise TypeError("regions need a sizing that has regions")
    best = _whole(master, master.columns, sizing, gap, run)
    slack = 0.05
    while True:
        if best is not None:
            run.cost = min(run.cost, best.cost)
            run.record(len(master.columns))
            if best.cost - run.lower_bound <= gap * abs(best.cost) or run.expired():
                return Choice(best.columns, best.heads, best.cost, run.lower_bound)
            cutoff, complete = best.cost - 0.5 * gap * abs(best.cost), False
        else:
            cutoff = run.lower_bound + slack * max(abs(run.lower_bound), 1.0)
            complete = slack > 1e6
            slack *= 20.0
        paths = _candidates(master, oracle, relaxation, math.inf if complete else cutoff - relaxation.bound)
        for _ in range(_MOST_ROUNDS):
            outer = _outer(master, paths, gap, run)
            if outer is None:
                break
            chosen, bound = outer
            run.lower_bound = max(run.lower_bound, min(bound, math.inf if complete else cutoff))
            if not chosen:
                break
            found = _inner(master, oracle, sizing, paths, chosen, gap, run)
            if found is not None and (best is None or found.cost < best.cost):
                best = found
                run.cost = min(run.cost, best.cost)
            run.record(len(master.columns))
            done = best is not None and best.cost - run.lower_bound <= gap * abs(best.cost)
            if done or run.expired():
                break
        if best is not None:
            return Choice(best.columns, best.heads, best.cost, min(run.lower_bound, best.cost))
        if run.expired():
            return None
        if complete:
            return Choice([], np.zeros(0), math.inf, math.inf)


def _candidates(master: Master, oracle: Oracle, relaxation: Relaxation, room: float) -> list[_Path]:
    """Paths whose least reduced cost at the relaxation's duals is below `room`, each with its cut at those
    prices."""
    prices = relaxation.duals.prices(oracle.network)
    found = []
    for kind in oracle.network.kinds:
        base = relaxation.least[kind.index]
        if master.profit:
            base = min(base, kind.payment)
        for column in oracle.within(kind, prices, base + room):
            own = prices[column.offers]
            value = float(own @ column.rates) * (1.0 - 1e-9)
            found.append(_Path(kind.index, column.path, column.offers, column.charge, [(own, value)]))
    return found


def _outer(
    master: Master, paths: list[_Path], gap: float, run: Run
) -> tuple[list[tuple[int, int]], float] | None:
    """[(position among the paths, heads)] and the bound of the outer program; None without an answer in
    time."""
    network = master.network
    program = Master(network, master.profit, 0.0)
    program.adopt_tangents(master)
    lp = program.highs
    lp.setOptionValue("mip_rel_gap", 0.25 * gap)
    lp.setOptionValue("mip_feasibility_tolerance", 1e-9)
    lp.setOptionValue("time_limit", run.left())
    watch(lp, run, len(paths))
    for d in range(len(network.capacity)):
        lp.changeColBounds(d, 0.0, 0.0)
    heads = []
    for path in paths:
        kind = network.kinds[path.kind]
        first = lp.getNumCol()
        heads.append(first)
        empty = Column(path.kind, path.path, 0, path.offers, np.zeros(len(path.offers)), path.charge)
        rows, values, cost = program.entries(empty)
        lp.addCol(cost, 0.0, float(kind.count), 1, rows[:1], values[:1])
        lp.changeColIntegrality(first, highspy.HighsVarType.kInteger)
        for position, o in enumerate(path.offers):
            unit = np.zeros(len(path.offers))
            unit[position] = 1.0
            rows, values, cost = program.entries(
                Column(path.kind, path.path, 0, path.offers, unit, kind.payment if master.profit else 0.0)
            )
            keep = [(row, value) for row, value in zip(rows[1:], values[1:], strict=True) if value != 0.0]
            lp.addCol(cost, 0.0, highspy.kHighsInf, len(keep), [row for row, _ in keep], [v for _, v in keep])
            most = float(network.most[o])
            if math.isfinite(most):
                lp.addRow(-highspy.kHighsInf, 0.0, 2, [first + 1 + position, first], [1.0, -most])
        for own, value in path.cuts:
            used = np.flatnonzero(own > 0.0)
            lp.addRow(
                0.0,
                highspy.kHighsInf,
                len(used) + 1,
                [*(int(first + 1 + i) for i in used), first],
                [*(float(own[i]) for i in used), -value],
            )
    lp.run()
    status = lp.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return [], math.inf
    info = lp.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    solved = np.array(lp.getSolution().col_value)
    chosen = [(k, round(solved[first])) for k, first in enumerate(heads) if solved[first] > 0.5]
    return chosen, float(info.mip_dual_bound)


def _inner(
    master: Master,
    oracle: Oracle,
    sizing: SplitSizing,
    paths: list[_Path],
    chosen: list[tuple[int, int]],
    gap: float,
    run: Run,
) -> Choice | None:
    """The best reservations on chosen paths, by column generation over them; their prices become cuts of
    all paths."""
    network = oracle.network
    program = Master(network, master.profit, _overflow_price(master))
    program.adopt_tangents(master)
    wanted = {(paths[k].kind, paths[k].path) for k, _ in chosen}
    program.limit_paths({(paths[k].kind, paths[k].path): heads for k, heads in chosen})
    program.add([column for column in master.columns if (column.kind, column.path) in wanted])
    for _ in range(200):
        missing = {key for key in wanted if not program.has_path(key)}
        prices = None
        if not missing:
            solution, duals = program.solve()
            prices = duals.prices(network)
        else:
            prices = np.maximum(master.list_prices(), 1e-12)
        fresh = []
        for k, _ in chosen:
            path = paths[k]
            kind = network.kinds[path.kind]
            (columns,) = sizing.size(kind, np.array([path.path]), prices, np.array([math.inf]))
            fresh.extend(columns)
            if columns:
                path.cuts.append(
                    (prices[path.offers], float(prices[path.offers] @ columns[0].rates) * (1.0 - 1e-9))
                )
        added = program.add(fresh)
        master.add(fresh)
        if missing and not added:
            return None
        if not missing and not added:
            break
        if not missing:
            worst = min(column.cost(prices) - program.worth(column, duals) for column in fresh)
            if worst > -0.02 * gap * max(abs(solution.value), 1e-9) / max(len(fresh), 1) or run.expired():
                break
    if (solution.overflow > 1e-9 * network.capacity).any():
        return None
    used = list(program.columns)
    return _whole(master, used, sizing, gap, run)


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
