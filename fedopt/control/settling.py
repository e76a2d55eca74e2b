"""Settling a period: what settlement says of one tenant on one path is computed once and used again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from fedopt.audit.settlement import Line, Settlement, settle
from fedopt.contracts import Contract
from fedopt.control.pricing import kind_of
from fedopt.control.verdicts import Verdict
from fedopt.instance import Instance
from fedopt.plan import InstanceReference, Plan, TenantPlan
from fedopt.plan.document import TenantPlans

__all__ = ["Settler"]


class Settler:
    """Settles periods with the rules of `fedopt.audit.settlement`, line by line."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._lines: dict[tuple[object, ...], Line] = {}

    def settle(
        self,
        instance: Instance,
        entries: Sequence[TenantPlan],
        verdicts: Mapping[str, Verdict],
        degraded: Sequence[Contract],
        period: int,
    ) -> Settlement:
        """The settlement of a period. instance: as it was promised; degraded: audited contracts of the
        domains that delivered less.
        """
        lines = [self._line(instance, entry, verdicts[entry.id], degraded) for entry in entries]
        net: dict[str, int] = {}
        for line in lines:
            for domain, revenue, penalty in zip(line.domains, line.revenue, line.penalty, strict=True):
                net[domain] = net.get(domain, 0) + revenue - penalty
        salt = hashlib.sha256(f"fedopt rehearsal salt {self.seed} {period}".encode()).hexdigest()[:32]
        return Settlement(
            period=str(period), rule="marginal", guarantee="minplus", lines=lines, net=net, salt=salt
        )

    def _line(
        self, instance: Instance, entry: TenantPlan, verdict: Verdict, degraded: Sequence[Contract]
    ) -> Line:
        tenant = instance.tenant(entry.id)
        worse = [contract for contract in degraded if contract.subject in entry.path]
        key = (
            kind_of(tenant),
            tenant.payment,
            tenant.penalty,
            tuple(entry.path),
            tuple(entry.reservations.values()),
            tuple(entry.learned.items()),
            tuple(instance.offer(hop)[1].model_dump_json() for hop in entry.path),
            verdict,
            tuple(contract.to_json() for contract in worse),
        )
        if key not in self._lines:
            if len(self._lines) > 20_000:
                self._lines.clear()
            alone = instance.with_(tenants=(tenant,))
            plan = Plan(
                instance=InstanceReference(name=alone.name, sha256=alone.sha256),
                status="feasible",
                method="operate",
                guarantee="minplus",
                tenants=TenantPlans((entry,)),
            )
            (self._lines[key],) = settle(
                alone, plan, {entry.id: verdict}, degraded=worse, salt="", guarantee="minplus"
            ).lines
        return self._lines[key].model_copy(update={"tenant": entry.id})
