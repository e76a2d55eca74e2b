"""RADE in service: decompose SLAs while the risk models learn beside it; save and resume."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from fedopt.errors import InputError
from fedopt.learn.buffer import Buffer
from fedopt.learn.convex import ConvexRisk
from fedopt.learn.decomposition import METHODS, Problem, on_grid, tangent_bound
from fedopt.learn.feedback import Feedback
from fedopt.learn.history import History
from fedopt.learn.logistic import LogisticRisk
from fedopt.learn.model import RiskModel
from fedopt.learn.network import NetworkRisk
from fedopt.learn.robust import clean_labels, robust_fit
from fedopt.learn.sla import SLA, SLAError
from fedopt.storage import write_atomically

MODELS: dict[str, Any] = {"convex": ConvexRisk, "logistic": LogisticRisk, "network": NetworkRisk}
_FORMAT = 1


class StateError(InputError):
    """A saved state that cannot be resumed."""


@dataclass(frozen=True)
class Split:
    """A decomposed SLA.

    Attributes:
        sla: what was asked.
        delay: partial delay of each domain; they add up to the SLA's delay.
        probability: each domain's probability of accepting, by its risk model.
        log_probability: Σ log of these.
        upper_bound: no other split has a higher Σ log P under the same models.
    """

    sla: SLA
    delay: Mapping[str, float]
    probability: Mapping[str, float]
    log_probability: float
    upper_bound: float

    @property
    def gap(self) -> float:
        """Certified distance to the best split, in log-probability."""
        return max(self.upper_bound - self.log_probability, 0.0)


@dataclass
class Orchestrator:
    """Risk models of named domains, their memory, and the decomposition by them.

    `decompose` reads one immutable set of models; `observe` may run in another thread (`learn_beside`), and
    replaces that set when it is done: inference never waits for learning.

    Attributes:
        names: the domains.
        model: their risk models.
        buffer: their latest answers.
        anchor: the history's answers, which updates keep seeing at the weight given.
        flip: assumed share of wrong answers.
    """

    names: tuple[str, ...]
    model: RiskModel
    buffer: Buffer
    anchor: Feedback | None = None
    flip: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def from_history(
        cls,
        history: History,
        model: str = "convex",
        capacity: int = 200,
        anchor_weight: float = 0.3,
        flip: float = 0.0,
        **settings: Any,
    ) -> Self:
        """Fit risk models to a history; `settings` go to the model's class."""
        if model not in MODELS:
            raise SLAError(f"there is no risk model {model!r}: choose one of {', '.join(MODELS)}")
        blank = MODELS[model](models=len(history.names), **settings)
        feedback = history.feedback
        anchor = feedback.with_weight(anchor_weight * feedback.weight)
        return cls(
            history.names,
            robust_fit(blank, feedback, flip),
            Buffer.empty(len(history.names), capacity),
            anchor,
            flip,
        )

    def decompose(
        self,
        sla: SLA,
        least: Mapping[str, float] | None = None,
        most: Mapping[str, float] | None = None,
        method: str = "auto",
        domains: Sequence[str] | None = None,
    ) -> Split:
        """Split the SLA over the domains (all, or those named) with the highest acceptance probability.

        `least` and `most` bound partial delays. `method`: grid, price (concave models), slsqp, or auto.
        Raises `DecompositionInfeasible` if the bounds leave no split, `SLAError` for an unknown name.
        """
        model = self.model
        names = self.names if domains is None else tuple(domains)
        rows = np.array([[self._row(name) for name in names]])
        for name in [*(least or {}), *(most or {})]:
            if name not in names:
                raise SLAError(f"there is no domain {name!r}: known are {', '.join(names)}")
        problem = Problem(
            model,
            rows,
            np.array([sla.delay]),
            np.array([sla.throughput]),
            np.array([(least or {}).get(name, 0.0) for name in names]),
            np.array([(most or {}).get(name, np.inf) for name in names]),
        )
        if method == "auto":
            method = "price" if model.concave else "grid"
        if method not in METHODS:
            raise SLAError(f"there is no method {method!r}: choose one of auto, {', '.join(METHODS)}")
        if method == "price" and not model.concave:
            raise SLAError("price bisection needs a concave model (convex or logistic); use --method grid")
        found = METHODS[method](problem)
        bound = (
            tangent_bound(problem, found.delay)
            if model.concave
            else on_grid(problem, 512, 0, True).upper_bound
        )
        assert bound is not None
        delays = found.delay[0]
        log_p = model.log_probability(delays[:, None], np.full((len(names), 1), sla.throughput), rows[0])[
            :, 0
        ]
        return Split(
            sla,
            dict(zip(names, delays.tolist(), strict=True)),
            dict(zip(names, np.exp(log_p).tolist(), strict=True)),
            float(log_p.sum()),
            max(float(bound[0]), float(log_p.sum())),
        )

    def observe(self, answers: Sequence[tuple[str, float, float, bool]]) -> None:
        """Learn from answers (domain, delay, throughput, accepted); decompositions from now on use them."""
        with self._lock:
            rows = np.array([self._row(answer[0]) for answer in answers], dtype=np.intp)
            for row, (_, delay, throughput, accepted) in zip(rows, answers, strict=True):
                one = np.array([row])
                self.buffer.push(one, np.array([delay]), np.array([throughput]), np.array([float(accepted)]))
            active = np.unique(rows)
            feedback = self.buffer.view(active)
            if self.anchor is not None:
                feedback = feedback.beside(self.anchor.rows(active))
            if self.flip > 0:
                log_p = self.model.log_probability(feedback.delay, feedback.throughput, active)
                feedback = feedback.with_accepted(clean_labels(log_p, feedback.accepted, self.flip))
            self.model = self.model.update(feedback, active)

    def learn_beside(self, answers: Sequence[tuple[str, float, float, bool]]) -> threading.Thread:
        """`observe` in a thread of its own; returns the started thread."""
        thread = threading.Thread(target=self.observe, args=(list(answers),), daemon=True)
        thread.start()
        return thread

    def _row(self, name: str) -> int:
        if name not in self.names:
            raise SLAError(f"there is no domain {name!r}: known are {', '.join(self.names)}")
        return self.names.index(name)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that is needed to resume, atomically."""
        kind = next(name for name, cls in MODELS.items() if isinstance(self.model, cls))
        entries: dict[str, Any] = {
            "format": _FORMAT,
            "kind": kind,
            "names": np.array(self.names),
            "flip": self.flip,
            **{f"model.{key}": value for key, value in self.model.state().items()},
            **{f"buffer.{key}": value for key, value in self.buffer.state().items()},
        }
        if self.anchor is not None:
            for part in ("delay", "throughput", "accepted", "weight"):
                entries[f"anchor.{part}"] = getattr(self.anchor, part)
        stream = io.BytesIO()
        with self._lock:
            arrays: dict[str, Any] = {key: np.asarray(value) for key, value in entries.items()}
            np.savez_compressed(stream, **arrays)
        write_atomically(path, stream.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Resume from a saved state; raises `StateError` if the file is not one."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                entries = {key: archive[key] for key in archive.files}
            if int(entries["format"]) != _FORMAT:
                raise StateError(f"{path}: state of format {int(entries['format'])}, expected {_FORMAT}")

            def part(prefix: str) -> dict[str, Any]:
                return {k.removeprefix(prefix): v for k, v in entries.items() if k.startswith(prefix)}

            anchor = part("anchor.")
            return cls(
                tuple(str(name) for name in entries["names"]),
                MODELS[str(entries["kind"])].from_state(part("model.")),
                Buffer.from_state(part("buffer.")),
                Feedback(**anchor) if anchor else None,
                float(entries["flip"]),
            )
        except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            if isinstance(error, StateError | FileNotFoundError):
                raise
            raise StateError(f"{path}: not a saved state of fedopt decompose ({error})") from error
