"""From a history file and an SLA to the decomposition document that `fedopt decompose` prints."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedopt.learn.calibration import calibration, hold_out
from fedopt.learn.history import History
from fedopt.learn.orchestrator import MODELS, Orchestrator
from fedopt.learn.providers import StageGraph, choose
from fedopt.learn.robust import robust_fit
from fedopt.learn.sla import SLA, SLAError, assignments


@dataclass(frozen=True)
class Question:
    """What is asked, in the words of the command line."""

    sla: str
    model: str = "convex"
    method: str = "auto"
    least: str = ""
    most: str = ""
    flip: float = 0.0
    thin: bool = False
    seed: int = 0


def decide(
    question: Question, history_file: Path | None, resume: Path | None = None, save: Path | None = None
) -> dict[str, Any]:
    """Read, learn, decompose; returns plain data."""
    if not question.sla:
        raise SLAError("say what is to be split: --sla delay=100,throughput=0.5")
    sla = SLA.parse(question.sla)
    least = assignments(question.least, "--min-delay edge=5")
    most = assignments(question.most, "--max-delay edge=50")
    if history_file is None and resume is None:
        raise SLAError("a HISTORY file or --resume STATE is needed")
    if question.model not in MODELS:
        raise SLAError(f"there is no risk model {question.model!r}: choose one of {', '.join(MODELS)}")
    warnings: list[str] = []
    scores: dict[str, Any] | None = None
    stages: Mapping[str, str] | None = None
    if resume is not None:
        orchestrator = Orchestrator.load(resume)
        if history_file is not None:
            history = History.read(history_file, allow_thin=True)
            stages = dict(zip(history.names, history.stages, strict=True)) if history.stages else None
            orchestrator.observe(_answers(history))
    else:
        assert history_file is not None
        history = History.read(history_file, allow_thin=question.thin)
        stages = dict(zip(history.names, history.stages, strict=True)) if history.stages else None
        kind = question.model
        if history.thin:
            kind = "logistic"
            warnings = [f"{text}; the logistic model and its prior stand in" for text in history.thin]
        settings = {"seed": question.seed} if kind == "network" else {}
        orchestrator = Orchestrator.from_history(history, kind, flip=question.flip, **settings)
        if not history.thin:
            scores = _scores(history, kind, question, settings)
    warnings += _beyond(orchestrator, sla)
    if save is not None:
        orchestrator.save(save)
    chosen = None
    if stages is not None and len(set(stages.values())) < len(stages):
        chosen = _path(orchestrator, stages, sla)
    split = orchestrator.decompose(sla, least, most, question.method, chosen)
    kind = next(name for name, cls in MODELS.items() if isinstance(orchestrator.model, cls))
    return {
        "fedopt": 1,
        "sla": {"delay": sla.delay, "throughput": sla.throughput},
        "model": kind,
        "method": question.method,
        "domains": [
            {
                "domain": name,
                **({"stage": stages[name]} if stages else {}),
                "delay": delay,
                "throughput": sla.throughput,
                "probability": split.probability[name],
            }
            for name, delay in split.delay.items()
        ],
        "probability": float(np.exp(split.log_probability)),
        "log_probability": split.log_probability,
        "upper_bound": split.upper_bound,
        "gap": split.gap,
        "calibration": scores,
        "warnings": warnings,
    }


def _beyond(orchestrator: Orchestrator, sla: SLA) -> list[str]:
    """A word about a throughput that no answer speaks of; the models extrapolate there."""
    if orchestrator.anchor is None:
        return []
    asked = orchestrator.anchor.throughput[orchestrator.anchor.weight > 0]
    if asked.size == 0 or asked.min() <= sla.throughput <= asked.max():
        return []
    return [
        f"the throughput {sla.throughput:g} lies outside what the history asked for "
        f"({asked.min():g} to {asked.max():g}): the models extrapolate"
    ]


def _answers(history: History) -> list[tuple[str, float, float, bool]]:
    feedback = history.feedback
    return [
        (name, float(feedback.delay[i, k]), float(feedback.throughput[i, k]), bool(feedback.accepted[i, k]))
        for i, name in enumerate(history.names)
        for k in np.flatnonzero(feedback.weight[i] > 0)
    ]


def _scores(
    history: History, kind: str, question: Question, settings: dict[str, Any]
) -> dict[str, Any] | None:
    """Calibration of the model fitted without a fifth of the answers, on that fifth."""
    learn, held = hold_out(history.feedback, 0.2, question.seed)
    if not (held.weight > 0).any() or not (learn.weight > 0).any(axis=1).all():
        return None
    blank = MODELS[kind](models=len(history.names), **settings)
    found = calibration(robust_fit(blank, learn, question.flip), held)
    diagram = zip(found.stated, found.observed, found.number, strict=True)
    return {
        "brier": found.brier,
        "log_loss": found.log_loss,
        "calibration_error": found.error,
        "reliability": [
            {"stated": float(s), "observed": float(o), "answers": int(n)} for s, o, n in diagram if n > 0
        ],
    }


def _path(orchestrator: Orchestrator, stages: Mapping[str, str], sla: SLA) -> list[str]:
    """The domains of the best path, one per stage, stages in the order of the file."""
    order = list(dict.fromkeys(stages.values()))
    rows = [
        np.array([i for i, name in enumerate(orchestrator.names) if stages.get(name) == stage], dtype=np.intp)
        for stage in order
    ]
    links = tuple(np.zeros((a.size, b.size)) for a, b in itertools.pairwise(rows))
    found = choose(
        orchestrator.model, StageGraph(tuple(rows), links), np.array([sla.delay]), np.array([sla.throughput])
    )
    return [orchestrator.names[row] for row in found.rows[0]]
