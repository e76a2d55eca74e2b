"""Split with whole units: every cut of the program from below holds for every admissible reservation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.central import regions
from fedopt.central.generation import generate
from fedopt.central.master import Master
from fedopt.central.run import Run
from fedopt.instance.generating import generate as generated
from fedopt.pricing import Network, Oracle, sizing_for


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_cuts_hold_for_every_reservation(seed, monkeypatch):
    instance = generated(4, 2, 4, seed, binding=0.6).with_(theta=[0.05, 0.1, 0.2, 0.4, 0.8])
    network = Network(instance)
    oracle = Oracle(network, sizing_for("split", network))
    master = Master(network, False, 100.0)
    for columns in oracle.first(network.prices_of_rates()):
        master.add(columns)
    run = Run(0.0, math.inf, None, None)
    relaxation = generate(master, oracle, run, 1e-4, None)
    searches = []
    init = regions._Search.__init__
    monkeypatch.setattr(
        regions._Search, "__init__", lambda self, *a: (searches.append(self), init(self, *a))[1]
    )
    choice = regions.proven_region_plan(master, oracle, relaxation, run, 1e-3)
    assert choice is not None
    (search,) = searches
    if not search.cuts:
        search.widen(2.0 * choice.cost)
    assert len(search.cuts) > len(network.kinds) * 2
    rng = np.random.default_rng(seed)
    points = list(choice.columns)
    for kind in network.kinds:
        every = np.arange(len(network.paths(kind)))
        for _ in range(20):
            prices = 10 ** rng.uniform(-3, 1, len(network.names))
            for columns in oracle.sizing.size(kind, every, prices, np.full(len(every), math.inf)):
                points += columns
    tight = 0
    for cut in search.cuts:
        for column in points:
            if column.kind == cut.kind:
                paid = float(cut.prices[column.offers] @ column.rates)
                assert paid >= cut.values.get(column.path, 0.0)
                tight += paid < 1.01 * cut.values.get(column.path, 0.0)
    assert tight > 0, "cuts that never come near say nothing"
