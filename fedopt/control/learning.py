"""Learning domains without a contract: what to ask them, and what their answers allow to be promised.

One `Kind` for every offer without a contract and kind of traffic. It remembers the answers of the latest
periods; from them a risk model (`fedopt.learn`) says which delays are worth asking for, and confidence limits
say what may be promised. What is published changes only when it must (a risk has risen) or when it pays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from fedopt.control.admission import Ledger, Prices, Pricing
from fedopt.control.environment import Moment, scaled_arrivals, tenant_now
from fedopt.control.hidden import BATCHES, Answers, Ask
from fedopt.control.kinds import (
    Kind,
    PublishedRisk,
    Remembered,
    Sender,
    in_words,
    useful,
    worth_publishing,
)
from fedopt.control.planning import Decision
from fedopt.control.scenario import Scenario
from fedopt.control.settings import SETTINGS
from fedopt.instance import Ask as Learned
from fedopt.instance import Instance, LearnedImpairment, Tenant, admissible
from fedopt.learn.risk_table import batches_needed, expected_risks, lower_limit, upper_limits
from fedopt.plan import Plan, TenantPlan
from fedopt.plan.stand_in import SHARES

__all__ = ["Learner"]

SHORTEST, LONGEST = 0.05, 0.8
"""The grid of delays that are asked for, as parts of the deadline."""

MORE = 1.25
"""A test sends at this times the rate that a tenant would reserve: what is learned holds up to there."""

STRICTER = 8
"""Of a tenant's batches, every so many asks for the next stricter delay."""

ROWS = 4
"""Rows that are published for one kind, at most."""

MORE_DELAYS = 9
"""Delays that a grid may get on top, where answers change from one delay to the next."""

HOPELESS = 0.95
"""Confidence at which a test ends because the offer cannot keep even the laxest risk that is of use."""


