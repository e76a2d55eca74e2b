"""History files: what domains answered to the partial SLAs that they were asked for."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from fedopt.instance.errors import InstanceError, Problem, near_miss
from fedopt.learn.feedback import Array, Feedback

COLUMNS = ("domain", "delay", "throughput", "accepted")
LEAST_ROWS = 20
"""Answers per domain below which a history is called thin."""


class HistoryError(InstanceError):
    """A history that cannot be used; lists all that is wrong with it."""


@dataclass(frozen=True)
class History:
    """Answers of named domains, in the order of the file.

    Attributes:
        names: the domains, in order of first appearance.
        stages: the stage of each domain where the file has a column `stage`, else None.
        feedback: one row per domain.
        thin: what is too little in it to fit a model freely, in words; empty for a full history.
        values: every other column of the file, by name: one list of texts per domain.
    """

    names: tuple[str, ...]
    stages: tuple[str, ...] | None
    feedback: Feedback
    thin: tuple[str, ...] = ()
    values: Mapping[str, list[list[str]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | os.PathLike[str], allow_thin: bool = False, least: int = LEAST_ROWS) -> Self:
        """Read a CSV file with the columns domain, delay, throughput, accepted, and optionally stage.

        Further columns are kept as they are (`values`): request and time, other metrics, a context.

        Raises `HistoryError` for missing columns, values that are no numbers, labels other than 0 and 1, and
        unless `allow_thin` for domains with fewer than `least` answers or with one kind of answer only.
        """
        source = str(path)
        rows, problems = _read_rows(Path(path), source)
        if problems:
            raise HistoryError(problems, source)
        by_domain: dict[str, list[_Row]] = {}
        for row in rows:
            by_domain.setdefault(row.domain, []).append(row)
        names = tuple(by_domain)
        stages = _stages(rows, names, source)
        parts = [
            Feedback.of(*(np.array([getattr(row, c) for row in own]) for c in COLUMNS[1:]))
            for own in by_domain.values()
        ]
        thin = _thin(names, parts, least)
        if thin and not allow_thin:
            raise HistoryError(thin, source)
        more = {
            name: [[row.more[name] for row in own] for own in by_domain.values()] for name in rows[0].more
        }
        words = tuple(f"{p.place}: {p.message}" for p in thin)
        return cls(names, stages, Feedback.stack(parts), words, more)


@dataclass(frozen=True)
class _Row:
    domain: str
    delay: float
    throughput: float
    accepted: float
    stage: str | None
    more: dict[str, str]


def _read_rows(path: Path, source: str) -> tuple[list[_Row], list[Problem]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise HistoryError(
            [Problem("", "the file is not text in UTF-8", "export the history as CSV")], source
        ) from None
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    header = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = header
    problems = []
    for column in COLUMNS:
        if column not in header:
            guess = near_miss(column, header)
            message = f"the column {column!r} is missing; the file has {', '.join(header) or 'no header'}"
            remedy = (
                f"rename {guess!r} to {column!r}" if guess else f"the header must name {', '.join(COLUMNS)}"
            )
            problems.append(Problem("header", message, remedy, 1))
        elif header.count(column) > 1:
            problems.append(Problem("header", f"the column {column!r} appears twice", "keep one of them", 1))
    if problems:
        return [], problems
    rows: list[_Row] = []
    for record in reader:
        found, wrong = _row(record, reader.line_num)
        rows.extend(found)
        problems.extend(wrong)
    if not rows and not problems:
        problems.append(Problem("", "the history has no answers", "add a row for each answer of a domain"))
    return rows, problems


def _row(record: dict[str, str | None], line: int) -> tuple[list[_Row], list[Problem]]:
    problems = []
    numbers = {}
    for column, least in (("delay", 0.0), ("throughput", -1.0), ("accepted", -1.0)):
        text = (record.get(column) or "").strip()
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            problems.append(
                Problem(column, f"{text!r} is not a finite number", "remove the row or give the number", line)
            )
        elif column == "accepted" and value not in (0.0, 1.0):
            problems.append(
                Problem(column, f"the label is {text}", "write 1 for accepted and 0 for rejected", line)
            )
        elif (column == "throughput" and value < 0) or (value <= least and column == "delay"):
            problems.append(
                Problem(
                    column, f"{text} is out of range", "a delay is above 0, a throughput at least 0", line
                )
            )
        numbers[column] = value
    domain = (record.get("domain") or "").strip()
    if not domain:
        problems.append(Problem("domain", "the domain is not named", "name it", line))
    if problems:
        return [], problems
    stage = (record.get("stage") or "").strip() or None
    more = {k: (v or "").strip() for k, v in record.items() if k and k not in (*COLUMNS, "stage")}
    return [_Row(domain, **numbers, stage=stage, more=more)], []


def _stages(rows: list[_Row], names: tuple[str, ...], source: str) -> tuple[str, ...] | None:
    if all(row.stage is None for row in rows):
        return None
    known: dict[str, str] = {}
    problems = []
    for row in rows:
        if row.stage is None or known.setdefault(row.domain, row.stage) != row.stage:
            problems.append(
                Problem(row.domain, "its rows name no stage or different ones", "give each domain one stage")
            )
    if problems:
        raise HistoryError(list(dict.fromkeys(problems)), source)
    return tuple(known[name] for name in names)


def _thin(names: tuple[str, ...], parts: list[Feedback], least: int) -> list[Problem]:
    remedy = "collect more answers, or pass --thin to rely on a prior where the history is silent"
    problems = []
    for name, part in zip(names, parts, strict=True):
        answers: Array = part.accepted[0]
        if answers.size < least:
            problems.append(Problem(name, f"{answers.size} answers, fewer than {least}", remedy))
        elif answers.min() == answers.max():
            kind = "accepted" if answers[0] else "rejected"
            problems.append(Problem(name, f"all {answers.size} answers are {kind}", remedy))
    return problems
