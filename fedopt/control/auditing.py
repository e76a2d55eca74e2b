"""Audit and recalibration of a period: who delivered less than promised, and what is signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedopt.audit import Audit, AuditError
from fedopt.audit.recalibration import recalibrate
from fedopt.contracts import Contract
from fedopt.control.accounts import Journal
from fedopt.control.contracts import Register
from fedopt.control.environment import Environment
from fedopt.control.measurement import Observer, Period, audit_worst, blame, refuting, remeasure
from fedopt.control.packets import BATCHES
from fedopt.control.scenario import Audits
from fedopt.control.settings import SETTINGS
from fedopt.plan import Plan, TenantPlan

__all__ = ["Auditor"]


class Auditor:
    """Watches the offers' reports period by period.

    calm: periods without an alarm of every offer that is held to be degraded; measured: the share of
    exceedances at which such an offer last measured its envelope.
    """

    def __init__(self, settings: Audits, register: Register, observer: Observer) -> None:
        self.settings = settings
        self.register = register
        self.observer = observer
        self.calm: dict[str, int] = {}
        self.measured: dict[str, float] = {}

    def audit(
        self, environment: Environment, deployed: Plan, observed: Period, journal: Journal
    ) -> list[Contract]:
        """Name degraded offers, audit who suffers from them, and have their contracts follow.

        Returns the contracts in force of the offers that are degraded.
        """
        entries = list(deployed.tenants)
        self._probe(environment, observed)
        named = self._named(environment, observed)
        degraded = []
        for subject in named:
            self.calm[subject] = 0
            if not any(subject in entry.path for entry in entries):
                continue  # its domain says that it is still degraded; there is nobody to ask
            self._follow(subject, environment, deployed, entries, observed, journal)
            if self.register.raised(subject):
                degraded.append(self.register.signed[subject].contract)
        self._restore(named, observed, journal)
        return degraded

    def state(self) -> dict[str, Any]:
        """What the next period needs to know."""
        return {"calm": dict(sorted(self.calm.items())), "measured": dict(sorted(self.measured.items()))}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        self.calm, self.measured = dict(state["calm"]), dict(state["measured"])

    def _probe(self, environment: Environment, observed: Period) -> None:
        """Offers that are held to be degraded report even where nobody crosses them."""
        for subject in sorted(self.calm):
            if subject not in observed.counts and subject.partition("/")[0] not in environment.moment.failed:
                promised = self.register.promised[subject].impairment
                self.observer.probe(environment.truth, environment.moment, subject, promised, observed)

    def _named(self, environment: Environment, observed: Period) -> list[str]:
        shares = {subject: self._reference(subject, environment) for subject in observed.counts}
        return [finding.domain for finding in blame(observed, shares, self.settings.alarm) if finding.named]

    def _reference(self, subject: str, environment: Environment) -> float:
        promised = self.register.promised[subject].impairment
        return self.observer.reference(subject, promised, environment.truth.slot)[1]

    def _follow(
        self,
        subject: str,
        environment: Environment,
        deployed: Plan,
        entries: Sequence[TenantPlan],
        observed: Period,
        journal: Journal,
    ) -> None:
        """Have the envelope of a degraded offer measured, audit its tenants, and raise its contract."""
        settings = self.settings
        known = settings.recalibrate and self._remeasure(subject, environment, entries, observed, journal)
        audit = audit_worst(
            self.observer,
            environment.truth,
            environment.moment,
            entries,
            observed,
            subject,
            settings.worst,
            settings.confidence,
        )
        if audit is None:
            journal.event("audit", subject, "no tail to fit")
            return
        for name, part in (audit.series or {audit.name: audit}).items():
            journal.audit(subject, name, part)
        if settings.recalibrate:
            self._recalibrate(subject, refuting(audit) if known else audit, environment, deployed, journal)

    def _remeasure(
        self,
        subject: str,
        environment: Environment,
        entries: Sequence[TenantPlan],
        observed: Period,
        journal: Journal,
    ) -> bool:
        """The domain measures its envelope anew where it has not, or where it has changed since it did.

        Returns whether the contract in force rests on a measurement.
        """
        share = float(observed.counts[subject].sum()) / (observed.windows[subject] * BATCHES)
        before = self.measured.get(subject)
        if (
            before is not None
            and before / SETTINGS.exceedance_change <= share <= before * SETTINGS.exceedance_change
        ):
            return True
        found = remeasure(
            self.observer,
            environment.truth,
            environment.moment,
            entries,
            subject,
            self.register.promised[subject].impairment,
            self.settings.confidence,
        )
        if found is None:
            journal.event("audit", subject, "its telemetry supports no envelope")
            return before is not None
        self.measured[subject] = share
        journal.sign(self.register.measured(subject, found, journal.period), "measured")
        times = share / self._reference(subject, environment)
        journal.event("contract", subject, f"measured anew: exceeds its reference {times:.3g} times as often")
        return True

    def _recalibrate(
        self, subject: str, audit: Audit, environment: Environment, deployed: Plan, journal: Journal
    ) -> None:
        """Raise a contract as far as the audited tails ask for beyond it."""
        current = self.register.signed[subject]
        try:
            outcome = recalibrate(
                audit,
                self.register.on(environment.truth),
                deployed,
                current.contract,
                parent=current.sha256,
                issued=self.register.time(journal.period),
            )
        except AuditError as error:
            journal.event("audit", subject, str(error))
            return
        if outcome.contract is None:
            return
        journal.sign(self.register.raise_to(outcome.contract, journal.period), "recalibrated")
        risk = sum(not effect.holds for effect in outcome.effects)
        journal.event(
            "contract",
            subject,
            f"recalibrated: work scaled by {outcome.factor:.6g}; "
            f"{risk} of {len(outcome.effects)} entries no longer prove their promise",
        )

    def _restore(self, named: Sequence[str], observed: Period, journal: Journal) -> None:
        """Offers that have been calm for long enough promise again what they promised at first."""
        for subject in sorted(self.calm):
            if subject in named or subject not in observed.counts:
                continue
            self.calm[subject] += 1
            if self.calm[subject] >= self.settings.calm:
                del self.calm[subject]
                self.measured.pop(subject, None)
                if self.register.raised(subject):
                    journal.sign(self.register.restore_promise(subject, journal.period), "restored")
                    journal.event("contract", subject, "restored: its domain delivers what it promised")
