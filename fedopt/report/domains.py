"""The domains' reservations against their capacities, with the price of what is scarce."""

from __future__ import annotations

from fedopt.instance import LearnedImpairment
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
    without = _without_contract(given)
    if without:
        columns.append(Column("contract"))
        for row, node in zip(rows, nodes, strict=True):
            row.append(without.get(node.id, "signed"))
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
        kept = [0, *range(3, len(columns))]
        columns, rows = [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]
        keys = {at - 2: values for at, values in keys.items()}
        bars = {at - 2: values for at, values in bars.items()}
    return Table("domains", caption, columns, rows, keys=dict(keys), bars=dict(bars))


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
