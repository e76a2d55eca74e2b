"""RADE: Figures 3 to 5 of the paper, its complexity table as measured times, and the studies beyond it."""

from __future__ import annotations

from collections.abc import Callable

from fedopt.papers.rade_experiment import BUFFER, RATE, Case, Methods, Setting, band
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

    return {
        "fig3": load_figure,
        "fig4": history_figure,
        "fig5": corruption_figure,
        "complexity": studies.complexity,
        "map": studies.settings_map,
        "models": studies.model_comparison,
        "regret": studies.regret,
        "providers": providers,
        "contracts": contracts,
    }


def load_figure(trials: int = 100, seed: int = 0, quick: bool = False) -> list[Series]:
    """Figure 3: acceptance against the mean load, every method."""
    setting, methods = _prepare([Case(mean_load=r) for r in LOADS], trials, seed, quick)
    names = ("Random", "Equal split", "Static", "RADE*", "RADE", "Logistic", "Convex", "OPT")
    return [
        band(
            name,
            LOADS,
            setting.scores(methods.make(name)),
            ("mean load r", ACCEPTANCE),
            PUBLISHED_RANDOM if name == "Random" else None,
        )
        for name in names
    ]


def history_figure(trials: int = 100, seed: int = 0, quick: bool = False) -> list[Series]:
    """Figure 4: acceptance against the number of answers known beforehand, at r = 0.5."""
    setting, methods = _prepare([Case(history=n) for n in HISTORIES], trials, seed, quick)
    axes = ("answers per domain in the history", ACCEPTANCE)
    names = ("Static", "RADE*", "RADE", "Logistic", "Convex", "OPT")
    return [band(name, HISTORIES, setting.scores(methods.make(name)), axes) for name in names]


def corruption_figure(trials: int = 100, seed: int = 0, quick: bool = False) -> list[Series]:
    """Figure 5: acceptance against the share of online answers that are reported wrongly, at r = 0.5.

    Five gradient steps per time step, so that RADE* and RADE learn enough for the corruption to matter.
    """
    setting, methods = _prepare([Case(corruption=c) for c in CORRUPTIONS], trials, seed, quick)
    axes = ("share of corrupted answers", ACCEPTANCE)
    compared = {
        "Static": methods.make("Static"),
        "RADE*": methods.make("RADE*", RATE, 5, BUFFER),
        "RADE": methods.make("RADE", RATE, 5, BUFFER),
        "Convex": methods.make("Convex"),
        "Convex, robust likelihood": methods.make("Convex", flip=0.15),
    }
    return [band(label, CORRUPTIONS, setting.scores(method), axes) for label, method in compared.items()]


def _prepare(cases: list[Case], trials: int, seed: int, quick: bool) -> tuple[Setting, Methods]:
    setting = Setting.build(cases, min(trials, 10) if quick else trials, seed, 100 if quick else 500)
    return setting, Methods.fit(setting, seed)
