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

from fedopt.federated.bounds import Below, BoundTracker, FlowProgram
from fedopt.federated.flows import QUICK, Flows
from fedopt.federated.rounds import Run
from fedopt.federated.session import Round, Session
from fedopt.federated.split.share_negotiation import ShareNegotiation
from fedopt.pricing import Column, Network

__all__ = [
    "Candidates",
    "Choice",
    "Confirming",
    "Found",
    "Room",
    "Shortage",
    "cheapest",
    "short_of_capacity",
    "whole_units",
]

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


_ROUNDS = 40
_PASSES = 40
_CERTAIN = 1e-6
_BEYOND = 1e-4  # what an overload where no end is known weighs against one where it is


@dataclass(frozen=True)
class Shortage:
    """The domains that together cannot carry what the tenants need of them."""

    domains: tuple[str, ...]


def short_of_capacity(
    session: Session,
    evidence: BoundTracker,
    run: Run,
    room: Room,
    flows: Flows,
    loads: Floats,
    wall: Floats,
    shares: ShareNegotiation | None = None,
) -> Shortage | None:
    """A proof that no split plan exists, or None; where one exists the evidence then knows it.

    flows: of a network without costs. loads: where to ask first; wall: penalties that keep answers where they
    were asked. `room` learns where domains end. `shares`: what domains have to agree on, at the prices of
    scarce capacity then.
    """
    nothing = np.zeros(flows.offers)
    for _ in range(_ROUNDS):
        answer = session.ask(loads, nothing, wall, of="capacity")
        run.record(evidence)
        if run.expired():
            return None
        if not room.learn(loads, answer) and answer.answered.all():
            evidence.flows.add(flows.columns)
            carried = session.ask(loads, evidence.below.prices, wall)
            evidence.take(loads, carried)
            evidence.bound(1e-3)
            run.record(evidence)
            return None
        found = _least_overload(flows, room)
        while shares is not None and found.short and not found.proven and not run.expired():
            questions = shares.questions(found.prices)
            if questions is None:
                break
            flows.add(shares.learn(questions, session.ask_shares(questions)))
            run.record(evidence)
            found = _least_overload(flows, room)
        loads = found.loads
        if found.proven:
            ends = room.at_the_end(loads)
            answer = session.ask(ends, found.prices, 1e-6 * wall, of="capacity")
            run.record(evidence)
            if _proves(flows, answer):
                names = flows.network.domain_ids
                return Shortage(_named(names, room, answer.prices, loads))
    return None


@dataclass(frozen=True, eq=False)
class _Overload:
    """Loads that overload the known ends least, and prices of scarce capacity; `short` whether they do not
    fit with the columns at hand, `proven` whether none do."""

    loads: Floats
    prices: Floats
    short: bool
    proven: bool


def _least_overload(flows: Flows, room: Room) -> _Overload:
    """The least relative overload of the known ends over all paths."""
    program = FlowProgram(flows)
    lp = program.lp
    lp.addCol(1.0, 0.0, highspy.kHighsInf, 0, [], [])  # overload of known ends
    lp.addCol(_BEYOND, 0.0, highspy.kHighsInf, 0, [], [])  # and beyond what others are known to carry
    for o in range(flows.offers):
        lp.addRow(0.0, 0.0, 0, [], [])
        lp.addCol(0.0, 0.0, highspy.kHighsInf, 1, [program.kinds + o], [-1.0])
    known = np.isfinite(room.most)
    usual = max(float(room.carried.mean()), 1e-9)
    least = np.where(known, room.most, np.maximum(room.carried, usual))
    for domain, offers, factors in room.rows():
        columns = np.concatenate([2 + offers, [0 if known[domain] else 1]]).astype(np.int32)
        values = np.concatenate([factors, [-least[domain]]])
        lp.addRow(-highspy.kHighsInf, float(least[domain]), len(columns), columns, values)
    first = program.kinds + flows.offers
    loads, prices, overload, bound = np.zeros(flows.offers), np.zeros(flows.offers), 0.0, 0.0
    effort: int | None = QUICK if flows.finite else None
    for _ in range(_PASSES):
        program.take_columns()
        if not program.solve():
            break
        loads = flows.loads(program.flow())
        scarce = np.where(known, np.maximum(-program.dual()[first : first + len(known)], 0.0), 0.0)
        prices = (scarce[room.domain] * room.factor).astype(float)
        needed, added = flows.price(prices, flows.cheapest(prices), 1e-6, effort)
        overload = float(np.array(lp.getSolution().col_value)[0])
        bound = flows.total(needed) - float(scarce @ np.where(known, room.most, 0.0))
        if not added and effort is None:
            break
        effort = QUICK if added else None
    return _Overload(loads, prices, overload > _CERTAIN, bound > _CERTAIN)


def _proves(flows: Flows, answer: Round) -> bool:
    """Whether the tenants need more at the answered prices than the operators can carry in all."""
    if not answer.totals:
        return False
    carried = -math.fsum(totals.support for totals in answer.totals.values())
    for _ in range(_PASSES):
        least, added = flows.price(answer.prices, flows.cheapest(answer.prices), 0.0, None)
        if not added:
            break
    return flows.total(least) > carried + 1e-9 * abs(carried)


def _named(domains: list[str], room: Room, prices: Floats, loads: Floats) -> tuple[str, ...]:
    """The domains whose capacity the proof rests on, the heaviest first."""
    weight = np.bincount(room.domain, prices * loads, len(domains))
    order = np.argsort(-weight)
    return tuple(domains[d] for d in order if weight[d] > 1e-3 * weight.max())
