"""Learned domains as a service: what controllers answered comes in, splits of SLAs go out, without a job.

What a caller has learned under a name lies in a database of its own in the server's folder. An answer is on
disk before it is confirmed (`fedopt.learn.keep`), so nothing that was confirmed is lost with the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from fedopt.errors import InputError
from fedopt.service.documents import ApiDocument
from fedopt.service.errors import ApiError
from fedopt.storage import StorageError

if TYPE_CHECKING:
    from fedopt.learn import Kept

__all__ = ["LEARNED_EXAMPLE", "Learned", "LearnedAnswers", "Learning", "Splits", "SplitsWanted", "read"]

MOST_NAMES = 50
"""Names that one caller may learn under."""
MOST = 10_000
"""Answers, or SLAs, of one request."""

Found = TypeVar("Found")
Document = TypeVar("Document", bound="Posted")
Name = Annotated[str, Field(min_length=1, max_length=200)]
Positive = Annotated[float, Field(gt=0, le=1e12)]
Amount = Annotated[float, Field(ge=0, le=1e12)]
Values = Annotated[dict[Name, float | str], Field(max_length=50)]


class Posted(ApiDocument):
    """A document that is posted: nothing is guessed."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class LearnedAnswer(Posted):
    """What a domain answered."""

    domain: Name = Field(description="Who answered; a new one is learned from now on.")
    accepted: bool = Field(description="What it said.")
    delay: Positive | None = Field(None, description="Asked for; left out for a request known by its id.")
    throughput: Amount = Field(0.0, description="Asked for.")
    values: Values = Field({}, description="Further metrics and the context.")
    request: Name | None = Field(None, description="Id of the request; a second answer to it is ignored.")
    time: float | None = Field(None, description="When it was given, in a unit of the caller's.")
    stage: Name | None = Field(None, description="Of a new domain, where domains have stages.")


class LearnedAnswers(Posted):
    """Answers to learn from."""

    answers: Annotated[list[LearnedAnswer], Field(min_length=1, max_length=MOST)]
    metrics: Annotated[list[Name], Field(max_length=20)] = Field(
        [], description="Once, with the first answers: reliability:product, hour:context:24, …"
    )


class Learning(ApiDocument):
    """What became of the answers."""

    learned: int = Field(ge=0, description="Answers that were learned from.")
    duplicates: int = Field(ge=0, description="Second answers to a request, which were ignored.")
    changed: list[str] = Field(description="Domains that seem to have changed.")


class SLAWanted(Posted):
    """An SLA to split."""

    delay: Positive = Field(description="End to end.")
    throughput: Amount = Field(0.0, description="End to end.")
    more: Annotated[dict[Name, float], Field(max_length=50)] = Field({}, description="Further metrics.")
    context: Values = Field({}, description="Hour, type of slice, …")
    request: Name | None = Field(None, description="Id by which answers may come later.")


class SplitsWanted(Posted):
    """SLAs to split."""

    slas: Annotated[list[SLAWanted], Field(min_length=1, max_length=MOST)]
    certify: bool = Field(False, description="Whether each split comes with its certified gap.")


class SplitSLA(ApiDocument):
    """An SLA split."""

    delay: dict[str, float] = Field(description="Partial delay of each domain.")
    probability: dict[str, float] = Field(description="Calibrated probability that it accepts.")
    accepted: float = Field(ge=0, le=1, description="That all of them accept.")
    parts: dict[str, dict[str, float]] = Field(description="The further metrics of each domain.")
    gap: float | None = Field(None, description="No split is better by more, in log-probability.")


class Splits(ApiDocument):
    """SLAs split, in their order."""

    splits: list[SplitSLA]
    warnings: list[str] = Field(description="What speaks against trusting them.")


LEARNED_EXAMPLE = {"answers": [{"domain": "edge", "accepted": True, "delay": 20.0, "request": "r1"}]}


