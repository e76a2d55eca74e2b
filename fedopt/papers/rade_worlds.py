"""What learning costs against knowing, in six worlds, beside what else one would use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from fedopt.learn.choice import AdaptiveRisk, Member, blank
from fedopt.learn.feedback import Array, Buffer, Feedback
from fedopt.learn.scores import PageHinkley
from fedopt.learn.settings import Settings
from fedopt.papers.rade_experiment import band
from fedopt.papers.rade_loop import Learner, Oracle, Trace, gather_history, run
from fedopt.papers.rade_networks import Changing, TwoRegimes
from fedopt.papers.rade_simulator import PAPER_DOMAINS, AnalyticNetwork, DomainParameters, Scenario
from fedopt.papers.series import Series

HISTORY = 100
REQUESTS = 2.0
"""Mean number of requests per step."""
EVERY = 4
"""Steps between updates, ten times as many for trees."""
TREES = "monotone trees"


def worlds(runs: int, steps: int) -> dict[str, Any]:
    """The worlds by name; each has a network and its `steps` steps."""
    load = np.full(runs, 0.7)
    paper = AnalyticNetwork(load, steps)
    swapped = DomainParameters(
        PAPER_DOMAINS.names, PAPER_DOMAINS.capacity[[1, 0, 2]], PAPER_DOMAINS.service[[1, 0, 2]]
    )
    scales = DomainParameters(PAPER_DOMAINS.names, np.array([1.0, 0.75, 3.0]), np.array([0.02, 7.35, 0.4]))
    tight = DomainParameters(PAPER_DOMAINS.names, PAPER_DOMAINS.capacity, np.array([4.5, 13.0, 26.0]))
    return {
        "paper": paper,
        "two regimes": TwoRegimes(replace(paper, mean_load=np.full(runs, 0.5))),
        "mixed scale": replace(paper, parameters=scales),
        "sharp": replace(paper, parameters=tight, alpha=400.0),
        "abrupt swap": Changing(paper, steps // 2, swapped),
        "phase drift": replace(paper, alpha=2.5, phase=np.array([0.0, 1 / 3, 2 / 3])),
    }


def learners(count: int, settings: Settings) -> dict[str, AdaptiveRisk]:
    """What is compared: the default, and single models with one memory each."""

    def single(kind: str, half_life: float) -> AdaptiveRisk:
        alone = replace(settings, model=kind)
        member = Member(kind, half_life, blank(kind, count), np.isfinite(half_life))
        return AdaptiveRisk.begun((member,), alone)

    return {
        "default": AdaptiveRisk.blank(count, settings),
        "convex": single("convex", np.inf),
        "isotonic": single("isotonic", np.inf),
        TREES: single("trees", np.inf),
        "forgetting logit": single("logistic", settings.half_life),
    }


@dataclass(frozen=True)
class World:
    """One world, drawn."""

    network: Any
    scenario: Scenario
    history: Feedback

    @classmethod
    def draw(cls, network: Any, runs: int, steps: int, seed: int) -> World:
        """Requests and luck, the same for all that is compared."""
        seeds = np.arange(runs)
        rates = np.full((runs, steps), REQUESTS)
        scenario = Scenario.draw(rates, seeds, 3, 2 * seed)
        past = Scenario.draw(rates[:, : max(HISTORY, 60)], seeds, 3, 2 * seed + 1)
        frozen = network.base if isinstance(network, Changing) else network
        return cls(network, scenario, gather_history(frozen, past, HISTORY))

    def run(self, model: AdaptiveRisk, settings: Settings, label: str) -> Trace:
        """One learner through the world; the default alone watches for changes."""
        rows = self.history.count
        anchor = self.history.with_weight(settings.anchor_weight * self.history.weight)
        learner = Learner(
            model.fit(self.history),
            3,
            Buffer.empty(rows, settings.capacity),
            anchor=anchor,
            drift=PageHinkley(rows, settings.alarm, keep=settings.keep) if label == "default" else None,
            every=10 * EVERY if label == TREES else EVERY,
            clear=False,
        )
        return run(learner, self.network, self.scenario)


def regrets(
    name: str, who: Sequence[str], runs: int, steps: int, seed: int, settings: Settings
) -> dict[str, Array]:
    """Acceptance lost per request against OPT in one world, by learner, shape (runs,); paired."""
    world = World.draw(worlds(runs, steps)[name], runs, steps, seed)
    best = run(Oracle(world.network), world.network, world.scenario)
    found = {}
    for label in who:
        trace = world.run(learners(3 * runs, settings)[label], settings, label)
        found[label] = trace.regret(best)[:, -1] / trace.requests.sum(axis=1)
    return found


def six_worlds(trials: int = 10, seed: int = 0, quick: bool = False) -> list[Series]:
    """Regret per request against OPT, one curve per learner. x: the worlds in the order of `worlds`."""
    runs, steps = (2, 40) if quick else (max(2, min(trials, 10)), 400)
    settings, who = Settings(), tuple(learners(1, Settings()))
    if find_spec("sklearn") is None:
        who = tuple(label for label in who if label != TREES)
    found = [regrets(name, who, runs, steps, seed, settings) for name in worlds(1, 10)]
    axes = (
        "world: " + ", ".join(f"{k} {name}" for k, name in enumerate(worlds(1, 10))),
        "regret per request",
    )
    return [band(label, range(len(found)), np.array([one[label] for one in found]), axes) for label in who]
