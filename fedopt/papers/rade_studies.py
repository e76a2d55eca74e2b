"""Studies around the RADE figures: measured complexity, the map of settings, models, exploration."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from fedopt.learn.decompose import Problem, by_price, by_slsqp, on_grid
from fedopt.learn.drift import PageHinkley
from fedopt.learn.explore import Exploration, Greedy, Optimistic, Thompson
from fedopt.learn.feedback import Array, Buffer, Feedback
from fedopt.learn.model import RiskModel
from fedopt.learn.network import NetworkRisk
from fedopt.learn.online import Learner, Oracle, Trace, gather_history, run
from fedopt.learn.parametric import ConvexRisk, LogisticRisk
from fedopt.learn.simulator import PAPER_DOMAINS, AnalyticNetwork, DomainParameters, Scenario
from fedopt.learn.worlds import Changing, TwoRegimes
from fedopt.papers.rade_experiment import ANCHOR, Case, Methods, Setting, band, before
from fedopt.papers.series import Series

RATES = (1e-4, 1e-3, 3e-3, 1e-2)
_TIME = "microseconds"


def complexity(trials: int = 100, seed: int = 0, quick: bool = False) -> list[Series]:
    """The complexity table as measured times: per domain and update, per request and decomposition.

    x is the number of models (or requests) handled in one call; the mean is the median over repetitions, the
    band reaches from the least (the one that other programs disturbed least) to the upper quartile.
    """
    batch = 30 if quick else 300
    setting = Setting.build([Case()], batch // 3, seed, 120)
    history = setting.history
    repeats = 5 if quick else 15
    rows: list[Series] = []
    sizes = (3, batch)
    kinds: dict[str, RiskModel] = {
        "network": NetworkRisk(models=batch, runs=1),
        "convex": ConvexRisk(models=batch),
        "logistic": LogisticRisk(models=batch),
    }
    for name, blank in kinds.items():
        fitted = blank.fit(history)
        acts: list[tuple[str, tuple[int, ...], Callable[[int], object]]] = [
            ("fit, per domain", (batch,), partial(_fit, blank, history)),
            ("update, per domain", sizes, partial(_update, fitted, history)),
            ("decomposition on grids, per request", (1, batch // 3), partial(_on_grid, fitted)),
            ("decomposition by grid and SLSQP, per request", (1,), partial(_by_slsqp, fitted)),
        ]
        if blank.concave:
            acts.append(("decomposition by price, per request", (1, batch // 3), partial(_by_price, fitted)))
        rows.extend(_timed(f"{name}: {what}", handled, act, repeats) for what, handled, act in acts)
    return rows


def _fit(model: RiskModel, history: Feedback, number: int) -> object:
    return model.fit(history)


def _update(model: RiskModel, history: Feedback, number: int) -> object:
    rows = np.arange(number)
    return model.update(history.rows(rows), rows)


def _on_grid(model: RiskModel, number: int) -> object:
    return on_grid(_requests(model, number), points=48, windows=1)


def _by_price(model: RiskModel, number: int) -> object:
    return by_price(_requests(model, number))


def _by_slsqp(model: RiskModel, number: int) -> object:
    return by_slsqp(_requests(model, number))


def _requests(model: RiskModel, number: int) -> Problem:
    rows = np.arange(3 * number).reshape(number, 3)
    return Problem(model, rows, np.full(number, 100.0), np.full(number, 0.5))


def _timed(label: str, sizes: tuple[int, ...], act: Callable[[int], object], repeats: int) -> Series:
    median, low, high = [], [], []
    for size in sizes:
        act(size)
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            act(size)
            seconds.append((time.perf_counter() - start) / size * 1e6)
        quartiles = np.quantile(seconds, [0.5, 0.0, 0.75])
        median.append(float(quartiles[0]))
        low.append(float(quartiles[1]))
        high.append(float(quartiles[2]))
    return Series(
        label,
        tuple(map(float, sizes)),
        tuple(median),
        tuple(low),
        tuple(high),
        None,
        "handled at once",
        _TIME,
    )


def settings_map(trials: int = 30, seed: int = 0, quick: bool = False) -> list[Series]:
    """Where RADE beats RADE*: paired differences over η, gradient steps, buffer and requests per step."""
    trials, steps = (5, 60) if quick else (min(trials, 30), 300)
    curves = []
    for factor in (1.0, 4.0):
        setting = Setting.build([Case(requests=factor)], trials, seed, steps)
        methods = Methods.fit(setting, seed)
        static = setting.scores(methods.make("Static"))
        for runs in (1, 5):
            single = {rate: setting.scores(methods.make("RADE*", rate, runs)) for rate in RATES}
            label = f"{runs} gradient steps, {factor:g}× requests"
            curves.append(_difference(f"RADE* − Static, {label}", [single[r] - static for r in RATES]))
            for capacity in (20, 100):
                kept = {rate: setting.scores(methods.make("RADE", rate, runs, capacity)) for rate in RATES}
                curves.append(
                    _difference(
                        f"RADE − RADE*, {label}, buffer {capacity}", [kept[r] - single[r] for r in RATES]
                    )
                )
    return curves


def _difference(label: str, scores: list[Array]) -> Series:
    return band(label, RATES, np.concatenate(scores), ("step size η", "difference of acceptance"))


def model_comparison(trials: int = 100, seed: int = 0, quick: bool = False) -> list[Series]:
    """Risk models on equal data: loss against OPT, and paired differences to the convex one.

    x: 0.3, 0.5, 0.7 are mean loads of the analytic simulator; 1 is the two-regime world at r = 0.5, whose log
    acceptance is not concave. History of 100 answers per domain, no learning afterwards.
    """
    trials, steps = (8, 60) if quick else (trials, 100)
    x = (0.3, 0.5, 0.7, 1.0)
    setting = Setting.build([Case(mean_load=r) for r in x[:3]], trials, seed, steps)
    plain = _compare_on(setting, setting.history, seed)
    worlds = Setting.build([Case()], trials, seed, steps)
    regimes = TwoRegimes(worlds.network)
    past = Scenario.draw(before(worlds.network, 100), np.arange(trials), regimes.domains, 2 * seed + 1)
    history = gather_history(regimes, past, 100)
    hard = _compare_on(replace(worlds, network=regimes), history, seed)  # type: ignore[arg-type]
    axes = ("mean load r (1: two regimes)", "OPT − model, acceptance")
    both = {name: np.concatenate([plain[name], hard[name]]) for name in plain}
    curves = [band(name, x, both["OPT"] - both[name], axes) for name in both if name != "OPT"]
    differences = [
        band(f"convex − {name}", x, both["convex"] - both[name], (axes[0], "paired difference"))
        for name in both
        if name not in ("OPT", "convex")
    ]
    return curves + differences


def _compare_on(setting: Setting, history: Feedback, seed: int) -> dict[str, Array]:
    models: dict[str, RiskModel] = {
        "convex": ConvexRisk(models=setting.models).fit(history),
        "network": NetworkRisk(models=setting.models, seed=seed).fit(history),
        "network without ridge": NetworkRisk(models=setting.models, seed=seed, decay=0.0).fit(history),
        "logistic": LogisticRisk(models=setting.models).fit(history),
    }
    scores = {name: setting.scores(Learner(model, 3, name=name)) for name, model in models.items()}
    scores["OPT"] = setting.scores(Oracle(setting.network))
    return scores


def regret(trials: int = 40, seed: int = 0, quick: bool = False) -> list[Series]:
    """Regret against OPT, per request, when the domains change abruptly half-way, from a thin history.

    Greedy, Thompson and optimistic use of the convex model, and greedy with drift detection. x: steps.
    """
    trials, steps = (5, 80) if quick else (min(trials, 40), 400)
    runs = trials
    base = AnalyticNetwork(np.full(runs, 0.7), steps)
    swapped = DomainParameters(
        PAPER_DOMAINS.names, PAPER_DOMAINS.capacity[[1, 0, 2]], PAPER_DOMAINS.service[[1, 0, 2]]
    )
    network = Changing(base, steps // 2, swapped)
    rates = np.stack([base.load(t) for t in range(steps)], axis=1)
    seeds = np.arange(runs)
    scenario = Scenario.draw(4 * rates, seeds, 3, 2 * seed)
    history = gather_history(base, Scenario.draw(rates, seeds, 3, 2 * seed + 1), 30)
    best = run(Oracle(network), network, scenario)
    marks = np.linspace(steps // 8, steps - 1, 8).astype(int)
    policies: dict[str, tuple[Exploration, bool]] = {
        "greedy": (Greedy(), False),
        "greedy, drift detection": (Greedy(), True),
        "Thompson": (Thompson(4, seed), False),
        "optimistic": (Optimistic(4, seed), False),
        "Thompson, drift detection": (Thompson(4, seed), True),
    }
    curves = []
    for label, (explore, watch) in policies.items():
        trace = _explored(network, scenario, history, explore, watch)
        done = trace.regret(best) / np.maximum(np.cumsum(trace.requests, axis=1), 1)
        curves.append(band(label, marks.tolist(), done[:, marks].T, ("step", "regret per request so far")))
    return curves


def _explored(
    network: Changing, scenario: Scenario, history: Feedback, explore: Exploration, watch: bool
) -> Trace:
    rows = scenario.runs * network.domains
    blank = ConvexRisk(models=rows * explore.replicates)
    spread, _ = explore.spread(history, np.arange(rows), blank)
    learner = Learner(
        blank.fit(spread),
        network.domains,
        Buffer.empty(rows, 200),
        anchor=history.with_weight(ANCHOR * history.weight),
        explore=explore,
        drift=PageHinkley(rows) if watch else None,
    )
    return run(learner, network, scenario)
