"""The network of a plan: the stage graph, the map, and the domains' reservations as tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING

from fedopt.instance import LearnedImpairment
from fedopt.report.drawing import Drawing, fitted
from fedopt.report.given import Given
from fedopt.report.tables import Column, Table, number, per_cent

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
MARGIN = 100.0
"""Room left and right of the map for names."""


Neighbours = dict[int, list[tuple[int, int]]]
"""Per domain its neighbours on one side with the tenants shared with each."""


@dataclass(frozen=True)
class Node:
    """A domain of the graph: its stage's number, tenants routed through it, load and capacity."""

    number: int
    id: str
    layer: int
    tenants: int
    reserved: float | None
    capacity: float | None
    operator: str | None = None
    position: tuple[float, float] | None = None

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
    """What the plan does with the stage graph. `flows` counts tenants per pair of domain numbers;
    `unused` links carry nothing.
    """

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
    counts: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    layer: dict[str, int] = {}
    for entry in plan.tenants:
        domains = [domain for domain, _ in entry.hops()] if entry.admitted else []
        for at, domain in enumerate(domains):
            counts[domain] += entry.count
            layer.setdefault(domain, at)
        for link in pairwise(domains):
            pairs[link] += entry.count
    loads = {domain.id: domain for domain in plan.domains}
    operators: dict[str, str | None] = {}
    positions: dict[str, tuple[float, float] | None] = {}
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
        positions = {domain.id: domain.position for domain in instance.domains}
        known = [domain.id for domain in instance.domains]
        links = [(start, end) for start, end, _, _ in links_of(instance)]
    nodes = [
        Node(
            number=at,
            id=name,
            layer=layer[name],
            tenants=counts[name],
            reserved=loads[name].reserved if name in loads else None,
            capacity=_capacity(name, plan, instance),
            operator=operators.get(name),
            position=positions.get(name),
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

    Those with most tenants are kept. Order: a few sweeps that sort every stage by the mean place of its
    neighbours, weighted by tenants.
    """
    columns: list[list[Node]] = []
    hidden = []
    for layer in range(len(net.stages)):
        every = [node for node in net.nodes if node.layer == layer]
        kept = sorted(every, key=lambda node: (-node.tenants, node.number))[:MOST]
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
    """Mean place of a domain's neighbours by tenants; what carries nothing goes to the end of its column."""
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
        "node" if node.tenants else "node unused",
        f"{node.id}{owner}: {node.tenants:,} tenants{load}",
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


def draw_map(net: Network, rate: str) -> str:
    """The domains where they lie, as SVG; empty unless every domain has a position.

    Longitude is shrunk by the cosine of the mean latitude, so that distances look alike in both directions.
    Domains at one place stand side by side.
    """
    known = [(node, node.position) for node in net.nodes if node.position is not None]
    if not known or len(known) < len(net.nodes):
        return ""
    shrink = max(0.2, math.cos(math.radians(math.fsum(place[1] for _, place in known) / len(known))))
    raw = {node.number: (place[0] * shrink, -place[1]) for node, place in known}
    left, top = (min(point[axis] for point in raw.values()) for axis in (0, 1))
    wide, high = (max(point[axis] for point in raw.values()) - low for axis, low in ((0, left), (1, top)))
    scale = min(WIDTH * 0.8 / max(wide, 1e-6), 560.0 / max(high, 1e-6), 400.0)
    drawing = Drawing(
        "map", wide * scale + 2 * MARGIN, high * scale + 90, "Map of the domains", _describe(net)
    )
    beside: Counter[tuple[float, float]] = Counter()
    at = {}
    for node in net.nodes:
        x, y = raw[node.number]
        at[node.number] = ((x - left) * scale + MARGIN + 20 * beside[x, y], (y - top) * scale + 50)
        beside[x, y] += 1
    most = max(net.flows.values(), default=1)
    for (a, b), count in sorted(net.flows.items(), key=lambda item: item[1]):
        (x1, y1), (x2, y2) = at[a], at[b]
        bend_x, bend_y = (x1 + x2) / 2 + 0.12 * (y2 - y1), (y1 + y2) / 2 - 0.12 * (x2 - x1)
        tip = f"{net.nodes[a].id} → {net.nodes[b].id}: {count:,} tenants"
        group = drawing.group("link", tip, link=f"{a}-{b}")
        width = max(1.5, 0.6 * WIDEST * math.sqrt(count / most))
        line = f"M{x1:.1f} {y1:.1f}Q{bend_x:.1f} {bend_y:.1f} {x2:.1f} {y2:.1f}"
        drawing.path(line, "flow", group, stroke_width=f"{width:.1f}")
    named: dict[tuple[float, float], list[Node]] = {}
    for node in net.nodes:
        _mark_place(drawing, node, *at[node.number], rate)
        named.setdefault(raw[node.number], []).append(node)
    for group_of in named.values():
        x, y = at[group_of[0].number]
        text = group_of[0].id if len(group_of) == 1 else f"{group_of[0].id} +{len(group_of) - 1}"
        drawing.text(x, y - 14, fitted(text, 180), "name halo", anchor="middle")
    return drawing.markup()


def _mark_place(drawing: Drawing, node: Node, x: float, y: float, rate: str) -> None:
    """A disc whose filled sector is the share of the capacity that is reserved."""
    used = "" if node.used is None else f", {per_cent(node.used)} of {number(node.capacity)} {rate} reserved"
    style = "node" if node.tenants else "node unused"
    group = drawing.group(style, f"{node.id}: {node.tenants:,} tenants{used}", node=str(node.number))
    circle = f"M{x - 9:.1f} {y:.1f}a9 9 0 1 1 18 0a9 9 0 1 1 -18 0Z"
    drawing.path(circle, "box", group)
    if node.used:
        turn = 2 * math.pi * min(node.used, 0.99)  # a whole turn would end where it begins: nothing is drawn
        end_x, end_y = x + 8 * math.sin(turn), y - 8 * math.cos(turn)
        sector = (
            f"M{x:.1f} {y - 8:.1f}A8 8 0 {int(turn > math.pi)} 1 {end_x:.2f} {end_y:.2f}L{x:.1f} {y:.1f}Z"
        )
        drawing.path(sector, "load full" if node.full else "load", group)


def operator_table(given: Given, net: Network) -> Table | None:
    """Totals by operator; None where no instance says whose the domains are.

    Costs are those of the offers at the reserved rates, without what links cost.
    """
    instance = given.instance
    if instance is None or not any(node.operator for node in net.nodes):
        return None
    owner = {node.id: node.operator or "–" for node in net.nodes}
    domains = Counter(owner.values())
    tenants: Counter[str] = Counter()
    costs: dict[str, float] = dict.fromkeys(domains, 0.0)
    for entry in given.plan.tenants:
        hops = entry.hops() if entry.admitted else []
        for domain, offer in hops:
            cost = instance.offer(f"{domain}/{offer}")[1].cost
            rate = entry.reservations.get(domain, 0.0)
            costs[owner[domain]] += entry.count * (cost.fixed + float(cost.variable(rate)))
        for name in {owner[domain] for domain, _ in hops}:
            tenants[name] += entry.count
    reserved = {
        name: math.fsum(node.reserved or 0.0 for node in net.nodes if owner[node.id] == name)
        for name in domains
    }
    capacity = {
        name: math.fsum(node.capacity or 0.0 for node in net.nodes if owner[node.id] == name)
        for name in domains
    }
    names = sorted(domains, key=lambda name: -costs[name])
    money = given.money
    return Table(
        "operators",
        f"Totals by operator, rates in {given.rate}, costs of offers{money and f' in {money}'}",
        [
            Column("operator"),
            Column("domains", True),
            Column("tenants", True),
            Column("reserved", True),
            Column("capacity", True),
            Column("used", True),
            Column("cost", True),
        ],
        [
            [
                name,
                str(domains[name]),
                f"{tenants[name]:,}",
                number(reserved[name]),
                number(capacity[name]),
                per_cent(reserved[name] / capacity[name] if capacity[name] else None),
                number(costs[name], 5),
            ]
            for name in names
        ],
        keys={
            1: [float(domains[name]) for name in names],
            2: [float(tenants[name]) for name in names],
            3: [reserved[name] for name in names],
            4: [capacity[name] for name in names],
            5: [reserved[name] / capacity[name] if capacity[name] else None for name in names],
            6: [costs[name] for name in names],
        },
    )


def _link(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + NODE_WIDTH, start[1] + NODE_HEIGHT / 2
    x2, y2 = end[0], end[1] + NODE_HEIGHT / 2
    bend = (x2 - x1) / 2
    return f"M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"


def _describe(net: Network) -> str:
    used = sum(node.tenants > 0 for node in net.nodes)
    full = [node.id for node in net.nodes if node.full]
    text = (
        f"{len(net.nodes)} domains on {len(net.stages)} stages, {used} of them in use; "
        f"{len(net.flows)} links carry tenants."
    )
    return f"{text} Full: {', '.join(full[:20])}." if full else f"{text} No domain is full."


def domain_table(given: Given, net: Network) -> Table:
    """One row per domain, the fullest first."""
    prices = {domain.id: domain.price for domain in given.plan.domains}
    nodes = sorted(net.nodes, key=lambda node: (-(node.used or 0.0), node.number))
    columns = [
        Column("domain"),
        Column("stage"),
        Column("operator"),
        Column("tenants", True),
        Column("reserved", True),
        Column("capacity", True),
        Column("used", True),
        Column("price", True),
    ]
    rows = [
        [
            node.id,
            net.stages[node.layer],
            node.operator or "–",
            f"{node.tenants:,}",
            _rate(given, node.id, node.reserved),
            _rate(given, node.id, node.capacity),
            per_cent(node.used) + (" (full)" if node.full else ""),
            number(prices.get(node.id)),
        ]
        for node in nodes
    ]
    without = _without_contract(given)
    if without:
        columns.append(Column("contract"))
        for row, node in zip(rows, nodes, strict=True):
            row.append(without.get(node.id, "signed"))
    keys: dict[int, list[float | None]] = {
        3: [float(node.tenants) for node in nodes],
        4: [node.reserved for node in nodes],
        5: [node.capacity for node in nodes],
        6: [node.used for node in nodes],
        7: [prices.get(node.id) for node in nodes],
    }
    bars = {6: [None if node.used is None else min(node.used, 1.0) for node in nodes]}
    caption = (
        f"Reserved rates (times work factor) against capacity, in {given.rate} where no unit stands; "
        "the price is what one more unit of capacity saves"
    )
    if given.instance is None:  # nothing says which stages and operators there are
        kept = [0, *range(3, len(columns))]
        columns, rows = [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]
        keys = {at - 2: values for at, values in keys.items()}
        bars = {at - 2: values for at, values in bars.items()}
    return Table("domains", caption, columns, rows, keys=dict(keys), bars=dict(bars))


def _rate(given: Given, domain: str, rate: float | None) -> str:
    """A rate of a domain, in the unit of its stage where that has one."""
    text = None if given.instance is None or rate is None else given.instance.rate_text(domain, rate)
    return number(rate) if text is None else text


def _without_contract(given: Given) -> dict[str, str]:
    """The domains that publish no contract for an offer: what stands in its place, in words."""
    if given.instance is None:
        named = {domain for entry in given.plan.tenants for domain in entry.learned}
        return dict.fromkeys(named, "none: learned from answers")
    found = {}
    for domain in given.instance.domains:
        learned = [isinstance(offer.impairment, LearnedImpairment) for offer in domain.offers]
        if any(learned):
            some = "" if all(learned) else f" for {sum(learned)} of {len(learned)} offers"
            found[domain.id] = f"none{some}: learned from answers"
    return found
