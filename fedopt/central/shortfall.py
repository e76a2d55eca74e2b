"""How much capacity an instance lacks: the least extra capacity, relative to each domain's own, that makes
it feasible."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fedopt.central.generation import generate
from fedopt.central.master import Master
from fedopt.central.run import Run
from fedopt.kernels import clock
from fedopt.pricing import Network, Oracle, sizing_for

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["shortfall"]


def shortfall(instance: Instance, guarantee: str = "minplus") -> dict[str, float]:
    """Extra capacity (work per unit of time) by domain id, such that tenants fit when split over paths; {}
    if they fit.

    Minimises Σ extra_d / capacity_d over all plans.  A lower bound on what whole tenants
    need; tenants that no capacity could help are left out.
    """
    network = Network(instance).without_costs()
    oracle = Oracle(network, sizing_for(guarantee, network))
    # A drained domain (capacity 0) admits nobody, so its price is never paid.
    extra_cost = 1.0 / np.where(network.capacity > 0.0, network.capacity, 1.0)
    prices = extra_cost[network.domain] * network.factor
    master = Master(network, False, 1.0)
    for d, cost in enumerate(extra_cost):
        master.highs.changeColCost(d, float(cost))
    for kind in network.kinds:
        columns = oracle.price(kind, prices).columns
        if not columns:  # infeasible for another reason than capacity, which is not this question
            master.release(kind)
        master.add(columns)
    now = clock()
    relaxation = generate(master, oracle, Run(now, math.inf, None), 1e-6)
    missing = np.maximum(relaxation.solution.overflow, 0.0)
    return {
        network.domain_ids[d]: float(extra) / network.slot
        for d, extra in enumerate(missing)
        if extra > 1e-9 * network.capacity[d]
    }
