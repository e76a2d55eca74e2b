"""Two programs for whole heads under agreed shares: from below, paths with tangents of their domains' rates;
from above, the columns of chosen paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from fedopt.federated.certificate import Below
from fedopt.federated.evidence import Evidence
from fedopt.federated.room import Room
from fedopt.federated.rounds import Run
from fedopt.federated.split.bounds import Tangent
from fedopt.federated.split.lanes import LARGEST_MARGIN, LEAST_MARGIN, Lane

__all__ = ["Assignment", "Mixed", "assigned", "mixed"]

Floats = npt.NDArray[np.float64]
_INF = highspy.kHighsInf
_NODES = 2_000  # of a search; no clock, so that the same answers lead to the same questions
_DEAR = 10.0  # times the price of a rate: what a unit of work beyond a domain's end counts as
_FITS = 1e-7


@dataclass(frozen=True, eq=False)
class Assignment:
    """Heads on lanes, by (kind, θ, path); a lower bound on every assignment to the lanes looked at."""

    heads: dict[tuple[int, int, int], int]
    bound: float


@dataclass(frozen=True, eq=False)
class Mixed:
    """Multiplicities of the flows' columns, what they would cost, prices of loads, and whether a domain is
    overloaded even so."""

    x: Floats
    value: float
    prices: Floats
    overloads: bool


def assigned(
    evidence: Evidence,
    lanes: Mapping[tuple[int, int, int], tuple[Lane, list[list[Tangent]]]],
    room: Room,
    gap: float,
    run: Run,
) -> Assignment | None:
    """The whole heads on lanes that are cheapest if tangents and cuts are exact; None without an answer in
    time. lanes: each with the tangents of its hops."""
    flows = evidence.flows
    program = Below(flows, evidence.groups)
    for cut in evidence.cuts:
        program.add(cut)
    lp = program.lp
    for domain, offers, factors in room.rows():
        if np.isfinite(room.most[domain]):
            lp.addRow(-_INF, float(room.most[domain]), len(offers), offers, factors)
    places = [_add_lane(program, lane, tangents) for lane, tangents in lanes.values()]
    options = {"mip_rel_gap": 0.2 * gap, "time_limit": run.left(), "mip_feasibility_tolerance": 1e-9}
    for option, value in options.items():
        lp.setOptionValue(option, float(value))
    lp.setOptionValue("mip_max_nodes", _NODES)
    lp.run()
    if lp.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return Assignment({}, float("inf"))
    info = lp.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    solved = np.array(lp.getSolution().col_value)
    heads = {key: round(solved[place]) for key, place in zip(lanes, places, strict=True)}
    return Assignment({key: n for key, n in heads.items() if n}, float(info.mip_dual_bound))


def _add_lane(program: Below, lane: Lane, tangents: list[list[Tangent]]) -> int:
    """A lane's heads (integer), its shares times heads, its rates; where the heads stand."""
    lp, flows, length = program.lp, program.flows, len(lane.offers)
    most = float(flows.counts[lane.kind])
    charge = lane.charge - float(flows.payments[lane.kind])
    lp.addCol(charge, 0.0, most, 1, np.array([lane.kind], np.int32), np.ones(1))
    heads = lp.getNumCol() - 1
    lp.changeColIntegrality(heads, highspy.HighsVarType.kInteger)
    first = heads + 1  # time, risk and margin of each hop, one after the other
    for high in (lane.slots * most, most, LARGEST_MARGIN * most):
        for _ in range(length):
            lp.addVar(0.0, high)
    for k, whole in ((0, lane.slots), (1, 1.0)):
        index = np.array([*range(first + k * length, first + (k + 1) * length), heads], np.int32)
        lp.addRow(-_INF, 0.0, length + 1, index, np.array([*([1.0] * length), -whole]))
    for i in range(length):
        margin = first + 2 * length + i
        index = np.array([margin, heads], np.int32)
        lp.addRow(0.0, _INF, 2, index, np.array([1.0, -LEAST_MARGIN]))
        lp.addRow(-_INF, 0.0, 2, index, np.array([1.0, -LARGEST_MARGIN]))
    for i, offer in enumerate(lane.offers):
        lp.addCol(0.0, 0.0, _INF, 1, np.array([program.kinds + int(offer)], np.int32), np.ones(1))
        rate = lp.getNumCol() - 1
        for tangent in tangents[i]:
            places = [rate, heads, first + i, first + length + i]
            value = [0.0 if tangent.wall else 1.0, -tangent.constant, -tangent.slots, -tangent.risk]
            if i < length - 1:
                places.append(first + 2 * length + i)
                value.append(-tangent.margin)
            places += range(first + 2 * length, first + 2 * length + i)
            value += (-tangent.before).tolist()
            used = [(j, v) for j, v in zip(places, value, strict=True) if v != 0.0]
            lp.addRow(
                0.0, _INF, len(used), np.array([j for j, _ in used], np.int32), np.array([v for _, v in used])
            )
    return heads


def mixed(evidence: Evidence, heads: Mapping[tuple[int, int], int], room: Room) -> Mixed | None:
    """The cheapest mixture of the columns at hand on chosen lanes, heads by (kind, piece); None where a lane
    has none. What lies beyond the domains' known ends is dear, so that the prices tell which shares would
    fit."""
    flows = evidence.flows
    program = Below(flows, evidence.groups)
    for cut in evidence.cuts:
        program.add(cut)
    lp, beyond = program.lp, []
    for domain, offers, factors in room.rows():
        if np.isfinite(room.most[domain]):
            lp.addRow(-_INF, float(room.most[domain]), len(offers), offers, factors)
            dear = _DEAR * float(evidence.below.prices[offers].max(initial=0.0))
            lp.addCol(max(dear, 1e-9), 0.0, _INF, 1, [lp.getNumRow() - 1], [-1.0])
            beyond.append(lp.getNumCol() - 1)
    program.take_columns()
    upper = np.zeros(len(flows.columns))
    members: dict[tuple[int, int], list[int]] = {key: [] for key in heads}
    for j, column in enumerate(flows.columns):
        if (column.kind, column.piece) in members:
            members[column.kind, column.piece].append(j)
            upper[j] = heads[column.kind, column.piece]
    if not all(members.values()):
        return None
    places = np.array(program.positions, np.int32)
    lp.changeColsBounds(len(places), places, np.zeros(len(places)), upper)
    for key, mine in members.items():
        count = float(heads[key])
        lp.addRow(count, count, len(mine), places[mine], np.ones(len(mine)))
    if not program.solve():
        return None
    prices = np.maximum(-program.dual()[program.kinds : program.kinds + flows.offers], 0.0)
    over = float(np.array(lp.getSolution().col_value)[beyond].max(initial=0.0))
    return Mixed(program.flow(), program.value, prices, over > _FITS)
