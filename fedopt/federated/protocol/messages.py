"""Everything that crosses the boundary between the broker and an operator, and nothing else does.

A run is a numbered sequence of questions to each operator, every one with its answer. A document says its
run, its round and its sequence, so that a question that is asked again is answered the same and nothing is
done twice. Loads are in work per unit of time, prices in cost per that; both in the order of the offers that
the opening named. Numbers that stand for sums over operators (`Sums`) travel in the clear or masked.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from fedopt.errors import InputError

__all__ = [
    "SUMMED",
    "Acknowledged",
    "Answer",
    "Keys",
    "Message",
    "MessageError",
    "Opened",
    "Opening",
    "Outcome",
    "Prepare",
    "Promise",
    "Proposal",
    "Reservation",
    "Response",
    "Reveal",
    "Revealed",
    "Service",
    "Settle",
    "ShareAnswers",
    "ShareQuestions",
    "Sums",
    "answer_schema",
    "message_schema",
    "numbers_in",
    "parse_answer",
    "parse_message",
    "to_bytes",
]

VERSION: Final = 1
MOST_OFFERS = 100_000
MOST_SHARES = 1_000_000
MOST_SERVICES = 100_000
MOST_THETAS = 1_000
MOST_RESERVATIONS = 1_000_000
MOST_OPERATORS = 65_536
MOST_BYTES = 256_000_000
LARGEST = 1e18

SUMMED = ("support", "cost", "proposed_cost", "refused")
"""What an operator adds to the sums of a round, in this order; see `Sums`."""

_Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False, strict=True)]
_Amount = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False, strict=True)]
_Amounts = Annotated[tuple[_Amount, ...], Field(max_length=MOST_SHARES)]
_Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False, strict=True)]
_Numbers = Annotated[tuple[_Number, ...], Field(max_length=MOST_SHARES)]
_Indices = Annotated[
    tuple[Annotated[StrictInt, Field(ge=0, le=MOST_SHARES)], ...], Field(max_length=MOST_SHARES)
]
_Name = Annotated[StrictStr, Field(min_length=1, max_length=401)]
_Hex32 = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]
_Fixed = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{1,32}$")]
_Run = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
_Count = Annotated[StrictInt, Field(ge=0, le=1_000_000_000)]


class MessageError(InputError):
    """A document that is none of those that may cross; the message says what is wrong where."""


class _Document(BaseModel):
    """Immutable, strict, without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class _Crossing(_Document):
    """What every question and every answer says: where in which run it belongs."""

    fedopt: Literal[1] = VERSION
    run: _Run
    round: _Count = 0
    sequence: _Count


# -- shares of a promise, under the split guarantee ---------------------------------------------------------


class Service(_Document):
    """What a tenant asks of every domain, at each θ of a grid: its arrivals and its risk, all public.

    theta in 1/work; load: θρ, nats a slot; start: θσ and what a request adds, nats; log_epsilon: log of the
    violation probability that the domains of a path share.
    """

    theta: Annotated[tuple[_Positive, ...], Field(min_length=1, max_length=MOST_THETAS)]
    load: _Amounts
    start: _Amounts
    log_epsilon: Annotated[float, Field(lt=0, ge=-1e6, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if not len(self.theta) == len(self.load) == len(self.start):
            raise ValueError("theta, load and start must be equally many")
        return self


class ShareQuestions(_Document):
    """Shares of promises proposed to the domains of paths, one hop after the other; all fields equally long.

    service, theta: which of the opening's services, at which of its θ; offer: which of the opening's offers;
    power: Hölder exponent; burst: nats that earlier domains may add; slots: what the path's domains share;
    time, risk, margin: the shares proposed (of the slots, of ε, and the margin in nats that the domain would
    state); worth: money that a unit of rate is worth; prices and penalties of the three shares.
    """

    service: _Indices
    theta: _Indices
    offer: _Indices
    power: _Amounts
    burst: _Amounts
    slots: _Amounts
    time: _Amounts
    risk: _Amounts
    margin: _Amounts
    worth: _Amounts
    price_time: _Numbers
    price_risk: _Numbers
    price_margin: _Numbers
    pull_time: _Amounts
    pull_risk: _Amounts
    pull_margin: _Amounts

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        lengths = {len(getattr(self, name)) for name in type(self).model_fields}
        if len(lengths) > 1:
            raise ValueError("all fields must be equally long")
        for name in ("pull_time", "pull_risk", "pull_margin", "risk"):
            if any(value <= 0.0 for value in getattr(self, name)):
                raise ValueError(f"{name} must be positive")
        return self


class ShareAnswers(_Document):
    """For each question the shares that the domain would rather have; the base burst, nats, which together
    with φ of the margin stated bounds what it adds to the burst; rates in a unit of its own: at these shares
    and at the proposed ones, −1 where no rate will do.
    """

    time: _Amounts
    risk: _Amounts
    margin: _Amounts
    burst: _Amounts
    rate: _Numbers
    proposed: _Numbers


class Promise(_Document):
    """Units of a tenant on one offer under the split guarantee: `count` of them, with these shares."""

    tenant: _Name
    offer: _Name
    count: Annotated[StrictInt, Field(ge=1, le=1_000_000_000)]
    service: _Count
    theta: _Count
    power: _Amount
    burst: _Amount
    slots: _Amount
    time: _Amount
    risk: Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
    margin: _Amount


# -- what the broker says ---------------------------------------------------------------------------------


class Opening(_Crossing):
    """The first question: will you take part in this run, with these offers under these contracts?
    `replaces` names a run of the same broker whose reservations this one will take the place of: what they
    take counts as free.

    `instance` is the SHA-256 of the public instance, `contracts` the SHA-256 of the signed contract of an
    offer where it has one, `masked` whether sums will be masked. `services`: under the split guarantee, where
    contracts stay with the operators, what the tenants ask of them; rates are then in units of the operators'
    own.
    """

    kind: Literal["opening"] = "opening"
    operator: _Name
    instance: _Hex32
    offers: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=MOST_OFFERS)]
    contracts: Annotated[dict[_Name, _Hex32], Field(max_length=MOST_OFFERS)] = {}
    masked: bool = False
    services: Annotated[tuple[Service, ...], Field(max_length=MOST_SERVICES)] = ()
    replaces: _Run | None = None


