"""An operator's private side: a state machine that answers the broker's questions.

What it knows of cost and capacity stays here. An answer depends on the question, the operator's domains and
(masked sums) the run's secret alone, so a question asked again is answered the same, and an operator that is
rebuilt and told again what it was told stands where it stood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from fedopt.federated.domain import InUnits, PrivateDomain, Subproblem, offers_of
from fedopt.federated.dual import Statements, answered_prices
from fedopt.federated.protocol.messages import (
    Acknowledged,
    Answer,
    Keys,
    Message,
    MessageError,
    Opened,
    Opening,
    Outcome,
    Prepare,
    Promise,
    Proposal,
    Reservation,
    Response,
    Reveal,
    Revealed,
    Settle,
    Sums,
)
from fedopt.instance import Domain

if TYPE_CHECKING:
    from fedopt.federated.problem import PrivateProblem
    from fedopt.federated.protocol.masking import Masker
    from fedopt.federated.reservations import Reservations
    from fedopt.federated.split.domain import ContractSide

Floats = npt.NDArray[np.float64]

__all__ = ["InProcess", "Lost", "Operator", "Transport"]


@dataclass(frozen=True)
class Lost:
    """An operator that did not answer, and why."""

    operator: str
    reason: str


class Transport(Protocol):
    """How questions reach the operators. Implementations: in process, processes, HTTPS."""

    def broadcast(self, messages: Mapping[str, Message]) -> Mapping[str, Answer | Lost]:
        """Ask each operator its question and hand over what came back, by operator."""


class InProcess:
    """All operators in this process, asked one after another, by name: the transport of a run that no
    boundary divides."""

    def __init__(self, operators: Mapping[str, Operator]) -> None:
        self.operators = dict(operators)

    def broadcast(self, messages: Mapping[str, Message]) -> dict[str, Answer | Lost]:
        """Ask each operator its question. Raises MessageError where a question does not belong there."""
        return {name: self.operators[name].answer(message) for name, message in messages.items()}


class Operator:
    """The operator's side of one run.

    Parameters
    ----------
    domains
        Its own, with costs and capacities.
    secret
        Makes masked sums possible, see `fedopt.federated.protocol.masking`; and under the split guarantee
        the units in which rates are told.
    reservations, broker
        Where to book, and in whose name.
    noise, seed
        Relative noise on the marginal costs that the answers show, at a price in rounds and gap.
    slot
        Length of a slot in units of time; it matters under the split guarantee.
    problem, booked
        Takes the place of the domains' cost curves and capacities, on top of loads that are booked already,
        shape (offers,).
    survivors
        Over how many operators sums are opened at least; None: over all of the run.
    """

    def __init__(
        self,
        name: str,
        domains: Sequence[Domain],
        *,
        secret: bytes | None = None,
        reservations: Reservations | None = None,
        broker: str = "",
        noise: float = 0.0,
        seed: int = 0,
        slot: float = 1.0,
        problem: PrivateProblem | None = None,
        booked: Floats | None = None,
        survivors: int | None = None,
    ) -> None:
        self.name = name
        self.offers = offers_of(domains)
        self._domains = list(domains)
        if problem is not None:
            everything = slice(0, len(self.offers))
            self._private: list[tuple[Subproblem, slice]] = [
                (problem.compiled(self.offers, booked), everything)
            ]
        else:
            ends = np.cumsum([len(domain.offers) for domain in domains])
            self._private = [
                (PrivateDomain(d), slice(int(end) - len(d.offers), int(end)))
                for end, d in zip(ends, domains, strict=True)
            ]
        self._stated_sides = self._private
        self._stated = Statements()
        self._secret, self._book, self._broker = secret, reservations, broker
        self._survivors = survivors
        self._masker: Masker | None = None
        self._noise, self._seed, self._slot = noise, seed, slot
        self._contracts: ContractSide | None = None
        self._run: str | None = None
        self._masked = False

    def answer(self, message: Message, told_before: bool = False) -> Answer:
        """The answer to a question. `told_before`: told again after a restart, for the state alone.

        Raises MessageError for a question that does not belong here.
        """
        if not isinstance(message, Opening) and message.run != self._run:
            raise MessageError(f"the run {message.run!r} was not opened with {self.name!r}")
        place: dict[str, Any] = {"run": message.run, "round": message.round, "sequence": message.sequence}
        match message:
            case Opening():
                return self._open(message, place)
            case Keys():
                return self._take_keys(message, place)
            case Proposal():
                return self._respond(message, place)
            case Reveal():
                shares = self._mask().reveal(message.label, message.survivors)
                return Revealed(**place, label=message.label, shares=tuple(f"{s:x}" for s in shares))
            case Prepare():
                return self._prepare(message, place, told_before)
            case Settle():
                return self._settle(message, place, told_before)

    def _open(self, message: Opening, place: dict[str, Any]) -> Opened:
        if message.operator != self.name or message.offers != self.offers:
            raise MessageError(f"the offers named are not those of {self.name!r}: {', '.join(self.offers)}")
        if (message.masked or message.services) and self._secret is None:
            raise MessageError(f"{self.name!r} has no secret for this run")
        self._run, self._masked = message.run, message.masked
        key = None
        if message.masked and self._secret is not None:
            from fedopt.federated.protocol.masking import public_part

            key = public_part(self._secret).hex()
        if message.services:
            self._keep_contracts(message)
        marginal = np.concatenate([private.quote() for private, _ in self._private])
        quotes = [_two_digits(q) for q in self._disturbed(marginal, message.sequence)]
        return Opened(**place, quotes=tuple(quotes), key=key)

    def _keep_contracts(self, message: Opening) -> None:
        """Under the split guarantee: rates in units of the domains' own, contracts at hand."""
        from fedopt.federated.split.domain import ContractSide, unit_of

        secret = self._secret or b""
        units = np.array([unit_of(secret, message.run, d.id) for d in self._domains for _ in d.offers])
        self._private = [(InUnits(private, units[part]), part) for private, part in self._stated_sides]
        self._contracts = ContractSide(self._domains, self._slot, units, message.services)

    def _take_keys(self, message: Keys, place: dict[str, Any]) -> Acknowledged:
        from fedopt.federated.protocol.masking import Masker

        if self._secret is None:
            raise MessageError(f"{self.name!r} has no secret for this run")
        public = {name: bytes.fromhex(key) for name, key in message.keys.items()}
        self._masker = Masker(message.run, self.name, self._secret, public, self._survivors or len(public))
        return Acknowledged(**place)

    def _respond(self, message: Proposal, place: dict[str, Any]) -> Response:
        shares = None
        if message.shares is not None:
            if self._contracts is None:
                raise MessageError("the opening named no services; shares of promises cannot be asked about")
            shares = self._contracts.answer(message.shares)
        if message.of == "shares":
            return Response(**place, shares=shares)
        if len(message.loads) != len(self.offers):
            raise MessageError(f"{len(self.offers)} loads are due, {len(message.loads)} came")
        x, p, rho = (np.array(v, float) for v in (message.loads, message.prices, message.penalties))
        free = message.of == "capacity"
        # noise: the answer to a question at disturbed prices; what certifies is exact for the loads disclosed
        own = self._disturbed(p, message.sequence)
        z = np.concatenate([side.step(x[part], own[part], rho[part], free) for side, part in self._private])
        prices = answered_prices(x, p, rho, z)
        support = sum(side.support(prices[part], free) for side, part in self._private)
        cost = 0.0 if free else sum(side.cost(z[part]) for side, part in self._private)
        proposed = sum(side.cost(x[part]) for side, part in self._private)
        carried = math.isfinite(proposed)
        if free:
            support, proposed = min(support, -float(prices @ z)), 0.0
        elif carried:
            support, (cost, proposed) = self._stated.take(prices, support, [(z, cost), (x, proposed)])
        else:
            support, (cost,) = self._stated.take(prices, support, [(z, cost)])
            proposed = 0.0
        sums = (support, cost, proposed, 0.0 if carried else 1.0)
        summed = self._summed(sums, message.sequence)
        return Response(**place, loads=tuple(z.tolist()), sums=summed, shares=shares)

    def _summed(self, sums: tuple[float, ...], sequence: int) -> Sums:
        if not self._masked:
            return Sums(plain=sums)
        from fedopt.federated.protocol.masking import encoded

        label = f"sums {sequence}"
        # the support bounds from below and the costs from above, so they are rounded that way
        support, *costs = sums
        fixed = [encoded(support, "down"), *(encoded(cost, "up") for cost in costs)]
        return Sums(masked=tuple(f"{value:x}" for value in self._mask().mask(label, fixed)), label=label)

    def _mask(self) -> Masker:
        if self._masker is None:
            raise MessageError(f"the masking keys of run {self._run!r} did not reach {self.name!r}")
        return self._masker

    def _prepare(self, message: Prepare, place: dict[str, Any], told_before: bool) -> Outcome:
        if self._book is None:
            return Outcome(**place, granted=False, reason=f"{self.name!r} takes no reservations")
        loads: dict[str, float] = {}
        everything: list[Reservation | Promise] = [*message.reservations, *message.promises]
        for asked in everything:
            if asked.offer not in self.offers:
                reason = f"{asked.offer!r} is no offer of {self.name!r}"
                return Outcome(**place, granted=False, reason=reason)
            if isinstance(asked, Reservation):
                rate = asked.rate
            elif self._contracts is None:
                return Outcome(**place, granted=False, reason=f"{asked.offer!r} cannot be promised here")
            else:
                rate = self._contracts.rate(asked, self.offers.index(asked.offer))
            if not rate > 0.0:
                reason = f"no rate of {asked.offer!r} keeps what {asked.tenant!r} is promised"
                domain = asked.offer.partition("/")[0]
                return Outcome(**place, granted=False, reason=reason, domain=domain)
            loads[asked.offer] = loads.get(asked.offer, 0.0) + rate * asked.count
        if told_before:  # the book remembers by itself
            return Outcome(**place, granted=self._book.state(message.run) in ("prepared", "committed"))
        done = self._book.prepare(message.run, self._broker, loads, message.term, message.replaces)
        return Outcome(**place, granted=done.granted, reason=done.reason, domain=done.domain)

    def _settle(self, message: Settle, place: dict[str, Any], told_before: bool) -> Outcome:
        if self._book is None or told_before:
            return Outcome(**place, granted=self._book is not None)
        match message.decision:
            case "commit":
                done = self._book.commit(message.run)
            case "release":
                done = self._book.release(message.run)
            case "abort":
                done = self._book.abort(message.run, self._broker)
            case "rollback":
                done = self._book.rollback(message.run, self._broker)
        return Outcome(**place, granted=done.granted, reason=done.reason, domain=done.domain)

    def _disturbed(self, values: np.ndarray, sequence: int) -> np.ndarray:
        """Values times 1 + noise·ξ with ξ normal, the same whenever the question is the same."""
        if not self._noise:
            return values
        entropy = [self._seed, sequence, *self.name.encode()]
        xi = np.random.default_rng(np.random.SeedSequence(entropy)).standard_normal(len(values))
        return np.maximum(values * (1.0 + self._noise * xi), 0.0)


def _two_digits(value: float) -> float:
    """A quote says what is about to be asked, not the cost curve: two digits of it."""
    return float(f"{value:.1e}") if math.isfinite(value) else 0.0
