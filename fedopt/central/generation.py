"""Column generation: the master's prices ask the oracle for cheaper columns until its Lagrangian bound
meets the master."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from fedopt.central.master import Duals, Master, Solution
from fedopt.oracle import Oracle
from fedopt.plan import HistoryRow

__all__ = ["Relaxation", "Run", "generate"]

_QUICK = 16  # paths sized for a kind in a round, as long as that finds cheaper columns


@dataclass(eq=False)
class Run:
    """The state of one solve: bounds, history and the reasons to stop."""

    started: float
    deadline: float
    progress: Callable[[HistoryRow], bool | None] | None
    lower_bound: float = -math.inf
    cost: float = math.inf
    history: list[HistoryRow] = field(default_factory=list)
    stopped: bool = False

    def expired(self) -> bool:
        """Whether the time limit is over or the caller asked to stop."""
        return self.stopped or time.perf_counter() > self.deadline

    def left(self) -> float:
        """Seconds left, at least a little."""
        return max(self.deadline - time.perf_counter(), 0.05)

    def record(self, columns: int) -> None:
        """Note a round in the history and tell the progress callback, which may ask to stop."""
        row = HistoryRow(
            round=len(self.history) + 1,
            cost=self.cost if math.isfinite(self.cost) else None,
            lower_bound=self.lower_bound if math.isfinite(self.lower_bound) else None,
            seconds=time.perf_counter() - self.started,
            columns=columns,
        )
        self.history.append(row)
        if self.progress is not None and self.progress(row):
            self.stopped = True


@dataclass(frozen=True, eq=False)
class Relaxation:
    """The master's optimum, the duals with the best Lagrangian bound and each kind's least cost at them."""

    solution: Solution
    duals: Duals
    bound: float
    least: np.ndarray


def generate(master: Master, oracle: Oracle, run: Run, gap: float) -> Relaxation:
    """Add columns until the Lagrangian bound is within a relative gap of the master's value, or nothing is
    cheaper.

    Kinds whose oracle finds nothing cheaper than their dual keep that dual as their least cost, so the
    bound is valid in every round.
    """
    kinds = oracle.network.kinds
    best: Relaxation | None = None
    effort: int | None = _QUICK
    while True:
        solution, duals = master.solve()
        prices = duals.prices(oracle.network)
        least = np.empty(len(kinds))
        added = 0
        for kind in kinds:
            offset = kind.payment if master.profit else 0.0
            worth = float(duals.head[kind.index]) + offset
            answer = oracle.price(kind, prices, known=worth, tolerance=0.5 * gap, effort=effort)
            least[kind.index] = answer.bound
            added += master.add(answer.columns)
        bound = master.lagrangian(duals, least)
        if best is None or bound > best.bound:
            best = Relaxation(solution, duals, bound, least)
        run.lower_bound = max(run.lower_bound, best.bound, -math.inf if master.profit else 0.0)
        run.record(len(master.columns))
        best = Relaxation(solution, best.duals, best.bound, best.least)
        close = solution.value - best.bound <= gap * max(abs(solution.value), 1e-12)
        if close or run.expired() or (not added and effort is None):
            return best
        effort = _QUICK if added else None
