"""The rounds of a run: propose, ask, learn, certify, until the gap is met or something says stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fedopt.federated.bounds import BoundTracker
from fedopt.federated.dual import Residuals, balanced
from fedopt.federated.flows import Cut, Flows, Start
from fedopt.federated.session import Round, Session
from fedopt.federated.settings import Settings
from fedopt.federated.split.share_negotiation import ShareNegotiation
from fedopt.kernels import clock
from fedopt.plan import HistoryRow

__all__ = ["Anderson", "Bundle", "Proposal", "Proposer", "Run", "Sharing", "relax"]

Floats = npt.NDArray[np.float64]


class Anderson:
    """Accelerates w ← f(w); vectors should be scaled so that their parts weigh alike."""

    def __init__(self, memory: int = 4, growth: float = 1.0) -> None:
        self.memory, self.growth = memory, growth
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._points: list[Floats] = []
        self._images: list[Floats] = []
        self._last = np.inf

    def next(self, point: Floats, image: Floats) -> Floats:
        """Where to go on after f(point) = image: a mixture of images, or the image itself."""
        residual = float(np.linalg.norm(image - point))
        if residual > self.growth * self._last:  # the last mixture did not help
            self.reset()
        self._last = residual
        self._points.append(point)
        self._images.append(image)
        del self._points[: -self.memory - 1], self._images[: -self.memory - 1]
        if len(self._points) < 2:
            return image
        residuals = np.array([f - w for w, f in zip(self._points, self._images, strict=True)])
        steps = np.diff(residuals, axis=0).T
        scale = max(float(np.linalg.norm(steps)), 1e-300)
        system = np.vstack([steps, 1e-6 * scale * np.eye(steps.shape[1])])  # keeps the mixture small
        target = np.concatenate([residuals[-1], np.zeros(steps.shape[1])])
        weights = np.linalg.lstsq(system, target, rcond=None)[0]
        if float(np.abs(weights).sum()) > 10.0:
            return image
        return image - np.diff(np.array(self._images), axis=0).T @ weights


@dataclass(frozen=True, eq=False)
class Proposal:
    """What the operators are asked: loads, prices and penalties, all (offers,)."""

    loads: Floats
    prices: Floats
    penalties: Floats


class Proposer(Protocol):
    """A method: what to ask next, given the answers so far."""

    residuals: Residuals | None
    loads: Floats

    def propose(self, tolerance: float) -> Proposal:
        """The broker step; columns are priced to a relative tolerance."""

    def learn(self, asked: Proposal, answer: Round) -> None:
        """Take the answers: the dual step."""


@dataclass(eq=False)
class Run:
    """The state of one solve: best bounds, history and the reasons to stop."""

    started: float
    deadline: float
    progress: Callable[[HistoryRow], bool | None] | None
    lower_bound: float = -math.inf
    cost: float = math.inf
    history: list[HistoryRow] = field(default_factory=list)
    relaxation: list[dict[str, Any]] = field(default_factory=list)
    stopped: bool = False

    def expired(self) -> bool:
        """Whether the time limit is over or the caller asked to stop."""
        return self.stopped or clock() > self.deadline

    def left(self) -> float:
        """Seconds left, at least a little."""
        return max(self.deadline - clock(), 0.05)

    def record(self, evidence: BoundTracker, residuals: Residuals | None = None) -> None:
        """Note a round and tell the progress callback, which may ask to stop."""
        self.lower_bound = max(self.lower_bound, evidence.lower)
        row = HistoryRow(
            round=len(self.history) + 1,
            cost=self.cost if math.isfinite(self.cost) else None,
            lower_bound=self.lower_bound if math.isfinite(self.lower_bound) else None,
            primal_residual=residuals.primal if residuals else None,
            dual_residual=residuals.dual if residuals else None,
            seconds=clock() - self.started,
            columns=len(evidence.flows.columns),
        )
        self.history.append(row)
        if self.progress is not None and self.progress(row):
            self.stopped = True

    def note_relaxation(self, evidence: BoundTracker, told: int) -> None:
        """Keep the interval of the relaxation after a round, and the numbers that operators have told."""
        interval = (evidence.lower, evidence.upper)
        lower, upper = (value if math.isfinite(value) else None for value in interval)
        self.relaxation.append(
            {"round": len(self.relaxation) + 1, "lower": lower, "upper": upper, "told": told}
        )


class Sharing:
    """ADMM in sharing form: the broker holds flows, the operators loads, prices bring them together."""

    def __init__(self, flows: Flows, start: Start, settings: Settings) -> None:
        self.flows, self.settings = flows, settings
        self.prices, self.penalties, self.scale = start.prices, start.penalties, start.scale
        self.loads = start.loads
        self.residuals: Residuals | None = None
        self._first = None if start.known else start.loads
        self._broker = start.loads
        self._anderson = Anderson() if settings.anderson else None
        self._rounds = 0

    def propose(self, tolerance: float) -> Proposal:
        """The broker step, relaxed beyond its loads away from the operators' last."""
        if self._first is not None:
            self._broker, self._first = self._first, None
            return Proposal(self._broker, self.prices, self.penalties)
        self._broker = self.flows.step(self.prices, self.penalties, self.loads, tolerance=tolerance).loads
        alpha = self.settings.over_relaxation
        beyond = np.maximum(alpha * self._broker + (1.0 - alpha) * self.loads, 0.0)
        return Proposal(beyond, self.prices, self.penalties)

    def learn(self, asked: Proposal, answer: Round) -> None:
        """Prices and loads of the answers; penalties follow the residuals every other round."""
        self._rounds += 1
        before = self.loads if self._rounds > 1 else asked.loads
        self.residuals = Residuals.of(self._broker, answer.loads, before, answer.prices, self.penalties)
        image = np.concatenate([answer.prices / self.penalties, answer.loads]) / np.tile(self.scale, 2)
        point = np.concatenate([self.prices / self.penalties, before]) / np.tile(self.scale, 2)
        self.prices, self.loads = answer.prices, answer.loads
        factor = 1.0
        if self.settings.balance and self._rounds % 2 == 0:
            factor = balanced(self.residuals)
        if factor != 1.0:
            self.penalties = self.penalties * factor
            if self._anderson is not None:
                self._anderson.reset()
        elif self._anderson is not None and self._rounds > 1:
            mixed = np.maximum(self._anderson.next(point, image), 0.0) * np.tile(self.scale, 2)
            self.prices, self.loads = mixed[: len(self.prices)] * self.penalties, mixed[len(self.prices) :]


