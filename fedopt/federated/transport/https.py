"""The broker's connections to the agents: HTTPS, mutual TLS, retries with back-off, signatures both ways."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from fedopt.errors import FedoptError, optional
from fedopt.federated.operator import Lost
from fedopt.federated.protocol.messages import Answer, Message, MessageError, parse_answer, to_bytes
from fedopt.federated.transport.certificates import client_context
from fedopt.federated.transport.policy import REASONS
from fedopt.federated.transport.signed import HEADER, SignatureError, sign_message, verify_message

with optional("runs across operators", "federation"):
    import httpx

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

    from fedopt.contracts.signing import SigningKey
    from fedopt.federated.transport.broker_journal import BrokerRun

__all__ = [
    "AgentFailure",
    "AgentLink",
    "Connections",
    "Failure",
    "HttpsTransport",
    "Patience",
    "Question",
    "Reply",
    "plain_text",
]

Question = tuple[int, bytes]
"""A message to an operator: its number in the run, and its text."""

MOST_ANSWER_BYTES = 64_000_000
PROBE_SECONDS = 1.0
SHUT_OUT = "it does not accept the broker's certificate"


@dataclass(frozen=True)
class AgentLink:
    """An agent as the broker knows it: operator, address, certificate and public signing key (kid, key)."""

    operator: str
    url: str
    certificate: Path
    key: tuple[str, OKPKey]


@dataclass(frozen=True)
class Patience:
    """How long the broker waits: for one attempt, and for an answer with all its retries; seconds."""

    attempt: float = 30.0
    total: float = 120.0
    first_pause: float = 0.05
    longest_pause: float = 5.0


@dataclass(frozen=True)
class Reply:
    """An answer as it came, its signature verified."""

    body: bytes
    signature: str
    attempts: int


@dataclass(frozen=True)
class Failure:
    """Why there is no answer.

    `kind`: silent (no answer within the patience), certificate (either end refuses the other's), forged (an
    answer without the operator's signature), or refused (the agent says no, `reason` is its word).
    """

    operator: str
    kind: Literal["silent", "certificate", "forged", "refused"]
    message: str
    reason: str | None = None
    attempts: int = 0

    def __str__(self) -> str:
        return f"{self.operator}: {self.message}"


@dataclass
class Traffic:
    """What crossed the boundary to one agent: requests sent, answers received, and their bytes (bodies
    and signatures)."""

    requests: int = 0
    answers: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    retries: int = 0


@dataclass
class _Open:
    client: httpx.AsyncClient
    tls: ssl.SSLContext
    traffic: Traffic = field(default_factory=Traffic)


class Connections:
    """Connections to all agents of a run; a context manager. Requests go out at the same time.

    `key` signs what the broker says; `certificate` and `tls_key` are its end of mutual TLS. `seed` spreads
    the pauses between retries.
    """

    def __init__(
        self,
        links: Mapping[str, AgentLink],
        key: SigningKey,
        certificate: Path,
        tls_key: Path,
        patience: Patience | None = None,
        seed: int = 0,
        wrap: Callable[[str, httpx.AsyncBaseTransport], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        self.links = dict(links)
        self.patience = patience or Patience()
        self._key = key
        self._random = random.Random(seed)
        self._runner = asyncio.Runner()
        limits = httpx.Limits(max_connections=2, max_keepalive_connections=2, keepalive_expiry=600)
        self._open: dict[str, _Open] = {}
        for name, link in self.links.items():
            tls = client_context(certificate, tls_key, link.certificate)
            transport: httpx.AsyncBaseTransport = httpx.AsyncHTTPTransport(
                verify=tls, limits=limits, trust_env=False
            )
            client = httpx.AsyncClient(
                base_url=link.url,
                transport=wrap(name, transport) if wrap is not None else transport,
                timeout=self.patience.attempt,
                trust_env=False,  # a proxy of the environment has no business between the two
            )
            self._open[name] = _Open(client, tls)

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""

        async def all_closed() -> None:
            await asyncio.gather(*(one.client.aclose() for one in self._open.values()))

        self._runner.run(all_closed())
        self._runner.close()

    def traffic(self, operator: str) -> Traffic:
        """What crossed the boundary to an operator so far."""
        return self._open[operator].traffic

    def exchange(
        self, run: str, questions: Mapping[str, Question], patience: Patience | None = None
    ) -> dict[str, Reply | Failure]:
        """Send each operator its question and wait until each answered or failed."""

        async def all_told() -> list[Reply | Failure]:
            waits = patience or self.patience
            return await asyncio.gather(
                *(self._told(name, run, *question, waits) for name, question in questions.items())
            )

        return dict(zip(questions, self._runner.run(all_told()), strict=True))

    def contracts(self, subjects: Mapping[str, list[str]]) -> dict[str, str | Failure]:
        """The signed contracts of "domain/offer" subjects by operator: subject to token, or why there is
        none.
        """

        async def all_fetched() -> list[tuple[str, str | Failure]]:
            return await asyncio.gather(
                *(self._contract(name, subject) for name, mine in subjects.items() for subject in mine)
            )

        return dict(self._runner.run(all_fetched()))

    async def _contract(self, operator: str, subject: str) -> tuple[str, str | Failure]:
        domain, _, offer = subject.partition("/")
        quoted = f"{quote(domain, safe='')}/{quote(offer, safe='')}"
        answered = await self._answered(operator, "GET", f"/v1/contracts/{quoted}", b"", {}, self.patience)
        return subject, answered if isinstance(answered, Failure) else answered.body.decode(
            "ascii", "replace"
        )

    async def _told(
        self, operator: str, run: str, sequence: int, body: bytes, patience: Patience
    ) -> Reply | Failure:
        signature = sign_message(self._key, "request", run, sequence, operator, body)
        headers = {HEADER: signature, "Content-Type": "application/json"}
        path = f"/v1/runs/{run}/messages/{sequence}"
        answered = await self._answered(operator, "POST", path, body, headers, patience)
        if isinstance(answered, Failure):
            return answered
        key = self.links[operator].key
        try:
            verify_message(answered.signature, key, "answer", run, sequence, operator, answered.body, body)
        except SignatureError as error:
            return Failure(
                operator, "forged", f"its answer is not its own: {error}", attempts=answered.attempts
            )
        return answered

    async def _answered(
        self,
        operator: str,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        patience: Patience,
    ) -> Reply | Failure:
        """One answer, asked for again with growing pauses as long as the patience lasts."""
        traffic, until = self._open[operator].traffic, time.monotonic() + patience.total
        pause, attempts = patience.first_pause, 0
        while True:
            attempts += 1
            outcome = await self._attempt(
                operator, method, path, body, headers, min(patience.attempt, patience.total)
            )
            if isinstance(outcome, Reply):
                traffic.answers += 1
                return Reply(outcome.body, outcome.signature, attempts)
            failure, again = outcome
            if again and attempts == 1 and traffic.answers == 0 and await self._shut_out(operator):
                failure, again = Failure(operator, "certificate", SHUT_OUT), False
            wait = pause * self._random.uniform(0.5, 1.5)
            if not again or time.monotonic() + wait >= until:
                return Failure(operator, failure.kind, failure.message, failure.reason, attempts)
            traffic.retries += 1
            await asyncio.sleep(wait)
            pause = min(2 * pause, patience.longest_pause)

    async def _shut_out(self, operator: str) -> bool:
        """Whether the agent closes connections because of the broker's certificate.

        Under TLS 1.3 it judges the certificate when the broker's handshake is over; a request on its way then
        meets a reset. Here connections only listen: one that is closed at once, twice, is not wanted.
        """
        one, url = self._open[operator], httpx.URL(self.links[operator].url)
        for _ in range(2):
            writer: asyncio.StreamWriter | None = None
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    reader, writer = await asyncio.open_connection(url.host, url.port or 443, ssl=one.tls)
                    if await reader.read(1):
                        return False
            except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
                return _alert(error)
            finally:
                if writer is not None:
                    writer.close()
        return True

    async def _attempt(
        self, operator: str, method: str, path: str, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> Reply | tuple[Failure, bool]:
        """One attempt: an answer, or a failure and whether another attempt can help."""
        one = self._open[operator]
        one.traffic.requests += 1
        one.traffic.bytes_out += len(body) + len(headers.get(HEADER, ""))
        try:
            async with (
                asyncio.timeout(seconds),
                one.client.stream(method, path, content=body, headers=headers) as got,
            ):
                parts, size = [], 0
                async for part in got.aiter_bytes():
                    size += len(part)
                    if size > MOST_ANSWER_BYTES:
                        return Failure(operator, "refused", "its answer is too large", "too-large"), False
                    parts.append(part)
                content = b"".join(parts)
                one.traffic.bytes_in += len(content) + len(got.headers.get(HEADER, ""))
        except (httpx.HTTPError, TimeoutError, ssl.SSLError, OSError) as error:
            return _unreached(operator, error)
        if got.status_code == 200:
            return Reply(content, got.headers.get(HEADER, ""), 1)
        return _refused(operator, got.status_code, content)


def _unreached(operator: str, error: BaseException) -> tuple[Failure, bool]:
    """What a broken connection means; a certificate that is refused will be refused again."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Failure(
                operator, "certificate", f"its certificate is not the pinned one: {cause.verify_message}"
            ), False
        if _alert(cause):
            return Failure(operator, "certificate", SHUT_OUT), False
        cause = cause.__cause__ or cause.__context__
    what = "no answer in time" if isinstance(error, TimeoutError | httpx.TimeoutException) else "not reached"
    return Failure(operator, "silent", what), True


