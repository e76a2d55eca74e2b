from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.instance import Instance, InstanceError, admissible
from fedopt.instance.generating import generate
from fedopt.instance.graph import links_of


def test_nodes_and_edges(small: Instance) -> None:
    graph = small.graph()
    assert set(graph) == {"radio/std", "edge/small", "edge/large", "cloud/large"}
    assert graph.nodes["edge/large"] == {
        "stage": "compute",
        "layer": 1,
        "domain": "edge",
        "offer": small.offer("edge/large")[1],
    }
    assert graph.edges["radio/std", "cloud/large"] == {"delay": 5.0, "cost": 0.1}
    assert graph.number_of_edges() == 3


def test_a_tenant_sees_what_it_may_use(small: Instance) -> None:
    assert set(small.graph("chat")) == set(small.graph())
    assert set(small.graph("expert")) == {"radio/std", "edge/large"}
    assert set(small.graph(small.tenant("expert"))) == {"radio/std", "edge/large"}
    strict = small.with_({"tenants.expert.slo.min_accuracy": 0.99})
    assert not strict.graph("expert")
    with pytest.raises(InstanceError, match="did you mean 'expert'"):
        small.graph("exprt")


def test_without_links_all_consecutive_domains_are_joined(small: Instance) -> None:
    free = small.with_(links=None)
    assert sorted(links_of(free)) == [("radio", "cloud", 0, 0), ("radio", "edge", 0, 0)]
    assert free.graph().number_of_edges() == 3


def test_the_caller_may_change_the_graph(small: Instance) -> None:
    small.graph().clear()
    assert small.graph()


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_what_remains_is_the_union_of_the_admissible_paths(
    seed: int, stages: int, domains: int, offers: int
) -> None:
    instance = generate(5, stages, domains, seed, offers=offers)
    whole = instance.graph()
    assert nx.is_directed_acyclic_graph(whole)
    for tenant in instance.tenants:
        allowed = [
            n for n, d in whole.nodes(data=True) if not admissible(tenant, *instance.offer(n), instance.rated)
        ]
        part = whole.subgraph(allowed)
        paths = {
            node
            for start in part
            if part.nodes[start]["layer"] == 0
            for end in part
            if part.nodes[end]["layer"] == stages - 1
            for path in nx.all_simple_paths(part, start, [end])
            for node in path
        }
        if stages == 1:
            paths = set(part)
        assert set(instance.graph(tenant)) == paths
