"""Whether the operators can carry the tenants at all, when no plan was found: rounds about capacity alone.

A linear program finds the split plan that overloads the domains' known ends least; either the operators can
carry it, or another end shows. Where even the least overload over all paths is positive, its prices are put
to the operators: all loads v that they can carry together have λ·v ≤ −D, D the sum of their supports, and
where the least λ·v that the tenants need exceeds that, no plan exists. λ names the domains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import highspy
import numpy as np
import numpy.typing as npt

from fedopt.federated.bounds import BoundTracker, FlowProgram
from fedopt.federated.flows import QUICK, Flows
from fedopt.federated.integer import Room
from fedopt.federated.rounds import Run
from fedopt.federated.session import Round, Session
from fedopt.federated.split.share_negotiation import ShareNegotiation

__all__ = ["Shortage", "short_of_capacity"]

Floats = npt.NDArray[np.float64]
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
