"""The contracts in force during a run: signed, versioned, verified, and put into the planned instance.

Keys are derived from the run's seed: they sign a rehearsal, and resuming signs the same bytes again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from fedopt.contracts import Contract, SigningKey, contract_of, sign, signed_digest, verify
from fedopt.contracts.document import instant
from fedopt.contracts.measuring import Measured
from fedopt.contracts.signing import KeyRecord, State, Version, unchecked_payload
from fedopt.control.scenario import Reissue, Scenario
from fedopt.instance import Domain, Instance, LearnedImpairment, Offer, TableImpairment
from fedopt.instance.writing import plain

__all__ = ["Register", "Signed", "rehearsal_key"]

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_MILLISECONDS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "min": 6e4, "h": 3.6e6, "slot": 1.0}


@dataclass(frozen=True)
class Signed:
    """A contract as it was signed."""

    contract: Contract
    token: str

    @property
    def sha256(self) -> str:
        """What the next version names as its parent."""
        return signed_digest(self.token)


class Register:
    """The newest contract of every offer, and what each domain promised before anything was raised."""

    def __init__(self, scenario: Scenario, instance: Instance, seed: int) -> None:
        self.scenario = scenario
        self.instance = instance
        self.seed = seed
        self.state = State()
        self.signed: dict[str, Signed] = {}
        self.promised: dict[str, Contract] = {}
        self._keys: dict[str, SigningKey] = {}

    def open(self) -> list[Signed]:
        """Sign version 1 of every offer of the instance that has a contract, as it stands."""
        found = []
        for domain in self.instance.domains:
            for offer in domain.offers:
                if isinstance(offer.impairment, LearnedImpairment):
                    continue
                contract = self._first(domain, offer)
                found.append(self._enter(contract, self.time(0)))
                self.promised[contract.subject] = contract
        return found

    def restore(self, tokens: Iterable[str], promised: dict[str, str]) -> None:
        """Take up the tokens of an earlier run in the order of their registration; each is verified."""
        for token in tokens:
            signed = self._accept(token, None)
            if signed.contract.version == 1:
                self.promised[signed.contract.subject] = signed.contract
        for subject, text in promised.items():
            self.promised[subject] = Contract.model_validate_json(text)

    def changed_promises(self) -> dict[str, str]:
        """What domains re-issued of their own accord, as `restore` takes it up."""
        return {
            name: contract.to_json()
            for name, contract in sorted(self.promised.items())
            if contract.version > 1
        }

    def time(self, period: int) -> str:
        """The time at which a period starts."""
        step = self.scenario.period * _MILLISECONDS[self.instance.units.time]
        return (instant(self.scenario.start) + timedelta(milliseconds=step * period)).strftime(_FORMAT)

    def raise_to(self, contract: Contract, period: int) -> Signed:
        """Register a contract's next version, made by recalibration."""
        return self._enter(contract, self.time(period))

    def measured(self, subject: str, found: Measured, period: int) -> Signed:
        """A contract's next version with an envelope that its domain measured anew, and the evidence."""
        update: dict[str, object] = {
            "impairment": plain(found.impairment, defaults=True),
            "evidence": plain(found.evidence, defaults=True),
        }
        contract = self._next(subject, update, period, self.signed[subject].contract)
        return self._enter(contract, self.time(period))

    def reissue(self, part: Reissue, period: int) -> Signed:
        """What a domain promises anew of its own accord; later re-issues go back to this."""
        subject = f"{part.domain}/{part.offer}"
        update: dict[str, object] = {}
        if part.impairment is not None:
            update["impairment"] = plain(part.impairment)
        if part.latency is not None:
            update["latency"] = part.latency
        self.promised[subject] = self._next(subject, update, period, self.promised[subject])
        return self._enter(self.promised[subject], self.time(period))

    def restore_promise(self, subject: str, period: int) -> Signed:
        """The domain delivers again what it promised: its own contract returns as a new version."""
        return self._enter(self._next(subject, {}, period, self.promised[subject]), self.time(period))

    def raised(self, subject: str) -> bool:
        """Whether the contract in force is not what the domain promised of its own accord."""
        current, promised = self.signed[subject].contract, self.promised[subject]
        return current.impairment != promised.impairment or current.latency != promised.latency

    def applied(self, instance: Instance) -> Instance:
        """The instance with every contract in force that says something else than it does.

        The grid of tilts of the instance (that of the shortest table, where it has none) ends where the
        shortest table of a contract ends.
        """
        changes: dict[str, object] = {}
        grid = instance.theta
        for signed in self.signed.values():
            offer = instance.offer(signed.contract.subject)[1]
            contract = signed.contract
            if offer.impairment == contract.impairment and offer.latency == contract.latency:
                continue
            place = f"domains.{contract.domain}.offers.{contract.offer}"
            changes[f"{place}.impairment"] = contract.impairment
            changes[f"{place}.latency"] = contract.latency
            if isinstance(contract.impairment, TableImpairment):
                own = tuple(theta for theta in contract.impairment.theta if theta > 0)
                if instance.theta is None:
                    grid = own if grid is None or own[-1] < grid[-1] else grid
                elif grid is not None:
                    grid = tuple(theta for theta in grid if theta <= own[-1]) or own
        if grid != instance.theta:
            changes["theta"] = grid
        return instance.with_(changes) if changes else instance

    def on(self, truth: Instance) -> Instance:
        """The tenants of an instance on the domains as the contracts in force describe them."""
        return self.applied(truth.with_({"domains": self.instance.domains}))

    @property
    def count(self) -> int:
        """Contracts that were registered so far."""
        return sum(len(versions) for versions in self.state.versions.values())

    def _first(self, domain: Domain, offer: Offer) -> Contract:
        return contract_of(
            {
                "issuer": domain.operator or domain.id,
                "domain": domain.id,
                "offer": offer.id,
                "version": 1,
                "issued": self.time(0),
                "valid_from": self.time(0),
                "valid_until": self._end(),
                "time_unit": self.instance.units.time,
                "work_unit": self.instance.units.work,
                "latency": offer.latency,
                "latency_kind": offer.latency_kind,
                "impairment": plain(offer.impairment, defaults=True),
                "max_rate": offer.max_rate,
            }
        )

    def _next(self, subject: str, update: dict[str, object], period: int, pattern: Contract) -> Contract:
        current = self.signed[subject]
        return contract_of(
            pattern.to_dict()
            | {
                "version": current.contract.version + 1,
                "parent": current.sha256,
                "issued": self.time(period),
                "valid_from": self.time(period),
            }
            | update
        )

    def _end(self) -> str:
        end = instant(self.time(self.scenario.periods)) + timedelta(days=1)
        return end.strftime(_FORMAT)

    def _enter(self, contract: Contract, at: str) -> Signed:
        if contract.issuer not in self._keys:
            self._keys[contract.issuer] = rehearsal_key(contract.issuer, self.seed)
        return self._accept(sign(contract, self._keys[contract.issuer]), at)

    def _accept(self, token: str, at: str | None) -> Signed:
        """Verify a token as the next version of its subject and register it. Raises ContractError."""
        domains = self.instance.domains
        for issuer in {domain.operator or domain.id for domain in domains} if not self.state.keys else ():
            key = rehearsal_key(issuer, self.seed)
            self.state.keys[key.kid] = KeyRecord(key.kid, issuer, key.public(), "active", self.time(0))
        # what was registered once is verified as of the time from which it was valid
        when = at or contract_of(json.loads(unchecked_payload(token))).valid_from
        contract, kid = verify(token, self.state, at=when, stage="new")
        signed = Signed(contract, token)
        self.state.versions.setdefault(contract.subject, []).append(
            Version(contract.version, signed.sha256, contract.issuer, kid)
        )
        self.signed[contract.subject] = signed
        return signed


def rehearsal_key(issuer: str, seed: int) -> SigningKey:
    """The key of an issuer in a rehearsal: the same for the same seed, so not secret."""
    digest = hashlib.sha256(f"fedopt rehearsal key {seed} {issuer}".encode()).digest()
    private = Ed25519PrivateKey.from_private_bytes(digest)
    return SigningKey(issuer, OKPKey.import_key(private))
