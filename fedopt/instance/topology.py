"""A real network as it was found: nodes on the globe, edges between them, demands from node to node."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx

from .errors import InstanceError, Problem

EARTH_KM = 6371.0
"""Mean radius of the earth."""

NAMED = 6
"""Nodes that a note names one by one."""


@dataclass(frozen=True)
class Node:
    """A node by name, at longitude and latitude in degrees where they are known."""

    name: str
    position: tuple[float, float] | None = None


@dataclass(frozen=True)
class Edge:
    """An edge between two nodes (ids), with its length in km and its capacity where they are known."""

    start: str
    end: str
    km: float | None = None
    capacity: float = 0.0


@dataclass(frozen=True)
class Topology:
    """A network as its source states it.

    `nodes` are by id; `edges` may be parallel. Capacities and `demands` (traffic from node to node) are in
    the source's own units, and empty where it states none. In a `directed` network an edge carries traffic
    from its start to its end alone. With `plane` the positions are points of a plane, not on the globe; so
    they are where one of them cannot be a longitude and a latitude.
    """

    name: str
    nodes: Mapping[str, Node]
    edges: Sequence[Edge]
    demands: Mapping[tuple[str, str], float] = field(default_factory=dict)
    directed: bool = False
    plane: bool = False

    def graph(self) -> nx.Graph:
        """The largest connected part as an undirected graph, with what was assumed under `graph["notes"]`.

        Edges have `km` and `capacity`, nodes `name` and `position`. The capacities of parallel edges add up,
        whichever way each is written; in a directed network those of one direction do, and the stronger
        direction counts. The shortest of parallel edges gives the length. Nodes without a position get the
        mean position of their neighbours. An edge is as long as the great circle between its ends; where
        that is not known, as the source states, or else as the distance of its ends on the plane, in km.

        Raises
        ------
        InstanceError
            If the network has no node, or an edge neither a length nor positions of its ends.
        """
        graph = nx.Graph(name=self.name)
        graph.add_nodes_from((id, {"name": self.nodes[id].name}) for id in sorted(self.nodes))
        graph.add_edges_from(sorted((e.start, e.end) for e in self.edges if e.start != e.end))
        if graph.number_of_nodes() == 0:
            raise _unusable(self.name, "has no nodes", "give a file of a network")
        notes: list[str] = []
        parts = sorted(nx.connected_components(graph), key=lambda part: (-len(part), min(part)))
        if len(parts) > 1:
            dropped = [self.nodes[id].name for part in parts[1:] for id in sorted(part)]
            notes.append(f"left out, because not connected to the largest part: {_listed(dropped)}")
        graph = graph.subgraph(sorted(parts[0])).copy()
        positions = self._positions(graph, notes)
        flat = self.plane or any(not _on_globe(place) for place in positions.values() if place is not None)
        if flat:
            stated = all(edge.km is not None for edge in self.edges)
            taken = "the stated lengths were taken" if stated else "distances on that plane were taken as km"
            notes.append(f"the coordinates are no longitudes and latitudes (pixels?); {taken}")
        nx.set_node_attributes(graph, dict.fromkeys(graph) if flat else positions, "position")
        self._measure(graph, positions, flat)
        graph.graph["notes"] = notes
        return graph

    def _measure(
        self, graph: nx.Graph, positions: Mapping[str, tuple[float, float] | None], flat: bool
    ) -> None:
        """The length and the capacity of every edge of the graph."""
        one_way: dict[tuple[str, str], float] = {}
        for edge in self.edges:
            if not graph.has_edge(edge.start, edge.end):
                continue
            found = graph[edge.start][edge.end]
            found["km"] = min(self._length(edge, positions, flat), found.get("km", math.inf))
            ends = (edge.start, edge.end)
            key = ends if self.directed else (min(ends), max(ends))
            one_way[key] = one_way.get(key, 0.0) + edge.capacity
        for start, end, found in graph.edges(data=True):
            found["capacity"] = max(one_way.get((start, end), 0.0), one_way.get((end, start), 0.0))

    def _positions(self, graph: nx.Graph, notes: list[str]) -> dict[str, tuple[float, float] | None]:
        """The positions of all nodes that have one or a neighbour that has."""
        positions = {id: self.nodes[id].position for id in graph}
        unplaced = [id for id in graph if positions[id] is None]
        for _ in unplaced:
            found = {}
            for id in (id for id in unplaced if positions[id] is None):
                near = [p for other in sorted(graph[id]) if (p := positions[other]) is not None]
                if near:
                    found[id] = (sum(x for x, _ in near) / len(near), sum(y for _, y in near) / len(near))
            if not found:
                break
            positions.update(found)
        guessed = [self.nodes[id].name for id in unplaced if positions[id] is not None]
        if guessed:
            notes.append(f"without coordinates, placed amid their neighbours: {_listed(guessed)}")
        return positions

    def _length(self, edge: Edge, positions: Mapping[str, tuple[float, float] | None], flat: bool) -> float:
        here, there = positions[edge.start], positions[edge.end]
        if here is not None and there is not None and not flat:
            return great_circle(here, there)
        if edge.km is not None:
            return edge.km
        if here is not None and there is not None:
            return math.dist(here, there)
        message = f"the edge {edge.start} – {edge.end} has no length, and its ends no longitude and latitude"
        raise _unusable(self.name, message, "add coordinates to the nodes, or lengths in km to the edges")


def great_circle(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Distance in km between two points (longitude, latitude) in degrees on the globe."""
    (x0, y0), (x1, y1) = ((math.radians(x), math.radians(y)) for x, y in (here, there))
    chord = math.sin((y1 - y0) / 2) ** 2 + math.cos(y0) * math.cos(y1) * math.sin((x1 - x0) / 2) ** 2
    return 2 * EARTH_KM * math.asin(math.sqrt(min(chord, 1.0)))


def _on_globe(position: tuple[float, float]) -> bool:
    """Whether a position can be a longitude and a latitude in degrees."""
    return abs(position[0]) <= 360 and abs(position[1]) <= 90


def _listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more


def _unusable(name: str, message: str, remedy: str) -> InstanceError:
    return InstanceError([Problem("", message, remedy)], source=name)
