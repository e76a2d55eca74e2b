"""A run's conversation with the operators: openings, rounds of proposals and answers, sums.

Nothing here decides anything: the methods ask, this numbers the questions, keeps the ledger, adds up what is
only known as a sum, and says who did not answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from fedopt.errors import FedoptError
from fedopt.federated.dual import answered_prices
from fedopt.federated.ledger import Ledger
from fedopt.federated.messages import (
    SUMMED,
    Answer,
    Keys,
    Message,
    MessageError,
    Opened,
    Opening,
    Proposal,
    Response,
    Reveal,
    Revealed,
    Service,
    Sums,
)
from fedopt.federated.operator import Lost, Transport
from fedopt.federated.split.hops import Answers, Hops, put, read

__all__ = ["Negotiation", "OperatorLost", "Round", "Totals"]

Floats = npt.NDArray[np.float64]


class OperatorLost(FedoptError, RuntimeError):
    """Operators that did not answer for longer than the run can do without; `operators` names them."""

    exit_code = 5

    def __init__(self, lost: Mapping[str, str]) -> None:
        self.operators = tuple(lost)
        super().__init__("; ".join(f"{name} does not answer: {reason}" for name, reason in lost.items()))


@dataclass(frozen=True)
class Totals:
    """Sums over operators of what `SUMMED` names; `fits` whether every one can carry the loads proposed."""

    support: float
    cost: float
    proposed_cost: float
    fits: bool


@dataclass(frozen=True, eq=False)
class Round:
    """The answers of a round, in the order of the network's offers.

    `loads` are the answers z, `prices` the prices after the dual step, `answered` which offers' operators
    answered in this round (the others' loads are their last). `totals` holds the sums of each group whose
    operators all answered, `shares` what was answered about shares of promises.
    """

    loads: Floats
    prices: Floats
    answered: npt.NDArray[np.bool_]
    totals: dict[int, Totals]
    shares: Answers | None = None


class Negotiation:
    """The broker's end of a run.

    `offers` are the offers of each operator as indices into the network's `names`. `disclosed`: sums are
    taken for each operator alone (one group each), else over all (one group). `masked` hides what each adds.
    `staleness`: how many rounds in a row an operator may miss.
    """

    def __init__(
        self,
        transport: Transport,
        run: str,
        names: Sequence[str],
        offers: Mapping[str, np.ndarray],
        *,
        disclosed: bool = False,
        masked: bool = False,
        staleness: int = 0,
    ) -> None:
        if disclosed and masked:
            raise ValueError("sums for each operator alone cannot be masked")
        self.run, self.names, self.offers = run, list(names), dict(offers)
        self.disclosed, self.masked, self.staleness = disclosed, masked, staleness
        self.ledger = Ledger()
        self.rounds = 0
        self._transport = transport
        self._sequence = 0
        self._missed = dict.fromkeys(self.offers, 0)
        self._last = np.zeros(len(self.names))

    @property
    def groups(self) -> list[np.ndarray]:
        """The offers of each group of sums."""
        if self.disclosed:
            return list(self.offers.values())
        return [np.arange(len(self.names))]

    def open(
        self, instance: str, contracts: Mapping[str, str] | None = None, services: Sequence[Service] = ()
    ) -> Floats:
        """Open the run with every operator; their quotes, shape (offers,). `services`: what tenants ask of
        operators that keep their contracts. Raises OperatorLost."""
        messages: dict[str, Message] = {
            name: Opening(
                run=self.run,
                sequence=self._sequence,
                operator=name,
                instance=instance,
                offers=tuple(self.names[o] for o in mine),
                contracts={
                    self.names[o]: contracts[self.names[o]]
                    for o in mine
                    if contracts and self.names[o] in contracts
                },
                masked=self.masked,
                services=tuple(services),
            )
            for name, mine in self.offers.items()
        }
        answers = self._all(messages)
        quotes = np.zeros(len(self.names))
        keys: dict[str, str] = {}
        signatures: dict[str, str] = {}
        for name, answer in answers.items():
            if not isinstance(answer, Opened) or len(answer.quotes) != len(self.offers[name]):
                raise OperatorLost({name: "its opening is none"})
            quotes[self.offers[name]] = answer.quotes
            if answer.key is not None:
                keys[name] = answer.key
            if answer.signature is not None:
                signatures[name] = answer.signature
        if self.masked:
            self._all(
                {
                    name: Keys(run=self.run, sequence=self._sequence, keys=keys, signatures=signatures)
                    for name in self.offers
                }
            )
        return quotes

    def ask(
        self,
        loads: Floats,
        prices: Floats,
        penalties: Floats,
        of: Literal["cost", "capacity"] = "cost",
        shares: Hops | None = None,
    ) -> Round:
        """One round, about shares of promises too where they are given. Raises OperatorLost."""
        self.rounds += 1
        besides = put(shares, self.offers) if shares is not None else {}
        loads, prices = np.maximum(loads, 0.0), np.maximum(prices, 0.0)
        messages: dict[str, Message] = {
            name: Proposal(
                run=self.run,
                round=self.rounds,
                sequence=self._sequence,
                of=of,
                loads=tuple(loads[mine].tolist()),
                prices=tuple(prices[mine].tolist()),
                penalties=tuple(penalties[mine].tolist()),
                shares=besides.get(name),
            )
            for name, mine in self.offers.items()
        }
        answers = self._told(messages)
        z, after = self._last.copy(), prices.copy()
        answered = np.zeros(len(self.names), dtype=bool)
        responses: dict[str, Response] = {}
        lost: dict[str, str] = {}
        for name, answer in answers.items():
            mine = self.offers[name]
            if isinstance(answer, Response) and answer.sums and len(answer.loads) == len(mine):
                z[mine] = answer.loads
                answered[mine] = True
                self._missed[name] = 0
                responses[name] = answer
            else:
                self._missed[name] += 1
                if self._missed[name] > self.staleness:
                    lost[name] = answer.reason if isinstance(answer, Lost) else "its answer is none"
        if lost:
            raise OperatorLost(lost)
        after[answered] = answered_prices(loads, prices, penalties, z)[answered]
        self._last = z
        told = None if shares is None else _told_of_shares(shares, self.offers, responses)
        return Round(z, after, answered, self._totals(responses), told)

    def ask_shares(self, shares: Hops) -> Answers:
        """A round about shares of promises alone. Raises OperatorLost where anyone is silent."""
        self.rounds += 1
        asked = put(shares, self.offers)
        answers = self._all(
            {
                name: Proposal(
                    run=self.run,
                    round=self.rounds,
                    sequence=self._sequence,
                    of="shares",
                    shares=asked.get(name),
                )
                for name in self.offers
            }
        )
        responses = {name: answer for name, answer in answers.items() if isinstance(answer, Response)}
        return _told_of_shares(shares, self.offers, responses)

    def _totals(self, responses: dict[str, Response]) -> dict[int, Totals]:
        if self.disclosed:
            return {
                group: _totals_of([_plain(responses[name])])
                for group, name in enumerate(self.offers)
                if name in responses
            }
        if len(responses) < len(self.offers):
            return {}
        if not self.masked:
            return {0: _totals_of([_plain(response) for response in responses.values()])}
        summed = self._revealed(responses)
        return {} if summed is None else {0: summed}

    def _revealed(self, responses: dict[str, Response]) -> Totals | None:
        """The sums from masked shares; None where an operator dropped out in between."""
        from fedopt.federated.masking import decoded, revealed_sum

        label = _sums(next(iter(responses.values()))).label
        answers = self._told(
            {
                name: Reveal(
                    run=self.run,
                    round=self.rounds,
                    sequence=self._sequence,
                    label=label,
                    survivors=tuple(responses),
                )
                for name in responses
            }
        )
        if not all(isinstance(answer, Revealed) for answer in answers.values()):
            return None
        masked = {
            name: [int(share, 16) for share in _sums(response).masked or ()]
            for name, response in responses.items()
        }
        reveals = {
            name: [int(share, 16) for share in answer.shares]
            for name, answer in answers.items()
            if isinstance(answer, Revealed)
        }
        return _totals_of([tuple(decoded(value) for value in revealed_sum(masked, reveals))])

    def _all(self, messages: dict[str, Message]) -> dict[str, Answer]:
        """The answers of everyone. Raises OperatorLost."""
        answers = self._told(messages)
        lost = {name: answer.reason for name, answer in answers.items() if isinstance(answer, Lost)}
        if lost:
            raise OperatorLost(lost)
        return {name: answer for name, answer in answers.items() if not isinstance(answer, Lost)}

    def _told(self, messages: dict[str, Message]) -> dict[str, Answer | Lost]:
        self._sequence += 1
        answers = dict(self._transport.broadcast(messages))
        for name, message in messages.items():
            answer = answers.setdefault(name, Lost(name, "no answer"))
            self.ledger.note(name, message, None if isinstance(answer, Lost) else answer)
        return answers


def _sums(response: Response) -> Sums:
    if response.sums is None:
        raise MessageError("an answer about loads comes without its sums")
    return response.sums


def _plain(response: Response) -> tuple[float, ...]:
    return _sums(response).plain or ()


def _told_of_shares(
    shares: Hops, offers: Mapping[str, np.ndarray], responses: Mapping[str, Response]
) -> Answers:
    told = {name: answer.shares for name, answer in responses.items() if answer.shares is not None}
    return read(shares, offers, told)


def _totals_of(shares: Sequence[Sequence[float]]) -> Totals:
    support, cost, proposed, refused = (math.fsum(share[i] for share in shares) for i in range(len(SUMMED)))
    return Totals(support, cost, proposed, refused < 0.5)
