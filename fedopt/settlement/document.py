"""The settlement and the statements made from it. Amounts are whole cents; what comes in equals what goes
out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fedopt.contracts.canonical import canonical_bytes, digest
from fedopt.storage import write_atomically

__all__ = ["Line", "Settlement", "Statement"]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self, indent: int | None = 2) -> str:
        """The document as JSON."""
        return json.dumps(self.model_dump(mode="json"), indent=indent, ensure_ascii=False)

    def save(self, path: str | Path) -> None:
        """Write the JSON to `path`, atomically."""
        write_atomically(Path(path), self.to_json() + "\n")


class Line(_Document):
    """One tenant entry: what it paid and what it is refunded, and each domain's part, in cents.

    revenue and penalty are by the rule settled with; other_revenue and other_penalty by the other rule, for
    comparison. score: K of the reservation; verdict: of the audit.
    """

    tenant: str
    count: int
    verdict: Literal["kept", "broken", "undecided"] | None
    payment: int
    refund: int
    score: float
    domains: list[str]
    revenue: list[int]
    penalty: list[int]
    other_revenue: list[int]
    other_penalty: list[int]
    revenue_basis: str
    penalty_basis: str


class Statement(_Document):
    """What one domain is told: its own amounts per tenant and their sum; nothing of other domains.

    tenants are numbered within the statement; commitment is a hash of the whole settlement with a salt, by
    which the statement can be shown later to belong to it.
    """

    fedopt: Literal[1] = 1
    kind: Literal["statement"] = "statement"
    domain: str
    period: str
    rows: list[tuple[str, int, int, int]] = Field(description="tenant, revenue, penalty, net, in cents")
    revenue: int
    penalty: int
    net: int
    commitment: str


class Settlement(_Document):
    """Who is paid what for a period, in cents."""

    fedopt: Literal[1] = 1
    kind: Literal["settlement"] = "settlement"
    period: str
    rule: Literal["marginal", "shapley"]
    guarantee: Literal["minplus", "paper-path"]
    lines: list[Line]
    net: dict[str, int]
    salt: str = Field(description="kept by the broker; makes the commitment of statements unguessable")

    @property
    def received(self) -> int:
        """Payments less refunds of all tenants, in cents."""
        return sum(line.payment - line.refund for line in self.lines)

    @property
    def conserved(self) -> bool:
        """Whether the domains' net amounts add up to what the tenants paid."""
        return sum(self.net.values()) == self.received

    @property
    def commitment(self) -> str:
        """Hash of the whole settlement, salt included."""
        return digest(canonical_bytes(self.model_dump(mode="json")))

    def statement(self, domain: str) -> Statement:
        """The statement of one domain. Raises KeyError for one that had no part."""
        if domain not in self.net:
            raise KeyError(f"the domain {domain!r} has no part in this settlement")
        rows: list[tuple[str, int, int, int]] = []
        for line in self.lines:
            if domain in line.domains:
                place = line.domains.index(domain)
                revenue, penalty = line.revenue[place], line.penalty[place]
                rows.append((f"{len(rows) + 1}: {line.tenant}", revenue, penalty, revenue - penalty))
        return Statement(
            domain=domain,
            period=self.period,
            rows=rows,
            revenue=sum(row[1] for row in rows),
            penalty=sum(row[2] for row in rows),
            net=sum(row[3] for row in rows),
            commitment=self.commitment,
        )

    @classmethod
    def load(cls, path: str | Path) -> Settlement:
        """Read a settlement file. Raises ValueError."""
        data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls.model_validate(data)
