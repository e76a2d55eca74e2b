"""Sessions of tenants: how likely it was that their requests were late, by theorem and by measurement.

In a rehearsal the true laws are known. A theorem counts where it reaches: the minplus bound at the
reservations and the true laws, by a search or by the entry's own proof, whichever is less. Where it does not
say what was promised, the period is replayed on random numbers of its own, many times as long, and the upper
limit of an interval of counts stands in; what could be neither proven nor replayed is judged by the requests
that were late. So over a session

    P(late) ≤ [Σ sent·bound over the proven periods + Σ sent·(upper limit) over the others] / Σ sent

at the confidence of the limits. Which of them counts in a period does not depend on its packets, so nothing
is chosen by outcome. The intervals of counts are those of `fedopt.simulate` for two bins, on time and late:
the spread between the parts turns their requests into an effective number of independent ones, to which the
exact binomial interval applies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal
from zlib import crc32

import numpy as np
from scipy.stats import beta, t

from fedopt.calculus import minplus
from fedopt.calculus.path import Path
from fedopt.control.admission import tenant_class
from fedopt.control.environment import Environment
from fedopt.control.settings import SETTINGS
from fedopt.control.store import Store, unpacked
from fedopt.plan import TenantPlan
from fedopt.plan.guarantees import FORMS
from fedopt.plan.paths import Paths
from fedopt.simulate.paths import slot_path
from fedopt.simulate.simulated import counted

__all__ = [
    "NOTHING",
    "Known",
    "Prover",
    "Session",
    "Verdict",
    "intervals",
    "judged",
    "sessions",
    "verdicts",
]


Verdict = Literal["kept", "broken", "undecided"]


def intervals(
    sent: np.ndarray, late: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(share, low, high) of late requests for n rows of m parts each; sent, late: shape (n, m).

    Parts without requests count for nothing. A row that sent nothing has the interval [0, 1].
    """
    sent, late = np.asarray(sent, float), np.asarray(late, float)
    total = sent.sum(axis=1)
    parts = (sent > 0).sum(axis=1)
    safe = np.where(total > 0, total, 1.0)
    share = late.sum(axis=1) / safe
    residual = ((late - share[:, None] * sent) ** 2).sum(axis=1)
    spread = np.maximum(parts / np.maximum(parts - 1, 1) * residual / safe**2, 0.0)
    mixed = (share > 0) & (share < 1) & (parts > 1)
    effect = np.where(mixed, spread * total / np.where(mixed, share * (1 - share), 1.0), 1.0)
    effective = total / np.maximum(effect, 1.0)
    side = 1 - (1 - confidence) / 2
    several = parts > 1
    degrees = np.maximum(parts - 1, 1)
    shrunk = effective / (1 + np.sqrt(2 / degrees))
    shrunk = shrunk * (t.ppf(side, np.maximum(shrunk, 2.0)) / t.ppf(side, degrees)) ** 2
    effective = np.maximum(np.where(several, shrunk, effective), 1.0)
    hits = share * effective
    tail = (1 - confidence) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, beta.ppf(tail, hits, effective - hits + 1), 0.0)
        high = np.where(
            hits < effective, beta.ppf(1 - tail, hits + 1, np.maximum(effective - hits, 1e-300)), 1.0
        )
    nothing = total <= 0
    return np.where(nothing, np.nan, share), np.where(nothing, 0.0, low), np.where(nothing, 1.0, high)


def verdicts(
    sent: np.ndarray, late: np.ndarray, epsilon: np.ndarray, confidence: float = 0.95
) -> list[Verdict]:
    """kept where the whole interval lies at or below ε, broken where it lies above, else undecided."""
    _, low, high = intervals(sent, late, confidence)
    return [
        "broken" if bottom > limit else "kept" if top <= limit else "undecided"
        for bottom, top, limit in zip(low, high, np.asarray(epsilon, float), strict=True)
    ]


@dataclass(frozen=True)
class Known:
    """What is known of the probability that an entry's requests are late in a period.

    bound: that of the theorem, None where there is none; low, high: the interval that a replay found, None
    where there was none.
    """

    bound: float | None = None
    low: float | None = None
    high: float | None = None


NOTHING = Known()


class Prover:
    """Bounds and replays under the true laws; the same entry under the same laws is evaluated once.

    slots: of a period; what is found depends on these, the seed, the entry and the laws alone.
    """

    def __init__(self, slots: int, seed: int, threads: int | None = None) -> None:
        self.slots = slots
        self.seed = seed
        self.threads = threads
        self._found: dict[str, Known] = {}

    def known(self, environment: Environment, entries: Sequence[TenantPlan]) -> dict[str, Known]:
        """What is known of each entry, by tenant: nothing where its path crosses a domain without a
        contract.
        """
        paths = Paths(environment.truth)
        return {
            entry.id: NOTHING if entry.learned else self._known(environment, paths, entry)
            for entry in entries
        }

    def _known(self, environment: Environment, paths: Paths, entry: TenantPlan) -> Known:
        if not environment.moment.failed.isdisjoint(entry.reservations):
            return Known(1.0, 1.0, 1.0)
        truth = environment.truth
        tenant = truth.tenant(entry.id)
        key = json.dumps(
            [
                repr(tenant_class(tenant)),
                entry.path,
                list(entry.reservations.values()),
                [entry.form, entry.theta],
                [truth.offer(hop)[1].model_dump_json() for hop in entry.path],
            ]
        )
        if key not in self._found:
            if len(self._found) > 20_000:
                self._found.clear()
            path, rates = paths.entry(entry), paths.rates(entry)
            log_bound = _log_bound(path, rates, entry)
            bound = math.exp(log_bound) if log_bound < 0 else 1.0
            if bound <= tenant.slo.epsilon * (1 + SETTINGS.proof_tolerance):
                self._found[key] = Known(bound)
            else:
                self._found[key] = Known(bound, *self._replayed(path, rates, key))
        return self._found[key]

    def _replayed(self, path: Path, rates: np.ndarray, key: str) -> tuple[float, float]:
        seed = (self.seed, crc32(key.encode()), len(key))
        share = counted(
            path,
            slot_path(path, rates),
            SETTINGS.replays * self.slots,
            seed,
            SETTINGS.replay_confidence,
            threads=self.threads,
        )
        return share.low, share.high


def _log_bound(path: Path, rates: np.ndarray, entry: TenantPlan) -> float:
    found = minplus.evaluate(path, rates).log_bound
    if entry.form in FORMS and entry.theta is not None:
        own = minplus.Evaluation(math.inf, entry.form, entry.theta, entry.block, entry.parameters)
        stated = minplus.verify(path, rates, own)
        found = min(found, stated) if math.isfinite(stated) else found
    return found


@dataclass(frozen=True)
class Session:
    """An admitted tenant over its whole session.

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
    limit = epsilon * (1 + SETTINGS.proof_tolerance)
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
    tell something, the lower end is what they tell of the whole session.
    """
    share, low, high = _measured(sent, late)
    proven = bounds <= epsilon * (1 + SETTINGS.proof_tolerance)
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
    parts are the periods where there are several (`Settings`), else the batches.
    """
    if len(sent) >= SETTINGS.separate_periods:
        of = intervals(sent.sum(axis=1)[None], late.sum(axis=1)[None], SETTINGS.session_confidence)
    else:
        of = intervals(sent.reshape(1, -1), late.reshape(1, -1), SETTINGS.session_confidence)
    share, low, high = (float(values[0]) for values in of)
    return share, low, high
