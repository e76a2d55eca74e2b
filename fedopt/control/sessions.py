"""Whole stays of tenants: how likely it was that their requests were late, by theorem and by measurement.

In periods in which a theorem at the domains' true laws says at most ε, that bound counts; a period that none
proves was replayed at those laws, and the interval of that counts; what could be neither proven nor replayed
is judged by the requests that were late. So

    P(late) ≤ [Σ sent·bound over the proven periods + Σ sent·(upper limit) over the others] / Σ sent

at the confidence of the limits. Which of them counts in a period does not depend on its packets, so nothing
is chosen by outcome.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedopt.control.store import Store, unpacked
from fedopt.control.verdicts import TOLERANCE, Verdict, intervals

__all__ = ["CONFIDENCE", "Session", "judged", "sessions"]

CONFIDENCE = 0.95

SEVERAL = 8
"""Periods from which what is measured is judged by its periods instead of their batches."""


@dataclass(frozen=True)
class Session:
    """An admitted tenant over its whole stay.

    sent, share: its requests and the part of them that was late; interval: of the probability of being late;
    bound: mean over its requests of the bounds at the domains' true laws (1 in a period that has none);
    proven: whether that is at most ε; learned: whether its promise was learned in part at some time.
    """

    tenant: str
    epsilon: float
    periods: int
    sent: float
    share: float
    interval: tuple[float, float]
    bound: float
    proven: bool
    learned: bool
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def sessions(store: Store, run: str) -> list[Session]:
    """Every admitted tenant of a run."""
    tallies: dict[str, list[Any]] = {}
    for row in store.rows("tallies", run):
        tallies.setdefault(row["tenant"], []).append(row)
    return [
        _stay(member["tenant"], member["epsilon"], tallies.get(member["tenant"], []))
        for member in store.rows("members", run)
        if member["admitted"]
    ]


def _stay(tenant: str, epsilon: float, rows: list[Any]) -> Session:
    counts = np.array([unpacked(row["batches"]) for row in rows] or [[[0.0], [0.0]]])  # (periods, 2, batches)
    bounds = np.array([1.0 if row["bound"] is None else row["bound"] for row in rows] or [1.0])
    ends = [[row["low"], row["high"]] for row in rows] or [[None, None]]
    replayed = np.array(ends, dtype=float).T  # nan where there was no replay
    sent = counts[:, 0].sum(axis=1)
    total = float(sent.sum())
    share, low, high = judged(counts[:, 0], counts[:, 1], bounds, replayed, epsilon)
    bound = float(sent @ bounds) / total if total > 0 else 1.0
    high = min(high, bound)  # a theorem holds whatever the confidence
    limit = epsilon * (1 + TOLERANCE)
    return Session(
        tenant=tenant,
        epsilon=epsilon,
        periods=len(rows),
        sent=total,
        share=share,
        interval=(min(low, high), high),
        bound=bound,
        proven=bound <= limit,
        learned=any(row["learned"] for row in rows),
        verdict="kept" if high <= limit else "broken" if low > epsilon else "undecided",
    )


def judged(
    sent: np.ndarray, late: np.ndarray, bounds: np.ndarray, replayed: np.ndarray, epsilon: float
) -> tuple[float, float, float]:
    """Share of late requests, and lower and upper end of what is known of the probability of being late.

    sent, late: requests by period and batch, shape (periods, batches); bounds: by period; replayed: ends of
    the interval of each period's replay, nan where there was none, shape (2, periods). Where packets have to
    tell something, the lower end is what they tell of the whole stay.
    """
    share, low, high = _measured(sent, late)
    proven = bounds <= epsilon * (1 + TOLERANCE)
    again = ~proven & np.isfinite(replayed[1])
    rest = ~proven & ~again
    if rest.all():
        return share, low, high
    by_period = sent.sum(axis=1)
    total = float(by_period.sum())
    upper = _measured(sent[rest], late[rest])[2] if rest.any() else 0.0
    known = float(by_period[proven] @ bounds[proven] + by_period[again] @ replayed[1, again])
    high = (known + float(by_period[rest].sum()) * upper) / total if total > 0 else 1.0
    if again.any() and not rest.any():
        low = float(by_period[again] @ replayed[0, again]) / total if total > 0 else 0.0
    return share, min(low, high), high


def _measured(sent: np.ndarray, late: np.ndarray) -> tuple[float, float, float]:
    """Late requests come in clusters, and one period alone would count each of them as news: the independent
    parts are the periods where there are SEVERAL or more, else the batches.
    """
    if len(sent) >= SEVERAL:
        of = intervals(sent.sum(axis=1)[None], late.sum(axis=1)[None], CONFIDENCE)
    else:
        of = intervals(sent.reshape(1, -1), late.reshape(1, -1), CONFIDENCE)
    share, low, high = (float(values[0]) for values in of)
    return share, low, high
