"""An operator's agent: which messages it answers, and what it keeps so that a crash changes nothing.

The operator's own answers come from its private side, a state machine that is rebuilt from the journal after
a restart. Here it is decided who may speak, in which order, under which contracts.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from joserfc.jwk import OKPKey

import fedopt
from fedopt.contracts.signing import SigningKey, load_key, public_key
from fedopt.federated.domain import ProblemError, offers_of
from fedopt.federated.operator import Operator
from fedopt.federated.protocol.masking import MaskingError, generate_secret
from fedopt.federated.protocol.messages import (
    Answer,
    Keys,
    Message,
    MessageError,
    Opened,
    Opening,
    Outcome,
    Prepare,
    Proposal,
    Settle,
    numbers_in,
    parse_message,
    to_bytes,
)
from fedopt.federated.reservations import Reservations, within
from fedopt.federated.transport.agent_journal import AgentJournal, Run, Told
from fedopt.federated.transport.certificates import fingerprint_of
from fedopt.federated.transport.config import (
    AgentConfig,
    BrokerPeer,
    ContractFolder,
    PrivateFile,
    read_public_key,
    read_revoked,
)
from fedopt.federated.transport.policy import Policy, Refusal
from fedopt.federated.transport.signed import SignatureError, sign_message, verify_message
from fedopt.instance.errors import InstanceError, Problem
from fedopt.storage import disk_is_full

__all__ = ["Agent", "PrivateSide"]


class PrivateSide(Protocol):
    """The operator's side of one run: a state machine whose state is what it was told."""

    def answer(self, message: Message, told_before: bool = False) -> Answer:
        """The answer to a message; `told_before`: told again after a restart, for the state alone."""


