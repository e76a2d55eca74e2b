"""Studies around the RADE figures: measured complexity, the map of settings, models, exploration."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from fedopt.learn.decompose import Problem, by_price, by_slsqp, on_grid
from fedopt.learn.feedback import Array, Feedback
from fedopt.learn.model import RiskModel
from fedopt.learn.network import NetworkRisk
from fedopt.learn.parametric import ConvexRisk, LogisticRisk
from fedopt.papers.rade_experiment import Case, Methods, Setting, band
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
