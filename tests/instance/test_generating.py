from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.instance import InstanceError, admissible
from fedopt.instance.generating import generate, stage_names
from fedopt.instance.placing import place


def test_the_same_arguments_give_the_same_instance() -> None:
    assert generate(20, 3, 5, 7) == generate(20, 3, 5, 7)
    assert generate(20, 3, 5, 7).sha256 != generate(20, 3, 5, 8).sha256


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    st.integers(1, 60),
    st.integers(1, 7),
    st.integers(1, 8),
    st.integers(0, 10**9),
    st.integers(1, 3),
    st.floats(0, 0.7),
)
def test_a_placement_fits(
    tenants: int, stages: int, domains: int, seed: int, offers: int, binding: float
) -> None:
    import numpy as np

    instance = generate(tenants, stages, domains, seed, offers=offers, binding=binding)
    assert len(instance.domains) == stages * domains
    assert sum(tenant.count for tenant in instance.tenants) == tenants
    for tenant in instance.tenants:
        assert instance.graph(tenant)
    # Some order of placing them fits, by construction; any order finds a path for each.
    placed = place(
        instance.stages, instance.domains, instance.links, instance.tenants, 1.0, np.random.default_rng(0)
    )
    assert not placed.unserved


def test_counts_make_millions() -> None:
    instance = generate(10**6, 4, 12, 1, kinds=200)
    assert len(instance.tenants) == 200
    assert sum(tenant.count for tenant in instance.tenants) == 10**6


def test_tenants_share_few_models_and_groups_differ() -> None:
    instance = generate(2000, 3, 8, 3)
    assert len({tenant.arrivals for tenant in instance.tenants}) <= 6
    assert len({tenant.policy for tenant in instance.tenants}) <= 6
    seen = set()
    for tenant in instance.tenants:
        allowed = frozenset(
            domain.id
            for domain in instance.domains
            if not admissible(tenant, domain, domain.offers[0], instance.rated)
        )
        seen.add(allowed)
    assert 2 <= len(seen) <= 6


def test_about_the_stated_share_of_domains_is_full() -> None:
    """With the rates of the closed form scaled to those of the tighter forms, the cheap domains fill up."""
    import numpy as np

    full = []
    for seed in range(5):
        instance = generate(300, 3, 12, seed, binding=1 / 3)
        placed = place(
            instance.stages, instance.domains, instance.links, instance.tenants, 1.0, np.random.default_rng(1)
        )
        full.append(np.mean([placed.loads[d.id] > 0.95 * d.capacity for d in instance.domains]))
    assert 0.2 <= np.mean(full) <= 0.7


def test_names_of_stages() -> None:
    assert stage_names(1) == ("compute",)
    assert stage_names(2) == ("access", "compute")
    assert stage_names(3) == ("access", "transport", "compute")
    assert stage_names(4) == ("access", "transport-1", "transport-2", "compute")


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ((0, 1, 1, 0), "tenants"),
        ((1, 0, 1, 0), "stages"),
        ((1, 21, 1, 0), "stages"),
        ((1, 1, 0, 0), "domains"),
        ((1, 1, 1, -1), "seed"),
    ],
)
def test_sizes_that_make_no_instance(arguments: tuple[int, int, int, int], place: str) -> None:
    with pytest.raises(InstanceError) as caught:
        generate(*arguments)
    assert place in [problem.place for problem in caught.value.problems]


def test_kinds_cannot_outnumber_tenants() -> None:
    with pytest.raises(InstanceError, match="kinds"):
        generate(10, 1, 1, 0, kinds=11)
    with pytest.raises(InstanceError, match="binding"):
        generate(10, 1, 1, 0, binding=2)
