"""The last step of a plan: reservations of any shape on the paths that were chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedopt.central.integer import Choice
from fedopt.central.master import Duals, Master
from fedopt.central.run import Run
from fedopt.pricing import Oracle
from fedopt.pricing.local_search import cheaper
from fedopt.pricing.profiles import MinplusSizing

__all__ = ["with_free_rates"]


def with_free_rates(master: Master, oracle: Oracle, choice: Choice, duals: Duals, run: Run) -> Choice:
    """The choice with cheaper reservations where some fit; its bound stays that of the catalogue."""
    sizing = oracle.sizing
    if not isinstance(sizing, MinplusSizing):
        return choice
    network = master.network
    columns = list(choice.columns)
    plan = Master(network, master.profit, 0.0)
    plan.columns = columns
    cost = choice.cost
    spent = [
        float(units) * column.cost(duals.prices(network))
        for column, units in zip(columns, choice.units, strict=True)
    ]
    # among many columns each saves little, but for guardrails, which charge a path for its own speed
    worth = len(columns) <= run.settings.free_columns
    costliest = [
        int(j)
        for j in np.argsort(spent, kind="stable")[::-1]
        if worth or network.lags(columns[j].offers).any()
    ]
    for j in costliest[: run.settings.free_columns]:
        if run.expired():
            break
        before = columns[j]
        kind, prices = network.kinds[before.kind], plan.prices(choice.units, duals)
        columns[j] = cheaper(sizing, kind, before, prices, thorough=len(columns) <= run.settings.free_columns)
        if columns[j] is before:
            continue
        value = plan.cost(choice.units)
        if value < cost and not plan.overloaded(choice.units):
            cost = value
        else:
            columns[j] = before
    return replace(choice, columns=columns, cost=cost)
