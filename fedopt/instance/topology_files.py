"""Topologies from where they are found: the topohub package, SNDlib XML and GraphML files."""

from __future__ import annotations

import math
import re
from importlib import resources
from pathlib import Path
from xml.etree.ElementTree import Element

from .errors import InstanceError, Problem, choice_remedy, near_miss
from .safe_xml import read_xml, refused
from .topology import Node, Topology

SUFFIXES = (".xml", ".graphml")


def topology(source: str) -> Topology:
    """The topology that `source` names: `topohub:GROUP/NAME`, or the path of an SNDlib XML or GraphML file.

    Raises `InstanceError` where there is none.
    """
    if source.startswith("topohub:"):
        return from_topohub(source.removeprefix("topohub:"))
    path = Path(source)
    if not path.is_file():
        remedy = f"use topohub:{source}, or check the path" if re.fullmatch(r"[\w-]+/[\w-]+", source) else ""
        raise refused(
            path, "does not exist", remedy or "give topohub:GROUP/NAME, an SNDlib XML or a GraphML file"
        )
    root = read_xml(path)
    if root.tag == "graphml":
        return from_graphml(root, path)
    if root.tag == "network":
        return from_sndlib(root, path)
    raise refused(
        path, f"holds <{root.tag}>", "give an SNDlib file (<network>) or a GraphML file (<graphml>)"
    )


def from_topohub(key: str) -> Topology:
    """A topology of the topohub package, such as `sndlib/germany50` or `topozoo/Abilene`."""
    try:
        import topohub
    except ImportError:
        problem = Problem("", "the package topohub is not installed", "pip install topohub")
        raise InstanceError([problem], source=f"topohub:{key}") from None
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
    edges = {(str(edge["source"]), str(edge["target"])): _number(edge.get("dist")) for edge in found["edges"]}
    demands = {
        (str(start), str(end)): float(value)
        for start, row in found["graph"].get("demands", {}).items()
        for end, value in row.items()
    }
    return Topology(str(found["graph"].get("name") or key), nodes, edges, demands)


def from_sndlib(root: Element, path: Path) -> Topology:
    """An SNDlib network: nodes with coordinates, links with pre-installed capacity, demands."""
    geographic = "geo" in (_attribute(root.find(".//nodes"), "coordinatesType") or "geographical").lower()
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], float | None] = {}
    demands: dict[tuple[str, str], float] = {}
    capacities: dict[tuple[str, str], float] = {}
    for node in root.iterfind(".//nodes/node"):
        id = node.get("id", "")
        where = _position((_content(node, "coordinates/x"), _content(node, "coordinates/y")))
        nodes[id] = Node(id, where if geographic else None)
    for link in root.iterfind(".//links/link"):
        ends = _ends(link, nodes, path)
        length = None if geographic else _plane(link, root, ends)
        edges[ends] = length
        capacities[ends] = _number(_content(link, "preInstalledModule/capacity")) or 0.0
    for demand in root.iterfind(".//demands/demand"):
        ends = _ends(demand, nodes, path)
        demands[ends] = demands.get(ends, 0.0) + (_number(_content(demand, "demandValue")) or 0.0)
    if not nodes:
        raise refused(path, "holds no nodes", "give an SNDlib network with its <networkStructure>")
    return Topology(path.stem, nodes, edges, demands, capacities)


def from_graphml(root: Element, path: Path) -> Topology:
    """A GraphML network with `Longitude` and `Latitude` (`lon`, `lat`) of nodes, or `dist` (km) of edges."""
    names = {key.get("id"): (key.get("attr.name") or "").lower() for key in root.iterfind("key")}
    graph = root.find("graph")
    if graph is None:
        raise refused(path, "holds no graph", "give a GraphML file with a <graph>")
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], float | None] = {}
    capacities: dict[tuple[str, str], float] = {}
    for node in graph.iterfind("node"):
        data = {names.get(item.get("key"), ""): item.text or "" for item in node.iterfind("data")}
        where = _position(
            (data.get("longitude", data.get("lon")), data.get("latitude", data.get("lat"))),
        )
        id = node.get("id", "")
        nodes[id] = Node((data.get("label") or data.get("name") or id).strip() or id, where)
    for edge in graph.iterfind("edge"):
        data = {names.get(item.get("key"), ""): item.text or "" for item in edge.iterfind("data")}
        ends = edge.get("source", ""), edge.get("target", "")
        if not set(ends) <= set(nodes):
            raise refused(path, f"has an edge {ends[0]} – {ends[1]} without its nodes", "add the nodes")
        edges[ends] = _number(data.get("dist") or data.get("length"))
        capacities[ends] = _number(data.get("linkspeedraw") or data.get("capacity")) or 0.0
    return Topology(path.stem, nodes, edges, {}, capacities)


def _ends(element: Element, nodes: dict[str, Node], path: Path) -> tuple[str, str]:
    ends = _content(element, "source") or "", _content(element, "target") or ""
    for end in ends:
        if end not in nodes:
            place = f"{element.tag} {element.get('id', '')}".strip()
            problem = Problem(place, f"there is no node {end!r}", choice_remedy(end, sorted(nodes), "node"))
            raise InstanceError([problem], source=str(path))
    return ends


def _plane(link: Element, root: Element, ends: tuple[str, str]) -> float | None:
    """Length of a link whose ends lie on a plane, taken as km."""
    spots = {}
    for node in root.iterfind(".//nodes/node"):
        if node.get("id") in ends:
            spots[node.get("id")] = _position(
                (_content(node, "coordinates/x"), _content(node, "coordinates/y"))
            )
    here, there = spots.get(ends[0]), spots.get(ends[1])
    return None if here is None or there is None else math.dist(here, there)


def _content(element: Element, path: str) -> str | None:
    return (element.findtext(path) or "").strip() or None


def _attribute(element: Element | None, name: str) -> str | None:
    return None if element is None else element.get(name)


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
