from __future__ import annotations

import numpy as np
import pytest

from fedopt.instance import Instance
from fedopt.instance.placing import Placement, place


def _place(instance: Instance) -> Placement:
    return place(
        instance.stages,
        instance.domains,
        instance.links,
        instance.tenants,
        instance.slot,
        np.random.default_rng(0),
    )


def test_loads_and_costs(small: Instance) -> None:
    placed = _place(small)
    assert not placed.unserved
    assert set(placed.costs) == {"chat", "expert"}
    # chat takes the small model, each of the three experts the large one, which uses capacity twice
    chat, expert = (placed.costs[name] / 2 for name in ("chat", "expert"))
    assert placed.loads["radio"] == pytest.approx(chat + 3 * expert)
    assert placed.loads["edge"] == pytest.approx(chat + 2 * 3 * expert)
    assert placed.loads["cloud"] == 0


def test_what_has_no_room_goes_elsewhere(small: Instance) -> None:
    tight = small.with_({"domains.edge.capacity": 0.1, "tenants.chat.count": 5})
    placed = _place(tight)
    assert placed.loads["cloud"] > 0


def test_who_cannot_be_served(small: Instance) -> None:
    late = small.with_({"tenants.chat.slo.deadline": 1})
    assert _place(late).unserved == ["chat"]
    barred = small.with_({"tenants.expert.slo.min_accuracy": 1})
    assert _place(barred).unserved == ["expert"]
