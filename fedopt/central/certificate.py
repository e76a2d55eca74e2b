"""What no plan of a guarantee costs less than, whatever its reservations: the relaxation in which every
domain reserves only what it must by itself.

A domain's floor (`fedopt.calculus.floor`) lies below its rate in every proof of every form, at any
reservations of the others, any θ and any parameters. With floors in the place of reservations the restricted
master and its Lagrangian bound are the same as of column generation, and the bound holds for all plans.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fedopt.central.master import Duals, Master
from fedopt.central.run import Run
from fedopt.kernels import clock
from fedopt.pricing import Network, Oracle, sizing_for

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["bound_of", "bound_on_all"]

_SHORT = 100.0
"""Price of missing capacity, in multiples of the dearest capacity's."""


def bound_of(instance: Instance, guarantee: str, objective: str = "cost") -> float:
    """What no plan of an instance costs less than, whichever method makes it; from list prices on."""
    profit = objective == "profit"
    network = Network(instance, paid=profit)
    oracle = Oracle(network, sizing_for(guarantee, network))
    nothing = np.zeros(len(network.kinds)), np.zeros(len(network.capacity))
    duals = Duals(*nothing, network.prices_of_rates())
    return bound_on_all(network, oracle, profit, duals, Run(clock(), math.inf))


def bound_on_all(network: Network, oracle: Oracle, profit: bool, duals: Duals, run: Run) -> float:
    """The best Lagrangian bound met, from these duals on; at least one round is taken, however little time
    there is."""
    best = -math.inf
    master = Master(network, profit, _SHORT * max(float(duals.prices(network).max(initial=0.0)), 1e-9))
    for _ in range(run.settings.certificate_rounds):
        least, columns = oracle.relaxed(duals.prices(network))
        best = max(best, master.lagrangian(duals, least))
        if not master.add(columns) or run.expired() or not math.isfinite(best):
            break
        solution, duals = master.solve()
        if solution.value - best <= run.settings.certificate_gap * abs(solution.value):
            break
    return best
