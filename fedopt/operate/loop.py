"""Algorithm 1 on a clock: admit and plan, let packets run, audit, recalibrate, settle; period by period."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fedopt.audit import Audit, AuditError
from fedopt.audit.successor import recalibrate
from fedopt.contracts import Contract
from fedopt.instance import Instance, Tenant
from fedopt.operate.admission import Prices
from fedopt.operate.crowd import share_queues
from fedopt.operate.evidence import Listener, Period, audit_worst, blame, refuting, remeasure, true_instance
from fedopt.operate.packets import BATCHES
from fedopt.operate.planning import Decision, Standing
from fedopt.operate.policies import MeanPricing, Policy, Shrinker, check_policy, choose
from fedopt.operate.pricing import Pricing
from fedopt.operate.queues import Queues, dearer_domains
from fedopt.operate.register import Register, Signed
from fedopt.operate.scenario import Budgets, Scenario, scenario_for
from fedopt.operate.settling import Settler
from fedopt.operate.store import PeriodRecord, Store, packed
from fedopt.operate.timeline import Moment, Timeline, scaled_arrivals
from fedopt.operate.verdicts import Verdict, verdicts
from fedopt.plan import Plan, TenantPlan
from fedopt.plan.charges import offer_loads
from fedopt.settle.document import Settlement

__all__ = ["Run", "identity_of", "operate", "run_name"]

UNREACHABLE = 1e-9
"""What is left of a failed domain's capacity in the plan."""

CHANGED = 1.25
"""A degraded domain measures anew where its exceedances have grown or fallen by this factor."""

SHRINK_SLOTS = 400_000

Watcher = Callable[[str, int, int, Mapping[str, Any]], bool | None]
"""Told run, period, periods and the period's row; a true answer stops after this period."""


def operate(
    scenario: Scenario,
    instance: Instance,
    store: Store,
    *,
    policies: Sequence[str] = ("fedopt",),
    weights: Sequence[float] = (),
    seed: int = 0,
    threads: int | None = None,
    watch: Watcher | None = None,
) -> None:
    """Run a scenario under each policy, from where the state file left off to the end.

    weights: values of V; for each of them fedopt's loop is run with the scenario's budgets (or those of
    `Budgets` where it has none) as a run of its own, "fedopt V=…".
    Every period is written in one transaction. The state after period k depends on scenario, instance, seed
    and policy alone, not on threads, nor on how often the run was interrupted. Raises InstanceError,
    PolicyError, StateError.
    """
    scenario_for(scenario, instance)
    chosen = [(name, check_policy(name), scenario) for name in policies]
    for v in weights:
        budgets = (scenario.budgets or Budgets(v=v)).model_copy(update={"v": v})
        chosen.append((run_name(v), check_policy("fedopt"), scenario.model_copy(update={"budgets": budgets})))
    for name, policy, its in chosen:
        run = Run(its, instance, policy, store, seed, threads, name)
        while run.period < scenario.periods:
            row = run.step()
            if watch is not None and watch(name, run.period, scenario.periods, row):
                return


def run_name(v: float) -> str:
    """The name of a run at a weight V of its own."""
    return f"fedopt V={v:g}"


def identity_of(scenario: Scenario, instance: Instance, seed: int) -> dict[str, str]:
    """What a state file must say to be this scenario's."""
    text = json.dumps(scenario.to_dict() | {"instance": instance.sha256}, sort_keys=True, ensure_ascii=False)
    return {
        "scenario": scenario.name,
        "scenario_sha256": hashlib.sha256(text.encode("utf-8")).hexdigest(),
        "instance_sha256": instance.sha256,
        "periods": str(scenario.periods),
        "seed": str(seed),
    }


