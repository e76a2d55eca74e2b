"""What a theorem says of an entry where the domains' true laws are known, as they are in a rehearsal.

The minplus bound at the reservations and the true laws, by a search or by the entry's own proof, whichever is
less: no statistics, and no contract that may be wrong.
"""

from __future__ import annotations

import math

from fedopt.calculus import minplus
from fedopt.operate.pricing import kind_of
from fedopt.operate.world import World
from fedopt.plan import TenantPlan
from fedopt.plan.guarantees import FORMS
from fedopt.plan.paths import Paths

__all__ = ["Prover"]


class Prover:
    """Bounds under the true laws; the same entry under the same laws is evaluated once."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], float] = {}

    def bounds(self, world: World, entries: list[TenantPlan]) -> dict[str, float | None]:
        """A bound on each entry's probability of being late, by tenant; None where the path crosses a domain
        without a contract.
        """
        paths = Paths(world.truth)
        return {entry.id: None if entry.learned else self._bound(world, paths, entry) for entry in entries}

    def _bound(self, world: World, paths: Paths, entry: TenantPlan) -> float:
        if not world.moment.failed.isdisjoint(entry.reservations):
            return 1.0
        truth = world.truth
        key = (
            kind_of(truth.tenant(entry.id)),
            tuple(entry.path),
            tuple(entry.reservations.values()),
            (entry.form, entry.theta),
            tuple(truth.offer(hop)[1].model_dump_json() for hop in entry.path),
        )
        if key not in self._found:
            if len(self._found) > 20_000:
                self._found.clear()
            log_bound = _log_bound(paths, entry)
            self._found[key] = math.exp(log_bound) if log_bound < 0 else 1.0
        return self._found[key]


def _log_bound(paths: Paths, entry: TenantPlan) -> float:
    path, rates = paths.entry(entry), paths.rates(entry)
    found = minplus.evaluate(path, rates).log_bound
    if entry.form in FORMS and entry.theta is not None:
        own = minplus.Evaluation(math.inf, entry.form, entry.theta, entry.block, entry.parameters)
        stated = minplus.verify(path, rates, own)
        found = min(found, stated) if math.isfinite(stated) else found
    return found
