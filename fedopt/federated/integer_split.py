"""Whole units under agreed shares: a program over tangents assigns them to lanes, their domains come to terms
at the prices of these lanes, the operators confirm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from fedopt.federated.bounds import Below, BoundTracker
from fedopt.federated.integer import Choice, Confirming, Room
from fedopt.federated.rounds import Run
from fedopt.federated.split.bounds import Tangent
from fedopt.federated.split.lanes import LARGEST_MARGIN, LEAST_MARGIN, Lane
from fedopt.federated.split.share_negotiation import ShareNegotiation

__all__ = ["Assignment", "Mixed", "assigned", "mixed", "whole_lanes"]

Floats = npt.NDArray[np.float64]

_INF = highspy.kHighsInf

_NODES = 2_000  # of a search; no clock, so that the same answers lead to the same questions

_DEAR = 10.0  # times the price of a rate: what a unit of work beyond a domain's end counts as

_FITS = 1e-7


@dataclass(frozen=True, eq=False)
class Assignment:
    """Units on lanes, by (kind, θ, path); a lower bound on every assignment to the lanes looked at."""

    units: dict[tuple[int, int, int], int]
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
    evidence: BoundTracker,
    lanes: Mapping[tuple[int, int, int], tuple[Lane, list[list[Tangent]]]],
    room: Room,
    gap: float,
    run: Run,
) -> Assignment | None:
    """The whole units on lanes that are cheapest if tangents and cuts are exact; None without an answer in
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
    units = {key: round(solved[place]) for key, place in zip(lanes, places, strict=True)}
    return Assignment({key: n for key, n in units.items() if n}, float(info.mip_dual_bound))


def _add_lane(program: Below, lane: Lane, tangents: list[list[Tangent]]) -> int:
    """A lane's units (integer), its shares times units, its rates; where the units stand."""
    lp, flows, length = program.lp, program.flows, len(lane.offers)
    most = float(flows.counts[lane.kind])
    charge = lane.charge - float(flows.payments[lane.kind])
    lp.addCol(charge, 0.0, most, 1, np.array([lane.kind], np.int32), np.ones(1))
    units = lp.getNumCol() - 1
    lp.changeColIntegrality(units, highspy.HighsVarType.kInteger)
    first = units + 1  # time, risk and margin of each hop, one after the other
    for high in (lane.slots * most, most, LARGEST_MARGIN * most):
        for _ in range(length):
            lp.addVar(0.0, high)
    for k, whole in ((0, lane.slots), (1, 1.0)):
        index = np.array([*range(first + k * length, first + (k + 1) * length), units], np.int32)
        lp.addRow(-_INF, 0.0, length + 1, index, np.array([*([1.0] * length), -whole]))
    for i in range(length):
        margin = first + 2 * length + i
        index = np.array([margin, units], np.int32)
        lp.addRow(0.0, _INF, 2, index, np.array([1.0, -LEAST_MARGIN]))
        lp.addRow(-_INF, 0.0, 2, index, np.array([1.0, -LARGEST_MARGIN]))
    for i, offer in enumerate(lane.offers):
        lp.addCol(0.0, 0.0, _INF, 1, np.array([program.kinds + int(offer)], np.int32), np.ones(1))
        rate = lp.getNumCol() - 1
        for tangent in tangents[i]:
            places = [rate, units, first + i, first + length + i]
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
    return units


def mixed(evidence: BoundTracker, units: Mapping[tuple[int, int], int], room: Room) -> Mixed | None:
    """The cheapest mixture of the columns at hand on chosen lanes, units by (kind, piece); None where a lane
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
    members: dict[tuple[int, int], list[int]] = {key: [] for key in units}
    for j, column in enumerate(flows.columns):
        if (column.kind, column.piece) in members:
            members[column.kind, column.piece].append(j)
            upper[j] = units[column.kind, column.piece]
    if not all(members.values()):
        return None
    places = np.array(program.positions, np.int32)
    lp.changeColsBounds(len(places), places, np.zeros(len(places)), upper)
    for key, mine in members.items():
        count = float(units[key])
        lp.addRow(count, count, len(mine), places[mine], np.ones(len(mine)))
    if not program.solve():
        return None
    prices = np.maximum(-program.dual()[program.kinds : program.kinds + flows.offers], 0.0)
    over = float(np.array(lp.getSolution().col_value)[beyond].max(initial=0.0))
    return Mixed(program.flow(), program.value, prices, over > _FITS)


_SETTLING = 16  # rounds about shares at the prices of chosen lanes, at most

_FRUITLESS = 12  # assignments in a row that brought nothing better

_ROOM = 0.08  # how much dearer than the cheapest, relative to a unit's cost, the lanes looked at are at most


def whole_lanes(search: Confirming, shares: ShareNegotiation, most: int) -> Choice | None:
    """The best plan of whole units that the operators confirm; None where none was confirmed in `most`
    assignments."""
    run, flows, gap = search.run, search.flows, search.gap
    fruitless = 0
    for _ in range(most):
        run.lower_bound = max(run.lower_bound, search.evidence.lower)
        if run.expired() or search.proven() or fruitless >= _FRUITLESS:
            break
        lower = search.evidence.below
        served = max(float(flows.counts.sum()), 1.0)
        missing = search.cutoff - lower.best  # what any unit of a better plan can be dearer by
        room = min(missing, _ROOM * abs(lower.best) / served)
        lanes = shares.near(lower.prices, lower.least + flows.payments + room)
        found = assigned(search.evidence, lanes, search.room, gap, run)
        if found is None:
            break
        if room >= missing:
            run.lower_bound = max(run.lower_bound, min(found.bound, search.cutoff))
        if not found.units:
            break
        before = search.best
        settled = _settle(search, shares, found.units)
        if settled is not None and not settled.overloads:
            columns, units = flows.whole(settled.x)
            asked = shares.ask_again(columns)
            columns = shares.told_again(columns, search.session.ask_shares(asked))
            if not search.confirm(columns, units):
                search.learn_room(columns, units)
        better = search.best is not None and (
            before is None or search.best.cost < before.cost - 0.05 * gap * abs(before.cost)
        )
        fruitless = 0 if better else fruitless + 1
    return search.best


def _settle(
    search: Confirming, shares: ShareNegotiation, units: dict[tuple[int, int, int], int]
) -> Mixed | None:
    """The cheapest mixture on the lanes assigned, after their domains have come to terms at its prices."""
    pieces = {shares.piece(*key): count for key, count in units.items()}
    prices, found = search.evidence.below.prices, None
    for _ in range(_SETTLING):
        last, found = found, mixed(search.evidence, pieces, search.room)
        if found is not None:
            prices = found.prices
            if (
                last is not None
                and not last.overloads
                and last.value - found.value < 0.02 * search.gap * abs(found.value)
            ):
                break
        questions = shares.refine(units, prices)
        if questions is None or search.run.expired():
            break
        search.flows.add(shares.learn(questions, search.session.ask_shares(questions)))
        search.run.record(search.evidence)
    return found
