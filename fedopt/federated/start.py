"""Where a run starts: first prices, penalties scaled to them, and loads to be near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedopt.federated.flows import Flows
from fedopt.federated.settings import Settings
from fedopt.plan import Plan

__all__ = ["Start", "start_from"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Start:
    """Prices, penalties, a typical load of each offer and the loads of the first proposal, all (offers,).

    `known`: the loads are an earlier plan's, to be near from the first round on.
    """

    prices: Floats
    penalties: Floats
    scale: Floats
    loads: Floats
    known: bool


def start_from(flows: Flows, quotes: Floats, settings: Settings, plan: Plan | None = None) -> Start:
    """A start from the operators' quotes, or from the prices and loads of an earlier plan."""
    network = flows.network
    asked = quotes[quotes > 0.0]
    floor = 1e-3 * float(asked.mean()) if len(asked) else 1.0
    prices = np.maximum(quotes, floor)
    flows.begin(prices)
    cheapest = _all_on_cheapest(flows, prices)
    stages = np.array([cheapest[network.stage == s].mean() for s in range(network.stages)])
    scale = np.maximum(stages[network.stage], 1e-9)
    if plan is not None:
        prices, loads = _of_plan(flows, prices, plan)
        scale = np.maximum(scale, loads)
    each = np.full(len(prices), prices.mean()) if settings.list_penalty else prices
    mean = np.full(len(prices), scale.mean()) if settings.list_penalty else scale
    penalties = settings.penalty * each / mean
    if plan is None:
        loads = flows.step(prices, penalties, np.zeros(len(prices)), passes=4, tolerance=1e-3).loads
    return Start(prices, penalties, scale, loads, plan is not None)


def _all_on_cheapest(flows: Flows, prices: Floats) -> Floats:
    """Loads if every head took the cheapest column at hand."""
    each = flows.charge + prices @ flows.matrix
    x = np.zeros(len(each))
    for kind, count in enumerate(flows.counts):
        mine = np.flatnonzero(flows.kind == kind)
        if len(mine):
            x[mine[np.argmin(each[mine])]] = count
    return flows.loads(x)


def _of_plan(flows: Flows, prices: Floats, plan: Plan) -> tuple[Floats, Floats]:
    """Prices with the plan's prices of capacity on top, and the plan's loads."""
    network = flows.network
    capacity = {domain.id: domain.price or 0.0 for domain in plan.domains}
    dear = np.array([capacity.get(network.domain_ids[d], 0.0) for d in network.domain])
    index = {name: o for o, name in enumerate(network.names)}
    loads = np.zeros(flows.offers)
    for entry in plan.tenants:
        for hop in entry.path if entry.admitted else ():
            if hop in index:
                loads[index[hop]] += entry.count * entry.reservations.get(hop.partition("/")[0], 0.0)
    return prices + network.factor * dear, loads
