from __future__ import annotations

import pytest

from fedopt.instance import InstanceError
from fedopt.instance.topology import Node, Topology, great_circle


def test_great_circles() -> None:
    berlin, munich = (13.405, 52.52), (11.582, 48.135)
    assert great_circle(berlin, munich) == pytest.approx(504, rel=0.01)
    assert great_circle((0, 0), (180, 0)) == pytest.approx(20015, rel=1e-3)
    assert great_circle(berlin, berlin) == 0


def test_the_largest_part_with_lengths_and_capacities() -> None:
    nodes = {"a": Node("A", (0, 0)), "b": Node("B", (1, 0)), "c": Node("C"), "x": Node("X"), "y": Node("Y")}
    edges = {("a", "b"): 999.0, ("b", "c"): None, ("x", "y"): 1.0, ("a", "a"): 1.0}
    graph = Topology("t", nodes, edges, capacities={("a", "b"): 5.0}).graph()
    assert set(graph) == {"a", "b", "c"}
    assert graph["a"]["b"]["km"] == pytest.approx(111.19, rel=1e-3)
    assert graph["a"]["b"]["capacity"] == 5
    assert graph["b"]["c"]["km"] == 0  # C stands where its only neighbour does
    assert graph.nodes["c"]["position"] == (1, 0)


def test_lengths_without_places() -> None:
    plane = {"a": Node("A", (0, 500)), "b": Node("B", (0, 900))}
    assert Topology("t", plane, {("a", "b"): 7.0}).graph()["a"]["b"]["km"] == 7
    with pytest.raises(InstanceError, match="a – b has no length"):
        Topology("t", {"a": Node("A"), "b": Node("B")}, {("a", "b"): None}).graph()
    with pytest.raises(InstanceError, match="no nodes"):
        Topology("t", {}, {}).graph()
