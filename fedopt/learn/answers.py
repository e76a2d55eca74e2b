"""Answers at the door: what is refused, what is a duplicate, and what a request asked for that they name."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fedopt.errors import InputError
from fedopt.learn.feedback import Array, Feedback, Rows
from fedopt.learn.metrics import Schema

CHUNK = 25
"""Answers of a domain that are foretold before they are learned from; a longer batch is taken in parts."""


@dataclass(frozen=True)
class Answer:
    """What a domain answered.

    Attributes
    ----------
    domain
        Its name; one that is new is learned from now on.
    accepted
        Whether it accepted: True or False, 1 or 0.
    delay, throughput, values
        What it was asked for; `values` has the further metrics and the context. They may be left out for a
        request that `decompose` was given an identifier for.
    request
        Identifier of the request. A second answer of the same domain to it is a duplicate and ignored.
    time
        When it was given, in any unit; older answers count less (`Settings.half_life_time`).
    stage
        Of a new domain.
    """

    domain: str
    accepted: bool | float
    delay: float | None = None
    throughput: float = 0.0
    values: Mapping[str, Any] = field(default_factory=dict)
    request: str | None = None
    time: float | None = None
    stage: str | None = None


@dataclass(frozen=True)
class Received:
    """What became of answers: how many were learned from, how many were duplicates, which domains changed."""

    learned: int
    duplicates: int
    changed: tuple[str, ...] = ()


class Requests:
    """What was asked of whom by the latest requests that have an identifier, and who has answered.

    The oldest are forgotten beyond `capacity` requests.
    """

    def __init__(self, capacity: int, entries: Iterable[tuple[str, dict[str, Any]]] = ()) -> None:
        self.capacity = capacity
        self.entries: OrderedDict[str, dict[str, Any]] = OrderedDict(entries)

    def send(self, request: str, parts: Mapping[str, Any]) -> None:
        """Note what a request asked of each domain: delay, throughput and values."""
        self.entries[request] = {"parts": parts, "answered": []}
        self.entries.move_to_end(request)
        self._trim()

    def answer(self, request: str, domain: str) -> None:
        """Note that a domain has answered a request."""
        entry = self.entries.setdefault(request, {"parts": {}, "answered": []})
        entry["answered"].append(domain)
        self._trim()

    def answered(self, request: str, domain: str) -> bool:
        """Whether a domain has answered a request."""
        return request in self.entries and domain in self.entries[request]["answered"]

    def asked(self, request: str, domain: str) -> Mapping[str, Any] | None:
        """What a request asked of a domain, None where it is not known."""
        found: Mapping[str, Any] | None = self.entries.get(request, {}).get("parts", {}).get(domain)
        return found

    def _trim(self) -> None:
        while len(self.entries) > self.capacity:
            self.entries.popitem(last=False)


def checked(
    answers: Sequence[Answer], schema: Schema, stages: Mapping[str, str], requests: Requests
) -> tuple[list[dict[str, Any]], int]:
    """Complete and valid rows of the answers that are no duplicates, and the number of those; plain data.

    Raises
    ------
    InputError
        If one of them is no answer; it says which and why.
    """
    found: list[dict[str, Any]] = []
    duplicates = 0
    new: set[tuple[str, str]] = set()
    known = dict(stages)
    for number, answer in enumerate(answers):
        place = f"answer {number + 1}"
        if not isinstance(answer.domain, str) or not answer.domain:
            raise InputError(f"{place}: the domain is not named")
        request = None if answer.request is None else str(answer.request)
        if request is not None:
            if requests.answered(request, answer.domain) or (request, answer.domain) in new:
                duplicates += 1
                continue
            new.add((request, answer.domain))
            if answer.delay is None:
                asked = requests.asked(request, answer.domain)
                if asked is None:
                    raise InputError(
                        f"{place}: nothing is known to have been asked of {answer.domain!r} by the request "
                        f"{request!r}: give its delay and throughput"
                    )
                answer = replace(answer, **asked)
        _place_in_stage(answer, place, known)
        found.append(
            {
                "domain": answer.domain,
                "stage": answer.stage,
                "request": request,
                "row": _numbers(answer, place, schema),
            }
        )
    return found, duplicates


def _place_in_stage(answer: Answer, place: str, stages: dict[str, str]) -> None:
    if answer.stage is not None and stages.setdefault(answer.domain, answer.stage) != answer.stage:
        raise InputError(
            f"{place}: {answer.domain!r} is in stage {stages[answer.domain]!r}, not {answer.stage!r}"
        )
    if stages and answer.domain not in stages:
        raise InputError(f"{place}: the stage of the new domain {answer.domain!r} is missing")


def _numbers(answer: Answer, place: str, schema: Schema) -> list[float | None]:
    """Delay, throughput, label, time and the further columns."""
    delay = _finite(answer.delay, f"{place}: the delay")
    throughput = _finite(answer.throughput, f"{place}: the throughput")
    if delay <= 0 or throughput < 0:
        raise InputError(f"{place}: a delay is above 0, a throughput at least 0")
    label = _finite(answer.accepted, f"{place}: the label")
    if label not in (0.0, 1.0):
        raise InputError(f"{place}: the label is {label:g}; 1 is accepted and 0 is rejected")
    time = None if answer.time is None else _finite(answer.time, f"{place}: the time")
    try:
        columns = schema.columns(answer.values).tolist()
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    return [delay, throughput, label, time, *columns]


def _finite(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{what} is {value!r}, which is no finite number")
    return number


def in_chunks(index: Rows, table: Array, capacity: int) -> Iterable[tuple[Rows, Feedback, Array]]:
    """Answers by domain, the oldest first, CHUNK columns at a time; of very many the latest count."""
    order = np.argsort(index, kind="stable")
    active, first, number = np.unique(index[order], return_index=True, return_counts=True)
    skipped = np.maximum(number - 2 * capacity, 0)
    longest = int((number - skipped).max())
    for start in range(0, longest, CHUNK):
        width = min(CHUNK, longest - start)
        place = start + np.arange(width)
        there = place < (number - skipped)[:, None]
        rows = np.flatnonzero(there.any(axis=1))
        at = order[np.minimum((first + skipped)[rows, None] + place, len(order) - 1)]
        part, used = table[at], there[rows]
        fresh = Feedback(
            np.where(used, part[..., 0], 1.0),
            part[..., 1] * used,
            part[..., 2] * used,
            used.astype(float),
            extra=part[..., 4:],
        )
        yield active[rows], fresh, part[..., 3]
