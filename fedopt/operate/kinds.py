"""One kind of traffic at one offer without a contract: what is remembered of its answers, and what may be
promised of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fedopt.instance import Ask as Learned
from fedopt.instance import Tenant
from fedopt.plan import TenantPlan
from fedopt.rade.risk_table import Batches

__all__ = ["STEP", "Kind", "Lesson", "Remembered", "Sender", "in_words", "useful", "worth_publishing"]

STEP = 10.0**0.125
"""Risks are published rounded up to powers of this, so that they do not change with every answer."""

FALL = 2.3
"""A risk that has fallen by this factor is worth publishing: everybody's plan is looked at again for it."""


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
class Lesson:
    """What may be promised from now on to a kind of traffic at an offer, and why, in words."""

    subject: str
    like: str
    asks: list[Learned]
    words: str


@dataclass
class Remembered:
    """Answers of one period to one sender: (place, asked, rejected) of every batch."""

    period: int
    factor: float
    throughput: float
    test: bool
    rows: list[tuple[int, float, float]]


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

    def batches(self, factor: float, throughput: float, period: int = -1) -> Batches:
        """The answers that speak of such traffic: of senders of at least its factor and throughput, since
        a period.
        """
        return Batches.of(
            [
                row
                for part in self.memory
                if part.period >= period and _no_less(part, factor, throughput)
                for row in part.rows
            ]
        )

    def place(self, delay: float) -> int:
        """The place of the shortest delay of the grid that is not below this one (of the last, where all
        are).
        """
        found = (k for k, known in enumerate(self.delay) if known >= delay * (1 - 1e-9))
        return next(found, len(self.delay) - 1)


def _no_less(part: Remembered, factor: float, throughput: float) -> bool:
    return part.factor >= factor - 1e-9 and part.throughput >= throughput * (1 - 1e-9)


def useful(rows: Iterable[tuple[float, Learned]]) -> list[tuple[float, Learned]]:
    """The rows that promise something that none before them promises."""
    found: list[tuple[float, Learned]] = []
    for factor, row in rows:
        if not any(
            other >= factor
            and ask.throughput >= row.throughput
            and all(known <= risk for known, risk in zip(ask.risk, row.risk, strict=True))
            for other, ask in found
        ):
            found.append((factor, row))
    return found


def worth_publishing(old: Sequence[tuple[float, Learned]], fresh: Sequence[tuple[float, Learned]]) -> bool:
    """Whether a risk has risen, or one has fallen by FALL."""
    for factor, ask in old:
        now = _known(fresh, factor, ask)
        if any(risk > before for risk, before in zip(now, ask.risk, strict=True)):
            return True
    return any(
        risk <= before / FALL
        for factor, ask in fresh
        for risk, before in zip(ask.risk, _known(old, factor, ask), strict=True)
    )


def _known(rows: Sequence[tuple[float, Learned]], factor: float, ask: Learned) -> list[float]:
    """The risks that rows promise to the traffic and throughput of an ask."""
    fitting = [row.risk for other, row in rows if other >= factor and row.throughput >= ask.throughput]
    return [min(risks) for risks in zip(*fitting, strict=True)] if fitting else [1.0] * len(ask.delay)


def in_words(rows: Sequence[tuple[float, Learned]], refuted: bool) -> str:
    """What may be promised, in a line; refuted: whether earlier answers were forgotten for it."""
    before = "earlier answers are refuted and forgotten; " if refuted else ""
    if not rows:
        return f"{before}nothing can be promised"
    parts = []
    for factor, row in rows:
        first = next(k for k, risk in enumerate(row.risk) if risk <= STEP * row.risk[-1] * (1 + 1e-9))
        parts.append(
            f"risk {row.risk[first]:.2g} of more than {row.delay[first]:g}, up to throughput "
            f"{row.throughput:.3g} at {factor:g} times its traffic ({row.answers:,} answers)"
        )
    return before + "; ".join(parts)
