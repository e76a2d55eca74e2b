"""The stage graph: domains in columns by stage, links as wide as the traffic the plan sends over them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING

from fedopt.report.drawing import Drawing, fitted
from fedopt.report.tables import number, per_cent

if TYPE_CHECKING:
    from fedopt.instance import Instance
    from fedopt.plan import Plan
    from fedopt.report.given import Given

MOST = 30
"""Domains drawn per stage; the others are counted."""

MOST_UNUSED_LINKS = 250

FULL = 0.9995
"""From this share of its capacity on a domain is called full: it prints as 100.0 %."""

NODE_WIDTH, NODE_HEIGHT, ROW, TOP = 168.0, 42.0, 58.0, 40.0
WIDTH, NARROWEST, BROADEST = 1150.0, 270.0, 400.0
"""What the graph should be wide, and the least and the largest distance of its columns."""

WIDEST = 16.0


Neighbours = dict[int, list[tuple[int, int]]]
"""Per domain its neighbours on one side with the heads shared with each."""


@dataclass(frozen=True)
class Node:
    """A domain of the graph: its stage's number, heads routed through it, load and capacity."""

    number: int
    id: str
    layer: int
    heads: int
    reserved: float | None
    capacity: float | None
    operator: str | None = None

    @property
    def used(self) -> float | None:
        """Share of the capacity that is reserved."""
        return None if self.reserved is None or not self.capacity else self.reserved / self.capacity

    @property
    def full(self) -> bool:
        """Whether, in print, all of the capacity is reserved."""
        return self.used is not None and self.used >= FULL


@dataclass(frozen=True)
class Network:
    """What the plan does with the stage graph. `flows` counts heads per pair of domain numbers, `unused` are
    links that carry nothing."""

    stages: Sequence[str]
    nodes: Sequence[Node]
    flows: dict[tuple[int, int], int]
    unused: Sequence[tuple[int, int]]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The numbers of the domains by their ids."""
        return {node.id: node.number for node in self.nodes}


def network(given: Given) -> Network:
    """The stage graph of the instance, or without one that of the plan's own paths."""
    plan, instance = given.plan, given.instance
    heads: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    layer: dict[str, int] = {}
    for entry in plan.tenants:
        domains = [domain for domain, _ in entry.hops()] if entry.admitted else []
        for at, domain in enumerate(domains):
            heads[domain] += entry.count
            layer.setdefault(domain, at)
        for link in pairwise(domains):
            pairs[link] += entry.count
    loads = {domain.id: domain for domain in plan.domains}
    operators: dict[str, str | None] = {}
    if instance is None:
        stages = [f"stage {at + 1}" for at in range(max(layer.values(), default=-1) + 1)]
        known = [domain.id for domain in plan.domains if domain.id in layer]
        known += [domain for domain in layer if domain not in loads]
        links: list[tuple[str, str]] = []
    else:
        from fedopt.instance.graph import links_of

        stages = list(instance.stages)
        position = {stage: at for at, stage in enumerate(stages)}
        layer = {domain.id: position[domain.stage] for domain in instance.domains}
        operators = {domain.id: domain.operator for domain in instance.domains}
        known = [domain.id for domain in instance.domains]
        links = [(start, end) for start, end, _, _ in links_of(instance)]
    nodes = [
        Node(
            number=at,
            id=name,
            layer=layer[name],
            heads=heads[name],
            reserved=loads[name].reserved if name in loads else None,
            capacity=_capacity(name, plan, instance),
            operator=operators.get(name),
        )
        for at, name in enumerate(known)
    ]
    numbers = {node.id: node.number for node in nodes}
    flows = {
        (numbers[a], numbers[b]): count for (a, b), count in pairs.items() if a in numbers and b in numbers
    }
    unused = [(numbers[a], numbers[b]) for a, b in links if (numbers[a], numbers[b]) not in flows]
    return Network(stages, nodes, flows, unused)


def _capacity(name: str, plan: Plan, instance: Instance | None) -> float | None:
    if instance is not None:
        return instance.domain(name).capacity
    return next((domain.capacity for domain in plan.domains if domain.id == name), None)


def arranged(net: Network) -> tuple[list[list[Node]], list[int]]:
    """Per stage the domains to draw, ordered so that links cross little, and how many are left out.

    Those with most heads are kept. Order: a few sweeps that sort every stage by the mean place of its
    neighbours, weighted by heads.
    """
    columns: list[list[Node]] = []
    hidden = []
    for layer in range(len(net.stages)):
        every = [node for node in net.nodes if node.layer == layer]
        kept = sorted(every, key=lambda node: (-node.heads, node.number))[:MOST]
        columns.append(kept)
        hidden.append(len(every) - len(kept))
    ahead: Neighbours = {}
    behind: Neighbours = {}
    for (a, b), count in net.flows.items():
        ahead.setdefault(a, []).append((b, count))
        behind.setdefault(b, []).append((a, count))
    for sweep in range(6):
        near, order = (behind, columns) if sweep % 2 == 0 else (ahead, columns[::-1])
        for before, column in pairwise(order):
            place = {node.number: (at + 0.5) / len(before) for at, node in enumerate(before)}
            own = {node.number: (at + 0.5) / len(column) for at, node in enumerate(column)}

            column.sort(key=partial(_mean_place, near=near, place=place, own=own))
    return columns, hidden