class Keys(_Crossing):
    """The masking keys of all operators of the run, each with its operator's signature where it has one."""

    kind: Literal["keys"] = "keys"
    keys: Annotated[dict[_Name, _Hex32], Field(min_length=1, max_length=MOST_OPERATORS)]
    signatures: Annotated[
        dict[_Name, Annotated[StrictStr, Field(max_length=2000)]], Field(max_length=MOST_OPERATORS)
    ] = {}


class Proposal(_Crossing):
    """Loads proposed, at these prices and penalties: how much would you rather carry?

    The operator answers the z that minimises its cost(z) − prices·z + Σ penalties/2·(z − loads)² within its
    capacity. Under `of` "capacity" its cost counts as nothing, and the question is whether the loads fit.
    `shares` asks about shares of promises besides; under `of` "shares" about nothing else.
    """

    kind: Literal["proposal"] = "proposal"
    of: Literal["cost", "capacity", "shares"] = "cost"
    loads: _Amounts = ()
    prices: _Amounts = ()
    penalties: _Amounts = ()
    shares: ShareQuestions | None = None

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if not len(self.loads) == len(self.prices) == len(self.penalties):
            raise ValueError("loads, prices and penalties must be equally many")
        if any(penalty <= 0.0 for penalty in self.penalties):
            raise ValueError("a penalty must be positive")
        return self


class Reveal(_Crossing):
    """Who answered the round: reveal what cancels the masks of the sums labelled `label` over these."""

    kind: Literal["reveal"] = "reveal"
    label: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    survivors: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=MOST_OPERATORS)]


class Reservation(_Document):
    """Units of a tenant on one offer: `count` of them, `rate` work per unit of time each."""

    tenant: _Name
    offer: _Name
    count: Annotated[StrictInt, Field(ge=1, le=1_000_000_000)]
    rate: Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]


class Prepare(_Crossing):
    """Hold these reservations for `term` seconds: rates, or promises whose rates the operator knows.
    `replaces` names a run whose reservations they replace.
    """

    kind: Literal["prepare"] = "prepare"
    reservations: Annotated[tuple[Reservation, ...], Field(max_length=MOST_RESERVATIONS)] = ()
    promises: Annotated[tuple[Promise, ...], Field(max_length=MOST_RESERVATIONS)] = ()
    term: Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)] = 600.0
    replaces: _Run | None = None


class Settle(_Crossing):
    """What becomes of what was prepared: commit, abort, rollback (take back a commit that others refused) or,
    after a commit, release."""

    kind: Literal["settle"] = "settle"
    decision: Literal["commit", "abort", "rollback", "release"]


Message = Opening | Keys | Proposal | Reveal | Prepare | Settle


# -- what an operator says --------------------------------------------------------------------------------