class Agent:
    """What an agent does with a message, over whatever connection it came.

    `held`: false to look at its state, or to release a reservation, while the agent itself is running. Raises
    InstanceError, ContractError, CertificateError, ProblemError or StorageError where a file that the
    configuration names cannot be used.
    """

    def __init__(self, config: AgentConfig, held: bool = True) -> None:
        self.config = config
        self.limits = config.limits
        self.operator = config.operator
        self._private = PrivateFile.load(config.file(config.private))
        if self._private.operator != self.operator:
            problem = Problem(
                "operator",
                f"is {self._private.operator!r}, but the agent is {self.operator!r}'s",
                "give the agent its own operator's file",
            )
            raise InstanceError([problem], str(config.file(config.private)))
        self.offers = offers_of(self._private.domains)
        self.policy = Policy.load(None if config.policy is None else config.file(config.policy))
        self._key: SigningKey = load_key(config.file(config.key))
        self._peers = {name: read_public_key(config.file(file)) for name, file in config.peers.items()}
        self._brokers = {fingerprint_of(config.file(b.certificate)): b for b in config.brokers}
        self._monitors = {fingerprint_of(config.file(file)) for file in config.monitors}
        self._broker_keys = {b.name: read_public_key(config.file(b.key)) for b in config.brokers}
        self._revoked()
        self._contracts = ContractFolder(config.file(config.contracts) if config.contracts else None)
        self._contracts.tokens()
        self._state_problem()
        self._journal = AgentJournal(config.file(config.state), held)
        self.reservations = Reservations(
            self._fits, self._journal.connection, longest=self.limits.hold_seconds
        )
        self._sides: dict[str, PrivateSide] = {}
        self._lock = threading.Lock()
        self._started = time.monotonic()

    def _state_problem(self) -> None:
        """The operator's own problem, where it has one, and what its limits are."""
        text = self._private.text()
        self._build: Callable[..., Any] | None = None
        if self.config.problem is None:
            self._fits = within(self._private.capacity(), self._private.factors())
        else:
            from fedopt.federated.problem import build_from, stated

            file = self.config.file(self.config.problem.rpartition(":")[0])
            self._build = build_from(self.config.problem, self.config.file(""))
            text += file.read_text(encoding="utf-8")
            everything = stated(self._build, self._private.domains).compiled(self.offers)

            def fits(loads: Mapping[str, float], asked: Any) -> str | None:
                total = np.array([loads.get(offer, 0.0) for offer in self.offers])
                return None if everything.cost(total) < np.inf else next(iter(asked)).partition("/")[0]

            self._fits = fits
        self._private_digest = hashlib.sha256(text.encode()).hexdigest()

    def close(self) -> None:
        """Let another process use the state folder."""
        self._journal.close()

    def _revoked(self) -> frozenset[str]:
        name = self.config.revoked
        return read_revoked(None if name is None else self.config.file(name))

    def known_broker(self, fingerprint: str | None) -> BrokerPeer:
        """The broker whose certificate a connection showed. Raises Refusal("unknown-peer")."""
        broker = self._brokers.get(fingerprint or "")
        if broker is None:
            raise Refusal("unknown-peer", "this certificate is not that of a broker of this agent")
        if {fingerprint, self._broker_keys[broker.name][0]} & self._revoked():
            raise Refusal("unknown-peer", f"the keys of the broker {broker.name} are revoked here")
        return broker

    def known_monitor(self, fingerprint: str | None) -> None:
        """Raises Refusal("unknown-peer") unless the certificate may read health and metrics."""
        if fingerprint not in self._monitors:
            self.known_broker(fingerprint)

    def about(self) -> dict[str, Any]:
        """Who this is."""
        return {"operator": self.operator, "fedopt": fedopt.__version__, "limits": self.limits.model_dump()}

    def health(self) -> dict[str, Any]:
        """Whether the agent can answer, and whether what it promised still fits what it can carry."""
        with self._lock:
            overbooked = self.reservations.overbooked()
        return {
            "status": "ok" if overbooked is None else "overbooked",
            "overbooked": overbooked,
            "seconds": round(time.monotonic() - self._started, 3),
        }

    def metrics(self) -> str:
        """Counts of answers, refusals and reservations in the text format of Prometheus."""
        with self._lock:
            counts = self._journal.counts()
            states = [entry["state"] for entry in self.reservations.entries()]
        lines = ["# TYPE fedopt_agent_answers_total counter"]
        lines += [f'fedopt_agent_answers_total{{kind="{k}"}} {n}' for k, n in counts["answered"].items()]
        lines.append("# TYPE fedopt_agent_refusals_total counter")
        lines += [f'fedopt_agent_refusals_total{{reason="{k}"}} {n}' for k, n in counts["refused"].items()]
        lines.append("# TYPE fedopt_agent_reservations gauge")
        lines += [
            f'fedopt_agent_reservations{{state="{state}"}} {states.count(state)}'
            for state in sorted(set(states))
        ]
        return "\n".join(lines) + "\n"

    def status(self) -> dict[str, Any]:
        """The reservations by run, and what is taken of each domain, of which the capacity is stated where
        the operator has no problem of its own."""
        taken = self._taken(self.reservations.reserved())
        capacity = self._private.capacity()
        domains = [
            {
                "id": name,
                "reserved": taken.get(name, 0.0),
                "capacity": capacity[name] if self._build is None else None,
            }
            for name in sorted(capacity)
        ]
        return {
            "operator": self.operator,
            "runs": self.reservations.entries(),
            "domains": domains,
            "overbooked": self.reservations.overbooked(),
        }

    def _taken(self, rates: Mapping[str, float]) -> dict[str, float]:
        """What rates on offers use of each domain."""
        factors, taken = self._private.factors(), dict[str, float]()
        for offer, rate in rates.items():
            domain = offer.partition("/")[0]
            taken[domain] = taken.get(domain, 0.0) + factors.get(offer, 1.0) * rate
        return taken

    def log(self) -> list[dict[str, Any]]:
        """What was answered to whom, oldest first."""
        return self._journal.log()

    def release(self, run: str) -> Any:
        """End a run's reservations, or drop its hold, by the operator's own hand."""
        held = self.reservations.state(run) == "prepared"
        return self.reservations.abort(run) if held else self.reservations.release(run)

    def contract(self, subject: str) -> str:
        """The signed contract of a "domain/offer". Raises Refusal("unknown-run") where there is none."""
        token = self._contracts.tokens().get(subject)
        if token is None:
            raise Refusal("unknown-run", f"there is no contract for {subject!r:.200} here")
        return token

    def answer(
        self, broker: BrokerPeer, run: str, sequence: int, body: bytes, signature: str | None
    ) -> tuple[bytes, str]:
        """The answer to a message and its signature. Raises Refusal; then nothing changed."""
        key = self._broker_keys[broker.name]
        try:
            verify_message(signature, key, "request", run, sequence, self.operator, body)
        except SignatureError as error:
            raise Refusal("unsigned", str(error)) from None
        with self._lock:
            try:
                answer = self._answered(broker.name, run, sequence, body, signature or "")
            except sqlite3.OperationalError as error:
                if not disk_is_full(error):
                    raise
                raise Refusal("disk-full", "the disk of the agent is full; nothing was changed") from error
            except Refusal as refusal:
                if not self._journal.connection.in_transaction:
                    self._journal.refuse(broker.name, run, refusal.reason)
                raise
        return answer, sign_message(self._key, "answer", run, sequence, self.operator, answer, body)

    def _answered(self, broker: str, run: str, sequence: int, body: bytes, signature: str) -> bytes:
        digest = hashlib.sha256(body).hexdigest()
        known = self._journal.run(run)
        if known is not None and known.broker != broker:
            raise Refusal("not-yours", f"the run {run} is another broker's")
        if known is not None:
            told = self._journal.told(run, sequence)
            if told is not None and told.digest == digest:
                return told.answer
            if sequence <= self._journal.last(run):
                raise Refusal(
                    "replayed", f"message {sequence} of {run} was answered, or is older than one that was"
                )
        message = self._parsed(run, sequence, body)
        if known is None and sequence != 0:
            raise Refusal("unknown-run", f"the run {run} was not opened here; a run begins with message 0")
        if known is not None:
            self._check_open(known, sequence, message)
        self.policy.check(message, self._journal.spent(broker, run), bool(self._peers))
        try:
            with self._journal.transaction():
                opened = known or self._begin(run, broker, message)
                said = self._side(opened).answer(message)
                answer = to_bytes(said)
                told = Told(sequence, digest, body, answer, _kind(message), sum(numbers_in(said).values()))
                self._journal.note(run, told, signature)
                if isinstance(message, Settle) and isinstance(said, Outcome) and said.granted:
                    self._close(run, f"settled: {message.decision}")
        except BaseException as error:
            self._sides.pop(run, None)  # rebuilt from the journal, which holds nothing of this message
            if isinstance(error, MessageError | MaskingError | SignatureError):
                raise Refusal("refused", str(error)) from error
            if isinstance(error, ProblemError):
                raise Refusal("problem", str(error)) from error
            raise
        return answer

    def _parsed(self, run: str, sequence: int, body: bytes) -> Message:
        try:
            message = parse_message(body)
        except MessageError as error:
            raise Refusal("malformed", str(error)) from None
        if (message.run, message.sequence) != (run, sequence):
            raise Refusal("malformed", "the message says another run or number than its address")
        return message

    def _begin(self, run: str, broker: str, message: Message) -> Run:
        """Open a run, closing those that its broker left."""
        if not isinstance(message, Opening):
            raise Refusal("unknown-run", f"the run {run} was not opened here")
        oldest = time.time() - 3600 * self.limits.run_idle_hours
        open_runs = self._journal.open_runs(broker)
        for name, last in open_runs:
            if last < oldest:
                self._close(name, "its broker was silent too long")
        if sum(last >= oldest for _, last in open_runs) >= self.limits.open_runs:
            raise Refusal("too-many", f"{self.limits.open_runs} runs of this broker are open here already")
        if message.replaces is not None and not self.reservations.belongs(message.replaces, broker):
            raise Refusal("not-yours", f"the run {message.replaces} has no reservations of this broker here")
        contracts = self._contracts.digests()
        if not message.services:  # else contracts are nobody else's
            agreed = {name: digest for name, digest in contracts.items() if name in message.offers}
            if message.contracts != agreed:
                raise Refusal(
                    "contract-changed", "the contracts named are not the ones that stand; read them again"
                )
        opened = Run(
            run=run,
            broker=broker,
            secret=generate_secret(),
            contracts=contracts,
            booked=self.reservations.reserved(replaced=message.replaces),
            replaces=message.replaces,
            private=self._private_digest,
        )
        self._journal.open_run(opened)
        return opened

    def _close(self, run: str, why: str) -> None:
        self._journal.close_run(run, why)
        self._sides.pop(run, None)

    def _check_open(self, run: Run, sequence: int, message: Message) -> None:
        if isinstance(message, Settle):
            return  # what was prepared is settled whatever has changed since
        if run.closed is not None:
            raise Refusal("closed", f"the run {run.run} is over: {run.closed}")
        if sequence >= self.limits.messages_per_run:
            raise Refusal("too-many", f"a run has at most {self.limits.messages_per_run} messages here")
        if isinstance(message, Prepare) and message.replaces != run.replaces:
            raise Refusal("refused", "a run replaces what its opening said, and nothing else")
        now = self._contracts.digests()
        changed = sorted(
            name for name in now.keys() | run.contracts if now.get(name) != run.contracts.get(name)
        )
        if changed:
            why = f"the contract of {', '.join(changed[:5])} changed"
            self._close(run.run, why)
            raise Refusal("contract-changed", f"{why} during the run; begin a new run")
        if run.private != self._private_digest:
            why = f"what {self.operator} keeps in its own files changed"
            self._close(run.run, why)
            raise Refusal("contract-changed", f"{why} during the run; begin a new run")

    def _side(self, run: Run) -> PrivateSide:
        """The private side of a run, told again what it was told where this process does not know it."""
        side = self._sides.get(run.run)
        if side is None:
            taken = self._taken(run.booked)
            domains = [
                d.model_copy(update={"capacity": max(0.0, d.capacity - taken.get(d.id, 0.0))})
                for d in self._private.domains
            ]
            problem = None
            if self._build is not None:
                from fedopt.federated.problem import stated

                problem = stated(self._build, self._private.domains)
            operator = Operator(
                self.operator,
                domains,
                secret=run.secret,
                reservations=self.reservations,
                broker=run.broker,
                slot=float(self._private.slot),
                noise=self.config.noise,
                seed=int.from_bytes(hashlib.sha256(b"noise" + run.secret).digest()),
                problem=problem,
                booked=np.array([run.booked.get(offer, 0.0) for offer in self.offers]),
                survivors=self.policy.survivors,
            )
            side = SignedKeys(operator, self._key, self._peers)
            for told in self._journal.all_told(run.run):
                side.answer(parse_message(told.request), True)
            self._sides[run.run] = side
        return side


