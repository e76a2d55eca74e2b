"""What learning costs against knowing, in six worlds, beside what else one would use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedopt.learn.choice import AdaptiveRisk, Member, blank
from fedopt.learn.drift import PageHinkley
from fedopt.learn.feedback import Array, Buffer, Feedback
from fedopt.learn.online import Learner, Oracle, Trace, gather_history, run
from fedopt.learn.settings import Settings
from fedopt.learn.simulator import PAPER_DOMAINS, AnalyticNetwork, DomainParameters, Scenario
from fedopt.learn.worlds import Changing, TwoRegimes

HISTORY = 100
REQUESTS = 2.0
"""Mean number of requests per step."""
EVERY = 4
"""Steps between updates."""


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
        return AdaptiveRisk((member,), alone)._begin(count)

    return {
        "default": AdaptiveRisk.blank(count, settings),
        "convex": single("convex", np.inf),
        "isotonic": single("isotonic", np.inf),
        "monotone trees": single("trees", np.inf),
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

    def run(self, model: AdaptiveRisk, settings: Settings, drift: bool) -> Trace:
        """One learner through the world."""
        rows = self.history.count
        anchor = self.history.with_weight(settings.anchor_weight * self.history.weight)
        learner = Learner(
            model.fit(self.history),
            3,
            Buffer.empty(rows, settings.capacity),
            anchor=anchor,
            drift=PageHinkley(rows, settings.alarm, keep=settings.keep) if drift else None,
            every=EVERY,
            clear=False,
        )
        return run(learner, self.network, self.scenario)


def regrets(
    names: list[str], who: list[str], runs: int, steps: int, seed: int, settings: Settings
) -> dict[str, dict[str, Array]]:
    """Acceptance lost per request against OPT, by world and learner, shape (runs,)."""
    found: dict[str, dict[str, Array]] = {}
    for name in names:
        world = World.draw(worlds(runs, steps)[name], runs, steps, seed)
        best = run(Oracle(world.network), world.network, world.scenario)
        found[name] = {}
        for label in who:
            model = learners(3 * runs, settings)[label]
            trace = world.run(model, settings, drift=label == "default")
            found[name][label] = trace.regret(best)[:, -1] / trace.requests.sum(axis=1)
    return found