def read(kind: type[Document], body: bytes) -> Document:
    """The posted document. Raises ApiError where it is not one."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problems = [
            {
                "place": ".".join(str(part) for part in one["loc"])[:500],
                "line": None,
                "message": one["msg"][:500],
                "remedy": "see the OpenAPI document",
            }
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise ApiError("INVALID_ARGUMENT", "the document is not right", problems=problems) from None


class Learned:
    """What callers have learned, each under names of its own."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "learned"
        self._open: dict[Path, Kept] = {}
        self._opening = threading.Lock()

    async def observe(self, caller: str, name: str, posted: LearnedAnswers) -> Learning:
        """Learn from answers; a name that is new begins with them."""
        from fedopt.learn import Answer
        from fedopt.learn.decide import schema_of

        def act() -> Learning:
            kept = self._kept(caller, name, posted.metrics)
            if posted.metrics and schema_of(tuple(posted.metrics)).names != kept.schema.names:
                raise InputError(f"{name} was begun with other metrics: leave them out")
            received = kept.observe([Answer(**dict(answer)) for answer in posted.answers])
            return Learning(
                learned=received.learned, duplicates=received.duplicates, changed=list(received.changed)
            )

        return await _apart(act)

    async def decompose(self, caller: str, name: str, wanted: SplitsWanted) -> Splits:
        """Split SLAs by what was learned."""
        from fedopt.learn import SLA

        requests = [one.request for one in wanted.slas if one.request is not None]
        if len(requests) not in (0, len(wanted.slas)):
            raise ApiError("INVALID_ARGUMENT", "give every SLA a request id, or none")

        def act() -> Splits:
            kept = self._kept(caller, name, None)
            slas = [SLA(one.delay, one.throughput, one.more) for one in wanted.slas]
            contexts = [one.context for one in wanted.slas]
            found = kept.decompose_batch(slas, None, contexts, requests or None, wanted.certify)
            warnings = dict.fromkeys(text for sla in slas[:1] for text in kept.warnings(sla))
            splits = [
                SplitSLA(
                    delay=dict(split.delay),
                    probability=dict(split.probability),
                    accepted=split.accepted,
                    parts={domain: dict(part) for domain, part in split.parts.items()},
                    gap=split.gap,
                )
                for split in found
            ]
            return Splits(splits=splits, warnings=list(warnings))

        return await _apart(act)

    def end(self) -> None:
        """Write everything down."""
        with self._opening:
            for kept in self._open.values():
                kept.close()
            self._open.clear()

    def _kept(self, caller: str, name: str, metrics: list[str] | None) -> Kept:
        from fedopt.learn import Orchestrator, keep
        from fedopt.learn.decide import schema_of

        folder = self._folder / hashlib.sha256(caller.encode()).hexdigest()[:32]
        file = folder / f"{name}.db"
        with self._opening:
            if file not in self._open:
                if metrics is None and not file.exists():
                    raise ApiError("NOT_FOUND", f"nothing was learned under the name {name!r}")
                if not file.exists() and len(list(folder.glob("*.db"))) >= MOST_NAMES:
                    raise ApiError("QUOTA_EXCEEDED", f"a caller learns under {MOST_NAMES} names at most")
                schema = schema_of(tuple(metrics or ()))
                self._open[file] = keep(file, lambda: Orchestrator(schema=schema))
            return self._open[file]


async def _apart(act: Callable[[], Found]) -> Found:
    """Run in a thread: learning takes milliseconds, and others are not to wait for it."""
    try:
        return await asyncio.to_thread(act)
    except StorageError as error:
        raise ApiError("UNAVAILABLE", str(error), retry_after=5) from None
    except InputError as error:
        raise ApiError("INVALID_ARGUMENT", str(error)) from None


def schemas(ref_template: str) -> dict[str, Any]:
    """The schemas of what is posted."""
    found: dict[str, Any] = {}
    for kind in (LearnedAnswers, SplitsWanted):
        schema = kind.model_json_schema(ref_template=ref_template)
        found |= schema.pop("$defs", {})
        found[kind.__name__] = schema
    return found