def _mean_place(node: Node, near: Neighbours, place: dict[int, float], own: dict[int, float]) -> float:
    """Mean place of a domain's neighbours by heads; what carries nothing goes to the end of its column."""
    known = [(place[other], count) for other, count in near.get(node.number, ()) if other in place]
    total = sum(count for _, count in known)
    return sum(at * count for at, count in known) / total if total else 2.0 + own[node.number]


def draw(net: Network, rate: str) -> str:
    """The graph as SVG; every domain and link has a tip, and links carry the numbers of their ends."""
    columns, hidden = arranged(net)
    rows = max(
        (len(column) + (1 if left else 0) for column, left in zip(columns, hidden, strict=True)), default=1
    )
    between = max(len(columns) - 1, 1)
    pitch = min(max((WIDTH - NODE_WIDTH - 16) / between, NARROWEST), BROADEST)
    width = pitch * (len(columns) - 1) + NODE_WIDTH + 16
    height = TOP + ROW * max(rows, 1) + 8
    drawing = Drawing("graph", width, height, "Stage graph with the plan's paths", _describe(net))
    place: dict[int, tuple[float, float]] = {}
    for at, column in enumerate(columns):
        free = rows - len(column) - (1 if hidden[at] else 0)
        for row, node in enumerate(column):
            place[node.number] = (8 + pitch * at, TOP + ROW * (row + free / 2))
    if len(net.unused) <= MOST_UNUSED_LINKS:
        for a, b in net.unused:
            if a in place and b in place:
                drawing.path(_link(place[a], place[b]), "idle")
    most = max(net.flows.values(), default=1)
    for (a, b), count in sorted(net.flows.items(), key=lambda item: item[1]):
        if a in place and b in place:
            tip = f"{net.nodes[a].id} → {net.nodes[b].id}: {count:,} tenants"
            group = drawing.group("link", tip, link=f"{a}-{b}")
            drawing.path(
                _link(place[a], place[b]),
                "flow",
                group,
                stroke_width=f"{max(1.5, WIDEST * math.sqrt(count / most)):.1f}",
            )
    for at, (stage, column) in enumerate(zip(net.stages, columns, strict=True)):
        drawing.text(8 + pitch * at, 20, fitted(stage, NODE_WIDTH), "stage")
        for node in column:
            _draw_node(drawing, node, *place[node.number], rate)
        if hidden[at]:
            below = max((place[node.number][1] for node in column), default=TOP) + ROW
            drawing.text(8 + pitch * at, below + 16, f"and {hidden[at]} more in the table", "tick")
    return drawing.markup()


def _draw_node(drawing: Drawing, node: Node, x: float, y: float, rate: str) -> None:
    load = (
        "" if node.used is None else f", {number(node.reserved)} of {number(node.capacity)} {rate} reserved"
    )
    owner = f" ({node.operator})" if node.operator else ""
    group = drawing.group(
        "node" if node.heads else "node unused",
        f"{node.id}{owner}: {node.heads:,} tenants{load}",
        node=str(node.number),
    )
    drawing.rect(x, y, NODE_WIDTH, NODE_HEIGHT, "box", radius=5, into=group)
    drawing.text(x + 8, y + 17, fitted(node.id, NODE_WIDTH - 16), "name", into=group)
    if node.used is None:
        return
    drawing.rect(x + 8, y + 28, 84, 7, "track", radius=2, into=group)
    drawing.rect(
        x + 8, y + 28, 84 * min(node.used, 1.0), 7, "load full" if node.full else "load", radius=2, into=group
    )
    drawing.text(x + 100, y + 35, "full" if node.full else per_cent(node.used), "tick", into=group)


def _link(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + NODE_WIDTH, start[1] + NODE_HEIGHT / 2
    x2, y2 = end[0], end[1] + NODE_HEIGHT / 2
    bend = (x2 - x1) / 2
    return f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"


def _describe(net: Network) -> str:
    used = sum(node.heads > 0 for node in net.nodes)
    full = [node.id for node in net.nodes if node.full]
    text = (
        f"{len(net.nodes)} domains on {len(net.stages)} stages, {used} of them in use; "
        f"{len(net.flows)} links carry tenants."
    )
    return f"{text} Full: {', '.join(full[:20])}." if full else f"{text} No domain is full."
