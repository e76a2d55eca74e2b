"""The broker step: units on paths, chosen against prices and a pull towards the operators' last loads.

minimise  Σ_j (charge_j − payment) x_j + p·v + Σ_g t_g + ½ Σ_o ρ_o (v_o − z_o)²
subject to  Σ_{j of kind k} x_j = n_k (profit: ≤),   v = Σ_j R_j x_j,   t_g ≥ every cut of group g

Columns come from the pricing oracle until none is cheaper. Loads are work per unit of time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import clarabel
import numpy as np
import numpy.typing as npt
from scipy import sparse

from fedopt.federated.settings import Settings
from fedopt.federated.split.lanes import LEAST_MARGIN, arriving
from fedopt.plan import Plan
from fedopt.pricing import Column, Network, Oracle, Priced, TenantClass

__all__ = ["Cut", "Flows", "Pricing", "Start", "Step", "merged", "start_from"]


def merged(columns: Sequence[Column], weights: npt.NDArray[np.float64]) -> Column:
    """The column in the middle of several of one lane. The least rate is convex in the shares and the bursts
    are convex in the margins, so every domain keeps the shares in the middle at the rate in the middle.
    """
    share = np.maximum(weights, 0.0) / np.maximum(weights, 0.0).sum()
    first = columns[0]
    if len(columns) == 1 or "shares" not in first.proof:
        return columns[int(np.argmax(share))]
    rates = np.tensordot(share, np.array([column.rates for column in columns]), axes=1)
    shares = np.tensordot(share, np.array([column.proof["shares"] for column in columns]), axes=1)
    burst = arriving(first.proof["base"], np.maximum(shares[:, 2], LEAST_MARGIN))
    return replace(first, rates=rates, proof={**first.proof, "shares": shares, "bursts": burst})


Floats = npt.NDArray[np.float64]

_ADDED = 2  # columns taken from the oracle for a kind in a pass

_NEAR = 0.08  # columns this much dearer than the cheapest stay out of the quadratic program

_NOTHING = 1e-7  # of a unit

QUICK = 4  # paths sized for a kind in a pass that only looks for columns


@dataclass(frozen=True, eq=False)
class Cut:
    """cost_g(v) ≥ support + prices·v for the loads v of a group of offers (True in `members`)."""

    group: int
    support: float
    prices: Floats


@dataclass(frozen=True, eq=False)
class Step:
    """Multiplicities of the columns, loads v (offers,), and the prices at which the step is a best answer."""

    x: Floats
    loads: Floats
    prices: Floats
    least: Floats


class Pricing(Protocol):
    """Where columns come from: the pricing oracle, or agreements where contracts are private."""

    def price_all(
        self, prices: Floats, known: Floats, *, tolerance: float = ..., effort: int | None = ...
    ) -> list[Priced]:
        """What a unit of each kind costs at least at prices per work/slot, and columns cheaper than known."""

    def first(self, prices: Floats) -> list[list[Column]]:
        """A few good columns of every kind."""

    def keep(self) -> None:
        """Leave what was learnt to later runs of this process."""


@dataclass(eq=False)
class Flows:
    """The columns found so far, and how to find more."""

    network: Network
    oracle: Pricing
    profit: bool
    columns: list[Column] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slot = self.network.slot
        self.offers = len(self.network.names)
        self.counts = np.array([kind.count for kind in self.network.kinds], float)
        self.payments = np.array([kind.payment for kind in self.network.kinds]) * self.profit
        self._seen: set[tuple[int, bytes, bytes]] = set()
        self._matrix = sparse.csc_matrix((self.offers, 0))
        self._charge = np.zeros(0)
        self._kind = np.zeros(0, dtype=np.int64)

    # -- columns ---------------------------------------------------------------------------------------

    def add(self, columns: Sequence[Column]) -> int:
        """Add columns that are new; returns how many were."""
        fresh = []
        for column in columns:
            key = (column.kind, column.offers.tobytes(), np.round(column.rates, 12).tobytes())
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(column)
        if not fresh:
            return 0
        self.columns.extend(fresh)
        lengths = [len(column.offers) for column in fresh]
        block = sparse.csc_matrix(
            (
                np.concatenate([column.rates for column in fresh]) / self.slot,
                np.concatenate([column.offers for column in fresh]),
                np.concatenate([[0], np.cumsum(lengths)]),
            ),
            shape=(self.offers, len(fresh)),
        )
        self._matrix = sparse.hstack([self._matrix, block], format="csc")
        self._charge = np.concatenate([self._charge, [column.charge for column in fresh]])
        self._kind = np.concatenate([self._kind, [column.kind for column in fresh]])
        return len(fresh)

    @property
    def kind(self) -> npt.NDArray[np.int64]:
        """The kind of each column, shape (columns,)."""
        return self._kind

    @property
    def matrix(self) -> sparse.csc_matrix:
        """Load of a unit on each column, shape (offers, columns)."""
        return self._matrix

    @property
    def charge(self) -> Floats:
        """What a unit pays besides its reservations, less its payment (profit), shape (columns,)."""
        return self._charge - self.payments[self._kind]

    def loads(self, x: Floats) -> Floats:
        """Loads of multiplicities of the columns, shape (offers,)."""
        return np.asarray(self._matrix[:, : len(x)] @ x).ravel()

    def whole(self, x: Floats) -> tuple[list[Column], Floats]:
        """The columns of whole units that multiplicities stand for, and their units: columns of one piece
        that are mixed become one, which their domains can keep at no higher rates."""
        pieces: dict[tuple[int, int], list[int]] = {}
        for j in np.flatnonzero(x > _NOTHING):
            column = self.columns[j]
            key = (column.kind, -1 - int(j) if self.finite else column.piece)
            pieces.setdefault(key, []).append(int(j))
        chosen, units = [], []
        for mine in pieces.values():
            count = round(float(x[mine].sum()))
            if count:
                chosen.append(merged([self.columns[j] for j in mine], x[mine]))
                units.append(float(count))
        return chosen, np.array(units)

    def loads_of(self, columns: Sequence[Column], units: Floats) -> Floats:
        """Loads of units on columns, whether at hand or not, shape (offers,)."""
        loads = np.zeros(self.offers)
        for column, count in zip(columns, units, strict=True):
            np.add.at(loads, column.offers, count * column.rates / self.slot)
        return loads

    def largest(self) -> Floats:
        """The largest load of a unit on each offer, over the columns at hand, shape (offers,)."""
        return self._matrix.max(axis=1).toarray().ravel()

    def price(
        self, prices: Floats, worth: Floats | None = None, tolerance: float = 1e-9, effort: int | None = QUICK
    ) -> tuple[Floats, int]:
        """What a unit of each kind costs at least at prices (less its payment), and how many new columns
        came with the answer.

        worth: what a unit is known to cost (kinds,); only cheaper columns are looked for, but the bound
        holds all the same. effort: the most paths to size for a kind; the bound is looser for it (None: as
        many as it takes).
        """
        own = np.maximum(prices, 0.0) / self.slot
        known = np.full(len(self.counts), math.inf) if worth is None else worth + self.payments
        answers = self.oracle.price_all(own, known, tolerance=tolerance, effort=effort)
        added = sum(self.add(answer.columns[:_ADDED]) for answer in answers)
        return np.array([answer.bound for answer in answers]) - self.payments, added

    def relaxed(self, prices: Floats) -> Floats | None:
        """What a unit of each kind costs at least at prices (less its payment), whatever it reserves; None
        where domains keep their envelopes to themselves."""
        if not isinstance(self.oracle, Oracle):
            return None
        least, _ = self.oracle.relaxed(np.maximum(prices, 0.0) / self.slot)
        return least - self.payments

    @property
    def finite(self) -> bool:
        """Whether the reservations of a path are finitely many, so that all that matter can be listed."""
        return isinstance(self.oracle, Oracle) and self.oracle.sizing.points

    def within(self, kind: TenantClass, prices: Floats, limit: float) -> int:
        """Add every column of a kind that costs a unit less than a limit at prices; how many there were."""
        if not isinstance(self.oracle, Oracle):
            return 0
        columns = self.oracle.within(kind, prices / self.slot, limit + float(self.payments[kind.index]))
        self.add(columns)
        return len(columns)

    def begin(self, prices: Floats) -> None:
        """A few good columns of every kind at prices, to start from."""
        for columns in self.oracle.first(np.maximum(prices, 0.0) / self.slot):
            self.add(columns)

    def total(self, least: Floats) -> float:
        """Σ_k n_k · least_k, safely rounded down; under profit what costs more than it pays stays out."""
        each = np.minimum(least, 0.0) if self.profit else least
        terms = self.counts * each
        return math.fsum(terms) - 1e-13 * math.fsum(np.abs(terms))

    def cheapest(self, prices: Floats) -> Floats:
        """The least cost of a unit of each kind over the columns at hand, shape (kinds,)."""
        each = self.charge + np.maximum(prices, 0.0) @ self._matrix
        least = np.full(len(self.counts), math.inf)
        np.minimum.at(least, self._kind, each)
        return least

    # -- the step --------------------------------------------------------------------------------------

    def step(
        self,
        prices: Floats,
        penalties: Floats,
        centre: Floats,
        cuts: Sequence[Cut] = (),
        *,
        passes: int = 3,
        tolerance: float = 1e-4,
    ) -> Step:
        """The broker step; columns are generated in at most so many passes, until none is cheaper by more
        than the tolerance (relative).
        """
        for remaining in reversed(range(passes)):
            step = self._solved(prices, penalties, centre, cuts)
            worth = np.minimum(self.cheapest(step.prices), step.least)
            _, added = self.price(step.prices, worth, tolerance)
            if not added or not remaining:
                break
        return step

    def _solved(self, prices: Floats, penalties: Floats, centre: Floats, cuts: Sequence[Cut]) -> Step:
        """The quadratic program over the columns that can matter at prices near these."""
        guess = np.maximum(prices, 0.0)
        each = self.charge + guess @ self._matrix
        least = self.cheapest(guess)
        room = np.maximum(_NEAR * np.abs(least), 1e-9)
        used = (
            np.flatnonzero(each <= (least + room)[self._kind]) if len(each) > 4000 else np.arange(len(each))
        )
        x, loads, dual = self._quadratic(used, prices, penalties, centre, cuts)
        whole = np.zeros(len(self.columns))
        whole[used] = x
        worth = self.cheapest(dual)
        return Step(whole, loads, dual, worth)

    def _quadratic(
        self, used: np.ndarray, prices: Floats, penalties: Floats, centre: Floats, cuts: Sequence[Cut]
    ) -> tuple[Floats, Floats, Floats]:
        """(x, v, prices at the solution) of the program over the columns `used`, in shares of each kind."""
        kinds, offers, count = len(self.counts), self.offers, len(used)
        owner = self._kind[used]
        share = self.counts[owner]
        heaviest = (self._matrix[:, used] @ sparse.diags(share)).max()  # of a kind on an offer
        unit = float(np.abs(centre).max(initial=0.0))
        if not unit > 1e-6 * heaviest:  # nothing to be near
            unit = max(float(heaviest), 1e-12)
        money = max(
            float(np.abs(prices).max(initial=0.0)) * unit, float((penalties * unit * unit).max()), 1e-12
        )
        groups = sorted({cut.group for cut in cuts})
        size = count + offers + len(groups)
        load = self._matrix[:, used] @ sparse.diags(share / unit)
        place = {group: count + offers + i for i, group in enumerate(groups)}
        quadratic = sparse.diags(
            np.concatenate([np.zeros(count), penalties * unit * unit / money, np.zeros(len(groups))])
        ).tocsc()
        linear = np.concatenate(
            [
                self.charge[used] * share / money,
                (prices - penalties * centre) * unit / money,
                np.ones(len(groups)),
            ]
        )
        units = sparse.csc_matrix((np.ones(count), (owner, np.arange(count))), shape=(kinds, count))
        pad = sparse.csc_matrix((kinds, size - count))
        balance = sparse.hstack([load, -sparse.eye(offers), sparse.csc_matrix((offers, len(groups)))])
        rows = [
            balance,
            sparse.hstack([units, pad]),
            sparse.hstack([-sparse.eye(count), sparse.csc_matrix((count, size - count))]),
        ]
        right = [np.zeros(offers), np.ones(kinds), np.zeros(count)]
        if cuts:
            slopes = sparse.csr_matrix(np.array([cut.prices for cut in cuts]) * unit / money)
            lift = sparse.csr_matrix(
                (
                    -np.ones(len(cuts)),
                    (np.arange(len(cuts)), [place[cut.group] - count - offers for cut in cuts]),
                ),
                shape=(len(cuts), len(groups)),
            )
            rows.append(sparse.hstack([sparse.csr_matrix((len(cuts), count)), slopes, lift]))
            right.append(np.array([-cut.support / money for cut in cuts]))
        free = [
            clarabel.ZeroConeT(offers),
            clarabel.NonnegativeConeT(kinds) if self.profit else clarabel.ZeroConeT(kinds),
        ]
        cones = [*free, clarabel.NonnegativeConeT(count + len(cuts))]
        options = clarabel.DefaultSettings()
        options.verbose = False
        options.max_threads = 1
        options.tol_gap_abs = options.tol_gap_rel = options.tol_feas = 1e-7
        answer = clarabel.DefaultSolver(
            quadratic, linear, sparse.vstack(rows, format="csc"), np.concatenate(right), cones, options
        ).solve()
        solved = np.array(answer.x)
        x = np.maximum(solved[:count], 0.0) * share
        dual = np.array(answer.z)[:offers] * money / unit
        return x, np.maximum(solved[count : count + offers], 0.0) * unit, np.maximum(dual, 0.0)


@dataclass(frozen=True, eq=False)
class Start:
    """Prices, penalties, a typical load of each offer and the loads of the first proposal, all (offers,).

    `known`: the loads are an earlier plan's, to be near from the first round on.
    """

    prices: Floats
    penalties: Floats
    scale: Floats
    loads: Floats
    known: bool


def start_from(flows: Flows, quotes: Floats, settings: Settings, plan: Plan | None = None) -> Start:
    """A start from the operators' quotes, or from the prices and loads of an earlier plan."""
    network = flows.network
    asked = quotes[quotes > 0.0]
    floor = 1e-3 * float(asked.mean()) if len(asked) else 1.0
    prices = np.maximum(quotes, floor)
    flows.begin(prices)
    cheapest = _all_on_cheapest(flows, prices)
    stages = np.array([cheapest[network.stage == s].mean() for s in range(network.stages)])
    scale = np.maximum(stages[network.stage], 1e-9)
    if plan is not None:
        prices, loads = _of_plan(flows, prices, plan)
        scale = np.maximum(scale, loads)
    each = np.full(len(prices), prices.mean()) if settings.list_penalty else prices
    mean = np.full(len(prices), scale.mean()) if settings.list_penalty else scale
    # offers of a domain share its capacity and answer together, so they are pulled together
    together = np.bincount(network.domain)[network.domain]
    penalties = settings.penalty * each / (mean * together)
    if plan is None:
        loads = flows.step(prices, penalties, np.zeros(len(prices)), passes=4, tolerance=1e-3).loads
    return Start(prices, penalties, scale, loads, plan is not None)


def _all_on_cheapest(flows: Flows, prices: Floats) -> Floats:
    """Loads if every unit took the cheapest column at hand."""
    each = flows.charge + prices @ flows.matrix
    x = np.zeros(len(each))
    for kind, count in enumerate(flows.counts):
        mine = np.flatnonzero(flows.kind == kind)
        if len(mine):
            x[mine[np.argmin(each[mine])]] = count
    return flows.loads(x)


def _of_plan(flows: Flows, prices: Floats, plan: Plan) -> tuple[Floats, Floats]:
    """Prices with the plan's prices of capacity on top, and the plan's loads."""
    network = flows.network
    capacity = {domain.id: domain.price or 0.0 for domain in plan.domains}
    dear = np.array([capacity.get(network.domain_ids[d], 0.0) for d in network.domain])
    index = {name: o for o, name in enumerate(network.names)}
    loads = np.zeros(flows.offers)
    for entry in plan.tenants:
        for hop in entry.path if entry.admitted else ():
            if hop in index:
                loads[index[hop]] += entry.count * entry.reservations.get(hop.partition("/")[0], 0.0)
    return prices + network.factor * dear, loads
