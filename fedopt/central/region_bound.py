"""The program from below where each path offers a convex region of reservations (the split guarantee).

Mixed-integer: units n_p of a kind on each path and its rate Z_o on each offer, held only by supporting cuts
Σ_o q_o Z_o ≥ Σ_p h_p(q)·n_p, where h_p(q) is the least priced cost of a path at prices q. One row bounds all
paths of a kind, and with every q the rows say all there is to say about fixed numbers of units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import highspy
import numpy as np

from fedopt.central.integer import Choice, watch
from fedopt.central.master import Master
from fedopt.central.run import Run
from fedopt.pricing import Column
from fedopt.pricing.regions import SplitSizing

__all__ = ["SAFE", "Candidate", "SupportCut", "from_below"]

SAFE = 1.0 - 1e-9
"""Of a cut's value: what it gives away to rounding."""


@dataclass(eq=False)
class Candidate:
    """A candidate path of a kind, with its least cost at the relaxation's prices and how far that lies above
    its kind's least."""

    kind: int
    path: int
    offers: np.ndarray
    charge: float
    value: float
    least: float


@dataclass(eq=False)
class SupportCut:
    """Σ_o prices_o Z_o ≥ Σ_p value_p n_p for a kind; prices per work/slot, (offers,); value by path index."""

    kind: int
    prices: np.ndarray
    values: dict[int, float]


def from_below(
    master: Master,
    paths: list[Candidate],
    cuts: list[SupportCut],
    sizing: SplitSizing,
    best: Choice | None,
    gap: float,
    run: Run,
) -> tuple[dict[tuple[int, int], int], float] | None:
    """({(kind, path): units}, bound) of the program from below; None without an answer in time.

    best: a plan to start from; the bound holds for all plans on these paths.
    """
    network, profit = master.network, master.profit
    program = Master(network, profit, 0.0)
    program.adopt_tangents(master)
    program.forbid_overflow()
    lp = program.highs
    units: dict[tuple[int, int], int] = {}
    users: dict[tuple[int, int], list[int]] = {}
    for path in paths:
        kind = network.kinds[path.kind]
        empty = Column(path.kind, path.path, 0, path.offers, np.zeros(len(path.offers)), path.charge)
        rows, values, cost = program.entries(empty)
        n = units[path.kind, path.path] = lp.getNumCol()
        lp.addCol(cost, 0.0, float(kind.count), 1, rows[:1], values[:1])
        if kind.count > 1:
            lp.changeColIntegrality(n, highspy.HighsVarType.kInteger)
        for o in path.offers:
            users.setdefault((path.kind, int(o)), []).append(n)
    rate = {key: _offer(sizing, program, *key, users[key]) for key in users}
    offers: dict[int, list[int]] = {}
    for k, o in rate:
        offers.setdefault(k, []).append(o)
    listed = {k: [path.path for path in paths if path.kind == k] for k in offers}
    for cut in cuts:
        if cut.kind not in offers:
            continue
        at = [rate[cut.kind, o] for o in offers[cut.kind] if cut.prices[o] > 0.0]
        paid = [float(cut.prices[o]) for o in offers[cut.kind] if cut.prices[o] > 0.0]
        for path_index in listed[cut.kind]:
            if cut.values.get(path_index, 0.0) > 0.0:
                at.append(units[cut.kind, path_index])
                paid.append(-cut.values[path_index])
        lp.addRow(0.0, highspy.kHighsInf, len(at), at, paid)
    if best is not None:
        start = dict.fromkeys([*units.values(), *(z + 1 for z in rate.values())], 0.0)
        for column, count in zip(best.columns, best.units, strict=True):
            if (column.kind, column.path) in units:
                start[units[column.kind, column.path]] += float(count)
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
    chosen = {key: round(solved[n]) for key, n in units.items() if solved[n] > 0.5}
    return chosen, float(info.mip_dual_bound)


def _offer(sizing: SplitSizing, program: Master, kind: int, o: int, users: list[int]) -> int:
    """A kind's rate on an offer, as a variable of the program, held between what its units there need to be
    stable and what they may have at most.

    The units are a whole number, and what a search branches on: offers are far fewer than paths, and a single
    unit that is whole on every offer is whole on its path.
    """
    network, lp = program.network, program.highs
    payment = network.kinds[kind].payment if program.profit else 0.0  # not for this column: units bring it
    one = Column(kind, 0, 0, np.array([o]), np.ones(1), payment)
    rows, values, cost = program.entries(one)
    rate = lp.getNumCol()
    lp.addCol(cost, 0.0, highspy.kHighsInf, len(rows) - 1, rows[1:], values[1:])
    lp.addCol(0.0, 0.0, float(network.kinds[kind].count), 0, [], [])
    total = rate + 1
    lp.changeColIntegrality(total, highspy.HighsVarType.kInteger)
    lp.addRow(0.0, 0.0, len(users) + 1, [*users, total], [*([1.0] * len(users)), -1.0])
    mean = sizing.mean(network.kinds[kind], o) * SAFE
    lp.addRow(0.0, highspy.kHighsInf, 2, [rate, total], [1.0, -mean])
    if math.isfinite(network.most[o]):
        lp.addRow(-highspy.kHighsInf, 0.0, 2, [rate, total], [1.0, -float(network.most[o])])
    return rate
