"""An operator's agent: which messages it answers, and what it keeps so that a crash changes nothing.

The operator's own answers come from its private side, a state machine that is rebuilt from the journal after
a restart. Here it is decided who may speak, in which order, under which contracts.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from joserfc.jwk import OKPKey

import fedopt
from fedopt.admm.masking import generate_secret
from fedopt.admm.transport.agent_config import AgentConfig, BrokerPeer, read_document
from fedopt.admm.transport.agent_journal import AgentJournal, Run, Told
from fedopt.admm.transport.certificates import fingerprint_of
from fedopt.admm.transport.contract_folder import ContractFolder
from fedopt.admm.transport.refusal import Refusal
from fedopt.admm.transport.signed import SignatureError, sign_message, verify_message
from fedopt.contracts.keys import SigningKey, load_key, public_key

__all__ = ["Agent", "PrivateSide", "read_public_key"]


class PrivateSide(Protocol):
    """The operator's side of one run: a state machine whose state is what it was told."""

    def answer(self, message: Any, told_before: bool) -> Any:
        """The answer to a message; `told_before`: told again after a restart, for the state alone."""


class Agent:
    """What an agent does with a message, over whatever connection it came.

    `opened` makes the private side of a run from the run and its first message. `parse` reads a message from
    its text, `settles` tells the messages that settle a run which was prepared.
    """

    def __init__(
        self,
        config: AgentConfig,
        journal: AgentJournal,
        opened: Callable[[Run], PrivateSide],
        parse: Callable[[bytes], Any],
        settles: Callable[[Any], bool],
        schemas: tuple[dict[str, Any], dict[str, Any]],
    ) -> None:
        self.config = config
        self.limits = config.limits
        self.operator = config.operator
        self._key: SigningKey = load_key(config.file(config.key))
        self._brokers = {fingerprint_of(config.file(b.certificate)): b for b in config.brokers}
        self._broker_keys = {b.name: read_public_key(config.file(b.key)) for b in config.brokers}
        self._contracts = ContractFolder(config.file(config.contracts) if config.contracts else None)
        self._journal = journal
        self._opened, self._parse, self._settles = opened, parse, settles
        self.schemas = schemas
        self._sides: dict[str, PrivateSide] = {}
        self._lock = threading.Lock()

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
        message = self._parse(body)
        if known is None:
            if sequence != 0:
                raise Refusal(
                    "unknown-run", f"the run {run} was not opened here; a run begins with message 0"
                )
            known = self._begin(run, broker)
        self._check_open(known, sequence, message)
        try:
            with self._journal.transaction():
                side = self._side(known)
                answer = side.answer(message, False)
                self._journal.note(run, Told(sequence, digest, body, answer), signature)
        except BaseException:
            self._sides.pop(run, None)  # rebuilt from the journal, which holds nothing of this message
            if sequence == 0:
                self._journal.forget_run(run)
            raise
        return answer

    def _begin(self, run: str, broker: str) -> Run:
        """Open a run, closing those that their brokers left."""
        oldest = time.time() - 3600 * self.limits.run_idle_hours
        open_runs = self._journal.open_runs()
        for name, last in open_runs:
            if last < oldest:
                self._journal.close_run(name, "its broker was silent too long")
                self._sides.pop(name, None)
        if sum(last >= oldest for _, last in open_runs) >= self.limits.open_runs:
            raise Refusal("too-many", f"{self.limits.open_runs} runs are open here already")
        return self._journal.open_run(run, broker, generate_secret(), self._contracts.digest())

    def _check_open(self, run: Run, sequence: int, message: Any) -> None:
        if self._settles(message):
            return  # what was prepared is settled whatever has changed since
        if run.closed is not None:
            raise Refusal("closed", f"the run {run.run} is over: {run.closed}")
        if sequence >= self.limits.messages_per_run:
            raise Refusal("too-many", f"a run has at most {self.limits.messages_per_run} messages here")
        changed = self._contracts.changes(run.contracts)
        if changed:
            why = f"the contract of {', '.join(changed[:5])} changed"
            self._journal.close_run(run.run, why)
            self._sides.pop(run.run, None)
            raise Refusal("contract-changed", f"{why} during the run; begin a new run")

    def _side(self, run: Run) -> PrivateSide:
        """The private side of a run, told again what it was told where this process does not know it."""
        side = self._sides.get(run.run)
        if side is None:
            side = self._opened(run)
            for told in self._journal.all_told(run.run):
                side.answer(self._parse(told.request), True)
            self._sides[run.run] = side
        return side


def read_public_key(path: Any) -> tuple[str, OKPKey]:
    """(kid, key) of a public signing key file. Raises ContractError or InstanceError."""
    kid, _, key = public_key(read_document(path))
    return kid, key
