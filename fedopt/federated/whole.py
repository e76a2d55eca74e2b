"""From split plans to whole heads: an integer program proposes, the operators confirm.

The broker knows the operators' costs from below, by the cuts. Its integer program proposes the plan that
would be cheapest if they were exact; the operators say what it costs, or that it does not fit, and the next
program knows better. After a plan that did not fit, one round about capacity alone tells where the domains
end that are nearly full. Where the catalogue is finite the candidates can be complete: a column whose reduced
cost exceeds the room between bound and plan is in no better plan. The program's own bound then counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedopt.federated.evidence import Evidence
from fedopt.federated.flows import Flows
from fedopt.federated.room import Room
from fedopt.federated.rounds import Run
from fedopt.federated.session import Session
from fedopt.federated.whole_program import Candidates, Found, cheapest
from fedopt.pricing import Column

__all__ = ["Choice", "Confirming", "whole_heads"]

Floats = npt.NDArray[np.float64]
_MOST_CANDIDATES = 60_000
_NEAR = 0.02  # of a head's mean cost: how much dearer than its cheapest column a head's first candidates are


@dataclass(frozen=True, eq=False)
class Choice:
    """Columns with their multiplicities; confirmed loads (offers,); what they cost in all, and what of it
    is for the loads (the rest are charges, less payments under profit)."""

    columns: list[Column]
    heads: Floats
    loads: Floats
    cost: float
    variable: float


def whole_heads(
    session: Session,
    evidence: Evidence,
    run: Run,
    room: Room,
    gap: float,
    wall: Floats,
    most: int,
) -> Choice | None:
    """The best plan of whole heads that the operators confirm, to a relative gap or as far as `most`
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
    """What a search for whole heads knows of the operators: the best plan confirmed, the domains' ends."""

    def __init__(
        self, session: Session, evidence: Evidence, run: Run, room: Room, gap: float, wall: Floats
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

    def confirm(self, columns: list[Column], heads: Floats) -> bool:
        """Ask what a plan costs; False where it does not fit."""
        loads = self.flows.loads_of(columns, heads)
        answer = self.session.ask(loads, self.evidence.below.prices, self.wall)
        self.evidence.take(loads, answer)
        charges = math.fsum(
            count * (column.charge - self.flows.payments[column.kind])
            for column, count in zip(columns, heads, strict=True)
        )
        heard = len(answer.totals) == len(self.evidence.groups)
        fits = heard and all(totals.fits for totals in answer.totals.values())
        if fits:
            variable = math.fsum(totals.proposed_cost for totals in answer.totals.values())
            if self.best is None or charges + variable < self.best.cost:
                self.best = Choice(columns, heads, loads, charges + variable, variable)
                self.run.cost = self.best.cost
        self.evidence.bound(self.gap)
        self.run.record(self.evidence)
        return fits or not heard

    def learn_room(self, columns: list[Column], heads: Floats) -> None:
        """Ask what can be carried of a head more on every offer; domains that answer less end there."""
        beyond = self.flows.loads_of(columns, heads) + self.flows.largest()
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
        heads = max(float(self.flows.counts.sum()), 1.0)
        self._reach = max(4.0 * self._reach, _NEAR * abs(lower) / heads)
        if self.best is not None and self.candidates is not None:
            self._reach = needed
        self.candidates = _within(self.evidence, min(self._reach, needed), needed)
        return self.candidates.complete or self._reach < 1e3 * max(abs(lower), 1.0)


def _within(evidence: Evidence, room: float, needed: float) -> Candidates:
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
