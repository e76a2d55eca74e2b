"""What is known of an entry where the domains' true laws are known, as they are in a rehearsal.

A theorem where it reaches: the minplus bound at the reservations and the true laws, by a search or by the
entry's own proof, whichever is less: no statistics, and no contract that may be wrong. Where it does not say
what was promised, the period is replayed on random numbers of its own, many times as long, and counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from fedopt.calculus import minplus
from fedopt.calculus.path import Path
from fedopt.control.pricing import kind_of
from fedopt.control.world import World
from fedopt.plan import TenantPlan
from fedopt.plan.guarantees import FORMS
from fedopt.plan.paths import Paths
from fedopt.simulate.paths import slot_path
from fedopt.simulate.simulated import counted

__all__ = ["NOTHING", "REPLAYS", "TOLERANCE", "Known", "Prover"]

REPLAYS = 256
"""How many times as long as the period itself a replay is."""

CERTAINTY = 0.9995
"""Confidence of each end of a replay's interval: a stay of fifty different replays is judged at 95 %."""

TOLERANCE = 1e-6
"""Relative: how far a bound that is found again may lie above the one that was planned with."""


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

    def known(self, world: World, entries: Sequence[TenantPlan]) -> dict[str, Known]:
        """What is known of each entry, by tenant: nothing where its path crosses a domain without a
        contract.
        """
        paths = Paths(world.truth)
        return {entry.id: NOTHING if entry.learned else self._known(world, paths, entry) for entry in entries}

    def _known(self, world: World, paths: Paths, entry: TenantPlan) -> Known:
        if not world.moment.failed.isdisjoint(entry.reservations):
            return Known(1.0, 1.0, 1.0)
        truth = world.truth
        tenant = truth.tenant(entry.id)
        key = json.dumps(
            [
                repr(kind_of(tenant)),
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
            if bound <= tenant.slo.epsilon * (1 + TOLERANCE):
                self._found[key] = Known(bound)
            else:
                self._found[key] = Known(bound, *self._replayed(path, rates, key))
        return self._found[key]

    def _replayed(self, path: Path, rates: np.ndarray, key: str) -> tuple[float, float]:
        seed = (self.seed, crc32(key.encode()), len(key))
        share = counted(
            path, slot_path(path, rates), REPLAYS * self.slots, seed, CERTAINTY, threads=self.threads
        )
        return share.low, share.high


def _log_bound(path: Path, rates: np.ndarray, entry: TenantPlan) -> float:
    found = minplus.evaluate(path, rates).log_bound
    if entry.form in FORMS and entry.theta is not None:
        own = minplus.Evaluation(math.inf, entry.form, entry.theta, entry.block, entry.parameters)
        stated = minplus.verify(path, rates, own)
        found = min(found, stated) if math.isfinite(stated) else found
    return found
