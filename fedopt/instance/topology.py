"""A real network as it was found: nodes on the globe, edges between them, demands from node to node."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import networkx as nx

from .errors import InstanceError, Problem

EARTH_KM = 6371.0
"""Mean radius of the earth."""


@dataclass(frozen=True)
class Node:
    """A node by name, at longitude and latitude in degrees where they are known."""

    name: str
    position: tuple[float, float] | None = None


@dataclass(frozen=True)
class Topology:
    """A network of `nodes` by id, `edges` by their ends with length in km (or None), and demands.

    `capacities` holds what is known of edges' capacities, in the source's own unit; `demands` the traffic
    from node to node, empty where the source states none.
    """

    name: str
    nodes: Mapping[str, Node]
    edges: Mapping[tuple[str, str], float | None]
    demands: Mapping[tuple[str, str], float] = field(default_factory=dict)
    capacities: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def graph(self) -> nx.Graph:
        """The largest connected part, with `km` and `capacity` of edges and `name` and `position` of nodes.

        Nodes without a position get the mean position of their neighbours. An edge is as long as the great
        circle between its ends, or as the source states where the positions are not known. Raises
        `InstanceError` where neither is known.
        """
        graph = nx.Graph(name=self.name)
        for id in sorted(self.nodes):
            graph.add_node(id, name=self.nodes[id].name)
        for start, end in sorted(self.edges):
            if start != end:
                graph.add_edge(start, end, capacity=0.0)
        if graph.number_of_nodes() == 0:
            raise _unusable(self.name, "has no nodes", "give a file of a network")
        largest = max(nx.connected_components(graph), key=lambda part: (len(part), min(part)))
        graph = graph.subgraph(sorted(largest)).copy()
        positions = self._positions(graph)
        nx.set_node_attributes(graph, positions, "position")
        for (start, end), stated in sorted(self.edges.items()):
            if graph.has_edge(start, end):
                edge = graph[start][end]
                edge["capacity"] += self.capacities.get((start, end), 0.0)
                edge["km"] = min(self._length(start, end, stated, positions), edge.get("km", math.inf))
        return graph

    def _positions(self, graph: nx.Graph) -> dict[str, tuple[float, float] | None]:
        positions = {id: self.nodes[id].position for id in graph}
        for _ in range(len(positions)):
            missing = [id for id in graph if positions[id] is None]
            found = {}
            for id in missing:
                near = [p for other in sorted(graph[id]) if (p := positions[other]) is not None]
                if near:
                    found[id] = (sum(x for x, _ in near) / len(near), sum(y for _, y in near) / len(near))
            if not found:
                break
            positions.update(found)
        return positions

    def _length(
        self, start: str, end: str, stated: float | None, positions: Mapping[str, tuple[float, float] | None]
    ) -> float:
        here, there = positions[start], positions[end]
        if here is not None and there is not None and _on_globe(here) and _on_globe(there):
            return great_circle(here, there)
        if stated is not None:
            return stated
        message = f"the edge {start} – {end} has no length, and its ends no longitude and latitude"
        raise _unusable(self.name, message, "add coordinates to the nodes, or lengths in km to the edges")


def great_circle(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Distance in km between two points (longitude, latitude) in degrees on the globe."""
    (x0, y0), (x1, y1) = ((math.radians(x), math.radians(y)) for x, y in (here, there))
    chord = math.sin((y1 - y0) / 2) ** 2 + math.cos(y0) * math.cos(y1) * math.sin((x1 - x0) / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(chord, 1.0)))


def _on_globe(position: tuple[float, float]) -> bool:
    return abs(position[0]) <= 360 and abs(position[1]) <= 90


def _unusable(name: str, message: str, remedy: str) -> InstanceError:
    return InstanceError([Problem("", message, remedy)], source=name)
