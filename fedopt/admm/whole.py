"""From split plans to whole heads: an integer program over the cuts, confirmed by the operators.

The broker knows the operators' costs from below, by the cuts. Its integer program proposes the plan that
would be cheapest if they were exact; the operators say what it costs, or that it does not fit, and the next
program knows better. Where the catalogue is finite the candidates are complete: a column whose reduced cost
exceeds the room between bound and plan is in no better plan. The program's own bound then counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from fedopt.admm.certificate import Below
from fedopt.admm.evidence import Evidence
from fedopt.admm.flows import Flows
from fedopt.admm.negotiation import Negotiation
from fedopt.admm.rounds import Run
from fedopt.oracle import Column

__all__ = ["Choice", "whole_heads"]

Floats = npt.NDArray[np.float64]
_MOST_CANDIDATES = 60_000
_SECONDS = 30.0


@dataclass(frozen=True, eq=False)
class Choice:
    """Columns with their multiplicities; confirmed loads (offers,); what they cost in all, and what of it
    is for the loads (the rest are charges, less payments under profit)."""

    columns: list[Column]
    heads: Floats
    loads: Floats
    cost: float
    variable: float


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Which columns matter: their reduced costs at prices whose bound is `bound`; `complete` whether every
    column of the catalogue with a reduced cost below `room` is among them."""

    reduced: Floats
    bound: float
    room: float
    complete: bool


def whole_heads(
    negotiation: Negotiation, evidence: Evidence, run: Run, gap: float, wall: Floats, most: int
) -> Choice | None:
    """The best plan of whole heads that the operators confirm, to a relative gap or as far as `most`
    confirmations go; None where none was confirmed.

    wall: penalties so large that an answer says where the capacity ends.
    """
    flows = evidence.flows
    best: Choice | None = None
    candidates: _Candidates | None = None
    walls: list[tuple[Floats, float]] = []
    refused: set[bytes] = set()
    reach = 0.0  # how far above the bound columns are listed while no plan is confirmed
    for _ in range(most):
        run.lower_bound = max(run.lower_bound, evidence.lower)
        if run.expired() or (best is not None and best.cost - run.lower_bound <= gap * abs(best.cost)):
            break
        cutoff = math.inf if best is None else best.cost - 0.25 * gap * abs(best.cost)
        if best is not None and (candidates is None or not candidates.complete or reach):
            candidates, reach = _enumerated(evidence, cutoff), 0.0
        elif reach:
            candidates = _enumerated(evidence, evidence.lower + reach)
        found = _cheapest(evidence, candidates, walls, cutoff, gap, run)
        if found is None:
            break
        x, objective, bound = found
        if candidates is not None and candidates.complete:
            outside = min(cutoff, candidates.bound + candidates.room)
            run.lower_bound = max(run.lower_bound, min(bound, outside))
        if best is not None and (x is None or objective >= best.cost - 0.1 * gap * abs(best.cost)):
            break  # nothing better is left among the candidates
        if x is None:
            break
        if best is None:
            reach = max(4.0 * reach, 0.03 * abs(evidence.lower))
        loads = flows.loads(x)
        if loads.tobytes() in refused:  # too little beyond a capacity for the cuts to matter
            walls.extend(_wall(negotiation, loads, wall))
            run.record(evidence)
            continue
        answer = negotiation.ask(loads, evidence.below.prices, wall)
        evidence.take(loads, answer)
        charges = math.fsum(flows.charge[: len(x)] * x)
        confirmed = bool(answer.totals) and all(totals.fits for totals in answer.totals.values())
        if confirmed and len(answer.totals) == len(evidence.groups):
            variable = math.fsum(totals.proposed_cost for totals in answer.totals.values())
            cost = charges + variable
            if best is None or cost < best.cost:
                used = np.flatnonzero(x > 0.5)
                best = Choice([flows.columns[j] for j in used], x[used], loads, cost, variable)
                run.cost = best.cost
        elif answer.totals:
            refused.add(loads.tobytes())
        evidence.bound(gap)
        run.record(evidence)
    return best


def _wall(negotiation: Negotiation, loads: Floats, penalties: Floats) -> list[tuple[Floats, float]]:
    """(d, h) with d·v ≤ h for all loads v that can be carried, h < d·loads, from a round about capacity
    alone."""
    answer = negotiation.ask(loads, np.zeros(len(loads)), penalties, of="capacity")
    if not answer.totals:
        return []
    most = -math.fsum(totals.support for totals in answer.totals.values())
    size = float(np.abs(answer.prices).max())
    if size <= 0.0:
        return []
    return [(answer.prices / size, most / size)]


def _enumerated(evidence: Evidence, cutoff: float) -> _Candidates:
    """Every column that a plan cheaper than the cut-off can hold, where there are not too many."""
    flows, below = evidence.flows, evidence.below
    room = cutoff - below.best
    complete = flows.oracle.sizing.points
    own = below.prices / flows.slot
    if complete and room > 0.0:
        found = 0
        for kind in flows.network.kinds:
            least = float(below.least[kind.index])
            base = min(least, 0.0) if flows.profit else least
            columns = flows.oracle.within(kind, own, base + float(flows.payments[kind.index]) + room)
            found += len(columns)
            if found > _MOST_CANDIDATES:
                complete = False
                break
            flows.add(columns)
    return _Candidates(_reduced(flows, below.prices, below.least), below.best, room, complete)


def _reduced(flows: Flows, prices: Floats, least: Floats) -> Floats:
    """Reduced cost of each column against the least cost of its kind."""
    base = np.minimum(least, 0.0) if flows.profit else least
    return np.asarray(flows.charge + prices @ flows.matrix - base[flows.kind])


def _cheapest(
    evidence: Evidence,
    candidates: _Candidates | None,
    walls: list[tuple[Floats, float]],
    cutoff: float,
    gap: float,
    run: Run,
) -> tuple[Floats | None, float, float] | None:
    """(multiplicities, value, bound) of the integer program over the cuts; None without an answer in time,
    multiplicities None where there is nothing below the cut-off."""
    flows = evidence.flows
    program = Below(flows, evidence.groups)
    for cut in evidence.cuts:
        program.add(cut)
    program.take_columns()
    lp = program.lp
    for direction, most in walls:
        lp.addRow(-highspy.kHighsInf, most, flows.offers, np.arange(flows.offers, dtype=np.int32), direction)
    upper = flows.counts[flows.kind]
    if candidates is not None:
        short = len(candidates.reduced)
        far = candidates.reduced > max(min(cutoff - candidates.bound, candidates.room), 0.0)
        upper = np.concatenate([np.where(far, 0.0, upper[:short]), np.zeros(len(upper) - short)])
    columns = np.array(program.positions, dtype=np.int32)
    lp.changeColsBounds(len(columns), columns, np.zeros(len(columns)), upper)
    lp.changeColsIntegrality(len(columns), columns, np.full(len(columns), highspy.HighsVarType.kInteger))
    for option, value in (("mip_rel_gap", 0.2 * gap), ("time_limit", min(_SECONDS, run.left()))):
        lp.setOptionValue(option, float(value))
    for option in ("mip_feasibility_tolerance", "primal_feasibility_tolerance"):
        lp.setOptionValue(option, 1e-9)

    def look(event: object) -> None:
        if run.expired():
            event.data_in.user_interrupt = 1  # type: ignore[attr-defined]

    lp.cbMipInterrupt += look
    lp.run()
    if lp.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return None, math.inf, math.inf
    info = lp.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    x = np.round(program.flow())
    return x, float(info.objective_function_value), float(info.mip_dual_bound)