class Bundle:
    """The disaggregated proximal bundle: every operator's cost is modelled by the cuts of its own answers."""

    WALL = 100.0
    """Penalty of the questions, in that of the start: answers then stay where they were asked, or where the
    capacity ends, with its full weight in the prices."""

    def __init__(self, flows: Flows, start: Start, evidence: BoundTracker, settings: Settings) -> None:
        self.flows, self.evidence, self.settings = flows, evidence, settings
        self.start = start
        self.loads = start.loads
        self.residuals: Residuals | None = None
        self._quotes = [
            Cut(group, 0.0, np.where(np.isin(np.arange(flows.offers), members), start.prices, 0.0))
            for group, members in enumerate(evidence.groups)
        ]
        self._rounds = 0

    def propose(self, tolerance: float) -> Proposal:
        """The least of model and distance to the best loads known."""
        penalties = self.settings.penalty * self.start.penalties / (1.0 + self._rounds)
        wall = self.WALL * self.start.penalties
        if self._rounds == 0:
            return Proposal(self.start.loads, self.start.prices, wall)
        answered = {cut.group for cut in self.evidence.cuts}
        cuts = [*self.evidence.cuts, *(cut for cut in self._quotes if cut.group not in answered)]
        nothing = np.zeros(self.flows.offers)
        step = self.flows.step(nothing, penalties, self.loads, cuts, tolerance=tolerance)
        return Proposal(step.loads, step.prices, wall)

    def learn(self, asked: Proposal, answer: Round) -> None:
        """The next step starts from the best loads that are known to be carried."""
        self._rounds += 1
        self.residuals = Residuals.of(asked.loads, answer.loads, self.loads, answer.prices, asked.penalties)
        self.loads = self.evidence.above.loads if math.isfinite(self.evidence.upper) else answer.loads


def relax(
    proposer: Proposer,
    session: Session,
    evidence: BoundTracker,
    run: Run,
    gap: float,
    most: int,
    shares: ShareNegotiation | None = None,
) -> bool:
    """Rounds until the relaxation is certified to a relative gap; False where a limit came first.

    `shares`: what domains have to agree on besides, in the same rounds.
    """
    for _ in range(most):
        known = evidence.gap
        tolerance = min(max(0.05 * known, 0.05 * gap), 2e-3) if math.isfinite(known) else 2e-3
        asked = proposer.propose(tolerance)
        besides = shares.questions(asked.prices) if shares is not None else None
        answer = session.ask(asked.loads, asked.prices, asked.penalties, shares=besides)
        if shares is not None:
            evidence.flows.add(shares.learn(besides, answer.shares))
        evidence.take(asked.loads, answer)
        reached = evidence.bound(gap) <= gap
        proposer.learn(asked, answer)
        run.note_relaxation(evidence, session.ledger.told)
        run.record(evidence, proposer.residuals)
        if reached or run.expired():
            return reached
    return False