def plain_text(text: object, most: int = 500) -> str:
    """What another party wrote, fit for a terminal: no control characters, no escapes, not too long."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text)[:most])


def _alert(error: BaseException) -> bool:
    """Whether the other end said in TLS that it does not like this end's certificate."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


def _refused(operator: str, status: int, content: bytes) -> tuple[Failure, bool]:
    """What an answer other than 200 means. An agent that is busy, or lost half a message, is asked again."""
    try:
        said: Any = json.loads(content)
        reason, message = plain_text(said["reason"]), plain_text(said["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        reason, message = "malformed", f"HTTP status {status}"
    again = reason in ("too-slow", "too-many") or status in (502, 503, 504)
    named = reason if reason in REASONS else "malformed"
    return Failure(operator, "refused", f"{named}: {message}", named), again


class AgentFailure(FedoptError, RuntimeError):
    """A run that an agent ended; the message names the agent and says why."""

    exit_code = 5

    def __init__(self, operator: str, kind: str, message: str, reason: str | None = None) -> None:
        self.operator = operator
        self.kind = kind
        self.reason = reason
        super().__init__(f"the agent of {operator}: {message}")


class HttpsTransport:
    """A transport of `fedopt.federated`: an agent that stays silent is lost; one that refuses ends the run by
    name.

    `next_sequence` is the number of the next message to each operator that was asked so far.
    """

    def __init__(self, run: BrokerRun) -> None:
        self._run = run
        self.next_sequence: dict[str, int] = {}

    def broadcast(self, messages: Mapping[str, Message]) -> dict[str, Answer | Lost]:
        """Ask each operator its question. Raises AgentFailure where one refuses, or is not who it says."""
        self.next_sequence |= {name: message.sequence + 1 for name, message in messages.items()}
        outcomes = self._run.broadcast(
            {name: (message.sequence, to_bytes(message)) for name, message in messages.items()}
        )
        return {name: _answer(name, messages[name], outcome) for name, outcome in outcomes.items()}


def _answer(operator: str, message: Message, outcome: Reply | Failure) -> Answer | Lost:
    if isinstance(outcome, Failure):
        if outcome.kind == "silent":
            return Lost(operator, outcome.message)
        raise AgentFailure(operator, outcome.kind, outcome.message, outcome.reason)
    try:
        answer = parse_answer(outcome.body)
    except MessageError as error:
        raise AgentFailure(operator, "malformed", plain_text(f"its answer cannot be read: {error}")) from None
    place = (message.run, message.round, message.sequence)
    if (answer.run, answer.round, answer.sequence) != place:
        raise AgentFailure(operator, "malformed", "its answer belongs to another question")
    return answer
