import pytest

from fedopt.instance import loads
from fedopt.sweep import SweepError, cases_of, parse_axis


@pytest.fixture
def one():
    return loads(
        """
stages: [edge]
domains:
  - {id: edge-1, stage: edge, capacity: 10, offers: [{id: standard, latency: 2}]}
tenants:
  - {id: chat, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 20, epsilon: 1e-3}}
"""
    )


def test_values_are_read_as_in_an_instance_file():
    axis = parse_axis("tenants.chat.slo.epsilon=1e-3, 0.01,1")
    assert (axis.place, axis.values) == ("tenants.chat.slo.epsilon", (1e-3, 0.01, 1))
    assert parse_axis("tenants.chat.policy.operators=[opA, opB],[no]").values == (["opA", "opB"], ["no"])


@pytest.mark.parametrize("text", ["slot", "slot=", "=1,2", "slot=[1", "slot=1]"])
def test_what_is_no_axis(text):
    with pytest.raises(SweepError) as caught:
        parse_axis(text)
    assert caught.value.exit_code == 2
    assert repr(text) in str(caught.value)


def test_all_combinations_in_order(one):
    axes = [parse_axis("slot=1,2"), parse_axis("tenants.chat.count=1,2,3")]
    cases = list(
        cases_of([("a", one, None), ("b", None, "unreadable")], axes, ["central"], ["split", "minplus"])
    )
    assert len(cases) == 2 * 2 * 3 * 2
    first, second, third = cases[:3]
    assert first.changes == second.changes == (("slot", 1), ("tenants.chat.count", 1))
    assert (first.guarantee, second.guarantee) == ("split", "minplus")
    assert third.changes == (("slot", 1), ("tenants.chat.count", 2))
    assert cases[-1].problem == "unreadable"
    assert len({case.key for case in cases}) == len(cases)


def test_a_key_knows_all_that_determines_the_answer(one):
    def key(instance=one, axes=("slot=1",), **options):
        (case,) = cases_of([("a", instance, None)], [parse_axis(axis) for axis in axes], **options)
        return case.key

    assert key() == key()
    others = [key(gap=0.5), key(axes=("slot=2",)), key(seed=1), key(time_limit=3.0), key(objective="profit")]
    others += [key(guarantees=["split"]), key(instance=one.with_(slot=0.5))]
    assert key() not in others
    assert len(set(others)) == len(others)


def test_a_place_is_swept_once(one):
    with pytest.raises(SweepError, match="swept twice"):
        list(cases_of([("a", one, None)], [parse_axis("slot=1"), parse_axis("slot=2")]))
