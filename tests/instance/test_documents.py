from __future__ import annotations

from typing import Any

import pytest

from fedopt.instance import (
    SLO,
    Domain,
    Instance,
    InstanceError,
    Linear,
    Link,
    NoImpairment,
    Offer,
    Poisson,
    Tenant,
)


def test_an_instance_built_in_code() -> None:
    instance = Instance(
        stages=["edge"],
        domains=[Domain(id="d", stage="edge", capacity=10, offers=[Offer(id="o", latency=2)])],
        tenants=[Tenant(id="t", arrivals=Poisson(rate=0.5), slo=SLO(deadline=20, epsilon=1e-3))],
    )
    assert instance.slot == 1.0
    assert instance.units.time == "ms"
    domain, offer = instance.offer("d/o")
    assert domain.id == "d"
    assert (offer.cost, offer.impairment) == (Linear(rate=1), NoImpairment())
    assert instance.tenant("t").count == 1


def test_documents_cannot_be_changed_and_can_be_compared(small: Instance, data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="frozen"):
        small.slot = 2  # type: ignore[misc]
    assert small == Instance.model_validate(data)
    assert hash(small.tenants[0]) == hash(Instance.model_validate(data).tenants[0])


def test_mistakes_in_code_are_explained_like_those_in_files(small: Instance) -> None:
    with pytest.raises(InstanceError) as caught:
        SLO(deadline=-1, epsilon=3, epsilom=0.1)
    assert [problem.place for problem in caught.value.problems] == ["deadline", "epsilon", "epsilom"]
    with pytest.raises(InstanceError, match="no domain 'nowhere'"):
        Instance(
            stages=small.stages,
            domains=small.domains,
            links=[Link(**{"from": "radio", "to": "nowhere"})],
            tenants=small.tenants,
        )


def test_lookups_suggest_near_misses(small: Instance) -> None:
    with pytest.raises(InstanceError, match="did you mean 'edge'"):
        small.domain("egde")
    with pytest.raises(InstanceError, match="did you mean 'chat'"):
        small.tenant("chatt")
    with pytest.raises(InstanceError, match="did you mean 'edge/small'"):
        small.offer("edge/smal")


def test_links_take_from_as_a_word_of_the_language(small: Instance) -> None:
    assert Link(from_="a", to="b") == Link(**{"from": "a", "to": "b"})
    assert small.links is not None
    assert small.links[0].from_ == "radio"


def test_dependence_goes_both_ways(small: Instance) -> None:
    assert small.dependent_pairs == {frozenset({"edge", "cloud"})}


@pytest.mark.parametrize("id", ["", "a/b", " a", "a ", "a\nb", "x" * 201, 5, None, True])
def test_names(id: object) -> None:
    with pytest.raises(InstanceError, match="id"):
        Offer(id=id)


@pytest.mark.parametrize("epsilon", [0, 1, -0.1, 1.5, float("nan"), "0.1", True])
def test_epsilon_lies_strictly_between_0_and_1(epsilon: object) -> None:
    with pytest.raises(InstanceError, match="epsilon"):
        SLO(deadline=1, epsilon=epsilon)


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True, 10**10])
def test_counts_are_whole_numbers(count: object) -> None:
    with pytest.raises(InstanceError, match="count"):
        Tenant(id="t", count=count, arrivals=Poisson(rate=1), slo=SLO(deadline=1, epsilon=0.1))
