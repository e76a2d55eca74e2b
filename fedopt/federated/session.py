"""A run's conversation with the operators: openings, rounds of proposals and answers, sums.

Nothing here decides anything: the methods ask, this numbers the questions, keeps the ledger, adds up what is
only known as a sum, and says who did not answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedopt.errors import FedoptError
from fedopt.federated.dual import Statements, answered_prices
from fedopt.federated.operator import Lost, Transport
from fedopt.federated.protocol.messages import (
    LARGEST,
    SUMMED,
    Answer,
    Keys,
    Message,
    Opened,
    Opening,
    Proposal,
    Response,
    Reveal,
    Revealed,
    Service,
    Sums,
    numbers_in,
    to_bytes,
)
from fedopt.federated.split.lanes import Answers, Hops, put, read

__all__ = ["BadAnswer", "Ledger", "OperatorLost", "Round", "Session", "Totals"]

Floats = npt.NDArray[np.float64]
_LIE = 1e-10  # relative to the terms; an honest operator states nothing that contradicts itself, so this is
# the rounding of sums alone (`Statements`)
_WHOLE = 1e-6  # how near a count of refusals must be to an integer; a sum that does not open is off by chance


class OperatorLost(FedoptError, RuntimeError):
    """Operators that did not answer for longer than the run can do without; `operators` names them."""

    exit_code = 5

    def __init__(self, lost: Mapping[str, str]) -> None:
        self.operators = tuple(lost)
        super().__init__("; ".join(f"{name} does not answer: {reason}" for name, reason in lost.items()))


class BadAnswer(FedoptError, RuntimeError):
    """An answer that cannot be true, or cannot be read; `operators` are those it can have come from."""

    exit_code = 5

    def __init__(self, operators: Sequence[str], what: str) -> None:
        self.operators = tuple(operators)
        if len(self.operators) == 1:
            text = f"{self.operators[0]}: {what}"
        else:
            text = (
                f"one of {', '.join(self.operators)}: {what}. Their sums are masked; the method bundle, that "
                "takes the sums of each operator alone, tells which, where the agents' policies allow it"
            )
        super().__init__(text)


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


class Session:
    """The broker's end of a run.

    `offers` are the offers of each operator as indices into the network's `names`. `disclosed`: sums are
    taken for each operator alone (one group each), else over all (one group). `masked` hides what each adds.
    `staleness`: how many rounds in a row an operator may miss. `replaces`: a run whose reservations this one
    will take the place of.
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
        replaces: str | None = None,
    ) -> None:
        if disclosed and masked:
            raise ValueError("sums for each operator alone cannot be masked")
        self.run, self.names, self.offers = run, list(names), dict(offers)
        self.disclosed, self.masked, self.staleness = disclosed, masked, staleness
        self.replaces = replaces
        self.ledger = Ledger()
        self.rounds = 0
        self._transport = transport
        self._sequence = 0
        self._missed = dict.fromkeys(self.offers, 0)
        self._last = np.zeros(len(self.names))
        self._stated: dict[tuple[str, ...], Statements] = {}

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
                replaces=self.replaces,
            )
            for name, mine in self.offers.items()
        }
        answers = self._all(messages)
        quotes = np.zeros(len(self.names))
        keys: dict[str, str] = {}
        signatures: dict[str, str] = {}
        for name, answer in answers.items():
            if not isinstance(answer, Opened) or len(answer.quotes) != len(self.offers[name]):
                raise BadAnswer([name], "its answer to the opening is none")
            if self.masked and answer.key is None:
                raise BadAnswer([name], "it opened a masked run without a masking key")
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
            if isinstance(answer, Lost):
                self._missed[name] += 1
                if self._missed[name] > self.staleness:
                    lost[name] = answer.reason
                continue
            responses[name] = self._readable(name, answer, shares)
            z[mine] = responses[name].loads
            answered[mine] = True
            self._missed[name] = 0
        if lost:
            raise OperatorLost(lost)
        after[answered] = answered_prices(loads, prices, penalties, z)[answered]
        self._last = z
        told = None if shares is None else _told_of_shares(shares, self.offers, responses)
        totals = self._totals(responses)
        self._check(loads, z, after, responses, totals, of == "capacity")
        return Round(z, after, answered, totals, told)

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
        responses = {
            name: self._readable(name, answer, shares, loads=False) for name, answer in answers.items()
        }
        return _told_of_shares(shares, self.offers, responses)

    def _readable(self, name: str, answer: Answer, shares: Hops | None, loads: bool = True) -> Response:
        """The response, if it has the parts that were asked for. Raises BadAnswer."""
        mine = self.offers[name]
        if not isinstance(answer, Response):
            raise BadAnswer([name], f"it answered {answer.kind!r} to a proposal")
        if loads and len(answer.loads) != len(mine):
            raise BadAnswer([name], f"it answered {len(answer.loads)} loads for {len(mine)} offers")
        if loads and (
            answer.sums is None
            or (answer.sums.masked is None) == self.masked
            or (self.masked and answer.sums.label != f"sums {answer.sequence}")
        ):
            raise BadAnswer([name], "its answer lacks the sums of this round")
        if shares is not None:
            due = int(np.isin(shares.offer, mine).sum())
            wrong = answer.shares is None or any(
                len(getattr(answer.shares, field)) != due for field in type(answer.shares).model_fields
            )
            if due and wrong:
                raise BadAnswer([name], "its answer about shares of promises has another length")
        return answer

    def _check(
        self,
        proposed: Floats,
        z: Floats,
        prices: Floats,
        responses: Mapping[str, Response],
        totals: Mapping[int, Totals],
        free: bool,
    ) -> None:
        """Raises BadAnswer where costs and bounds of a round contradict each other or an earlier round.

        An operator states v(z), v(x) and D = min v(y) − p·y. Whatever it keeps to itself, v ≥ D + p· holds at
        every load of every round, and so it does for the sums.
        """
        if self.masked or self.disclosed:
            names = [[name] for name in self.offers] if self.disclosed else [list(self.offers)]
            known = {tuple(names[group]): sums for group, sums in totals.items()}
        else:
            known = {(name,): _totals_of([_plain(response)]) for name, response in responses.items()}
        for operators, sums in known.items():
            mine = np.concatenate([self.offers[name] for name in operators])
            stated = self._stated.setdefault(operators, Statements())
            points = [(z[mine], sums.cost)]
            if sums.fits and not free:
                points.append((proposed[mine], sums.proposed_cost))
            slack = len(self.offers) * 2.0**-39  # of masked numbers in fixed point
            if free:
                carried = Statements()
                fine = carried.add(prices[mine], sums.support, [(z[mine], 0.0)], _LIE, slack)
            else:
                fine = stated.add(prices[mine], sums.support, points, _LIE, slack)
            if not fine:
                what = f"its answer to round {self.rounds} contradicts itself or an earlier one"
                raise BadAnswer(operators, f"{what}: a cost is below a bound that it stated")

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
        from fedopt.federated.protocol.masking import decoded, revealed_sum

        label = _sums(next(iter(responses.values()))).label
        answers: dict[str, Answer | Lost] = self._told(
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
        if any(isinstance(answer, Lost) for answer in answers.values()):
            return None
        reveals: dict[str, list[int]] = {}
        for name, answer in answers.items():
            if not isinstance(answer, Revealed) or (answer.label, len(answer.shares)) != (label, len(SUMMED)):
                raise BadAnswer([name], "it did not reveal the masks that were asked for")
            reveals[name] = [int(share, 16) for share in answer.shares]
        masked = {
            name: [int(share, 16) for share in _sums(response).masked or ()]
            for name, response in responses.items()
        }
        opened = [decoded(value) for value in revealed_sum(masked, reveals)]
        refused, most = opened[-1], LARGEST * len(reveals)
        if abs(refused - round(refused)) > _WHOLE or not -_WHOLE <= refused <= len(reveals) + _WHOLE:
            raise BadAnswer(list(reveals), "what was masked and what was revealed do not belong together")
        if any(abs(value) > most for value in opened):
            raise BadAnswer(list(reveals), "a sum is larger than any that an operator can state")
        return _totals_of([opened])

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
    assert response.sums is not None  # `_readable` saw to it
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


@dataclass(eq=False)
class _Boundary:
    """What crossed between the broker and one operator."""

    rounds: int = 0
    messages: int = 0
    bytes: int = 0
    told: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)


