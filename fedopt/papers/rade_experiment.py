"""The setting of the RADE figures: paired runs, the history before them, and the methods compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedopt.learn.feedback import Array, Buffer, Feedback
from fedopt.learn.model import RiskModel
from fedopt.learn.network import NetworkRisk
from fedopt.learn.parametric import ConvexRisk, LogisticRisk
from fedopt.papers.rade_loop import (
    EqualSplit,
    Learner,
    Method,
    Oracle,
    RandomSplit,
    Trace,
    gather_history,
    run,
)
from fedopt.papers.rade_simulator import AnalyticNetwork, Scenario
from fedopt.papers.series import Series

STEPS = 500
HISTORY = 100
BUFFER = 100
RATE, RUNS = 1e-3, 10
"""Step size η and gradient steps N of the online methods."""
STRONG = 3e-3, 5
"""η and N at which following single answers does harm."""
ANCHOR = 0.3


@dataclass(frozen=True)
class Case:
    """One abscissa of a figure.

    Attributes:
        mean_load: r, which is also the mean number of requests per step.
        corruption: share of online answers that are reported as rejected.
        history: answers per domain known beforehand.
        requests: factor on the number of requests per step (the load stays).
    """

    mean_load: float = 0.5
    corruption: float = 0.0
    history: int = HISTORY
    requests: float = 1.0


@dataclass(frozen=True)
class Setting:
    """All runs of a figure side by side: run c·trials + i is trial i of case c."""

    cases: tuple[Case, ...]
    trials: int
    network: AnalyticNetwork
    scenario: Scenario
    history: Feedback

    @classmethod
    def build(cls, cases: Sequence[Case], trials: int, seed: int, steps: int = STEPS) -> Setting:
        """Draw the requests and all luck; the trials of all cases share theirs."""
        load = np.repeat([case.mean_load for case in cases], trials)
        network = AnalyticNetwork(load, steps)
        seeds: NDArray[np.intp] = np.tile(np.arange(trials), len(cases))
        factor = np.repeat([case.requests for case in cases], trials)
        rates = np.stack([network.load(t) for t in range(steps)], axis=1)
        corruption = np.repeat([case.corruption for case in cases], trials)
        drawn = Scenario.draw(rates * factor[:, None], seeds, network.domains, 2 * seed, corruption)
        scenario = replace(drawn, rejecting=True)
        longest = max(case.history for case in cases)
        past = Scenario.draw(before(network, longest), seeds, network.domains, 2 * seed + 1)
        history = gather_history(network, past, longest)
        number = np.repeat([case.history for case in cases], trials * network.domains)
        latest = np.arange(longest)[None, :] >= longest - number[:, None]
        return cls(tuple(cases), trials, network, scenario, history.with_weight(history.weight * latest))

    @property
    def models(self) -> int:
        """Number of risk models: one per run and domain."""
        return self.scenario.runs * self.network.domains

    def memory(self, capacity: int, seeded: bool) -> Buffer:
        """A buffer for every model, filled with the history or empty."""
        buffer = Buffer.empty(self.models, capacity)
        if seeded:
            buffer.extend(self.history)
        return buffer

    def scores(self, method: Method) -> Array:
        """Equation (9) of every run, shape (cases, trials)."""
        return self.trace(method).score.reshape(len(self.cases), self.trials)

    def trace(self, method: Method) -> Trace:
        """Everything that a method achieved."""
        return run(method, self.network, self.scenario)


def before(network: AnalyticNetwork, answers: int) -> Array:
    """Mean numbers of requests in as many whole periods before the run as `answers` of them surely need."""
    periods = int(np.ceil(1.2 * answers / (network.mean_load.min() * network.period)))
    return np.stack([network.load(t) for t in range(network.period * periods)], axis=1)


@dataclass(frozen=True)
class Methods:
    """The methods of the figures over one setting; the models are fitted to the history once."""

    setting: Setting
    network: RiskModel
    convex: RiskModel
    logistic: RiskModel

    @classmethod
    def fit(cls, setting: Setting, seed: int = 0) -> Methods:
        """Fit each kind of model to the history."""
        return cls(
            setting,
            NetworkRisk(models=setting.models, seed=seed).fit(setting.history),
            ConvexRisk(models=setting.models).fit(setting.history),
            LogisticRisk(models=setting.models).fit(setting.history),
        )

    def make(
        self, name: str, rate: float = RATE, runs: int = RUNS, capacity: int = BUFFER, flip: float = 0.0
    ) -> Method:
        """A method by its name in the figures; every call starts it afresh."""
        setting, domains = self.setting, self.setting.network.domains
        if name == "Random":
            return RandomSplit()
        if name == "Equal split":
            return EqualSplit()
        if name == "OPT":
            return Oracle(setting.network)
        if name == "Static":
            return Learner(self.network, domains, name=name)
        if name in ("RADE*", "RADE"):
            assert isinstance(self.network, NetworkRisk)
            stepping = replace(self.network, rate=rate, runs=runs)
            memoryless = name == "RADE*"
            buffer = setting.memory(24 if memoryless else capacity, seeded=not memoryless)
            return Learner(stepping, domains, buffer, memoryless=memoryless, flip=flip, name=name)
        model = {"Convex": self.convex, "Logistic": self.logistic}[name]
        anchor = setting.history.with_weight(ANCHOR * setting.history.weight)
        buffer = setting.memory(2 * capacity, seeded=False)
        return Learner(model, domains, buffer, anchor=anchor, flip=flip, name=name)


def band(
    label: str,
    x: Sequence[float],
    scores: Array,
    axes: tuple[str, str],
    published: Sequence[float | None] | None = None,
) -> Series:
    """A curve from scores of shape (abscissae, trials): mean and 95 % band of the mean."""
    mean = scores.mean(axis=1)
    half = 1.96 * scores.std(axis=1, ddof=1) / np.sqrt(scores.shape[1]) if scores.shape[1] > 1 else 0 * mean
    return Series(
        label,
        tuple(float(value) for value in x),
        tuple(mean.tolist()),
        tuple((mean - half).tolist()),
        tuple((mean + half).tolist()),
        None if published is None else tuple(published),
        *axes,
    )
