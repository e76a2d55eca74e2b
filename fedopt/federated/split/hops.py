"""Questions about shares of promises as arrays, and how they are put to the operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from fedopt.federated.messages import ShareAnswers, ShareQuestions

__all__ = ["Answers", "Hops", "put", "read"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
SHARES = ("time", "risk", "margin")


@dataclass(frozen=True, eq=False)
class Hops:
    """N hops of paths, as `ShareQuestions` has them: shapes (N,), and (N, 3) for shares, prices and pulls in
    the order time, risk, margin. `offer` counts the network's offers. What the broker keeps to itself: the
    stage of each hop, (N,), the margins that the domains before it are taken to state, (N, L), and the sum of
    their base bursts, (N,).
    """

    service: Indices
    theta: Indices
    offer: Indices
    power: Floats
    burst: Floats
    slots: Floats
    worth: Floats
    shares: Floats
    prices: Floats
    pulls: Floats
    stage: Indices
    before: Floats
    base: Floats

    @classmethod
    def together(cls, parts: Sequence[Hops]) -> Hops:
        """Several one after the other."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def __getitem__(self, some: Any) -> Hops:
        """Some of the hops."""
        return Hops(*(getattr(self, f.name)[some] for f in fields(self)))

    def __len__(self) -> int:
        return len(self.offer)


@dataclass(frozen=True, eq=False)
class Answers:
    """What came back for N hops: wanted shares (N, 3), base bursts, rates there and at the proposed shares
    (N,), in the operators' units; NaN where nobody answered, −1 where no rate will do.
    """

    wanted: Floats
    burst: Floats
    rate: Floats
    proposed: Floats

    def __getitem__(self, some: Any) -> Answers:
        """Some of the answers."""
        return Answers(*(getattr(self, f.name)[some] for f in fields(self)))


def put(hops: Hops, operators: Mapping[str, Indices]) -> dict[str, ShareQuestions]:
    """The question to each operator that has a hop among these; `operators` names the offers of each."""
    asked = {}
    for name, offers in operators.items():
        mine = np.flatnonzero(np.isin(hops.offer, offers))
        if not len(mine):
            continue
        local = {int(offer): k for k, offer in enumerate(offers)}
        triples = {}
        for prefix, values in (("", hops.shares), ("price_", hops.prices), ("pull_", hops.pulls)):
            for k, share in enumerate(SHARES):
                triples[prefix + share] = tuple(values[mine, k].tolist())
        asked[name] = ShareQuestions(
            service=tuple(hops.service[mine].tolist()),
            theta=tuple(hops.theta[mine].tolist()),
            offer=tuple(local[int(offer)] for offer in hops.offer[mine]),
            power=tuple(hops.power[mine].tolist()),
            burst=tuple(hops.burst[mine].tolist()),
            slots=tuple(hops.slots[mine].tolist()),
            worth=tuple(hops.worth[mine].tolist()),
            **triples,
        )
    return asked


def read(hops: Hops, operators: Mapping[str, Indices], told: Mapping[str, ShareAnswers]) -> Answers:
    """The operators' answers in the order of the hops; an answer of another length counts as none."""
    count = len(hops)
    answers = Answers(np.full((count, 3), np.nan), *(np.full(count, np.nan) for _ in range(3)))
    for name, offers in operators.items():
        mine = np.flatnonzero(np.isin(hops.offer, offers))
        answer = told.get(name)
        if answer is None or any(len(getattr(answer, field)) != len(mine) for field in _FIELDS):
            continue
        answers.wanted[mine] = np.stack([answer.time, answer.risk, answer.margin], axis=1)
        answers.burst[mine] = answer.burst
        answers.rate[mine] = answer.rate
        answers.proposed[mine] = answer.proposed
    return answers


_FIELDS = (*SHARES, "burst", "rate", "proposed")
