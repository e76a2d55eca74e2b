from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedopt.instance import InstanceError
from fedopt.instance.topology import Edge, Node, Topology, great_circle


def test_great_circles() -> None:
    berlin, munich = (13.405, 52.52), (11.582, 48.135)
    assert great_circle(berlin, munich) == pytest.approx(504, rel=0.01)
    assert great_circle((0, 0), (180, 0)) == pytest.approx(20015, rel=1e-3)
    assert great_circle(berlin, berlin) == 0


def test_the_largest_part_with_lengths_and_capacities() -> None:
    nodes = {"a": Node("A", (0, 0)), "b": Node("B", (1, 0)), "c": Node("C"), "x": Node("X"), "y": Node("Y")}
    edges = [Edge("a", "b", 999.0, 5.0), Edge("b", "c"), Edge("x", "y", 1.0), Edge("a", "a", 1.0)]
    graph = Topology("t", nodes, edges).graph()
    assert set(graph) == {"a", "b", "c"}
    assert graph["a"]["b"]["km"] == pytest.approx(111.19, rel=1e-3)
    assert graph["a"]["b"]["capacity"] == 5
    assert graph["b"]["c"]["km"] == 0  # C stands where its only neighbour does
    assert graph.nodes["c"]["position"] == (1, 0)
    assert graph.graph["notes"] == [
        "left out, because not connected to the largest part: X, Y",
        "without coordinates, placed amid their neighbours: C",
    ]


def test_lengths_without_places() -> None:
    plane = {"a": Node("A", (0, 500)), "b": Node("B", (0, 900))}
    assert Topology("t", plane, [Edge("a", "b", 7.0)]).graph()["a"]["b"]["km"] == 7
    with pytest.raises(InstanceError, match="a – b has no length"):
        Topology("t", {"a": Node("A"), "b": Node("B")}, [Edge("a", "b")]).graph()
    assert Topology("t", plane, [Edge("a", "b")]).graph()["a"]["b"]["km"] == 400
    with pytest.raises(InstanceError, match="no nodes"):
        Topology("t", {}, []).graph()


@given(st.lists(st.tuples(st.booleans(), st.floats(0.5, 100), st.floats(1, 500)), min_size=1, max_size=6))
def test_parallel_edges_add_up_whichever_way_they_are_written(
    given: list[tuple[bool, float, float]],
) -> None:
    nodes = {"a": Node("A"), "b": Node("B")}
    edges = [Edge(*("ab" if forth else "ba"), km, capacity) for forth, capacity, km in given]
    joined = Topology("t", nodes, edges).graph()["a"]["b"]
    assert joined["capacity"] == pytest.approx(sum(capacity for _, capacity, _ in given))
    assert joined["km"] == min(km for _, _, km in given)
    one_way = Topology("t", nodes, edges, directed=True).graph()["a"]["b"]["capacity"]
    ways = [sum(capacity for forth, capacity, _ in given if forth is way) for way in (True, False)]
    assert one_way == pytest.approx(max(ways))
