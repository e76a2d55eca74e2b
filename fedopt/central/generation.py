"""Column generation: the master's prices ask the oracle for cheaper columns until its Lagrangian bound
meets the master."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from fedopt.central.master import Duals, Master, Solution
from fedopt.plan import HistoryRow
from fedopt.pricing import Oracle

__all__ = ["Relaxation", "Run", "generate"]

_SMOOTHING = 0.5  # weight of the best duals so far
_ABOVE = 0.02
_SHARE_OF_GAP, _ROUGHEST = 0.1, 3e-3  # what an answer may miss while bound and master are far apart
_RELAXING = 0.8  # of the time: what is left belongs to a plan
_QUICK = 16  # paths sized for a kind in a round, as long as that finds cheaper columns


@dataclass(eq=False)
class Run:
    """The state of one solve: bounds, history and the reasons to stop.

    effort: nodes that a mixed-integer search may take, in the place of seconds; None: as many as it needs.
    """

    started: float
    deadline: float
    progress: Callable[[HistoryRow], bool | None] | None
    effort: int | None = None
    lower_bound: float = -math.inf
    cost: float = math.inf
    history: list[HistoryRow] = field(default_factory=list)
    stopped: bool = False

    def expired(self) -> bool:
        """Whether the time limit is over or the caller asked to stop."""
        return self.stopped or time.perf_counter() > self.deadline

    def closing(self) -> bool:
        """Whether what time is left should go to a plan: a relaxation alone is of no use to anybody."""
        now = time.perf_counter()
        return self.stopped or now - self.started > _RELAXING * (self.deadline - self.started)

    def extended(self, seconds: float) -> Run:
        """The run going on for some seconds whatever its limit; nobody is told and nobody can stop it."""
        return replace(self, deadline=time.perf_counter() + seconds, progress=None, stopped=False)

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


def generate(master: Master, oracle: Oracle, run: Run, gap: float, start: Duals | None = None) -> Relaxation:
    """Add columns until the Lagrangian bound is within a relative gap of the master's value, or nothing is
    cheaper, or the run is closing.

    start: duals to price at first.  Prices are smoothed: the oracle is asked between the duals with the best
    bound so far and the master's, and at the master's own where that finds nothing.  Kinds whose oracle finds
    nothing cheaper than their dual keep that dual as their least cost, so the bound is valid in every round.
    """
    network = oracle.network
    payments = np.array([kind.payment if master.profit else 0.0 for kind in network.kinds])
    best: Relaxation | None = None
    effort: int | None = None if oracle.large else _QUICK
    weight = _SMOOTHING if oracle.large else 0.0
    asked, smoothed = start, weight > 0.0
    fine, stuck = 0.5 * gap, False
    while True:
        solution, duals = master.solve()
        # far from the end a rough answer serves as well, and prunes more
        apart = math.inf if best is None else (solution.value - best.bound) / max(abs(solution.value), 1e-12)
        tolerance = fine if stuck else max(fine, min(_SHARE_OF_GAP * apart, _ROUGHEST))
        own = asked is None and (best is None or not smoothed)
        if asked is None:
            asked = duals if best is None or not smoothed else duals.towards(best.duals, weight)
        worth = asked.head + payments
        # Away from the master's duals a kind's own may be too low: then nothing would be found below it.
        known = worth if own else worth + _ABOVE * np.abs(worth)
        answers = oracle.price_all(
            asked.prices(network), known, tolerance=tolerance, effort=effort, stop=run.closing
        )
        least = np.array([answer.bound for answer in answers])
        if not np.isfinite(asked.head).all():  # an earlier plan's prices say nothing of heads
            asked = replace(asked, head=least - payments)
        mine, value = duals.prices(network), duals.head + payments
        found = [column for answer in answers for column in answer.columns]
        added = sum(
            column.cost(mine) < value[column.kind] - 1e-9 * abs(value[column.kind])
            for column in found
            if not master.knows(column)  # the program's own are priced out but for its tolerance
        )
        master.add(found)
        bound = master.lagrangian(asked, least)
        if best is None or bound > best.bound:
            best = Relaxation(solution, asked, bound, least)
        run.lower_bound = max(run.lower_bound, best.bound, -math.inf if master.profit else 0.0)
        run.record(len(master.columns))
        best = Relaxation(solution, best.duals, best.bound, best.least)
        if added and not own:
            solution, duals = master.solve()
            best = Relaxation(solution, best.duals, best.bound, best.least)
        close = solution.value - best.bound <= gap * max(abs(solution.value), 1e-12)
        if close or run.closing() or (not added and effort is None and own and tolerance == fine):
            return best
        stuck = not added
        if not oracle.large:
            effort = _QUICK if added else None
        # Nothing new between the two: ask at the master's own duals.
        asked, smoothed = None, weight > 0.0 and added > 0
