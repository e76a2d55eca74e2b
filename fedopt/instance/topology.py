"""A real network as it was found: nodes on the globe, edges between them, demands from node to node.

Topologies come from the topohub package, SNDlib files, GraphML and GML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import networkx as nx
from defusedxml.ElementTree import fromstring

from .errors import InstanceError, Problem, choice_remedy, near_miss

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


MAX_BYTES = 64_000_000
"""The largest file that is read."""

FORMATS = "an SNDlib file (XML or native), a GraphML or a GML file"


def topology(source: str) -> Topology:
    """The topology that a source names: `topohub:GROUP/NAME`, or the path of a file.

    SNDlib XML and native, GraphML and GML files are told apart by what they hold.

    Raises
    ------
    InstanceError
        If there is none, or it cannot be read.
    """
    if source.startswith("topohub:"):
        return from_topohub(source.removeprefix("topohub:"))
    path = Path(source)
    content = _content(path)
    text = content.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<") or path.suffix.lower() in (".xml", ".graphml"):
        root = _xml(content, path)
        kind = str(root.tag).rpartition("}")[2]
        if kind == "graphml":
            return _from_graph(_graphml(content, root, path), path)
        if kind == "network":
            return from_sndlib(root, path)
        raise refused(path, f"holds <{kind}>", f"give {FORMATS}")
    written = content.decode("utf-8", "replace")
    if re.search(r"^\s*NODES\s*\(", written, re.MULTILINE):
        return from_sndlib_native(written, path)
    if re.search(r"^\s*graph\s*\[", written, re.MULTILINE | re.IGNORECASE):
        return _from_graph(_gml(written, path), path)
    raise refused(path, "holds no network in a format that is known here", f"give {FORMATS}")


def from_topohub(key: str) -> Topology:
    """A topology of the topohub package, such as `sndlib/germany50` or `topozoo/Abilene`."""
    import topohub

    found = None
    if re.fullmatch(r"[\w-]+(/[\w .,()&+-]+)+", key) and ".." not in key:
        try:
            found = topohub.get(key)
        except (KeyError, ValueError):
            found = None
    if found is None:
        problem = Problem("", "there is no such topology", _topohub_remedy(key))
        raise InstanceError([problem], source=f"topohub:{key}")
    nodes = {
        str(node["id"]): Node(str(node.get("name") or node["id"]), _position(node.get("pos")))
        for node in found["nodes"]
    }
    edges = [Edge(str(e["source"]), str(e["target"]), _number(e.get("dist"))) for e in found["edges"]]
    demands = {
        (str(start), str(end)): float(value)
        for start, row in found["graph"].get("demands", {}).items()
        for end, value in row.items()
    }
    return Topology(str(found["graph"].get("name") or key), nodes, edges, demands, bool(found["directed"]))


def from_sndlib(root: Element, path: Path) -> Topology:
    """An SNDlib network in XML: nodes with coordinates, links with pre-installed capacity, demands."""
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition("}")[2]
    listed = root.find(".//nodes")
    kind = (None if listed is None else listed.get("coordinatesType")) or "geographical"
    nodes: dict[str, Node] = {}
    for node in root.iterfind(".//nodes/node"):
        id = node.get("id", "")
        nodes[id] = Node(id, _position((_text(node, "coordinates/x"), _text(node, "coordinates/y"))))
    edges = [
        Edge(*_ends(link, nodes, path), None, _number(_text(link, "preInstalledModule/capacity")) or 0.0)
        for link in root.iterfind(".//links/link")
    ]
    demands = [
        (_ends(demand, nodes, path), _number(_text(demand, "demandValue")) or 0.0)
        for demand in root.iterfind(".//demands/demand")
    ]
    return _sndlib(nodes, edges, demands, path, plane="geo" not in kind.lower())


_LINK = re.compile(r"^\s*(\S+)\s*\(\s*(\S+)\s+(\S+)\s*\)\s*(\S+)?", re.MULTILINE)
_NODE = re.compile(r"^\s*(\S+)\s*(?:\(\s*(\S+)\s+(\S+)\s*\))?\s*$", re.MULTILINE)
_DEMAND = re.compile(r"^\s*(\S+)\s*\(\s*(\S+)\s+(\S+)\s*\)\s*\S+\s+(\S+)", re.MULTILINE)


def from_sndlib_native(text: str, path: Path) -> Topology:
    """An SNDlib network in the native text format, whose sections are `NODES ( … )`, `LINKS`, `DEMANDS`."""
    plain = re.sub(r"#.*", "", text)
    sections = dict(re.findall(r"^([A-Z_]+)\s*\(\s*$(.*?)^\)", plain, re.MULTILINE | re.DOTALL))
    nodes = {
        found[1]: Node(found[1], _position((found[2], found[3])))
        for found in _NODE.finditer(sections.get("NODES", ""))
    }

    def ends(what: str, found: re.Match[str]) -> tuple[str, str]:
        return _known_ends((found[2], found[3]), f"{what} {found[1]}", nodes, path)

    edges = [
        Edge(*ends("link", found), None, _number(found[4]) or 0.0)
        for found in _LINK.finditer(sections.get("LINKS", ""))
    ]
    demands = [
        (ends("demand", found), _number(found[4]) or 0.0)
        for found in _DEMAND.finditer(sections.get("DEMANDS", ""))
    ]
    return _sndlib(nodes, edges, demands, path)


def _sndlib(
    nodes: dict[str, Node],
    edges: list[Edge],
    demands: list[tuple[tuple[str, str], float]],
    path: Path,
    *,
    plane: bool = False,
) -> Topology:
    """The topology of SNDlib's parts."""
    if not nodes:
        raise refused(path, "holds no nodes", "give an SNDlib network with its nodes and links")
    total: dict[tuple[str, str], float] = {}
    for ends, value in demands:
        total[ends] = total.get(ends, 0.0) + value
    return Topology(path.stem, nodes, edges, total, plane=plane)


