"""One kind of traffic at one offer without a contract: what is remembered of its answers, and what may be
promised of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedopt.control.settings import SETTINGS
from fedopt.instance import Ask as Learned
from fedopt.instance import Tenant
from fedopt.learn.risk_table import Batches
from fedopt.plan import TenantPlan

__all__ = ["Kind", "PublishedRisk", "Remembered", "Sender", "in_words", "useful", "worth_publishing"]


@dataclass(frozen=True)
class Sender:
    """Who sends to offers without a contract: a tenant, or a test beside the tenants.

    like, factor: the kind of its traffic.
    """

    tenant: Tenant
    entry: TenantPlan
    like: str
    factor: float
    test: bool = False


@dataclass(frozen=True)
class PublishedRisk:
    """What may be promised from now on to a kind of traffic at an offer, and why, in words."""

    subject: str
    like: str
    asks: list[Learned]
    words: str


@dataclass
class Remembered:
    """Answers of one period to one sender: (delay, asked, rejected) of every batch."""

    period: int
    factor: float
    throughput: float
    test: bool
    rows: list[tuple[float, float, float]]


@dataclass
class Kind:
    """One kind of traffic at one offer.

    delay: the grid, in units of time; test: what a test would be given, None where no path leads over the
    offer; memory: the answers that count; published: what may be promised, with the factor of its traffic.
    """

    subject: str
    like: str
    delay: tuple[float, ...]
    test: TenantPlan | None = None
    memory: list[Remembered] = field(default_factory=list)
    published: list[tuple[float, Learned]] = field(default_factory=list)

    def batches(
        self, factor: float, throughput: float, period: int = -1, delay: Sequence[float] = ()
    ) -> Batches:
        """The answers that speak of such traffic: of senders of at least its factor and throughput, since
        a period; by the places of the kind's grid, or of another one.

        An answer counts at the shortest delay of the grid that is not below the one it was asked for.
        """
        rows = [
            row
            for part in self.memory
            if part.period >= period and _no_less(part, factor, throughput)
            for row in part.rows
        ]
        grid = delay or self.delay
        asked = np.array([row[0] for row in rows])
        places = np.searchsorted(grid, asked * (1 - 1e-9)).tolist()
        return Batches.of([(k, n, r) for k, (_, n, r) in zip(places, rows, strict=True) if k < len(grid)])

    def place(self, delay: float) -> int:
        """The place of the shortest delay of the grid that is not below this one (of the last, where all
        are).
        """
        return min(int(np.searchsorted(self.delay, delay * (1 - 1e-9))), len(self.delay) - 1)

    def refine(self, known: Batches, most: int) -> None:
        """Put delays between one at which most requests are rejected and the next, at which hardly any are.

        Where all is rejected at one delay and nothing at the next, what is short enough to be of use may lie
        between. No grid gets more than `most` delays.
        """
        count, total = known.sums(len(self.delay))
        tried = np.flatnonzero(count > 0)
        share = total[tried] / count[tried]
        mostly, hardly = tried[share >= 0.5], tried[share < 0.5]
        if ((share > 0.02) & (share < 0.5)).any() or not mostly.size or not hardly.size:
            return
        low, high = int(mostly[-1]), int(hardly[0])
        if high == low + 1 and len(self.delay) + SETTINGS.refined_delays <= most:
            between = np.geomspace(self.delay[low], self.delay[high], SETTINGS.refined_delays + 2)[1:-1]
            new = [float(f"{delay:.6g}") for delay in between]
            self.delay = tuple(sorted({*self.delay, *new}))


def _no_less(part: Remembered, factor: float, throughput: float) -> bool:
    return part.factor >= factor - 1e-9 and part.throughput >= throughput * (1 - 1e-9)


def useful(rows: Iterable[tuple[float, Learned]]) -> list[tuple[float, Learned]]:
    """The rows that promise something that none before them promises."""
    found: list[tuple[float, Learned]] = []
    for factor, row in rows:
        known = _known(found, factor, row)
        if any(risk < before for risk, before in zip(row.risk, known, strict=True)):
            found.append((factor, row))
    return found


def worth_publishing(old: Sequence[tuple[float, Learned]], fresh: Sequence[tuple[float, Learned]]) -> bool:
    """Whether a risk has risen, or one has fallen by as much as is published."""
    for factor, ask in old:
        now = _known(fresh, factor, ask)
        if any(risk > before for risk, before in zip(now, ask.risk, strict=True)):
            return True
    return any(
        risk <= before / SETTINGS.published_fall
        for factor, ask in fresh
        for risk, before in zip(ask.risk, _known(old, factor, ask), strict=True)
    )


def _known(rows: Sequence[tuple[float, Learned]], factor: float, ask: Learned) -> list[float]:
    """The risks that rows promise to the traffic, throughput and delays of an ask."""
    fitting = [row for other, row in rows if other >= factor and row.throughput >= ask.throughput]
    return [
        min((row.risk[k] for row in fitting if (k := row.at(delay)) is not None), default=1.0)
        for delay in ask.delay
    ]


def in_words(rows: Sequence[tuple[float, Learned]], refuted: bool) -> str:
    """What may be promised, in a line; refuted: whether earlier answers were forgotten for it."""
    before = "earlier answers are refuted and forgotten; " if refuted else ""
    if not rows:
        return f"{before}nothing can be promised"
    parts = []
    for factor, row in rows:
        first = next(
            k
            for k, risk in enumerate(row.risk)
            if risk <= SETTINGS.published_step * row.risk[-1] * (1 + 1e-9)
        )
        parts.append(
            f"risk {row.risk[first]:.2g} of more than {row.delay[first]:g}, up to throughput "
            f"{row.throughput:.3g} at {factor:g} times its traffic ({row.answers:,} answers)"
        )
    return before + "; ".join(parts)
