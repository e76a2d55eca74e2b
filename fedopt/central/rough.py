"""First columns for large programs: the paths of a rough relaxation, in which all paths of a service need the
same scale.

Such a path is priced without any search for scales, so column generation takes moments; its paths, sized as
they are, start the real one with prices close to the end.
"""

from __future__ import annotations

import numpy as np

from fedopt.central.generation import Run
from fedopt.central.master import Duals, Master
from fedopt.pricing import Column, Network, Oracle

__all__ = ["rough_start"]

_MOST_ROUNDS = 60


def rough_start(
    network: Network, oracle: Oracle, seeds: list[Column], master: Master, run: Run
) -> tuple[list[Column], Duals]:
    """The paths of the rough relaxation's optimum, sized, and its duals; master: an empty one.

    seeds: a column for each kind that can be served, so that the program has a solution.
    """
    payments = np.array([kind.payment if master.profit else 0.0 for kind in network.kinds])
    master.add(seeds)
    for _ in range(_MOST_ROUNDS):
        solution, duals = master.solve()
        prices = duals.prices(network)
        answers = oracle.price_all(prices, duals.head + payments, tolerance=1e-4, effort=4, rough=True)
        if not sum(master.add(answer.columns) for answer in answers) or run.closing():
            break
    columns: list[Column] = []
    chosen: dict[int, list[np.ndarray]] = {}
    for j in np.flatnonzero(solution.x > 1e-9):
        chosen.setdefault(master.columns[j].kind, []).append(master.columns[j].offers)
    for index, paths in chosen.items():
        columns += oracle.along(network.kinds[index], np.unique(np.array(paths), axis=0), prices)
    return columns, duals
