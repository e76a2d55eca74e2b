"""The settlement: what each domain earns and bears, as diverging bars and in tables."""

from __future__ import annotations

from fedopt.report.drawing import Drawing, fitted
from fedopt.report.tables import Column, Table
from fedopt.settlement.document import Settlement
from fedopt.settlement.summary import money

WIDTH, ROW, NAME, AMOUNT = 640.0, 24.0, 170.0, 96.0
MOST = 40


def domain_amounts(settlement: Settlement) -> dict[str, tuple[int, int]]:
    """(revenue, penalty) per domain in cents, in the order of their net amounts."""
    sums: dict[str, list[int]] = {domain: [0, 0] for domain in settlement.net}
    for line in settlement.lines:
        for domain, revenue, penalty in zip(line.domains, line.revenue, line.penalty, strict=True):
            sums.setdefault(domain, [0, 0])
            sums[domain][0] += revenue
            sums[domain][1] += penalty
    return {
        domain: (sums[domain][0], sums[domain][1])
        for domain in sorted(sums, key=lambda d: -settlement.net.get(d, 0))
    }


def settlement_chart(settlement: Settlement) -> str:
    """Net amounts per domain: earned to the right of the axis, owed to its left."""
    net = sorted(settlement.net.items(), key=lambda item: -item[1])
    shown = net if len(net) <= MOST else [*net[: MOST // 2], *net[-MOST // 2 :]]
    most = max((abs(amount) for _, amount in shown), default=0) or 1
    owing = any(amount < 0 for _, amount in shown)
    words = "; ".join(f"{domain} {money(amount)}" for domain, amount in shown)
    drawing = Drawing("settlement-net", WIDTH, ROW * len(shown) + 8, "Net amount of each domain", f"{words}.")
    room = WIDTH - NAME - AMOUNT * (2 if owing else 1) - 16
    zero = NAME + 8 + (AMOUNT + room / 2 if owing else 0)
    scale = (room / 2 if owing else room) / most
    for at, (domain, amount) in enumerate(shown):
        y = 4 + ROW * at
        drawing.text(NAME, y + 16, fitted(domain, NAME - 8), "name", anchor="end")
        length = abs(amount) * scale
        if amount >= 0:
            drawing.rect(zero, y + 4, length, ROW - 9, "earned")
            drawing.text(zero + length + 6, y + 16, money(amount), "tick")
        else:
            drawing.rect(zero - length, y + 4, length, ROW - 9, "owed")
            drawing.text(zero - length - 6, y + 16, money(amount), "tick", anchor="end")
    drawing.line(zero, 2, zero, ROW * len(shown) + 6, "axis")
    return drawing.markup()


def settlement_tables(settlement: Settlement) -> list[Table]:
    """Amounts per domain, and per tenant what it paid and was refunded."""
    amounts = domain_amounts(settlement)
    domains = Table(
        "settled-domains",
        f"Revenue and penalty per domain, by the {settlement.rule} rule under {settlement.guarantee}",
        [Column("domain"), Column("revenue", True), Column("penalty", True), Column("net", True)],
        [
            [domain, money(revenue), money(penalty), money(settlement.net.get(domain, 0))]
            for domain, (revenue, penalty) in amounts.items()
        ],
        keys={
            1: [float(revenue) for revenue, _ in amounts.values()],
            2: [float(penalty) for _, penalty in amounts.values()],
            3: [float(settlement.net.get(domain, 0)) for domain in amounts],
        },
    )
    lines = settlement.lines
    tenants = Table(
        "settled-tenants",
        "Payments and refunds per tenant",
        [
            Column("tenant"),
            Column("heads", True),
            Column("verdict"),
            Column("paid", True),
            Column("refunded", True),
            Column("refund borne by", wide=True),
        ],
        [
            [
                line.tenant,
                str(line.count),
                line.verdict or "not audited",
                money(line.payment),
                money(line.refund),
                _bearers(line.domains, line.penalty),
            ]
            for line in lines
        ],
        keys={
            1: [float(line.count) for line in lines],
            3: [float(line.payment) for line in lines],
            4: [float(line.refund) for line in lines],
        },
    )
    return [domains, tenants]


def _bearers(domains: list[str], penalty: list[int]) -> str:
    return (
        ", ".join(f"{domain} {money(own)}" for domain, own in zip(domains, penalty, strict=True) if own)
        or "–"
    )