class Learner:
    """What a run has learned of the offers without a contract."""

    def __init__(self, scenario: Scenario, instance: Instance) -> None:
        self.instance = instance
        self.settings = scenario.learning
        self.headroom = scenario.planning.headroom
        self.alarm = scenario.audits.alarm
        learned = [
            (domain, offer)
            for domain in instance.domains
            for offer in domain.offers
            if isinstance(offer.impairment, LearnedImpairment)
        ]
        self.subjects = [f"{domain.id}/{offer.id}" for domain, offer in learned]
        self.stages = len({domain.stage for domain, _ in learned})
        self.kinds: dict[tuple[str, str], Kind] = {}

    def applied(self, instance: Instance) -> Instance:
        """The instance with what has been learned; what its file says counts until there are answers."""
        changes: dict[str, object] = {}
        for subject in self.subjects:
            kinds = [kind for (name, _), kind in sorted(self.kinds.items()) if name == subject]
            if any(kind.memory for kind in kinds):
                domain, _, offer = subject.partition("/")
                changes[f"domains.{domain}.offers.{offer}.impairment"] = LearnedImpairment(
                    confidence=self.settings.confidence,
                    asks=tuple(ask for kind in kinds for _, ask in kind.published),
                )
        return instance.with_(changes) if changes else instance

    # ---- asking

    def senders(self, moment: Moment, truth: Instance, deployed: Plan) -> list[Sender]:
        """The tenants that cross offers without a contract."""
        likes = {member.id: member.like for member in moment.members}
        return [
            Sender(truth.tenant(entry.id), entry, likes[entry.id], moment.factors[likes[entry.id]])
            for entry in deployed.tenants
            if entry.learned
        ]

    def tests(self, moment: Moment, pricing: Pricing, decision: Decision) -> list[Sender]:
        """Tests of the kinds of traffic that are there and cannot be promised enough yet.

        They reserve what a tenant would, where the plan leaves room for them.
        """
        if not self.subjects:
            return []
        ledger = Ledger(decision.instance, {entry.id: entry for entry in decision.plan.tenants})
        found: list[Sender] = []
        for like in sorted({member.like for member in moment.members}):
            factor = max(1.0, moment.factors[like])
            pattern = tenant_now(self.instance, like, like, {like: factor})
            for subject in self.subjects:
                domain, offer = self.instance.offer(subject)
                if admissible(pattern, domain, offer, self.instance.rated) or domain.id in moment.failed:
                    continue
                kind = self._kind(subject, like)
                if any(sender.like == like and subject in sender.entry.path for sender in found):
                    continue  # a test of another offer crosses this one
                for number in range(self._wanted(kind, pattern, factor, pricing)):
                    assert kind.test is not None
                    name = f"test {like} {domain.id} {offer.id} {number + 1}"
                    entry = kind.test.model_copy(update={"id": name})
                    if ledger.full(entry):
                        break
                    ledger.put(entry)
                    tenant = pattern.model_copy(update={"id": name})
                    found.append(Sender(tenant, entry, like, factor, test=True))
        return found

    def asks(self, senders: Sequence[Sender], period: int) -> dict[str, dict[str, Ask]]:
        """What everybody asks in a period, by entry and offer."""
        return {
            sender.entry.id: {
                hop: self._ask(sender, hop, domain, period)
                for hop, (domain, _) in zip(sender.entry.path, sender.entry.hops(), strict=True)
                if domain in sender.entry.learned
            }
            for sender in senders
            if sender.entry.learned
        }

    def _kind(self, subject: str, like: str) -> Kind:
        if (subject, like) not in self.kinds:
            deadline = self.instance.tenant(like).slo.deadline
            grid = np.geomspace(SHORTEST * deadline, LONGEST * deadline, self.settings.delays)
            self.kinds[subject, like] = Kind(subject, like, tuple(float(f"{delay:.6g}") for delay in grid))
        return self.kinds[subject, like]

    def _wanted(self, kind: Kind, pattern: Tenant, factor: float, pricing: Pricing) -> int:
        """How many tests of a kind are worth their cost in this period.

        None once enough is promised, none while answers say that nothing ever will be, and no more batches
        in all than a perfect offer would need, twice over.
        """
        done = sum(len(part.rows) for part in kind.memory if part.test)
        target = self._target(pattern)
        most = 2 * batches_needed(target, len(kind.delay), self.settings.confidence)
        if done >= most or self._enough(kind, pattern, factor) or self._hopeless(kind, pattern):
            return 0
        if kind.test is None:
            kind.test = self._sample(kind, pattern, pricing)
        left = math.ceil((most - done) / BATCHES)
        return 0 if kind.test is None else min(self.settings.tests, left)

    def _hopeless(self, kind: Kind, pattern: Tenant) -> bool:
        """Whether even the longest delay is rejected more often than the largest share of ε allows."""
        last = len(kind.delay) - 1
        known = kind.batches(0.0, 0.0)
        largest = self._target(pattern, SHARES[-1])
        return lower_limit(known, last, last + 1, HOPELESS) > largest

    def _target(self, pattern: Tenant, share: float = SHARES[0]) -> float:
        """The risk that fits into a share of ε, by default the smallest."""
        return share * self.headroom * pattern.slo.epsilon / self.stages

    def _enough(self, kind: Kind, pattern: Tenant, factor: float) -> bool:
        """Whether what is promised fits into the middle share: tenants' own answers bring it down further."""
        target = self._target(pattern, SHARES[len(SHARES) // 2])
        return any(known >= factor - 1e-9 and ask.risk[-1] <= target for known, ask in kind.published)

    def _sample(self, kind: Kind, pattern: Tenant, pricing: Pricing) -> TenantPlan | None:
        """What a tenant of the kind would be given if the middle delay were promised; at MORE of its rate."""
        domain, offer = self.instance.offer(kind.subject)
        supposed = Learned(
            arrivals=pattern.arrivals,
            throughput=domain.capacity / offer.work_factor,
            delay=(kind.delay[len(kind.delay) // 2],),
            risk=(0.999 * self._target(pattern),),
        )
        changes = {
            f"domains.{name.partition('/')[0]}.offers.{name.partition('/')[2]}.impairment": LearnedImpairment(
                confidence=self.settings.confidence, asks=(supposed,)
            )
            for name in self.subjects
        }
        others = tuple(
            f"{d.id}/{o.id}"
            for d in self.instance.domains
            if d.stage == domain.stage
            for o in d.offers
            if f"{d.id}/{o.id}" != kind.subject
        )
        slo = pattern.slo.model_copy(update={"epsilon": self.headroom * pattern.slo.epsilon})
        policy = pattern.policy.model_copy(update={"forbid": (*pattern.policy.forbid, *others)})
        infrastructure = pricing.infrastructure.with_(changes)
        prices = Prices({}, {}).on(infrastructure)
        answer = Pricing(infrastructure, pricing.guarantee).price(
            pattern.model_copy(update={"slo": slo, "policy": policy}), prices
        )
        if not answer.candidates:
            return None
        entry = answer.candidates[0][1]
        most = math.inf if offer.max_rate is None else offer.max_rate
        rate = min(MORE * entry.reservations[domain.id], most)
        return entry.model_copy(update={"reservations": {**entry.reservations, domain.id: rate}})

    def _ask(self, sender: Sender, hop: str, domain: str, period: int) -> Ask:
        kind = self._kind(hop, sender.like)
        promised = sender.entry.learned[domain].delay
        throughput = sender.entry.reservations[domain]
        if sender.test:
            delay = np.array(kind.delay)[self._exploring(kind, sender, throughput, period)]
        else:
            at = kind.place(promised)
            stricter = (np.arange(BATCHES) % STRICTER == STRICTER - 1) & (at > 0)
            delay = np.where(stricter, kind.delay[at - 1], promised)
        return Ask(hop, sender.like, sender.factor, throughput, promised, delay)

    def _exploring(self, kind: Kind, sender: Sender, throughput: float, period: int) -> np.ndarray:
        """Places of a test's batches.

        All of the grid at first; then three of four at the delay at which the risk model expects half of what
        is wanted, and the others at the one before it or at delays that nobody has asked for yet.
        """
        known = kind.batches(sender.factor, throughput)
        if not known.asked.size:
            return (np.arange(BATCHES) + period) % len(kind.delay)
        kind.refine(known, self.settings.delays + MORE_DELAYS)
        known = kind.batches(sender.factor, throughput)
        last = len(kind.delay) - 1
        expected = expected_risks(known, np.array(kind.delay), throughput, self.settings.model)
        fine = np.flatnonzero(expected <= 0.5 * self._target(sender.tenant))
        target = int(fine[0]) if fine.size else last
        unknown = np.flatnonzero(known.sums(last + 1)[0] == 0)
        other = unknown if unknown.size else np.array([max(target - 1, 0)])
        number = np.arange(BATCHES)
        return np.where(number % 4 < 3, target, other[number // 4 % other.size])

    # ---- learning

    def learn(
        self, senders: Sequence[Sender], answers: Sequence[Answers], moment: Moment
    ) -> list[PublishedRisk]:
        """Remember a period's answers; returns the kinds of which something else may be promised now."""
        tests = {sender.entry.id: sender.test for sender in senders}
        for one in answers:
            self._kind(one.ask.subject, one.ask.like).memory.append(
                Remembered(moment.period, one.ask.factor, one.ask.throughput, tests[one.sender], one.rows())
            )
        lessons = []
        for _, kind in sorted(self.kinds.items()):
            first = moment.period - self.settings.memory
            kind.memory = [part for part in kind.memory if part.period > first]
            refuted = self._differs(kind, moment.period)
            if refuted:
                kind.memory = [part for part in kind.memory if part.period == moment.period]
            fresh = self._table(kind, senders)
            if refuted or worth_publishing(kind.published, fresh):
                kind.published = fresh
                asks = [ask for _, ask in fresh]
                lessons.append(
                    PublishedRisk(kind.subject, kind.like, asks, f"{kind.like}: {in_words(fresh, refuted)}")
                )
        return lessons

    def _differs(self, kind: Kind, period: int) -> bool:
        """Whether the latest answers refute a published risk."""
        for factor, ask in kind.published:
            latest = kind.batches(factor, ask.throughput, period, ask.delay)
            for place in np.unique(latest.place).tolist():
                low = lower_limit(latest, place, len(ask.delay), 1 - self.alarm)
                if low > ask.risk[place]:
                    return True
        return False

    def _table(self, kind: Kind, senders: Sequence[Sender]) -> list[tuple[float, Learned]]:
        """What the remembered answers allow to be promised: to traffic as heavy as the tests', to the tenants
        that are there, and to whom it was promised before.
        """
        domain = kind.subject.partition("/")[0]
        here = [
            sender
            for sender in senders
            if sender.like == kind.like
            and kind.subject in sender.entry.path
            and domain in sender.entry.learned
        ]
        tested = [(part.factor, part.throughput) for part in kind.memory if part.test]
        served = [(s.factor, s.entry.reservations[domain]) for s in here if not s.test]
        asked = [max(tested)] if tested else []
        asked += [max(served)] if served else []
        asked += [(factor, ask.throughput) for factor, ask in kind.published]
        rows = [
            (factor, row)
            for factor, throughput in dict.fromkeys(asked)
            if (row := self._row(kind, factor, throughput)) is not None
        ]
        return useful(rows)[:ROWS]

    def _row(self, kind: Kind, factor: float, throughput: float) -> Learned | None:
        known = kind.batches(factor, throughput)
        limits = upper_limits(known, len(kind.delay), self.settings.confidence)
        step = SETTINGS.published_step
        risk = np.minimum(step ** np.ceil(np.log(limits) / math.log(step) - 1e-9), 1.0)
        if not risk[-1] < 1:
            return None
        expected = expected_risks(known, np.array(kind.delay), throughput, self.settings.model)
        return Learned(
            arrivals=scaled_arrivals(self.instance.tenant(kind.like).arrivals, factor),
            throughput=throughput,
            delay=kind.delay,
            risk=tuple(risk.tolist()),
            estimate=tuple(expected.tolist()),
            answers=int(known.asked.sum()),
        )

    # ---- what is carried over

    def state(self) -> list[dict[str, Any]]:
        """What the next period needs to know."""
        return [
            {
                "subject": kind.subject,
                "like": kind.like,
                "delay": list(kind.delay),
                "test": None if kind.test is None else kind.test.model_dump(mode="json"),
                "memory": [asdict(part) for part in kind.memory],
                "published": [[factor, ask.model_dump(mode="json")] for factor, ask in kind.published],
            }
            for _, kind in sorted(self.kinds.items())
        ]

    def resume(self, state: Iterable[Mapping[str, Any]]) -> None:
        """Take up what `state` gave."""
        for row in state:
            kind = self._kind(row["subject"], row["like"])
            kind.delay = tuple(row["delay"])
            kind.test = None if row["test"] is None else TenantPlan.model_validate(row["test"])
            kind.memory = [
                Remembered(**{**part, "rows": [tuple(batch) for batch in part["rows"]]})
                for part in row["memory"]
            ]
            kind.published = [(factor, Learned.model_validate(ask)) for factor, ask in row["published"]]
