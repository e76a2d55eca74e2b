"""From split plans to whole units: an integer program proposes, the operators confirm.

The broker knows the operators' costs from below, by the cuts. Its integer program proposes the plan that
would be cheapest if they were exact; the operators say what it costs, or that it does not fit, and the next
program knows better. After a plan that did not fit, one round about capacity alone tells where the domains
end that are nearly full. Where the catalogue is finite the candidates can be complete: a column whose reduced
cost exceeds the room between bound and plan is in no better plan. The program's own bound then counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from fedopt.federated.bounds import Below, BoundTracker
from fedopt.federated.flows import Flows
from fedopt.federated.rounds import Run
from fedopt.federated.session import Round, Session
from fedopt.pricing import Column, Network

__all__ = ["Candidates", "Choice", "Confirming", "Found", "Room", "cheapest", "whole_units"]

Floats = npt.NDArray[np.float64]

_SHORT = 1e-9


class Room:
    """The most work that each domain carries, shape (domains,), infinite where its end never showed; and the
    work that it is known to carry. `domain`, `factor`: whose each offer is and its work factor, (offers,).
    """

    def __init__(self, network: Network) -> None:
        self.domain, self.factor = network.domain, network.factor
        self.most = np.full(len(network.domain_ids), math.inf)
        self.carried = np.zeros(len(network.domain_ids))

    def learn(self, asked: Floats, answer: Round) -> bool:
        """Take the answer to a round about capacity; whether a domain fell short."""
        work = self.work(answer.loads)
        short = answer.answered & (answer.loads < asked * (1.0 - _SHORT))
        full = np.unique(self.domain[short])
        self.most[full] = np.minimum(self.most[full], work[full])
        heard = np.unique(self.domain[answer.answered])
        self.carried[heard] = np.maximum(self.carried[heard], work[heard])
        return bool(len(full))

    def work(self, loads: Floats) -> Floats:
        """The work of loads (offers,) in each domain."""
        return np.bincount(self.domain, self.factor * loads, len(self.most)).astype(float)

    def at_the_end(self, loads: Floats) -> Floats:
        """The loads, scaled in every domain whose end is known so that they reach it."""
        work = self.work(loads)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(np.isfinite(self.most) & (work > 0.0), self.most / work, 1.0)
        return loads * scale[self.domain]

    def rows(self) -> Iterator[tuple[int, npt.NDArray[np.int32], Floats]]:
        """(domain, its offers, their work factors), one by one."""
        for domain in range(len(self.most)):
            mine = np.flatnonzero(self.domain == domain).astype(np.int32)
            yield domain, mine, self.factor[mine]


_SECONDS = 30.0


@dataclass(frozen=True, eq=False)
class Candidates:
    """Which columns matter: their reduced costs at prices whose bound is `bound`; `complete` whether every
    column of the catalogue with a reduced cost below `room` is among them, and no better plan needs others.
    """

    reduced: Floats
    bound: float
    room: float
    complete: bool


@dataclass(frozen=True, eq=False)
class Found:
    """Multiplicities of the columns (None where nothing is below the cut-off), what they would cost, and a
    bound on what any multiplicities of the candidates cost."""

    x: Floats | None
    value: float
    bound: float


def cheapest(
    evidence: BoundTracker, candidates: Candidates | None, room: Room, cutoff: float, gap: float, run: Run
) -> Found | None:
    """The answer of the integer program over the candidates (all columns at hand without any); None where
    there is none in time. `room`: where domains end.
    """
    flows = evidence.flows
    program = Below(flows, evidence.groups)
    for cut in evidence.cuts:
        program.add(cut)
    program.take_columns()
    lp = program.lp
    for domain, offers, factors in room.rows():
        if np.isfinite(room.most[domain]):
            lp.addRow(-highspy.kHighsInf, float(room.most[domain]), len(offers), offers, factors)
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
        return Found(None, float("inf"), float("inf"))
    info = lp.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    x = np.round(program.flow())
    return Found(x, float(info.objective_function_value), float(info.mip_dual_bound))


_MOST_CANDIDATES = 60_000

_NEAR = 0.02  # of a unit's mean cost: how much dearer than its cheapest column a unit's first candidates are


@dataclass(frozen=True, eq=False)
class Choice:
    """Columns with their multiplicities; confirmed loads (offers,); what they cost in all, and what of it
    is for the loads (the rest are charges, less payments under profit)."""

    columns: list[Column]
    units: Floats
    loads: Floats
    cost: float
    variable: float


def whole_units(
    session: Session,
    evidence: BoundTracker,
    run: Run,
    room: Room,
    gap: float,
    wall: Floats,
    most: int,
) -> Choice | None:
    """The best plan of whole units that the operators confirm, to a relative gap or as far as `most`
    confirmations go; None where none was confirmed.

    wall: penalties so large that an answer says where the capacity ends. `room` learns where domains end.
    """
    search = _Search(session, evidence, run, room, gap, wall)
    for _ in range(most):
        run.lower_bound = max(run.lower_bound, evidence.lower)
        if run.expired() or search.proven():
            break
        found = search.cheapest()
        if found is None:
            break
        if found.x is None or not search.promising(found):
            if not search.widen():
                break
        else:
            plan = search.flows.whole(found.x)
            if not search.confirm(*plan):
                search.learn_room(*plan)
    return search.best


class Confirming:
    """What a search for whole units knows of the operators: the best plan confirmed, the domains' ends."""

    def __init__(
        self, session: Session, evidence: BoundTracker, run: Run, room: Room, gap: float, wall: Floats
    ) -> None:
        self.session, self.evidence, self.run = session, evidence, run
        self.room, self.gap, self.wall = room, gap, wall
        self.flows = evidence.flows
        self.best: Choice | None = None

    @property
    def cutoff(self) -> float:
        """What a better plan must cost less than to be worth a round."""
        return math.inf if self.best is None else self.best.cost - 0.25 * self.gap * abs(self.best.cost)

    def proven(self) -> bool:
        """Whether the best plan is within the gap."""
        best = self.best
        return best is not None and best.cost - self.run.lower_bound <= self.gap * abs(best.cost)

    def confirm(self, columns: list[Column], units: Floats) -> bool:
        """Ask what a plan costs; False where it does not fit."""
        loads = self.flows.loads_of(columns, units)
        answer = self.session.ask(loads, self.evidence.below.prices, self.wall)
        self.evidence.take(loads, answer)
        charges = math.fsum(
            count * (column.charge - self.flows.payments[column.kind])
            for column, count in zip(columns, units, strict=True)
        )
        heard = len(answer.totals) == len(self.evidence.groups)
        fits = heard and all(totals.fits for totals in answer.totals.values())
        if fits:
            variable = math.fsum(totals.proposed_cost for totals in answer.totals.values())
            if self.best is None or charges + variable < self.best.cost:
                self.best = Choice(columns, units, loads, charges + variable, variable)
                self.run.cost = self.best.cost
        self.evidence.bound(self.gap)
        self.run.record(self.evidence)
        return fits or not heard

    def learn_room(self, columns: list[Column], units: Floats) -> None:
        """Ask what can be carried of a unit more on every offer; domains that answer less end there."""
        beyond = self.flows.loads_of(columns, units) + self.flows.largest()
        answer = self.session.ask(beyond, np.zeros(len(beyond)), self.wall, of="capacity")
        self.room.learn(beyond, answer)
        self.run.record(self.evidence)


