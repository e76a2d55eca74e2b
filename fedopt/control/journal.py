"""What a period writes down: signed contracts, events, audits and rows, gathered until it is committed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fedopt.audit import Audit
from fedopt.audit.settlement import Settlement
from fedopt.control.contracts import Signed
from fedopt.control.hidden import Answers
from fedopt.control.kinds import Sender
from fedopt.control.store import PeriodRecord, packed
from fedopt.instance import Ask as Learned
from fedopt.instance import Instance
from fedopt.plan import Plan

__all__ = ["Journal"]


class Journal:
    """A period's entries, in the order in which things happened."""

    def __init__(self, period: int) -> None:
        self.period = period
        self.record = PeriodRecord(period)
        self.signed: list[tuple[Signed, str]] = []
        self._events: list[tuple[str, str, str]] = []

    def event(self, kind: str, subject: str, detail: str) -> None:
        """Something happened to a domain, an offer or a tenant."""
        self._events.append((kind, subject, detail))

    def sign(self, contract: Signed, reason: str) -> None:
        """A contract was registered."""
        self.signed.append((contract, reason))

    def audit(self, subject: str, tenant: str, audit: Audit) -> None:
        """A tenant that crosses an offer was audited."""
        self.record.add(
            "audits", self.period, subject, tenant, audit.verdict, packed(audit.to_json(indent=None))
        )

    def answers(self, senders: Sequence[Sender], answers: Sequence[Answers]) -> None:
        """What domains without a contract answered."""
        tests = {sender.entry.id: int(sender.test) for sender in senders}
        for one in answers:
            self.record.add(
                "answers",
                self.period,
                one.ask.subject,
                one.sender,
                one.ask.like,
                tests[one.sender],
                one.ask.throughput,
                one.ask.promised,
                float(one.asked.sum()),
                float(one.rejected.sum()),
            )

    def learned(self, subject: str, like: str, asks: Sequence[Learned]) -> None:
        """What may be promised of an offer without a contract from now on."""
        document = json.dumps([ask.model_dump(mode="json") for ask in asks], ensure_ascii=False)
        self.record.add("learned", self.period, subject, like, packed(document))

    def plan(self, deployed: Plan, instance: Instance) -> None:
        """A plan came into force, made for an instance."""
        documents = packed(deployed.to_json(indent=None)), packed(instance.to_json())
        self.record.add("plans", self.period, *documents)

    def period_ends(self, row: Mapping[str, Any], settlement: Settlement) -> None:
        """The period's row and what was settled."""
        self.record.add("periods", self.period, *row.values())
        document = packed(settlement.to_json(indent=None))
        self.record.add("settlements", self.period, settlement.received, document)

    def close(self, registered: int, carry: dict[str, Any]) -> PeriodRecord:
        """The record to commit. registered: contracts that were registered so far, these included."""
        number = registered - len(self.signed)
        for i, (one, reason) in enumerate(self.signed):
            contract = one.contract
            self.record.add(
                "contracts", number + i, self.period, contract.subject, contract.version, reason, one.token
            )
        for i, (kind, subject, detail) in enumerate(self._events):
            self.record.add("events", self.period, i, kind, subject, detail)
        self.record.carry = carry
        return self.record
