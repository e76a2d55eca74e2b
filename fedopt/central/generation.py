"""Column generation (Dantzig and Wolfe): solve the master, ask the oracle at its duals, bound, stop.

Where paths are too many to list the duals are smoothed: the oracle is asked between the master's and those
with the best bound so far (Wentges, "Weighted Dantzig–Wolfe decomposition", Int. Trans. Oper. Res. 4, 1997),
and at the master's own where that finds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedopt.central.master import Duals, Master, Solution
from fedopt.central.run import Run
from fedopt.pricing import Column, Oracle, Priced

__all__ = ["Relaxation", "generate"]


@dataclass(frozen=True, eq=False)
class Relaxation:
    """The master's optimum, the duals with the best Lagrangian bound and each kind's least cost at them."""

    solution: Solution
    duals: Duals
    bound: float
    least: np.ndarray

    @property
    def gap(self) -> float:
        """Distance of master and bound, relative to the master."""
        return (self.solution.value - self.bound) / max(abs(self.solution.value), 1e-12)


def generate(master: Master, oracle: Oracle, run: Run, gap: float, start: Duals | None = None) -> Relaxation:
    """Add columns until the Lagrangian bound is within a relative gap of the master's value, or nothing is
    cheaper, or the run is closing.

    start: duals to ask at first, of an earlier plan for instance.
    """
    pricing = _Pricing(master, oracle, run, gap, start)
    while True:
        solution, duals = master.solve()
        relaxation = pricing.relaxation(solution)
        if relaxation is not None and (relaxation.gap <= gap or pricing.exhausted or run.closing()):
            return relaxation
        question = pricing.question(duals, relaxation)
        answers = pricing.ask(question)
        columns = [column for answer in answers for column in answer.columns]
        pricing.learn(question, answers, improves=_improve(master, columns, duals))
        master.add(columns)
        run.raise_bound(pricing.bound if master.profit else max(pricing.bound, 0.0))
        run.record(len(master.columns))


def _improve(master: Master, columns: Sequence[Column], duals: Duals) -> bool:
    """Whether some column has a negative reduced cost at the master's own duals.

    The program's own are priced out but for its tolerance.
    """
    prices, value = duals.prices(master.network), duals.unit + master.payments
    return any(
        column.cost(prices) < value[column.kind] - 1e-9 * abs(value[column.kind])
        for column in columns
        if not master.knows(column)
    )


@dataclass(frozen=True, eq=False)
class _Question:
    """Duals at which the oracle is asked: whether they are the master's `own`, how precisely, and how many
    paths it may size for it (None: all)."""

    duals: Duals
    own: bool
    tolerance: float
    effort: int | None


class _Pricing:
    """What the oracle is asked, and the best bound of its answers."""

    def __init__(self, master: Master, oracle: Oracle, run: Run, gap: float, start: Duals | None) -> None:
        self.master, self.oracle, self.run, self.start = master, oracle, run, start
        self.finest = 0.5 * gap
        self.bound, self.exhausted = -math.inf, False
        self._best: tuple[Duals, np.ndarray] | None = None  # duals of the best bound, least costs at them
        self._improved = True  # by the last answer

    def relaxation(self, solution: Solution) -> Relaxation | None:
        """The master's optimum beside the best bound; None before there is one."""
        return None if self._best is None else Relaxation(solution, self._best[0], self.bound, self._best[1])

    def question(self, duals: Duals, relaxation: Relaxation | None) -> _Question:
        """Where to ask next: far from the end a rough answer serves as well, and prunes more."""
        settings, large = self.run.settings, self.oracle.large
        apart = math.inf if relaxation is None else relaxation.gap
        tolerance = self.finest
        if self._improved:
            tolerance = max(self.finest, min(settings.rough_share * apart, settings.roughest))
        effort = settings.quick_paths if self._improved and not large else None
        if self.start is not None:
            start, self.start = self.start, None
            return _Question(start, False, tolerance, effort)
        if large and self._best is not None and self._improved:
            between = duals.towards(self._best[0], settings.smoothing)
            return _Question(between, False, tolerance, effort)
        return _Question(duals, True, tolerance, effort)

    def ask(self, question: _Question) -> list[Priced]:
        """The oracle's answers, one a kind."""
        worth = question.duals.unit + self.master.payments
        # Away from the master's duals a kind's own may be too low: then nothing would be found below it.
        known = worth if question.own else worth + self.run.settings.above * np.abs(worth)
        return self.oracle.price_all(
            question.duals.prices(self.oracle.network),
            known,
            tolerance=question.tolerance,
            effort=question.effort,
            stop=self.run.closing,
        )

    def learn(self, question: _Question, answers: Sequence[Priced], *, improves: bool) -> None:
        """The Lagrangian bound of answers, valid whatever they left out: a kind for which nothing cheaper was
        found than what it knew keeps that as its least cost."""
        least, duals = np.array([answer.bound for answer in answers]), question.duals
        if not np.isfinite(duals.unit).all():  # an earlier plan's prices say nothing of units
            duals = replace(duals, unit=least - self.master.payments)
        bound = self.master.lagrangian(duals, least)
        if self._best is None or bound > self.bound:
            self._best, self.bound = (duals, least), bound
        precise = question.own and question.effort is None and question.tolerance == self.finest
        self.exhausted = precise and not improves
        self._improved = improves
