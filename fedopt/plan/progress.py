"""How solvers report and are stopped: a callback given one history row per round."""

from __future__ import annotations

from collections.abc import Callable

from fedopt.plan.document import HistoryRow

Progress = Callable[[HistoryRow], bool | None]
"""Called after every round. A true answer asks the solver to stop at its best plan so far; it then ends with
status "feasible" when it has one and "limit" when it has none, exactly as when its time limit is reached."""
