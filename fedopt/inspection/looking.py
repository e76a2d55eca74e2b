"""Finding out what kind of file it is, and having it described."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedopt.inspection import documents, records
from fedopt.instance.errors import InstanceError
from fedopt.instance.reading import MAX_BYTES, read_fields
from fedopt.plan.inspecting import ROWS_SHOWN, Inspection
from fedopt.plan.inspecting import inspect as instance_or_plan

__all__ = ["inspect"]

Describe = Callable[[Path, int], Inspection]

TABLES = (".csv", ".tsv", ".gz", ".jsonl", ".ndjson", ".parquet")
"""Endings of files that hold rows."""

_SIGNED = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\s*")

FIELDS: tuple[tuple[set[str], Describe], ...] = (
    ({"status", "method", "guarantee"}, instance_or_plan),
    ({"verdict", "samples", "exceedances"}, documents.audit),
    ({"lines", "net", "rule"}, documents.settlement),
    ({"tenants", "trials", "seed"}, documents.simulation),
    ({"kty", "kid", "issuer"}, documents.key),
    ({"issuer", "domain", "offer"}, documents.contract),
    ({"instance", "periods"}, documents.scenario),
    ({"answers", "id"}, documents.intent),
)
"""The fields that only a document of one kind has, and who describes it; what has none of them is an
instance.
"""


def inspect(path: str | Path, rows: int = ROWS_SHOWN) -> Inspection:
    """Read a file of any kind that fedopt knows and describe it; lists are cut after `rows` rows.

    Raises the error of whoever reads that kind, with exit code 2, where the file is not what it seems to be.
    """
    path = Path(path)
    head = _head(path)
    if head.startswith(b"SQLite format 3\0"):
        return records.database(path, rows)
    if head.startswith(b"PAR1") or path.suffix.lower() in TABLES:
        return records.table(path, rows)
    if len(head) < MAX_BYTES and _SIGNED.fullmatch(head):
        return documents.signed_contract(path, rows)
    fields = _fields(head, path)
    for needed, describe in FIELDS:
        if needed <= set(fields):
            return describe(path, rows)
    return instance_or_plan(path, rows)


def _head(path: Path) -> bytes:
    """The file's bytes, as many as a document may have."""
    try:
        with open(path, "rb") as stream:
            return stream.read(MAX_BYTES)
    except (OSError, ValueError):
        return b""  # whoever reads an instance says why


def _fields(content: bytes, path: Path) -> Mapping[str, Any]:
    """The fields of a mapping, empty where it is none: then the reader of instances says what is wrong."""
    try:
        fields, _ = read_fields(content, str(path), json_only=path.suffix.lower() == ".json")
    except InstanceError:
        return {}
    return fields