def _graphml(content: bytes, root: Element, path: Path) -> nx.Graph:
    """The graph of a GraphML text, which has been read as XML without entities."""
    known = {node.get("id") for node in root.iter() if str(node.tag).rpartition("}")[2] == "node"}
    for edge in root.iter():
        if str(edge.tag).rpartition("}")[2] == "edge":
            ends = edge.get("source", ""), edge.get("target", "")
            if not set(ends) <= known:
                raise refused(path, f"has an edge {ends[0]} – {ends[1]} without its nodes", "add the nodes")
    try:
        return nx.parse_graphml(content.decode("utf-8", "replace"), force_multigraph=True)
    except (nx.NetworkXException, ValueError, KeyError, TypeError) as error:
        raise refused(path, f"cannot be read as GraphML: {error}", "correct it, or give GML") from None


def _gml(text: str, path: Path) -> nx.Graph:
    """The graph of a GML text; parallel edges are allowed whether or not it announces them."""
    if not re.search(r"^\s*multigraph\s+1\b", text, re.MULTILINE):
        text = re.sub(r"(^\s*graph\s*\[)", r"\1\n multigraph 1", text, count=1, flags=re.M | re.I)
    try:
        return nx.parse_gml(text, label=None)
    except (nx.NetworkXException, ValueError, KeyError, TypeError, RecursionError) as error:
        raise refused(path, f"cannot be read as GML: {error}", "correct it, or give GraphML") from None


def _from_graph(graph: nx.Graph, path: Path) -> Topology:
    """A topology with `Longitude`, `Latitude` (`lon`, `lat`) of nodes, or `dist`, `length` (km) of edges."""
    nodes: dict[str, Node] = {}
    for id, attributes in graph.nodes(data=True):
        data = _folded(attributes)
        where = _position((data.get("longitude", data.get("lon")), data.get("latitude", data.get("lat"))))
        if where is None:
            where = _position((data.get("x"), data.get("y")))
        name = str(data.get("label") or data.get("name") or id).strip() or str(id)
        nodes[str(id)] = Node(name, where)
    edges = []
    for start, end, attributes in graph.edges(data=True):
        data = _folded(attributes)
        length = _number(data.get("dist", data.get("length")))
        capacity = _number(data.get("linkspeedraw", data.get("capacity", data.get("bandwidth")))) or 0.0
        edges.append(Edge(str(start), str(end), length, capacity))
    if not nodes:
        raise refused(path, "holds no nodes", f"give {FORMATS} of a network")
    return Topology(path.stem, nodes, edges, {}, graph.is_directed())


def _folded(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key).lower(): value for key, value in attributes.items()}


def _content(path: Path) -> bytes:
    """The bytes of a file of bounded size."""
    if not path.is_file():
        remedy = f"use topohub:{path}, or check the path" if re.fullmatch(r"[\w-]+/[\w-]+", str(path)) else ""
        raise refused(path, "does not exist", remedy or f"give topohub:GROUP/NAME, or {FORMATS}")
    try:
        with open(path, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise refused(path, f"cannot be read: {error.strerror}", "check the path") from None
    if len(content) > MAX_BYTES:
        raise refused(path, f"is larger than {MAX_BYTES // 1_000_000} MB", "give the file of one network")
    return content


def _xml(content: bytes, path: Path) -> Element:
    """The root of an XML text without entities: nothing expands without bound or names another file."""
    try:
        root: Element = fromstring(content)
    except defusedxml.DefusedXmlException:
        raise refused(path, "declares entities", "write out the text that they stand for") from None
    except (ParseError, ValueError, LookupError) as error:
        raise refused(path, f"is no valid XML: {error}", f"give {FORMATS}") from None
    return root


def _ends(element: Element, nodes: dict[str, Node], path: Path) -> tuple[str, str]:
    place = f"{element.tag} {element.get('id', '')}".strip()
    return _known_ends((_text(element, "source") or "", _text(element, "target") or ""), place, nodes, path)


def _known_ends(ends: tuple[str, str], place: str, nodes: Mapping[str, Node], path: Path) -> tuple[str, str]:
    for end in ends:
        if end not in nodes:
            problem = Problem(place, f"there is no node {end!r}", choice_remedy(end, sorted(nodes), "node"))
            raise InstanceError([problem], source=str(path))
    return ends


def _text(element: Element, path: str) -> str | None:
    return (element.findtext(path) or "").strip() or None


def _number(value: object) -> float | None:
    """A finite number ≥ 0, or None."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _position(value: object) -> tuple[float, float] | None:
    try:
        x, y = (float(part) for part in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    return (x, y) if math.isfinite(x) and math.isfinite(y) else None


def _topohub_remedy(key: str) -> str:
    """The topology of topohub that is likely meant."""
    data = resources.files("topohub") / "data"
    group = key.partition("/")[0]
    groups = sorted(entry.name for entry in data.iterdir() if entry.is_dir())
    if group not in groups:
        return choice_remedy(group, groups, "group")
    known = sorted(f"{group}/{entry.name.removesuffix('.json')}" for entry in (data / group).iterdir())
    guess = near_miss(key, known)
    return f"did you mean topohub:{guess}?" if guess else "use one of " + ", ".join(known[:40])


def refused(path: Path, message: str, remedy: str) -> InstanceError:
    """The error for a file that cannot be used."""
    return InstanceError([Problem("", message, remedy)], source=str(path))
