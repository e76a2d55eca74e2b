"""First columns and prices: of a rough relaxation where programs are large, or of an earlier plan.

In the rough relaxation all paths of a service need the same margin. Such a path is priced without any search,
so column generation takes moments; its paths, sized as they are, start the real one with prices close to the
end. An earlier plan's paths are sized anew for the instance as it is now.
"""

from __future__ import annotations

import numpy as np

from fedopt.central.master import Duals, Master
from fedopt.central.run import Run
from fedopt.plan import Plan
from fedopt.pricing import Column, Network, Oracle

__all__ = ["columns_of", "duals_of", "rough_start"]


def rough_start(
    network: Network, oracle: Oracle, seeds: list[Column], master: Master, run: Run
) -> tuple[list[Column], Duals]:
    """The paths of the rough relaxation's optimum, sized, and its duals; master: an empty one.

    seeds: a column for each kind that can be served, so that the program has a solution.
    """
    master.add(seeds)
    for _ in range(run.settings.initial_rounds):
        solution, duals = master.solve()
        prices = duals.prices(network)
        answers = oracle.price_all(prices, duals.unit + master.payments, tolerance=1e-4, effort=4, rough=True)
        if not sum(master.add(answer.columns) for answer in answers) or run.closing():
            break
    columns: list[Column] = []
    chosen: dict[int, list[np.ndarray]] = {}
    for j in np.flatnonzero(solution.x > 1e-9):
        chosen.setdefault(master.columns[j].kind, []).append(master.columns[j].offers)
    for index, paths in chosen.items():
        columns += oracle.along(network.kinds[index], np.unique(np.array(paths), axis=0), prices)
    return columns, duals


def columns_of(plan: Plan, network: Network, oracle: Oracle) -> list[Column]:
    """Columns on the paths that an earlier plan took, for its tenants and paths that still exist.

    Tenants or paths that are gone, or no longer admissible, are left out: a warm start never changes the
    answer.
    """
    kind_of = {tenant: kind for kind in network.kinds for tenant, _ in kind.tenants}
    offer_of = {name: o for o, name in enumerate(network.names)}
    wanted: dict[int, set[tuple[int, ...]]] = {}
    for entry in plan.tenants:
        if entry.admitted and entry.id in kind_of and all(name in offer_of for name in entry.path):
            wanted.setdefault(kind_of[entry.id].index, set()).add(
                tuple(offer_of[name] for name in entry.path)
            )
    prices = np.array([float(curve.marginal(0.0)) for curve in network.curves]) / network.slot
    columns: list[Column] = []
    for index, chosen in wanted.items():
        kind = network.kinds[index]
        columns.extend(oracle.along(kind, np.array(sorted(chosen), dtype=np.int64), prices))
    return columns


def duals_of(plan: Plan, network: Network) -> Duals | None:
    """An earlier plan's prices as they stand for the network now, units unknown (+inf); None where it states
    none."""
    price = {domain.id: domain.price for domain in plan.domains if domain.price is not None}
    if not price:
        return None
    load = np.zeros(len(network.names))
    offer_of = {name: o for o, name in enumerate(network.names)}
    for entry in plan.tenants:
        for name in entry.path if entry.admitted else ():
            if name in offer_of:
                load[offer_of[name]] += entry.count * entry.reservations[name.split("/")[0]]
    slot = network.slot
    marginal = [float(curve.marginal(z)) / slot for curve, z in zip(network.curves, load, strict=True)]
    capacity = [price.get(domain, 0.0) / slot for domain in network.domain_ids]
    return Duals(np.full(len(network.kinds), np.inf), np.array(capacity), np.array(marginal))
