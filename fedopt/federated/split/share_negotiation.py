"""Negotiating shares in place of a pricing oracle: which lanes are open, what is asked about them, and what
that proves of all others.

Under the split guarantee with private contracts the broker cannot size a path. It asks. A sweep over all
offers and θ tells which lanes can be cheap at all; those are opened, and their domains come to terms in the
rounds of the run. A lane whose shares every domain can keep is a column, with rates in the operators' units.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedopt.federated.protocol.messages import Service
from fedopt.federated.split.bounds import Key, Tangent, Tangents
from fedopt.federated.split.catalogue import Catalogue, KindLanes, LaneBounds
from fedopt.federated.split.lanes import LARGEST_MARGIN, LEAST_MARGIN, Answers, Hops, Lane, Lanes, after, phi
from fedopt.pricing import Column, Network, Priced, TenantClass

if TYPE_CHECKING:
    from fedopt.federated.flows import Flows
    from fedopt.federated.rounds import Run
    from fedopt.federated.session import Session

__all__ = ["ShareNegotiation"]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Place = tuple[int, int, int]
"""A lane: kind, θ, path."""

_OPENED = 4  # lanes of a kind opened at a time
_EVERY = 3  # rounds between sweeps at the prices of each kind's best lane
_NEAR = 25  # lanes of a kind that whole units are assigned to, at most
_FINE = 2e-5  # relative, to which the shares of chosen lanes are settled
_ALONE = 40  # rounds about shares alone, at most
_HARD = 3  # rounds without shares that can be kept before only such are looked for
_FIRM = 1e6  # penalties of the first sweep's time and risk shares, in what a share may cost


class ShareNegotiation:
    """The broker's side; it takes the place of the oracle of `Flows`.

    accuracy: relative, to which a lane's shares are settled.
    """

    points = False

    def __init__(self, network: Network, accuracy: float) -> None:
        self.network, self.accuracy = network, accuracy
        self.sizing = self
        self.catalogue = Catalogue(network)
        self.lanes = Lanes(network.stages)
        self.tangents = Tangents()
        self._rates: list[list[Floats]] = []  # of each lane, the rates of its columns
        self._columns: list[Column] = []
        self._of_kind: list[dict[tuple[int, int], int]] = [{} for _ in network.kinds]
        self._keys: list[Key] = self.catalogue.keys()
        self._since = 1

    @property
    def services(self) -> list[Service]:
        """What the tenants ask for, as the opening names it."""
        return self.catalogue.services

    def serves(self, kind: TenantClass) -> bool:
        """Whether a lane of a kind is known whose domains can keep its shares."""
        return any(self._rates[n] for n in self._of_kind[kind.index].values())

    def without_any_lane(self, kinds: Iterable[TenantClass] | None = None) -> bool:
        """Whether some kind (of these, or of all) has no lane whose domains could keep any shares, which is
        then proven."""
        nothing = np.zeros(len(self.network.names))
        some = self.network.kinds if kinds is None else kinds
        return any(math.isinf(self.bounds.least(kind.index, nothing)) for kind in some)

    def begin(self, session: Session, worth: Floats, flows: Flows, run: Run) -> None:
        """Rounds about shares alone until every kind has a column, or a proof that it has none."""
        keys = self._keys
        told = session.ask_shares(self.first_sweep(worth))
        asked = self.first_sweep(worth, keys, told)
        told = session.ask_shares(asked)
        cost = np.where(told.rate > 0.0, told.rate * asked.worth, math.inf)
        self.catalogue.narrow(dict(zip(keys, cost.tolist(), strict=True)))
        self._keys = self.catalogue.keys()
        if self._keys != keys:
            asked = self.first_sweep(worth, keys, told)
            told = session.ask_shares(asked)
        self.open_first(asked, told)
        for _ in range(_ALONE):
            unroutable = [kind for kind in self.network.kinds if not self.serves(kind)]
            if not unroutable or run.expired() or self.without_any_lane(unroutable):
                break
            questions = self.questions(worth)
            if questions is None:
                break
            flows.add(self.learn(questions, session.ask_shares(questions)))

    # -- rounds ---------------------------------------------------------------------------------------------

    def first_sweep(self, worth: Floats, known: Sequence[Key] = (), again: Answers | None = None) -> Hops:
        """Every offer at equal shares, for all services and θ; with bursts as answers about known keys told
        them."""
        stages, count = self.network.stages, len(self._keys)
        service, theta, offer, power = (np.array(part) for part in zip(*self._keys, strict=True))
        stage = self.network.stage[offer]
        before = np.full((count, stages), 1.0)
        base = np.zeros((count, stages))
        if again is not None:
            before, base = self._typical(known, again)
        arrive = np.where(np.arange(stages) < stage[:, None], base + phi(before), 0.0).sum(axis=1)
        money = np.maximum(worth, 1e-9)[offer]
        pulls = money[:, None] * np.array([_FIRM, _FIRM, 1e-6])
        return Hops(
            service=service,
            theta=theta,
            offer=offer,
            power=power.astype(float),
            burst=arrive,
            slots=self._slots()[service],
            worth=worth[offer],
            shares=np.tile([1.0 / stages, 1.0 / stages, 1.0], (count, 1)),
            prices=np.zeros((count, 3)),
            pulls=pulls,
            stage=stage,
            before=before,
            base=np.where(np.arange(stages) < stage[:, None], base, 0.0).sum(axis=1),
        )

    def open_first(self, hops: Hops, answers: Answers) -> None:
        """Take the answers to the first sweep, and open the lane of each kind and θ that looks
        cheapest."""
        bases = dict(zip(self._keys, answers.burst.tolist(), strict=True))
        self.bounds = LaneBounds(self.catalogue, self.tangents, bases)
        self.bounds.sweep(self.tangents.add(hops, answers))
        self._table = {key: n for n, key in enumerate(self._keys)}
        self._hops, self._answers = hops, answers
        for lanes in self.catalogue.kinds:
            for theta in range(lanes.thetas):
                at = [self._table[lanes.key(theta, hop)] for hop in lanes.hops]
                cost = np.where(answers.rate[at] > 0.0, answers.rate[at] * hops.worth[at], math.inf)
                look = cost[lanes.index].sum(axis=1) + lanes.charge
                best = int(np.argmin(look))
                if math.isfinite(look[best]):
                    self._open(lanes, [(theta, best)])

    def questions(self, worth: Floats) -> Hops | None:
        """The round's questions about the lanes that are not settled, and a sweep where one is due."""
        worth = np.where(worth > 1e-9 * worth.max(), worth, 0.0)
        self._worth = worth
        self._since += 1
        some = self._unsettled(worth)
        parts = []
        if len(some):
            asked = self.lanes.propose(some, worth)
            parts = [asked, self.lanes.free(some, asked)]
        self._asked = some
        if self._since >= _EVERY or not len(some):
            self._since = 0
            parts += [self._sweep(worth, reference) for reference in (False, True)]
        return Hops.together(parts) if parts else None

    def near(self, worth: Floats, enough: Floats) -> dict[Place, tuple[Lane, list[list[Tangent]]]]:
        """The lanes of each kind whose bound is below `enough` (kinds,), at most so many, with the tangents
        that decide their bounds, by (kind, θ, path)."""
        found = {}
        for lanes in self.catalogue.kinds:
            for theta, path in self.bounds.below(lanes.kind, worth, float(enough[lanes.kind]), _NEAR, ()):
                lane = lanes.lane(theta, path)
                found[lanes.kind, theta, path] = (lane, self.bounds.deciding(lanes.kind, (theta, path)))
        return found

    def _place(self, lane: Lane) -> tuple[int, int]:
        """Which of its kind's lanes it is: θ counted from the first of the window, path."""
        lanes = self.catalogue.kinds[lane.kind]
        return (lane.theta - lanes.first) // lanes.step, lane.path

    def piece(self, kind: int, theta: int, path: int) -> tuple[int, int]:
        """What the columns of a lane are told by."""
        return kind, path * self.catalogue.kinds[kind].thetas + theta

    def refine(self, wanted: Iterable[Place], worth: Floats) -> Hops | None:
        """Questions about some lanes alone, (kind, θ, path), at their prices; None once all are settled."""
        self._worth = worth
        some = []
        for kind, theta, path in wanted:
            if (theta, path) not in self._of_kind[kind]:
                self._open(self.catalogue.kinds[kind], [(theta, path)])
            n = self._of_kind[kind][theta, path]
            bound, cost = self.bounds.exact(kind, (theta, path), worth), self._cost(n, worth)
            if not (math.isfinite(cost) and cost - bound <= _FINE * cost):
                some.append(n)
        self._asked = np.array(sorted(some), dtype=np.int64)
        if not some:
            return None
        asked = self.lanes.propose(self._asked, worth)
        return Hops.together([asked, self.lanes.free(self._asked, asked)])

    def ask_again(self, columns: Sequence[Column]) -> Hops:
        """The shares of columns as questions, for their rates: a mixture needs less than what was mixed."""
        stages = self.network.stages
        shares = np.array([column.proof["shares"] for column in columns]).reshape(-1, 3)
        lanes = [column.proof["lane"] for column in columns]
        margins = np.maximum(shares[:, 2], LEAST_MARGIN).reshape(-1, stages)
        base = np.array([column.proof["base"] for column in columns])
        return Hops(
            service=np.repeat([lane.service for lane in lanes], stages),
            theta=np.repeat([lane.theta for lane in lanes], stages),
            offer=np.array([lane.offers for lane in lanes]).ravel(),
            power=np.array([lane.powers for lane in lanes]).ravel(),
            burst=np.array([column.proof["bursts"] for column in columns]).ravel(),
            slots=np.repeat([lane.slots for lane in lanes], stages),
            worth=np.zeros(len(shares)),
            shares=shares,
            prices=np.zeros_like(shares),
            pulls=np.ones_like(shares),
            stage=np.tile(np.arange(stages), len(lanes)),
            before=np.repeat(margins, stages, axis=0),
            base=(np.cumsum(base, axis=1) - base).ravel(),
        )

    def told_again(self, columns: Sequence[Column], told: Answers) -> list[Column]:
        """The columns with the rates that were answered; as they were where a domain needs more."""
        rates = told.proposed.reshape(-1, self.network.stages) * self.network.slot
        return [
            replace(column, rates=own) if (own > 0.0).all() else column
            for column, own in zip(columns, rates, strict=True)
        ]

    def learn(self, hops: Hops | None, answers: Answers | None) -> list[Column]:
        """Take the answers: tangents, the dual step, lanes that ought to be open too; the new columns."""
        if hops is None or answers is None:
            return []
        some, stages = self._asked, self.network.stages
        count = len(some) * stages
        asked, told = hops[:count], answers[:count]
        if len(some):
            self._take_columns(some, asked, told)
            self.tangents.add(asked, told)
            self.tangents.add(hops[count : 2 * count], answers[count : 2 * count])
            cost = np.where(told.rate > 0.0, told.rate, 0.0) * asked.worth
            self.lanes.learn(some, asked, told, cost.reshape(-1, stages))
            late = [n for n in some if not self._rates[n] and self.lanes.rounds[n] >= _HARD]
            self.lanes.harden(np.array(late, dtype=np.int64))
            eased = [n for n in some if self._rates[n] and self.lanes.hard[n]]
            if eased:
                known = [self._rates[n][-1] * self._worth[self.lanes.lanes[n].offers] for n in eased]
                self.lanes.soften(np.array(eased), np.array(known))
        if len(hops) > 2 * count:
            for k in (0, 1):
                part = slice(2 * count + k * len(self._keys), 2 * count + (k + 1) * len(self._keys))
                self.bounds.sweep(self.tangents.add(hops[part], answers[part]))
            self._open_more()
        fresh, self._columns = self._columns, []
        return fresh

    # -- in place of an oracle ------------------------------------------------------------------------------

    def first(self, prices: Floats) -> list[list[Column]]:
        """Nothing that the flows would not have yet."""
        return []

    def price_all(
        self, prices: Floats, known: Floats, *, tolerance: float = 1e-9, effort: int | None = None
    ) -> list[Priced]:
        """What a unit of each kind costs at least; with an effort, as far as is known."""
        worth = prices * self.network.slot
        answers = []
        for kind in self.network.kinds:
            if effort is None:
                bound = self.bounds.least(kind.index, worth)
            else:
                bound = float(self.bounds.rough(kind.index, worth).min(initial=math.inf))
            answers.append(Priced(min(bound, float(known[kind.index])), []))
        return answers

    def keep(self) -> None:
        """Nothing is left to later runs."""

    def without_charges(self) -> _WithoutCharges:
        """The same where only rates cost something."""
        return _WithoutCharges(self)

    # -- which lanes ----------------------------------------------------------------------------------------

    def _unsettled(self, worth: Floats) -> Indices:
        """The open lanes whose cost is not known well enough, though they could be the cheapest of a kind."""
        best = self._best(worth)
        some = []
        for kind, opened in enumerate(self._of_kind):
            enough = best[kind] * (1.0 - 0.2 * self.accuracy)
            rough = self.bounds.rough(kind, worth)
            for place, n in opened.items():
                if rough[place] < enough:
                    bound, cost = self.bounds.exact(kind, place, worth), self._cost(n, worth)
                    settled = math.isfinite(cost) and cost - bound <= self.accuracy * cost
                    if not settled and bound < enough:
                        some.append(n)
        return np.array(sorted(some), dtype=np.int64)

    def _cost(self, n: int, worth: Floats) -> float:
        """What a unit costs on an open lane by the best of its columns."""
        lane, rates = self.lanes.lanes[n], self._rates[n]
        return lane.charge + (float((np.array(rates) @ worth[lane.offers]).min()) if rates else math.inf)

    def _best(self, worth: Floats) -> Floats:
        """The least cost of a unit of each kind over all columns, (kinds,)."""
        best = np.full(len(self.network.kinds), math.inf)
        for n, lane in enumerate(self.lanes.lanes):
            best[lane.kind] = min(best[lane.kind], self._cost(n, worth))
        return best

    def _open_more(self) -> None:
        """Open the lanes of each kind that are not ruled out, the most promising first."""
        best = self._best(self._worth)
        for lanes in self.catalogue.kinds:
            enough = best[lanes.kind] * (1.0 - 0.2 * self.accuracy)
            known = self._of_kind[lanes.kind]
            self._open(lanes, self.bounds.below(lanes.kind, self._worth, enough, _OPENED, known))

    def _open(self, lanes: KindLanes, places: list[tuple[int, int]]) -> None:
        """Open lanes of a kind, from what the first sweep told of their domains."""
        if not places:
            return
        hops = [
            [self._table[lanes.key(theta, lanes.hops[i])] for i in lanes.index[path]]
            for theta, path in places
        ]
        at = np.array(hops)
        for k, place in enumerate(places):
            self._of_kind[lanes.kind][place] = len(self._rates) + k
        self._rates.extend([] for _ in places)
        self.lanes.open(
            [lanes.lane(*place) for place in places],
            self._answers.wanted[at],
            after(self._hops, self._answers)[at],
            self._answers.burst[at],
            np.maximum(self._answers.rate[at], 0.0) * self._hops.worth[at],
        )

    # -- sweeps ---------------------------------------------------------------------------------------------

    def _slots(self) -> Floats:
        """A typical number of slots of each service's lanes, (services,)."""
        slots = np.ones(len(self.services))
        for lanes in self.catalogue.kinds:
            if len(lanes.slots):
                slots[lanes.service] = float(np.median(lanes.slots))
        return slots

    def _typical(self, known: Sequence[Key], answers: Answers) -> tuple[Floats, Floats]:
        """Typical margins and the least base bursts of each stage at the keys' services and θ, (keys, L),
        from answers about known keys: those of the service's largest θ that is no larger, as bursts grow."""
        stages = self.network.stages
        groups: dict[tuple[int, int, int], list[int]] = {}
        thetas: dict[int, list[int]] = {}
        for n, (service, theta, offer, _) in enumerate(known):
            thetas.setdefault(service, []).append(theta)
            if answers.rate[n] > 0.0:
                groups.setdefault((service, theta, int(self.network.stage[offer])), []).append(n)
        before, base = np.full((len(self._keys), stages), 1.0), np.zeros((len(self._keys), stages))
        for n, (service, theta, _, _) in enumerate(self._keys):
            near = max((one for one in thetas.get(service, ()) if one <= theta), default=-1)
            for stage in range(stages):
                members = groups.get((service, near, stage))
                if members:
                    before[n, stage] = float(np.median(answers.wanted[members, 2]))
                    base[n, stage] = float(np.min(answers.burst[members]))
        return np.clip(before, LEAST_MARGIN, LARGEST_MARGIN), base

    def _sweep(self, worth: Floats, reference: bool) -> Hops:
        """Every offer for all services and θ at the common prices of the best lane of that service and θ (or
        of the service), with next to no penalty; with the least base bursts, or with those of that lane
        (`reference`), which tell more of the lanes that have no less."""
        best: dict[tuple[int, int | None], tuple[float, int]] = {}
        for n, lane in enumerate(self.lanes.lanes):
            cost = self._cost(n, worth)
            for key in ((lane.service, lane.theta), (lane.service, None)):
                if key not in best or cost < best[key][0]:
                    best[key] = (cost, n)
        first, lanes = self._hops, self.lanes
        hops = Hops(*(getattr(first, f.name).copy() for f in fields(first)))
        hops.worth[:] = worth[first.offer]
        for k, (service, theta, _, _) in enumerate(self._keys):
            found = best.get((service, theta)) or best.get((service, None))
            if found is None:
                continue
            n, stage = found[1], int(first.stage[k])
            margins = np.clip(lanes.wanted[n, :, 2], LEAST_MARGIN, LARGEST_MARGIN)
            hops.shares[k], hops.prices[k] = lanes.wanted[n, stage], lanes.common[n, stage]
            hops.pulls[k] = 1e-3 * lanes.pulls[n, stage]
            hops.before[k], hops.slots[k] = margins, lanes.lanes[n].slots
            if reference:
                hops.base[k] = lanes.base[n, :stage].sum()
            hops.burst[k] = hops.base[k] + phi(margins[:stage]).sum()
        return hops

    def _take_columns(self, some: Indices, asked: Hops, told: Answers) -> None:
        """A column for each lane all of whose domains can keep the shares proposed."""
        stages, slot = self.network.stages, self.network.slot
        for k, n in enumerate(some):
            part = slice(k * stages, (k + 1) * stages)
            rates = told.proposed[part]
            if not (rates > 0.0).all():
                continue
            lane = self.lanes.lanes[n]
            shares = asked.shares[part]
            proof = {
                "form": "split",
                "theta": float(self.services[lane.service].theta[lane.theta]),
                "shares": shares.copy(),
                "bursts": asked.burst[part].copy(),
                "base": self.lanes.base[n].copy(),
                "lane": lane,
            }
            self._rates[n].append(rates.copy())
            kind, piece = self.piece(lane.kind, self._place(lane)[0], lane.path)
            self._columns.append(
                Column(kind, lane.path, piece, lane.offers, rates * slot, lane.charge, proof)
            )


class _WithoutCharges:
    """What takes the place of an oracle where only rates cost something; its columns come with the rounds."""

    def __init__(self, agreements: ShareNegotiation) -> None:
        self._agreements = agreements

    def price_all(
        self, prices: Floats, known: Floats, *, tolerance: float = 1e-9, effort: int | None = None
    ) -> list[Priced]:
        """Lower bounds on what the rates of a unit of each kind cost."""
        agreements = self._agreements
        worth = prices * agreements.network.slot
        least = [agreements.bounds.least(kind.index, worth, False) for kind in agreements.network.kinds]
        return [Priced(min(bound, float(most)), []) for bound, most in zip(least, known, strict=True)]

    def first(self, prices: Floats) -> list[list[Column]]:
        """None."""
        return []

    def keep(self) -> None:
        """Nothing."""