class Ledger:
    """Counts every document that crosses, as it crosses."""

    def __init__(self) -> None:
        self._boundaries: dict[str, _Boundary] = {}

    def note(self, operator: str, message: Message, answer: Answer | None) -> None:
        """A question to an operator and its answer, None where there was none."""
        boundary = self._boundaries.setdefault(operator, _Boundary())
        boundary.rounds += isinstance(message, Proposal)
        boundary.messages += 1 + (answer is not None)
        boundary.bytes += len(to_bytes(message))
        boundary.asked.update(numbers_in(message))
        if answer is not None:
            boundary.bytes += len(to_bytes(answer))
            boundary.told.update(numbers_in(answer))

    @property
    def told(self) -> int:
        """Numbers that operators told the broker so far."""
        return sum(boundary.told.total() for boundary in self._boundaries.values())

    def document(self) -> dict[str, Any]:
        """The ledger as a plan states it: totals, then a record for each boundary.

        `told` are the numbers by field that the operator told the broker, `asked` those that it was told.
        """
        records = [
            {
                "operator": name,
                "rounds": boundary.rounds,
                "messages": boundary.messages,
                "numbers": boundary.told.total() + boundary.asked.total(),
                "bytes": boundary.bytes,
                "told": dict(boundary.told),
                "asked": dict(boundary.asked),
            }
            for name, boundary in self._boundaries.items()
        ]
        totals: dict[str, int] = {
            key: sum(int(record[key]) for record in records)  # type: ignore[call-overload]
            for key in ("messages", "numbers", "bytes")
        }
        rounds = max((boundary.rounds for boundary in self._boundaries.values()), default=0)
        return {"totals": {"rounds": rounds, **totals}, "boundaries": records}
