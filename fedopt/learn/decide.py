"""From a history file and an SLA to the decomposition document that `fedopt decompose` prints."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedopt.learn.answers import Answer
from fedopt.learn.choice import KINDS
from fedopt.learn.history import History
from fedopt.learn.keeping import StateError, load, save, updating
from fedopt.learn.metrics import SLA, Context, Metric, Schema, SLAError, assignments
from fedopt.learn.orchestrator import Orchestrator, Split
from fedopt.learn.scores import Calibration
from fedopt.learn.settings import Settings

TOLERANCE = 1e-6
"""Certified gap at which a decomposition counts as the best, in log-probability."""


@dataclass(frozen=True)
class Question:
    """What is asked, in the words of the command line; None where an option was not given."""

    sla: str
    model: str | None = None
    method: str = "auto"
    least: str = ""
    most: str = ""
    flip: float | None = None
    thin: bool = False
    seed: int | None = None
    metrics: tuple[str, ...] = ()
    context: str = ""


def decide(
    question: Question, history_file: Path | None, resume: Path | None = None, save_to: Path | None = None
) -> dict[str, Any]:
    """Read, learn, decompose; returns plain data."""
    if not question.sla:
        raise SLAError("say what is to be split: --sla delay=100,throughput=0.5")
    sla = SLA.parse(question.sla)
    least = assignments(question.least, "--min-delay edge=5")
    most = assignments(question.most, "--max-delay edge=50")
    if history_file is None and resume is None:
        raise SLAError("a HISTORY file or --resume STATE is needed")
    if question.model not in (None, "auto", *KINDS):
        raise SLAError(f"there is no risk model {question.model!r}: choose one of auto, {', '.join(KINDS)}")
    # whoever updates a state holds it from reading to writing
    held = updating(save_to) if save_to is not None and save_to == resume else contextlib.nullcontext()
    with held:
        warnings: list[str] = []
        if resume is not None:
            orchestrator = _resumed(question, resume, history_file)
        else:
            assert history_file is not None
            history = History.read(history_file, allow_thin=question.thin)
            orchestrator, warnings = _begun(question, history)
        if save_to is not None:
            save(orchestrator, save_to)
    context = dict(pair.split("=", 1) for pair in filter(None, question.context.split(",")) if "=" in pair)
    split = orchestrator.decompose(
        sla, least, most, question.method, context=context or None, tolerance=TOLERANCE
    )
    return document(orchestrator, split, question.method, warnings + orchestrator.warnings(sla))


def _begun(question: Question, history: History) -> tuple[Orchestrator, list[str]]:
    model = question.model or "auto"
    warnings = []
    if history.thin:
        model = "logistic"
        warnings = [f"{text}; the logistic model and its prior stand in" for text in history.thin]
    settings = Settings(model=model, flip=question.flip or 0.0)
    return Orchestrator.from_history(
        history, settings, schema_of(question.metrics), question.seed or 0
    ), warnings


def _resumed(question: Question, resume: Path, history_file: Path | None) -> Orchestrator:
    orchestrator = load(resume)
    settings = orchestrator.settings
    said = {"--model": question.model, "--flip": question.flip, "--seed": question.seed}
    kept = {"--model": settings.model, "--flip": settings.flip, "--seed": orchestrator.seed}
    for option, value in said.items():
        if value is not None and value != kept[option]:
            raise StateError(
                f"{resume}: {option} {value} contradicts the saved state, made with {kept[option]}; "
                "leave the option out, or learn from the whole history anew"
            )
    if question.metrics and schema_of(question.metrics).names != orchestrator.schema.names:
        raise StateError(f"{resume}: --metric contradicts the saved state; leave it out")
    if history_file is not None:
        orchestrator.observe(answers(History.read(history_file, allow_thin=True), orchestrator.schema))
    return orchestrator


def schema_of(texts: tuple[str, ...]) -> Schema:
    """From `reliability:product`, `hour:context:24` or `slice:context:gold/silver`."""
    metrics, context = [], []
    for text in texts:
        name, _, rule = text.partition(":")
        if rule.startswith("context:"):
            kind = rule.removeprefix("context:")
            try:
                context.append(Context(name, period=float(kind)))
            except ValueError:
                context.append(Context(name, values=tuple(kind.split("/"))))
        else:
            metrics.append(Metric(name, rule))
    return Schema(tuple(metrics), tuple(context))


def answers(history: History, schema: Schema) -> list[Answer]:
    """The answers of a history, in the order of its domains."""
    feedback, found = history.feedback, []
    for i, name in enumerate(history.names):
        for k in np.flatnonzero(feedback.weight[i] > 0):
            own = {key: column[i][k] for key, column in history.values.items()}
            time = own.get("time") or None
            found.append(
                Answer(
                    name,
                    float(feedback.accepted[i, k]),
                    float(feedback.delay[i, k]),
                    float(feedback.throughput[i, k]),
                    {key: own[key] for key in schema.names if key in own},
                    own.get("request") or None,
                    None if time is None else float(time),
                    None if history.stages is None else history.stages[i],
                )
            )
    return found


def document(orchestrator: Orchestrator, split: Split, method: str, warnings: list[str]) -> dict[str, Any]:
    """A split as plain data."""
    kinds = orchestrator.model.kinds()
    chosen = [kinds[orchestrator.names.index(name)] for name in split.delay]
    stages: Mapping[str, str] = orchestrator.stages
    return {
        "fedopt": 1,
        "sla": {"delay": split.sla.delay, "throughput": split.sla.throughput, **split.sla.more},
        "model": chosen[0] if len(set(chosen)) == 1 else "mixed",
        "method": method,
        "domains": [
            {
                "domain": name,
                **({"stage": stages[name]} if stages else {}),
                "delay": delay,
                "throughput": split.sla.throughput,
                **split.parts.get(name, {}),
                "probability": split.probability[name],
                "model": kind,
            }
            for (name, delay), kind in zip(split.delay.items(), chosen, strict=True)
        ],
        "probability": split.accepted,
        "log_probability": split.log_probability,
        "upper_bound": split.upper_bound,
        "gap": split.gap,
        "calibration": _scores(orchestrator.calibration(list(split.delay))),
        "warnings": warnings,
    }


def _scores(found: Calibration | None) -> dict[str, Any] | None:
    if found is None:
        return None
    diagram = zip(found.stated, found.observed, found.number, strict=True)
    return {
        "brier": found.brier,
        "log_loss": found.log_loss,
        "calibration_error": found.error,
        "reliability": [
            {"stated": float(s), "observed": float(o), "answers": int(n)} for s, o, n in diagram if n > 0
        ],
    }