class _Search(Confirming):
    """The search where reservations are points of a catalogue: which columns are candidates too."""

    candidates: Candidates | None = None
    _reach = 0.0

    def cheapest(self) -> Found | None:
        """The integer program's answer; its bound is kept where it is one."""
        found = cheapest(self.evidence, self.candidates, self.room, self.cutoff, self.gap, self.run)
        candidates = self.candidates
        if found is not None and candidates is not None and candidates.complete:
            outside = min(self.cutoff, candidates.bound + candidates.room)
            self.run.lower_bound = max(self.run.lower_bound, min(found.bound, outside))
        return found

    def promising(self, found: Found) -> bool:
        """Whether a plan could be better than the best by what is worth a round."""
        best = self.best
        return best is None or found.value < best.cost - 0.1 * self.gap * abs(best.cost)

    def widen(self) -> bool:
        """More candidates: those near the cheapest first, then all that a better plan can hold; without a
        plan, ever farther ones. False where there are no more.
        """
        lower = self.evidence.lower
        if self.candidates is not None and self.candidates.complete and self.best is not None:
            return False
        if not (self.flows.finite and math.isfinite(lower)):
            return False
        needed = self.cutoff - lower
        units = max(float(self.flows.counts.sum()), 1.0)
        self._reach = max(4.0 * self._reach, _NEAR * abs(lower) / units)
        if self.best is not None and self.candidates is not None:
            self._reach = needed
        self.candidates = _within(self.evidence, min(self._reach, needed), needed)
        return self.candidates.complete or self._reach < 1e3 * max(abs(lower), 1.0)


def _within(evidence: BoundTracker, room: float, needed: float) -> Candidates:
    """Every column whose reduced cost is below `room`, where there are not too many."""
    flows, below = evidence.flows, evidence.below
    complete = room >= needed
    found = 0
    for kind in flows.network.kinds if room > 0.0 else ():
        least = float(below.least[kind.index])
        base = min(least, 0.0) if flows.profit else least
        found += flows.within(kind, below.prices, base + room)
        if found > _MOST_CANDIDATES:
            complete = False
            break
    return Candidates(_reduced(flows, below.prices, below.least), below.best, room, complete)


def _reduced(flows: Flows, prices: Floats, least: Floats) -> Floats:
    """Reduced cost of each column against the least cost of its kind."""
    base = np.minimum(least, 0.0) if flows.profit else least
    return np.asarray(flows.charge + prices @ flows.matrix - base[flows.kind])