class Sums(_Document):
    """An operator's share of the round's sums, in the order of `SUMMED`.

    support: least cost(y) − prices'·y over its capacity, prices' = prices + penalties·(loads − z);
    cost: its cost of the loads answered; proposed_cost: of the loads proposed (0 where it cannot carry them);
    refused: 1 where it cannot carry them. In the clear (`plain`), or as fixed-point integers modulo 2^128
    under masks, hexadecimal (`masked`, with the label under which they were masked).
    """

    plain: Annotated[tuple[_Number, ...], Field(max_length=16)] | None = None
    masked: Annotated[tuple[_Fixed, ...], Field(max_length=16)] | None = None
    label: Annotated[StrictStr, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.plain is None) == (self.masked is None):
            raise ValueError("sums are given in the clear or masked, one of the two")
        if len(self.plain or self.masked or ()) != len(SUMMED):
            raise ValueError(f"{len(SUMMED)} numbers are due: {', '.join(SUMMED)}")
        return self


class Opened(_Crossing):
    """The operator takes part. `quotes` are the prices per offer that it opens with, any it likes to name;
    good ones save rounds. `key` is its masking key.
    """

    kind: Literal["opened"] = "opened"
    quotes: _Amounts
    key: _Hex32 | None = None
    signature: Annotated[StrictStr, Field(max_length=2000)] | None = None


class Response(_Crossing):
    """The loads that the operator would rather carry, and its share of the sums; shares of promises."""

    kind: Literal["response"] = "response"
    loads: _Amounts = ()
    sums: Sums | None = None
    shares: ShareAnswers | None = None


class Revealed(_Crossing):
    """What cancels this operator's masks, as fixed-point integers modulo 2^128, hexadecimal."""

    kind: Literal["revealed"] = "revealed"
    label: Annotated[StrictStr, Field(min_length=1, max_length=200)]
    shares: Annotated[tuple[_Fixed, ...], Field(max_length=16)]


class Acknowledged(_Crossing):
    """The message was taken note of."""

    kind: Literal["acknowledged"] = "acknowledged"


class Outcome(_Crossing):
    """What became of a prepare or a settle: granted or not, and why not (`domain` where one lacks room)."""

    kind: Literal["outcome"] = "outcome"
    granted: bool
    reason: Annotated[StrictStr, Field(max_length=1000)] = ""
    domain: _Name | None = None


Answer = Opened | Response | Revealed | Acknowledged | Outcome

_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="kind")])
_ANSWERS: TypeAdapter[Answer] = TypeAdapter(Annotated[Answer, Field(discriminator="kind")])


def to_bytes(document: Message | Answer) -> bytes:
    """The document as compact JSON, the same bytes for the same document."""
    return document.model_dump_json().encode()


def parse_message(body: bytes) -> Message:
    """A question from its JSON. Raises MessageError."""
    return _parsed(_MESSAGES, body)


def parse_answer(body: bytes) -> Answer:
    """An answer from its JSON. Raises MessageError."""
    return _parsed(_ANSWERS, body)


def message_schema() -> dict[str, Any]:
    """The JSON Schema of the questions."""
    return _MESSAGES.json_schema()


def answer_schema() -> dict[str, Any]:
    """The JSON Schema of the answers."""
    return _ANSWERS.json_schema(mode="serialization")


def numbers_in(document: Message | Answer) -> dict[str, int]:
    """How many numbers each field discloses; names, versions and positions in the run count as none."""
    if isinstance(document, Proposal):
        asked = {name: len(getattr(document, name)) for name in ("loads", "prices", "penalties")}
        if document.shares is not None:
            asked["shares"] = _size(document.shares)
        return {name: count for name, count in asked.items() if count}
    if isinstance(document, Response):
        told = {"loads": len(document.loads)}
        if document.sums is not None:
            told["masked sums" if document.sums.plain is None else "costs"] = len(SUMMED)
        if document.shares is not None:
            told["shares"] = 3 * len(document.shares.time)
            told["bursts"] = len(document.shares.time)
            told["rates"] = 2 * len(document.shares.time)
        return {name: count for name, count in told.items() if count}
    if isinstance(document, Opened):
        return {"quotes": len(document.quotes)}
    if isinstance(document, Revealed):
        return {"mask shares": len(document.shares)}
    if isinstance(document, Opening) and document.services:
        return {"services": sum(1 + 3 * len(service.theta) for service in document.services)}
    if isinstance(document, Prepare):
        return {"reservations": 2 * len(document.reservations) + 7 * len(document.promises)}
    return {}


def _size(document: BaseModel) -> int:
    return sum(len(getattr(document, name)) for name in type(document).model_fields)


def _parsed(adapter: TypeAdapter[Any], body: bytes) -> Any:
    if len(body) > MOST_BYTES:
        raise MessageError(f"a message of {len(body)} bytes; the largest allowed has {MOST_BYTES}")
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        where = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'document'}: {problem['msg']}"
            for problem in problems[:5]
        )
        raise MessageError(f"not a message of this protocol: {where}") from None
