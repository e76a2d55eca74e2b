"""Lanes: a kind of tenant on one path at one θ, whose domains agree on shares; the broker's part of it.

An ADMM of its own for each lane, all of them in the same rounds. The broker keeps the time shares within the
slots and the risk shares within one, and chooses the margins that the domains are asked to state (broker
step); every domain answers the shares that it would rather have (domain step, `domain.py`); prices follow the
disagreement (dual step). To a domain a burst of a nat more is what a smaller risk share is: one less in its
logarithm. So the price of its risk share is the price of bursts as well, and goes to those who make them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fedopt.federated.protocol.messages import ShareAnswers, ShareQuestions

__all__ = [
    "LARGEST_MARGIN",
    "LEAST_MARGIN",
    "Answers",
    "Hops",
    "Lane",
    "Lanes",
    "after",
    "arriving",
    "phi",
    "put",
    "read",
    "within",
]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
LEAST_MARGIN, LARGEST_MARGIN = 1e-3, 6.0
"""The margins, in nats, that are ever stated."""

_LEAST = 1e-6  # of a share
_PULL = np.array([1.0, 0.2, 0.08])  # penalties, in what a hop costs per share squared
_APART = 1e-2  # of the largest penalty on a lane, what any other is at least
_SETTLED = 6  # rounds after which a lane's penalties stay
_MUCH = 1.5  # times: a change of what a rate is worth after which penalties settle anew
_FREE = 1e-3  # of the penalties, where next to none is meant


@dataclass(frozen=True, eq=False)
class Lane:
    """A kind on a path at a θ.

    service, theta: as the opening numbers them; offers, powers: along the path, (L,); slots: what its domains
    share; charge: of a unit.
    """

    kind: int
    path: int
    service: int
    theta: int
    offers: Indices
    powers: Floats
    slots: float
    charge: float


def phi(x: Floats) -> Floats:
    """φ(x) = −log(1 − e^{−x}) for x > 0; its own inverse."""
    return -np.log(-np.expm1(-x))


def arriving(base: Floats, margins: Floats) -> Floats:
    """The burst that reaches each domain of lanes, nats, from base bursts and margins stated, all (…, L)."""
    out = base + phi(margins)
    return np.cumsum(out, axis=-1) - out


def within(wanted: Floats, prices: Floats, pulls: Floats) -> tuple[Floats, Floats]:
    """The shares nearest `wanted` less prices/pulls, in the metric of the pulls, that add up to one, (n, L),
    and the one price, (n,), at which they are a best choice."""
    free = wanted - prices / pulls
    active = np.ones(free.shape, dtype=bool)
    while True:
        slack = np.where(active, 1.0 / pulls, 0.0).sum(axis=1)
        left = 1.0 - np.where(active, 0.0, _LEAST).sum(axis=1)
        level = (np.where(active, free, 0.0).sum(axis=1) - left) / slack
        shares = np.where(active, free - level[:, None] / pulls, _LEAST)
        below = active & (shares < _LEAST)
        if not below.any():
            return shares, -level
        active &= ~below


def after(hops: Hops, answers: Answers) -> Floats:
    """The prices after the dual step, (N, 3): a subgradient of what a hop costs at the shares answered. A
    margin that is stated beyond what was wanted is free."""
    prices = hops.prices + hops.pulls * (hops.shares - answers.wanted)
    prices[:, 2] = np.maximum(prices[:, 2], 0.0)
    return prices


class Lanes:
    """The lanes that are open, and where their shares stand: arrays (lanes, L, 3) in the order time, risk,
    margin. `hard` are those of which no shares are known yet that their domains can keep: there a unit of
    rate is worth nothing, so that the search is for such shares alone.
    """

    def __init__(self, stages: int) -> None:
        self.stages = stages
        self.lanes: list[Lane] = []
        self.wanted = self.prices = self.pulls = self.common = np.zeros((0, stages, 3))
        self.base = np.zeros((0, stages))
        self.worth = np.zeros((0, stages))
        self.rounds = np.zeros(0, dtype=np.int64)
        self.hard = np.zeros(0, dtype=bool)

    def __len__(self) -> int:
        return len(self.lanes)

    def open(self, lanes: Sequence[Lane], wanted: Floats, prices: Floats, base: Floats, cost: Floats) -> None:
        """Open lanes, from shares (n, L, 3) that their domains would have at these prices, the domains' base
        bursts and what a unit costs in each, (n, L)."""
        self.lanes.extend(lanes)
        self.base = np.concatenate([self.base, base])
        self.wanted = np.concatenate([self.wanted, wanted])
        self.prices = np.concatenate([self.prices, prices])
        self.pulls = np.concatenate([self.pulls, _pulls(cost, wanted)])
        self.common = np.concatenate([self.common, np.zeros_like(wanted)])
        self.worth = np.concatenate([self.worth, np.zeros((len(lanes), self.stages))])
        self.rounds = np.concatenate([self.rounds, np.zeros(len(lanes), dtype=np.int64)])
        self.hard = np.concatenate([self.hard, np.zeros(len(lanes), dtype=bool)])

    def harden(self, some: Indices) -> None:
        """Look for shares that the domains can keep, whatever they cost."""
        some = some[~self.hard[some]]
        self.hard[some] = True
        self.prices[some] = 0.0
        self.pulls[some] = _pulls(np.ones((len(some), self.stages)), self.wanted[some])

    def soften(self, some: Indices, cost: Floats) -> None:
        """Shares are known that the domains can keep: look for cheap ones, cost (n, L) as of now."""
        self.hard[some] = False
        self.prices[some] = 0.0
        self.rounds[some] = 0
        self.pulls[some] = _pulls(cost, self.wanted[some])

    def propose(self, some: Indices, worth: Floats) -> Hops:
        """The broker step of some lanes, as questions; worth: money per unit of rate of each offer."""
        self._follow(some, worth)
        wanted, prices, pulls = self.wanted[some], self.prices[some], self.pulls[some]
        shares, common = np.empty_like(wanted), np.empty_like(wanted)
        for k in (0, 1):
            shares[..., k], price = within(wanted[..., k], prices[..., k], pulls[..., k])
            common[..., k] = price[:, None]
        per_nat = np.maximum(-prices[..., 1], 0.0) * shares[..., 1]
        behind = np.cumsum(per_nat[:, ::-1], axis=1)[:, ::-1] - per_nat
        stated = np.clip(wanted[..., 2], LEAST_MARGIN, LARGEST_MARGIN)
        gain = behind / np.expm1(stated)  # what a little more margin saves the domains behind
        margins = wanted[..., 2] + (gain - prices[..., 2]) / pulls[..., 2]
        shares[..., 2] = np.clip(margins, LEAST_MARGIN, LARGEST_MARGIN)
        shares[:, -1, 2] = 0.0  # nobody is behind the last
        common[..., 2] = prices[..., 2] + pulls[..., 2] * (shares[..., 2] - wanted[..., 2])
        common[:, -1, 2] = 0.0
        self.common[some] = common
        return self._hops(some, shares, worth)

    def _follow(self, some: Indices, worth: Floats) -> None:
        """Prices go with what rates are worth; where that changed much, penalties settle anew."""
        now = worth[np.array([self.lanes[n].offers for n in some])]
        before = self.worth[some]
        both = (now > 0.0) & (before > 0.0) & ~self.hard[some][:, None]
        ratio = np.where(both, now / np.where(both, before, 1.0), 1.0)
        self.prices[some] *= ratio[..., None]
        self.pulls[some] = _comparable(self.pulls[some] * ratio[..., None])
        change = np.maximum(ratio, 1.0 / ratio).max(axis=1, initial=1.0)
        self.rounds[some[np.flatnonzero(change > _MUCH)]] = 0
        self.worth[some] = np.where(now > 0.0, now, before)

    def free(self, some: Indices, hops: Hops) -> Hops:
        """The same hops asked at the prices that are common to a lane's domains, with next to no penalty."""
        return replace(hops, prices=self.common[some].reshape(-1, 3), pulls=_FREE * hops.pulls)

    def learn(self, some: Indices, hops: Hops, answers: Answers, cost: Floats) -> None:
        """The dual step; cost (n, L): what a unit costs in each domain at the shares answered."""
        shape = (len(some), self.stages, 3)
        heard = np.isfinite(answers.wanted.sum(axis=1)).reshape(shape[:2])[..., None]
        wanted = np.where(heard, answers.wanted.reshape(shape), self.wanted[some])
        self.wanted[some] = wanted
        self.prices[some] = np.where(heard, after(hops, answers).reshape(shape), self.prices[some])
        self.rounds[some] += 1
        young = (self.rounds[some] <= _SETTLED) & ~self.hard[some]
        self.pulls[some[young]] = _pulls(cost[young], wanted[young])

    def _hops(self, some: Indices, shares: Floats, worth: Floats) -> Hops:
        lanes = [self.lanes[n] for n in some]
        offers = np.array([lane.offers for lane in lanes]).ravel()
        margins = np.maximum(shares[..., 2], LEAST_MARGIN)
        easy = np.repeat(~self.hard[some], self.stages)

        return Hops(
            service=np.repeat(np.array([lane.service for lane in lanes]), self.stages),
            theta=np.repeat(np.array([lane.theta for lane in lanes]), self.stages),
            offer=offers,
            power=np.array([lane.powers for lane in lanes]).ravel(),
            burst=arriving(self.base[some], margins).ravel(),
            slots=np.repeat(np.array([lane.slots for lane in lanes]), self.stages),
            worth=np.where(easy, worth[offers], 0.0),
            shares=shares.reshape(-1, 3),
            prices=self.prices[some].reshape(-1, 3),
            pulls=self.pulls[some].reshape(-1, 3),
            stage=np.tile(np.arange(self.stages), len(lanes)),
            before=np.repeat(margins, self.stages, axis=0),
            base=(np.cumsum(self.base[some], axis=1) - self.base[some]).ravel(),
        )


def _pulls(cost: Floats, wanted: Floats) -> Floats:
    """Penalties scaled to what a unit costs in each domain and to the shares."""
    return _comparable(_PULL * cost[..., None] / np.maximum(wanted, 0.02) ** 2)


def _comparable(pulls: Floats) -> Floats:
    """Penalties (n, L, 3) that do not differ without end along a lane, where rates may be worth nothing."""
    most = pulls.max(axis=1, keepdims=True, initial=0.0)
    return np.maximum(pulls, np.where(most > 0.0, _APART * most, 1.0))


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
