"""What crossed each boundary, and who is paid: the disclosure ledger and the settlement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedopt.audit.settlement import Settlement, money
from fedopt.report.drawing import Drawing, fitted
from fedopt.report.tables import Column, Table, number

MOST_ROWS = 2_000


def ledger_tables(ledger: Mapping[str, Any]) -> list[Table]:
    """Plain entries together in one table, and one for every entry that is a list or mapping of records."""
    plain = {key: value for key, value in ledger.items() if not _records(value)}
    tables = []
    if plain:
        rows = [row for key, value in plain.items() for row in _plain_rows(key, value)]
        tables.append(Table("ledger", "In all", [Column("entry"), Column("value")], rows))
    for at, (key, value) in enumerate(ledger.items()):
        records = _records(value)
        if records:
            tables.append(_table(f"ledger-{at}", _name(key), records))
    return tables


def _plain_rows(key: str, value: Any) -> list[list[str]]:
    """An entry in one row; a mapping of numbers (totals, say) in a row for each."""
    if isinstance(value, dict) and value:
        return [[f"{_name(key)}: {_name(each)}", _text(item)] for each, item in value.items()]
    return [[_name(key), _text(value)]]


def _records(value: Any) -> list[dict[str, Any]]:
    """A list of mappings as it is, a mapping of mappings with its keys as a column; else nothing."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return list(value)
    if isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values()):
        return [{"": key, **item} for key, item in value.items()]
    return []


def _table(name: str, caption: str, records: list[dict[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for record in records for key in record))
    shown = records[:MOST_ROWS]
    numeric = {key: all(_is_number(record.get(key, 0)) for record in records) for key in keys}
    left_out = f" (the first {MOST_ROWS:,} of {len(records):,})" if len(records) > MOST_ROWS else ""
    return Table(
        name,
        caption + left_out,
        [Column(_name(key) or "entry", numeric[key], wide=_is_wide(key, records)) for key in keys],
        [[_text(record.get(key)) for key in keys] for record in shown],
        keys={
            at: [float(record[key]) if key in record else None for record in shown]
            for at, key in enumerate(keys)
            if numeric[key]
        },
    )


def _is_wide(key: str, records: list[dict[str, Any]]) -> bool:
    return any(isinstance(record.get(key), list | dict) for record in records)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(key: Any) -> str:
    return str(key).replace("_", " ")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{_name(key)}: {_text(item)}" for key, item in value.items()) or "–"
    return str(value)


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
            Column("count", True),
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
