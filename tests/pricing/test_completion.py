"""No completion needs less than the mildest one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fedopt.pricing.image_margin import ACCURACY, image_margin, margin_workspace
from tests.pricing.paths import Sample, services


def _mildly(service, prefix, g):
    """A path whose later stages are held by the mildest offers of window number g, for `image_slopes`."""
    graph, mild = service.graph, service.graph.completions
    stages, known = len(graph.first) - 1, len(prefix)
    first, rows, floors = [], [], []
    for hop in prefix:
        for _ in range(2):
            first.append(len(rows))
            rows.append(graph.row[hop])
            floors.append(graph.floor[g, hop])
    for side in range(2 * known, 2 * stages):
        first.append(len(rows))
        members = slice(mild.first[g, side], mild.first[g, side + 1])
        rows.extend(mild.row[members])
        floors.extend(mild.floor[members])
    first.append(len(rows))
    own = np.array(prefix, dtype=np.int64)
    lag = float(graph.lag[own].sum() + mild.lag[g, known])
    lagged = float(graph.floor[g, own] @ graph.lag[own] + mild.lagged[g, known])
    members = np.array(first), np.array(rows), np.array(floors)
    promise = int(graph.windows[g]), service.biased, service.log_epsilon
    return service.network.models, service.arrival, members, graph.row[own], lag, lagged, *promise


@pytest.mark.parametrize(("stages", "domains", "seed"), [(3, 6, 0), (3, 6, 1), (4, 4, 2), (5, 3, 3)])
def test_no_completion_needs_a_smaller_margin(stages, domains, seed):
    rng = np.random.default_rng(seed)
    slack = []
    for service in services(stages, domains, seed, count=6):
        graph, work = service.graph, margin_workspace(stages)
        g = int(rng.integers(len(graph.windows)))
        window = int(graph.windows[g])
        last = service.memory.last[stages].copy()
        margins = {}
        for path in itertools.product(*(range(*graph.first[s : s + 2]) for s in range(stages))):
            hops = np.array(path)
            floor = graph.floor[g, hops]
            if np.isfinite(floor).all():
                alone = Sample(service, hops, window, floor)
                margins[path] = image_margin(alone.singly, last, graph.unit, work)
        for known in range(1, stages):
            last = service.memory.last[known].copy()
            for prefix in {path[:known] for path in margins}:
                least = np.nanmin([m for path, m in margins.items() if path[:known] == prefix])
                mild = image_margin(_mildly(service, prefix, g), last, graph.unit, work)
                if not math.isnan(mild):
                    assert mild <= least + ACCURACY * (graph.unit + least)
                    slack.append((least - mild) / (graph.unit + least))
    assert np.median(slack) < 0.02  # and the bound is of use


def test_few_offers_are_ever_the_mildest():
    for service in services(4, 12, seed=4, count=4):
        sizes = np.diff(service.graph.completions.first, axis=1)
        assert sizes.min() >= 1
        assert sizes.mean() < 5
