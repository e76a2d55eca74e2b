"""What crossed each boundary: the plan's disclosure ledger as tables, whatever its entries are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
