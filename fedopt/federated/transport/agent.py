"""An operator's agent: which messages it answers, and what it keeps so that a crash changes nothing.

The operator's own answers come from its private side, a state machine that is rebuilt from the journal after
a restart. Here it is decided who may speak, in which order, under which contracts.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from joserfc.jwk import OKPKey

import fedopt
from fedopt.contracts.keys import SigningKey, load_key, public_key
from fedopt.federated.masking import MaskingError, generate_secret
from fedopt.federated.messages import (
    Answer,
    Keys,
    Message,
    MessageError,
    Opened,
    Opening,
    Outcome,
    Settle,
    parse_message,
    to_bytes,
)
from fedopt.federated.operator import Operator
from fedopt.federated.reservations import Book
from fedopt.federated.transport.agent_config import AgentConfig, BrokerPeer, read_document
from fedopt.federated.transport.agent_journal import AgentJournal, Run, Told
from fedopt.federated.transport.certificates import fingerprint_of
from fedopt.federated.transport.contract_folder import ContractFolder
from fedopt.federated.transport.private_file import PrivateFile
from fedopt.federated.transport.refusal import Refusal
from fedopt.federated.transport.signed import SignatureError, sign_message, verify_message
from fedopt.instance.errors import InstanceError, Problem

__all__ = ["Agent", "PrivateSide", "read_public_key"]


class PrivateSide(Protocol):
    """The operator's side of one run: a state machine whose state is what it was told."""

    def answer(self, message: Message, told_before: bool = False) -> Answer:
        """The answer to a message; `told_before`: told again after a restart, for the state alone."""


class Agent:
    """What an agent does with a message, over whatever connection it came.

    Raises InstanceError, ContractError, CertificateError or JournalError where a file that the configuration
    names cannot be used.
    """

    def __init__(self, config: AgentConfig) -> None:
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
        self._private_digest = hashlib.sha256(self._private.text().encode()).hexdigest()
        self._key: SigningKey = load_key(config.file(config.key))
        self._peers = {name: read_public_key(config.file(file)) for name, file in config.peers.items()}
        self._brokers = {fingerprint_of(config.file(b.certificate)): b for b in config.brokers}
        self._broker_keys = {b.name: read_public_key(config.file(b.key)) for b in config.brokers}
        self._contracts = ContractFolder(config.file(config.contracts) if config.contracts else None)
        self._contracts.tokens()
        self._journal = AgentJournal(config.file(config.state))
        self.book = Book(self._private.capacity(), self._journal.connection)
        self._sides: dict[str, PrivateSide] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let another process use the state folder."""
        self._journal.close()

    def known_broker(self, fingerprint: str | None) -> BrokerPeer:
        """The broker whose certificate a connection showed. Raises Refusal("unknown-peer")."""
        broker = self._brokers.get(fingerprint or "")
        if broker is None:
            raise Refusal("unknown-peer", "this certificate is not that of a broker of this agent")
        return broker

    def about(self) -> dict[str, Any]:
        """Who this is."""
        return {"operator": self.operator, "fedopt": fedopt.__version__, "limits": self.limits.model_dump()}

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
            answer = self._answered(broker.name, run, sequence, body, signature or "")
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
        if known is None:
            if sequence != 0:
                raise Refusal(
                    "unknown-run", f"the run {run} was not opened here; a run begins with message 0"
                )
            known = self._begin(run, broker)
        self._check_open(known, sequence, message)
        try:
            with self._journal.transaction():
                said = self._side(known).answer(message)
                answer = to_bytes(said)
                self._journal.note(run, Told(sequence, digest, body, answer), signature)
                if isinstance(message, Settle) and isinstance(said, Outcome) and said.granted:
                    self._close(run, f"settled: {message.decision}")
        except BaseException as error:
            self._sides.pop(run, None)  # rebuilt from the journal, which holds nothing of this message
            if sequence == 0:
                self._journal.forget_run(run)
            if isinstance(error, MessageError | MaskingError | SignatureError):
                raise Refusal("refused", str(error)) from error
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

    def _begin(self, run: str, broker: str) -> Run:
        """Open a run, closing those that their brokers left."""
        oldest = time.time() - 3600 * self.limits.run_idle_hours
        open_runs = self._journal.open_runs()
        for name, last in open_runs:
            if last < oldest:
                self._close(name, "its broker was silent too long")
        if sum(last >= oldest for _, last in open_runs) >= self.limits.open_runs:
            raise Refusal("too-many", f"{self.limits.open_runs} runs are open here already")
        taken = self.book.reserved()
        free = {name: max(0.0, capacity - taken[name]) for name, capacity in self.book.capacity.items()}
        opened = Run(
            run, broker, generate_secret(), self._contracts.digests(), free, None, self._private_digest
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
        if isinstance(message, Opening) and not message.services:  # else contracts are nobody else's
            agreed = {name: digest for name, digest in run.contracts.items() if name in message.offers}
            if message.contracts != agreed:
                self._journal.forget_run(run.run)
                raise Refusal(
                    "contract-changed", "the contracts named are not the ones that stand; read them again"
                )
        now = self._contracts.digests()
        changed = sorted(
            name for name in now.keys() | run.contracts if now.get(name) != run.contracts.get(name)
        )
        if changed:
            why = f"the contract of {', '.join(changed[:5])} changed"
            self._close(run.run, why)
            raise Refusal("contract-changed", f"{why} during the run; begin a new run")
        if run.private and run.private != self._private_digest:
            why = f"what {self.operator} keeps in its own file changed"
            self._close(run.run, why)
            raise Refusal("contract-changed", f"{why} during the run; begin a new run")

    def _side(self, run: Run) -> PrivateSide:
        """The private side of a run, told again what it was told where this process does not know it."""
        side = self._sides.get(run.run)
        if side is None:
            domains = [
                domain.model_copy(update={"capacity": run.capacity[domain.id]})
                for domain in self._private.domains
            ]
            operator = Operator(
                self.operator,
                domains,
                secret=run.secret,
                book=self.book,
                slot=float(self._private.slot),
                noise=self.config.noise,
                seed=int.from_bytes(hashlib.sha256(b"noise" + run.secret).digest()),
            )
            side = SignedKeys(operator, self._key, self._peers)
            for told in self._journal.all_told(run.run):
                side.answer(parse_message(told.request), True)
            self._sides[run.run] = side
        return side


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


def read_public_key(path: Any) -> tuple[str, OKPKey]:
    """(kid, key) of a public signing key file. Raises ContractError or InstanceError."""
    kid, _, key = public_key(read_document(path))
    return kid, key
