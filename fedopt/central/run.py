"""The state of one solve: bounds, history and the reasons to stop; column generation and the integer search
share it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fedopt.central.settings import Settings
from fedopt.kernels import clock
from fedopt.plan import HistoryRow

__all__ = ["Run"]


@dataclass(eq=False)
class Run:
    """Bounds, history and limits of one solve.

    started, deadline: seconds of `clock`; progress: told of every round, and may ask to stop;
    lower_bound, and that of the history: on plans of the catalogue.
    effort: nodes that a mixed-integer search may take, in the place of seconds; None: as many as it needs.
    """

    started: float
    deadline: float
    progress: Callable[[HistoryRow], bool | None] | None = None
    effort: int | None = None
    settings: Settings = field(default_factory=Settings)
    lower_bound: float = -math.inf
    cost: float = math.inf
    history: list[HistoryRow] = field(default_factory=list)
    stopped: bool = False

    def expired(self) -> bool:
        """Whether the time limit is over or the caller asked to stop."""
        return self.stopped or clock() > self.deadline

    def closing(self) -> bool:
        """Whether what time is left should go to a plan: a relaxation alone is of no use to anybody."""
        spent = clock() - self.started
        return self.stopped or spent > self.settings.relaxing * (self.deadline - self.started)

    def extended(self, seconds: float) -> Run:
        """The run going on for some seconds whatever its limit; nobody is told and nobody can stop it."""
        return replace(self, deadline=clock() + seconds, progress=None, stopped=False)

    def left(self) -> float:
        """Seconds left, at least a little."""
        return max(self.deadline - clock(), 0.05)

    def grace(self) -> float:
        """Seconds beyond the end, for a plan that is still missing."""
        share = self.settings.grace * (self.deadline - self.started)
        return min(max(share, 0.4), self.settings.longest_grace)

    def raise_bound(self, bound: float) -> None:
        """A lower bound on every plan of the catalogue became known."""
        self.lower_bound = max(self.lower_bound, bound)

    def record(self, columns: int) -> None:
        """Note a round in the history and tell the progress callback, which may ask to stop."""
        row = HistoryRow(
            round=len(self.history) + 1,
            cost=self.cost if math.isfinite(self.cost) else None,
            lower_bound=self.lower_bound if math.isfinite(self.lower_bound) else None,
            seconds=clock() - self.started,
            columns=columns,
        )
        self.history.append(row)
        if self.progress is not None and self.progress(row):
            self.stopped = True
