from __future__ import annotations

import pytest

from fedopt.instance import SLO, Instance, InstanceError, Linear


def test_changes_by_field_path_index_and_star(small: Instance) -> None:
    changed = small.with_(
        {
            "tenants.chat.slo.deadline": 110,
            "tenants.*.payment": 5,
            "domains.edge.offers.0.cost": {"model": "quadratic", "rate": 1, "quad": 2},
            "domains.edge.offers.large.cost.rate": 3,
            "links.radio>cloud.delay": 7,
        },
        slot=0.5,
    )
    assert changed.tenant("chat").slo == SLO(deadline=110, epsilon=0.001)
    assert [tenant.payment for tenant in changed.tenants] == [5, 5]
    assert changed.offer("edge/small")[1].cost.model == "quadratic"
    assert changed.offer("edge/large")[1].cost == Linear(rate=3)
    assert changed.links is not None
    assert changed.links[1].delay == 7
    assert changed.slot == 0.5
    assert small.slot == 1 != changed.slot
    assert small.tenant("chat").slo.deadline == 50
    assert small.sha256 != changed.sha256


def test_no_change_gives_an_equal_instance(small: Instance) -> None:
    assert small.with_() == small


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("tenants.chatt.slo.deadline", 1, "did you mean 'chat'"),
        ("tenants.chat.slo.deadlin", 1, "did you mean 'deadline'"),
        ("tenents", 1, "did you mean 'tenants'"),
        ("tenants.chat.slo.deadline.x", 1, "nothing lies below"),
        ("tenants.9", 1, "no entry '9'"),
        ("tenants.chat.slo.epsilon", 2, "below 1"),
        ("tenants.chat.slo", {"deadline": 1}, "epsilon"),
        ("domains.edge.offers.small.cost", {"model": "linar", "rate": 1}, "did you mean 'linear'"),
        ("domains.edge.stage", "access", "links"),
        ("links", [{"from": "radio", "to": "egde"}], "did you mean 'edge'"),
    ],
)
def test_changes_that_cannot_be(small: Instance, path: str, value: object, said: str) -> None:
    with pytest.raises(InstanceError, match=said):
        small.with_({path: value})


def test_ids_with_dots(small: Instance) -> None:
    dotted = small.with_({"tenants.chat.id": "a.b"})
    assert dotted.with_({"tenants.a.b.payment": 3}).tenant("a.b").payment == 3


def test_a_trace_keeps_its_directory(tmp_path: object, small: Instance) -> None:
    from pathlib import Path

    from fedopt.instance import TraceArrivals

    folder = Path(str(tmp_path))
    (folder / "t.csv").write_text("time,work,tokens\n1,2,3\n")
    trace = TraceArrivals.model_validate({"file": "t.csv"}, context={"directory": folder})
    instance = small.with_({"tenants.chat.arrivals": trace})
    changed = instance.with_({"tenants.chat.arrivals.work_column": "tokens"})
    assert changed.tenant("chat").arrivals.path == folder / "t.csv"
