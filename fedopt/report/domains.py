"""The domains' reservations against their capacities, with the price of what is scarce."""

from __future__ import annotations

from fedopt.report.given import Given
from fedopt.report.stage_graph import Network
from fedopt.report.tables import Column, Table, number, per_cent


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
            f"{node.heads:,}",
            number(node.reserved),
            number(node.capacity),
            per_cent(node.used) + (" (full)" if node.full else ""),
            number(prices.get(node.id)),
        ]
        for node in nodes
    ]
    keys: dict[int, list[float | None]] = {
        3: [float(node.heads) for node in nodes],
        4: [node.reserved for node in nodes],
        5: [node.capacity for node in nodes],
        6: [node.used for node in nodes],
        7: [prices.get(node.id) for node in nodes],
    }
    bars = {6: [None if node.used is None else min(node.used, 1.0) for node in nodes]}
    caption = (
        f"Reserved rates (times work factor) against capacity, in {given.rate}; "
        "the price is what one more unit of capacity saves"
    )
    if given.instance is None:  # nothing says which stages and operators there are
        kept = [0, *range(3, 8)]
        columns, rows = [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]
        keys = {at - 2: values for at, values in keys.items()}
        bars = {at - 2: values for at, values in bars.items()}
    return Table("domains", caption, columns, rows, keys=dict(keys), bars=dict(bars))