class Run:
    """One policy's run of a scenario; `step` is one control period."""

    def __init__(
        self,
        scenario: Scenario,
        instance: Instance,
        policy: Policy,
        store: Store,
        seed: int = 0,
        threads: int | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or policy.name
        self.scenario = scenario
        self.instance = instance
        self.policy = policy
        self.store = store
        self.timeline = Timeline(scenario, instance, seed)
        self.register = Register(scenario, instance, seed)
        self.listener = Listener(scenario.steps(instance), seed, threads)
        self.settler = Settler(seed)
        self.shrinker = Shrinker(SHRINK_SLOTS, seed)
        self.queues = Queues()
        self.standing: Standing | None = None
        self.refused: set[str] = set()
        self.suspended: set[str] = set()
        self.calm: dict[str, int] = {}
        self.measured: dict[str, float] = {}
        self.period = 0
        self._pricing: Pricing | None = None
        self._pricing_key = ""
        self._peaks = self.timeline.peaks()
        guarantee = policy.guarantee or scenario.planning.guarantee
        self.planning = scenario.planning.model_copy(update={"guarantee": guarantee})
        self._opening: list[Signed] = []
        self._resume()

    def step(self) -> dict[str, Any]:
        """Run one period and write it; returns its row."""
        moment = self.timeline.at(self.period)
        record = PeriodRecord(self.period)
        events: list[tuple[str, str, str]] = []
        signed = [(one, "opening") for one in self._opening]
        self._opening = []
        for part in moment.reissued:
            signed.append((self.register.reissue(part, self.period), "reissued"))
            events.append(("contract", f"{part.domain}/{part.offer}", "re-issued by its domain"))
        self._announce(moment, events)
        believed = self._infrastructure(moment)
        tenants = self._tenants(moment, believed)
        decision = choose(
            self.policy, believed, tenants, self.standing, self.planning, frozenset(self.suspended)
        )
        for name in decision.refused:
            self.refused.add(name)
            events.append(("refused", name, "no room"))
        self.suspended = set(decision.suspended)
        for name in decision.suspended:
            events.append(("suspended", name, "its place is gone and there is no other"))
        previous = self.standing
        self.standing = decision.standing
        deployed = self._deployed(decision)
        heard = self._listen(moment, decision, deployed)
        verdict = self._judge(decision, heard)
        degraded = self._audit(moment, deployed, heard, signed, events, record)
        self._tally(moment, decision, heard, verdict, record)
        settlement = self._settle(deployed, verdict, degraded)
        cost = self._count(deployed, decision, heard)
        row = self._row(moment, decision, deployed, heard, signed, previous, cost, settlement.received)
        record.add("periods", self.period, *row.values())
        record.add("settlements", self.period, settlement.received, packed(settlement.to_json(indent=None)))
        if self.period == 0 or decision.mode != "kept" or decision.plan.tenants.ids() != _ids(previous):
            record.add(
                "plans",
                self.period,
                packed(deployed.to_json(indent=None)),
                packed(decision.instance.to_json()),
            )
        number = sum(len(v) for v in self.register.state.versions.values()) - len(signed)
        for i, (one, reason) in enumerate(signed):
            contract = one.contract
            record.add(
                "contracts", number + i, self.period, contract.subject, contract.version, reason, one.token
            )
        for i, (kind, subject, detail) in enumerate(events):
            record.add("events", self.period, i, kind, subject, detail)
        record.carry = self._carry()
        self.store.commit(self.name, record)
        self.period += 1
        return row

    # ---- what is believed and planned

    def _infrastructure(self, moment: Moment) -> Pricing:
        """The domains as their contracts and alarms describe them, with an oracle; kept while they stay."""
        changes: dict[str, object] = {
            f"domains.{name}.capacity": self.instance.domain(name).capacity * UNREACHABLE
            for name in sorted(moment.failed)
        }
        instance = self.register.applied(self.instance)
        if self.policy.rule == "certified":
            instance = instance.with_(changes) if changes else instance
            if self.scenario.budgets is not None:
                instance = dearer_domains(instance, self.queues, self.scenario.budgets.v)
        key = json.dumps(
            [domain.model_dump(mode="json") for domain in instance.domains],
            sort_keys=True,
            ensure_ascii=False,
        )
        if self._pricing is None or key != self._pricing_key:
            self._pricing_key = key
            if self.policy.mean:
                margin = 0.0 if self.policy.rule == "none" else self.planning.margin
                self._pricing = MeanPricing(instance, margin)
            else:
                self._pricing = Pricing(instance, self.planning.guarantee)
        return self._pricing

    def _tenants(self, moment: Moment, pricing: Pricing) -> list[Tenant]:
        """Whom to serve, as they are planned: traffic of the moment, ε by the menu of the budgets."""
        found = []
        factors = self._peaks if self.policy.peak else moment.factors
        budgets = self.scenario.budgets if self.policy.closed else None
        on: dict[str, float] = {}
        if budgets is not None:
            prices = Prices({}, {}) if self.standing is None else self.standing.prices
            on = prices.on(pricing.infrastructure)
        for member in moment.members:
            if member.id in self.refused:
                continue
            tenant = self._plain(member.id, member.like, factors)
            factor = self.planning.headroom
            if budgets is not None:
                sent = self._expected(tenant)
                factor *= self.queues.choose(tenant, sent, budgets, pricing, on)
            if factor != 1.0:
                slo = tenant.slo.model_copy(update={"epsilon": tenant.slo.epsilon * factor})
                tenant = tenant.model_copy(update={"slo": slo})
            found.append(tenant)
        return found

    def _plain(self, name: str, like: str, factors: Mapping[str, float]) -> Tenant:
        pattern = self.instance.tenant(like)
        return pattern.model_copy(
            update={"id": name, "arrivals": scaled_arrivals(pattern.arrivals, factors[like])}
        )

    def _expected(self, tenant: Tenant) -> float:
        """Requests (work where there are none) that a tenant sends in a simulated period, on average."""
        from fedopt.envelopes import build

        law = build(tenant.arrivals, self.instance.slot)
        size = getattr(law, "size", None)
        return self.listener.slots * (law.mean / size if size else law.mean)

    def _deployed(self, decision: Decision) -> Plan:
        """The plan that is carried out."""
        if self.policy.measured and decision.plan.tenants:
            return self.shrinker.shrink(decision.instance, decision.plan)
        return decision.plan

    # ---- what happens

    def _truth(self, moment: Moment, names: Sequence[str]) -> Instance:
        """The domains as they are, and the tenants as they behave and were promised."""
        instance = self.instance.with_(
            {
                f"domains.{c.domain}.offers.{c.offer}.{name}": value
                for c in self.register.promised.values()
                for name, value in (("impairment", c.impairment), ("latency", c.latency))
                if getattr(self.instance.offer(c.subject)[1], name) != value
            }
        )
        served = set(names)
        tenants = tuple(
            self._plain(member.id, member.like, moment.factors)
            for member in moment.members
            if member.id in served
        )
        return true_instance(instance.with_(tenants=tenants) if tenants else instance, moment)

    def _listen(self, moment: Moment, decision: Decision, deployed: Plan) -> Period:
        entries = list(deployed.tenants)
        self._true = self._truth(moment, [entry.id for entry in entries])
        if not entries:
            return Period()
        if self.policy.rule == "none":
            return self._crowd(moment, entries)
        promised = {name: contract.impairment for name, contract in self.register.promised.items()}
        return self.listener.run(self._true, moment, entries, promised)

    def _crowd(self, moment: Moment, entries: Sequence[TenantPlan]) -> Period:
        """Everybody in one queue per domain."""
        truth, slot = self._true, self.instance.slot
        index = {domain.id: d for d, domain in enumerate(truth.domains)}
        stages = {stage: s for s, stage in enumerate(truth.stages)}
        jobs = [self.listener.job(truth, moment, entry) for entry in entries]
        sent, late = share_queues(
            [path for path, _ in jobs],
            np.array([[index[domain] for domain, _ in entry.hops()] for entry in entries]),
            np.array([[truth.offer(hop)[1].work_factor for hop in entry.path] for entry in entries]),
            np.array([0.0 if d.id in moment.failed else d.capacity * slot for d in truth.domains]),
            np.array([stages[domain.stage] for domain in truth.domains]),
            np.array([allowed for _, allowed in jobs]),
            [self.listener.stream(moment.period, entry.id) for entry in entries],
            self.listener.slots,
        )
        names = [entry.id for entry in entries]
        return Period(dict(zip(names, sent, strict=True)), dict(zip(names, late, strict=True)))

    # ---- what is made of it

    def _judge(self, decision: Decision, heard: Period) -> dict[str, Verdict]:
        names = list(heard.sent)
        if not names:
            return {}
        epsilon = np.array([self._promised_epsilon(name) for name in names])
        found = verdicts(
            np.array([heard.sent[name] for name in names]),
            np.array([heard.late[name] for name in names]),
            epsilon,
            self.scenario.audits.confidence,
        )
        return dict(zip(names, found, strict=True))

    def _promised_epsilon(self, name: str) -> float:
        return self._true.tenant(name).slo.epsilon

    def _audit(
        self,
        moment: Moment,
        deployed: Plan,
        heard: Period,
        signed: list[tuple[Signed, str]],
        events: list[tuple[str, str, str]],
        record: PeriodRecord,
    ) -> list[Contract]:
        """Which domains delivered less than they promised, what that means for tails, and what is signed.

        Returns the contracts in force of the domains that are degraded.
        """
        degraded: list[Contract] = []
        settings = self.scenario.audits
        if not self.policy.closed:
            return degraded
        for subject in sorted(self.calm):
            if subject not in heard.counts and subject.partition("/")[0] not in moment.failed:
                self.listener.probe(
                    self._true, moment, subject, self.register.promised[subject].impairment, heard
                )
        slot = self.instance.slot
        shares = {
            name: self.listener.reference(name, self.register.promised[name].impairment, slot)[1]
            for name in heard.counts
        }
        named = [finding.domain for finding in blame(heard, shares, settings.alarm) if finding.named]
        for subject in named:
            self.calm[subject] = 0
            if not any(subject in entry.path for entry in deployed.tenants):
                continue  # its domain says that it is still degraded; there is nobody to ask
            known = settings.recalibrate and self._remeasure(moment, subject, deployed, heard, signed, events)
            audit = audit_worst(
                self.listener,
                self._true,
                moment,
                list(deployed.tenants),
                heard,
                subject,
                settings.worst,
                settings.confidence,
            )
            if audit is None:
                events.append(("audit", subject, "no tail to fit"))
            else:
                for name, part in (audit.series or {audit.name: audit}).items():
                    record.add(
                        "audits", self.period, subject, name, part.verdict, packed(part.to_json(indent=None))
                    )
                if settings.recalibrate:
                    self._recalibrate(subject, refuting(audit) if known else audit, deployed, signed, events)
            if self.register.raised(subject):
                degraded.append(self.register.signed[subject].contract)
        for subject in sorted(self.calm):
            if subject in named or subject not in heard.counts:
                continue
            self.calm[subject] += 1
            if self.calm[subject] >= settings.calm:
                del self.calm[subject]
                self.measured.pop(subject, None)
                if self.register.raised(subject):
                    signed.append((self.register.restore_promise(subject, self.period), "restored"))
                    events.append(("contract", subject, "restored: its domain delivers what it promised"))
        return degraded

    def _remeasure(
        self,
        moment: Moment,
        subject: str,
        deployed: Plan,
        heard: Period,
        signed: list[tuple[Signed, str]],
        events: list[tuple[str, str, str]],
    ) -> bool:
        """The domain measures its envelope anew where it has not, or where it has changed since it did.

        Returns whether the contract in force rests on a measurement.
        """
        share = float(heard.counts[subject].sum()) / (heard.windows[subject] * BATCHES)
        before = self.measured.get(subject)
        if before is not None and before / CHANGED <= share <= before * CHANGED:
            return True
        promised = self.register.promised[subject].impairment
        found = remeasure(
            self.listener,
            self._true,
            moment,
            list(deployed.tenants),
            subject,
            promised,
            self.scenario.audits.confidence,
        )
        if found is None:
            events.append(("audit", subject, "its telemetry supports no envelope"))
            return before is not None
        self.measured[subject] = share
        signed.append((self.register.measured(subject, found, self.period), "measured"))
        times = share / self.listener.reference(subject, promised, self.instance.slot)[1]
        events.append(
            ("contract", subject, f"measured anew: exceeds its reference {times:.3g} times as often")
        )
        return True

    def _recalibrate(
        self,
        subject: str,
        audit: Audit,
        deployed: Plan,
        signed: list[tuple[Signed, str]],
        events: list[tuple[str, str, str]],
    ) -> None:
        """Raise a contract as far as the audited tails ask for beyond it."""
        current = self.register.signed[subject]
        try:
            outcome = recalibrate(
                audit,
                self._believed_instance(deployed),
                deployed,
                current.contract,
                parent=current.sha256,
                issued=self.register.time(self.period),
            )
        except AuditError as error:
            events.append(("audit", subject, str(error)))
            return
        if outcome.contract is None:
            return
        signed.append((self.register.raise_to(outcome.contract, self.period), "recalibrated"))
        risk = sum(not effect.holds for effect in outcome.effects)
        events.append(
            (
                "contract",
                subject,
                f"recalibrated: eta +{outcome.increase.eta:.6g}, kappa +{outcome.increase.kappa:.6g}; "
                f"{risk} of {len(outcome.effects)} entries no longer prove their promise",
            )
        )

    def _believed_instance(self, deployed: Plan) -> Instance:
        """What the plan was made for, with the tenants as they are promised."""
        return self.register.applied(self._true.with_({"domains": self.instance.domains}))

    def _tally(
        self,
        moment: Moment,
        decision: Decision,
        heard: Period,
        verdict: Mapping[str, Verdict],
        record: PeriodRecord,
    ) -> None:
        for member in moment.members:
            served = member.id in heard.sent
            if member.arrives == self.period:
                slo = self.instance.tenant(member.like).slo
                record.add(
                    "members",
                    member.id,
                    member.like,
                    slo.epsilon,
                    slo.deadline,
                    int(member.id not in self.refused),
                    self.period,
                )
            if served:
                sent, late = heard.sent[member.id], heard.late[member.id]
                record.add(
                    "tallies",
                    self.period,
                    member.id,
                    float(sent.sum()),
                    float(late.sum()),
                    verdict[member.id],
                    packed([sent.tolist(), late.tolist()]),
                )
            elif member.id in decision.suspended:
                sent_now = self._expected(self._plain(member.id, member.like, moment.factors))
                each = [sent_now / BATCHES] * BATCHES
                record.add(
                    "tallies", self.period, member.id, sent_now, sent_now, "broken", packed([each, each])
                )

    def _settle(
        self, deployed: Plan, verdict: Mapping[str, Verdict], degraded: Sequence[Contract]
    ) -> Settlement:
        promised = self._true.with_(
            {
                f"domains.{c.domain}.offers.{c.offer}.impairment": c.impairment
                for c in self.register.promised.values()
                if self._true.offer(c.subject)[1].impairment != c.impairment
            }
        )
        return self.settler.settle(promised, list(deployed.tenants), verdict, degraded, self.period)

    def _count(self, deployed: Plan, decision: Decision, heard: Period) -> float:
        """Count the period into the virtual queues; returns what it cost."""
        instance = self._true
        costs = self._costs(instance, deployed)
        present = set(heard.sent)
        for name in [*self.queues.late]:
            if name not in present and name not in decision.suspended:
                self.queues.forget(name)
        for name in decision.suspended:
            pattern = next(m.like for m in self.timeline.members if m.id == name)
            sent = self._expected(self._plain(name, pattern, self.timeline.factors(self.period)))
            self.queues.count_late(name, sent, sent, self.instance.tenant(pattern).slo.epsilon)
        for name in heard.sent:
            sent, late = float(heard.sent[name].sum()), float(heard.late[name].sum())
            self.queues.count_late(name, sent, late, self._promised_epsilon(name))
        if self.scenario.budgets is not None:
            for domain, budget in self.scenario.budgets.domains.items():
                self.queues.count_cost(domain, costs.get(domain, 0.0), budget)
        return sum(costs.values())

    def _costs(self, instance: Instance, deployed: Plan) -> dict[str, float]:
        """Cost of the period by domain at list prices; charges of links under "links"."""
        found: dict[str, float] = {}
        for hop, load in offer_loads(deployed.tenants).items():
            domain, offer = instance.offer(hop)
            found[domain.id] = found.get(domain.id, 0.0) + float(offer.cost.variable(load))
        links = {(link.from_, link.to): link.cost for link in instance.links or ()}
        for entry in deployed.tenants:
            hops = entry.hops()
            for hop, (name, _) in zip(entry.path, hops, strict=True):
                found[name] = found.get(name, 0.0) + float(instance.offer(hop)[1].cost.fixed)
            for (a, _), (b, _) in pairwise(hops):
                found["links"] = found.get("links", 0.0) + links.get((a, b), 0.0)
        return found

    def _row(
        self,
        moment: Moment,
        decision: Decision,
        deployed: Plan,
        heard: Period,
        signed: Sequence[tuple[Signed, str]],
        previous: Standing | None,
        cost: float,
        received: int,
    ) -> dict[str, Any]:
        plan = decision.plan
        return {
            "mode": decision.mode,
            "tenants": len(deployed.tenants),
            "placed": decision.placed,
            "moved": decision.moved,
            "refused": len(decision.refused),
            "suspended": len(decision.suspended),
            "cost": cost,
            "lower_bound": plan.lower_bound,
            "gap": plan.gap,
            "requests": float(sum(sent.sum() for sent in heard.sent.values())),
            "late": float(sum(late.sum() for late in heard.late.values())),
            "disclosed": self._disclosed(decision, heard, signed, previous),
            "received": received,
            "late_backlog": sum(self.queues.late.values()),
            "cost_backlog": sum(self.queues.cost.values()),
        }

    def _disclosed(
        self,
        decision: Decision,
        heard: Period,
        signed: Sequence[tuple[Signed, str]],
        previous: Standing | None,
    ) -> int:
        """Numbers that crossed a domain's boundary: of contracts, of reports, and of new reservations."""
        if self.policy.mean:  # mean and latency of every offer, once
            contracts = 2 * len(signed) * (self.period == 0)
        else:
            contracts = sum(_numbers(one.contract.to_dict()) for one, _ in signed)
        reports = (2 * BATCHES + 2) * len(heard.counts) if self.policy.closed else 0
        before = {} if previous is None else {entry.id: entry for entry in previous.plan.tenants}
        changed = [
            entry
            for entry in decision.plan.tenants
            if entry.id not in before
            or before[entry.id].path != entry.path
            or before[entry.id].reservations != entry.reservations
        ]
        reserved = 0 if self.policy.rule == "none" else sum(len(entry.path) for entry in changed)
        return contracts + reports + reserved

    def _announce(self, moment: Moment, events: list[tuple[str, str, str]]) -> None:
        """Failures and recoveries, which raise alarms."""
        before = self.timeline.at(self.period - 1).failed if self.period else frozenset()
        events.extend(("failed", name, "the domain serves nobody") for name in sorted(moment.failed - before))
        events.extend(
            ("recovered", name, "the domain serves again") for name in sorted(before - moment.failed)
        )

    # ---- what is carried over

    def _carry(self) -> dict[str, Any]:
        standing = self.standing
        assert standing is not None
        return {
            "plan": json.loads(standing.plan.to_json(indent=None)),
            "prices": {"loads": dict(standing.prices.loads), "capacity": dict(standing.prices.capacity)},
            "refused": sorted(self.refused),
            "suspended": sorted(self.suspended),
            "calm": dict(sorted(self.calm.items())),
            "measured": dict(sorted(self.measured.items())),
            "queues": self.queues.to_dict(),
            "promised": {
                name: contract.to_json()
                for name, contract in sorted(self.register.promised.items())
                if contract.version > 1
            },
        }

    def _resume(self) -> None:
        carried = self.store.carry(self.name)
        if carried is None:
            self._opening = self.register.open()
            return
        self.period = carried["period"] + 1
        plan = Plan.model_validate(carried["plan"])
        prices = Prices(carried["prices"]["loads"], carried["prices"]["capacity"])
        self.standing = Standing(plan, prices)
        self.refused = set(carried["refused"])
        self.suspended = set(carried["suspended"])
        self.calm = dict(carried["calm"])
        self.measured = dict(carried["measured"])
        self.queues = Queues.of(carried["queues"])
        rows = self.store.rows("contracts", self.name)
        rows.sort(key=lambda row: row["number"])
        self.register.restore([row["token"] for row in rows], carried["promised"])


def _ids(standing: Standing | None) -> list[str]:
    return [] if standing is None else standing.plan.tenants.ids()


def _numbers(document: Any) -> int:
    """How many numbers a document holds."""
    if isinstance(document, dict):
        return sum(_numbers(value) for value in document.values())
    if isinstance(document, list | tuple):
        return sum(_numbers(value) for value in document)
    return int(isinstance(document, int | float) and not isinstance(document, bool))