def _kind(message: Message) -> str:
    """What a message is counted as: what a proposal asks about, else its kind."""
    return message.of if isinstance(message, Proposal) else message.kind


class SignedKeys:
    """An operator whose masking key is signed, and who masks with keys only that their operators signed.

    Otherwise the broker could hand out keys of its own and take the masks off.
    """

    def __init__(
        self, operator: PrivateSide, key: SigningKey, peers: Mapping[str, tuple[str, OKPKey]]
    ) -> None:
        self._operator, self._key, self._peers = operator, key, peers

    def answer(self, message: Message, told_before: bool = False) -> Answer:
        """The operator's answer. Raises SignatureError for a masking key without its operator's signature."""
        if isinstance(message, Keys):
            for name, public in message.keys.items():
                self._check(message.run, name, public, message.signatures.get(name))
        answer = self._operator.answer(message, told_before)
        if isinstance(answer, Opened) and answer.key is not None:
            signature = sign_message(
                self._key, "mask-key", answer.run, 0, self._key.issuer, answer.key.encode()
            )
            return answer.model_copy(update={"signature": signature})
        return answer

    def _check(self, run: str, name: str, public: str, signature: str | None) -> None:
        if name == self._key.issuer:
            key = public_key(self._key.public())
            known: tuple[str, OKPKey] | None = (key[0], key[2])
        else:
            known = self._peers.get(name)
        if known is None:
            raise SignatureError(
                f"the operator {name!r} is not known here; its public key must be among the peers"
            )
        try:
            verify_message(signature, known, "mask-key", run, 0, name, public.encode())
        except SignatureError as error:
            raise SignatureError(f"the masking key of {name!r}: {error}") from None
