"""RADE: Figures 3 to 5 of the paper, its complexity table as measured times, and the studies beyond it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from fedopt.learn.feedback import Array
from fedopt.papers.rade_experiment import STRONG, Case, Methods, Setting, band
from fedopt.papers.series import Series

Figure = Callable[[int, int, bool], list[Series]]
ACCEPTANCE = "acceptance probability"
LOADS = (0.3, 0.5, 0.7)
HISTORIES = (20, 50, 100, 200)
CORRUPTIONS = (0.0, 0.1, 0.2, 0.3)
PUBLISHED_RANDOM = (0.42, 0.38, 0.35)


def figures() -> dict[str, Figure]:
    """The figures by name; each takes (trials, seed, quick)."""
    from fedopt.papers import rade_studies as studies
    from fedopt.papers.rade_contracts import contracts
    from fedopt.papers.rade_providers import providers
    from fedopt.papers.rade_worlds import six_worlds

    return {
        "fig3": load_figure,
        "fig4": time_figure,
        "fig5": corruption_figure,
        "history": history_figure,
        "worlds": six_worlds,
        "complexity": studies.complexity,
        "map": studies.settings_map,
        "providers": providers,
        "contracts": contracts,
    }


def load_figure(trials: int = 100, seed: int = 0, quick: bool = False) -> list[Series]:
    """Figure 3: acceptance against the mean load, every method; and RADE − RADE*, paired."""
    setting, methods = _prepare([Case(mean_load=r) for r in LOADS], trials, seed, quick)
    names = ("Random", "Equal split", "Static", "RADE*", "RADE", "Logistic", "Convex", "OPT")
    scores = {name: setting.scores(methods.make(name)) for name in names}
    axes = ("mean load r", ACCEPTANCE)
    curves = [
        band(name, LOADS, scores[name], axes, PUBLISHED_RANDOM if name == "Random" else None)
        for name in names
    ]
    return [*curves, _paired("RADE", "RADE*", LOADS, scores, axes[0])]


def time_figure(trials: int = 100, seed: int = 0, quick: bool = False) -> list[Series]:
    """Figure 4: one period of the load at r = 0.5; acceptance over time, and the arrival rate.

    Means over the runs and over windows of a fiftieth of the period.
    """
    setting, methods = _prepare([Case()], trials, seed, quick)
    steps = len(setting.scenario.steps)
    edges = np.linspace(0, steps, 11 if quick else 51).astype(int)
    middle = ((edges[1:] + edges[:-1]) / 2).tolist()
    axes = ("time step", ACCEPTANCE)
    curves = []
    for name in ("Random", "Equal split", "Static", "RADE*", "RADE", "Convex", "OPT"):
        acceptance = setting.trace(methods.make(name)).acceptance
        windows = [acceptance[:, a:b] for a, b in pairwise(edges)]
        # a run without a request in a window says nothing there; all runs together have one
        means = np.array([np.nanmean(part) for part in windows])
        spread = np.array([np.nanstd(part) / np.sqrt(np.isfinite(part).sum()) for part in windows])
        low, high = (tuple((means + sign * 1.96 * spread).tolist()) for sign in (-1, 1))
        curves.append(Series(name, tuple(middle), tuple(means.tolist()), low, high, None, *axes))
    rate = np.array([setting.network.load(t)[0] for t in range(steps)])
    rates = tuple(float(rate[a:b].mean()) for a, b in pairwise(edges))
    rate_axes = (axes[0], "requests per step")
    return [*curves, Series("arrival rate", tuple(middle), rates, rates, rates, None, *rate_axes)]


def history_figure(trials: int = 100, seed: int = 0, quick: bool = False) -> list[Series]:
    """Acceptance against the number of answers known beforehand, at r = 0.5 (not in the paper)."""
    setting, methods = _prepare([Case(history=n) for n in HISTORIES], trials, seed, quick)
    axes = ("answers per domain in the history", ACCEPTANCE)
    names = ("Static", "RADE*", "RADE", "Logistic", "Convex", "OPT")
    return [band(name, HISTORIES, setting.scores(methods.make(name)), axes) for name in names]


def corruption_figure(trials: int = 100, seed: int = 0, quick: bool = False) -> list[Series]:
    """Figure 5: acceptance against the share of online answers reported as rejected, at r = 0.5, paired.

    η = 3e-3 and five gradient steps: RADE* and RADE learn enough for the corruption to matter.
    """
    setting, methods = _prepare([Case(corruption=c) for c in CORRUPTIONS], trials, seed, quick)
    axes = ("share of answers reported as rejected", ACCEPTANCE)
    compared = {
        "Static": methods.make("Static"),
        "RADE*": methods.make("RADE*", *STRONG),
        "RADE": methods.make("RADE", *STRONG),
        "Convex": methods.make("Convex"),
    }
    scores = {label: setting.scores(method) for label, method in compared.items()}
    curves = [band(label, CORRUPTIONS, score, axes) for label, score in scores.items()]
    return [*curves, _paired("RADE", "RADE*", CORRUPTIONS, scores, axes[0])]


def _paired(one: str, other: str, x: Sequence[float], scores: dict[str, Array], axis: str) -> Series:
    return band(f"{one} − {other}", x, scores[one] - scores[other], (axis, "paired difference"))


def _prepare(cases: list[Case], trials: int, seed: int, quick: bool) -> tuple[Setting, Methods]:
    setting = Setting.build(cases, min(trials, 10) if quick else trials, seed, 100 if quick else 500)
    return setting, Methods.fit(setting, seed)
