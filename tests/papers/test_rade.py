"""Every RADE figure runs, has bands around its means, and keeps the order that is beyond doubt."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.papers import rade
from fedopt.papers.rade_experiment import Case, Setting


@pytest.fixture(scope="module")
def curves():
    pytest.importorskip("jax", reason="the optional extra `learn` is not installed")
    return {curve.label: curve for curve in rade.load_figure(4, 1, quick=True)}


def test_fig3(curves):
    for curve in curves.values():
        assert curve.x == rade.LOADS
        assert all(
            low <= mean <= high for low, mean, high in zip(curve.low, curve.mean, curve.high, strict=True)
        )
    random, best = np.array(curves["Random"].mean), np.array(curves["OPT"].mean)
    assert curves["Random"].published == (0.42, 0.38, 0.35)
    for name, curve in curves.items():
        assert (np.array(curve.mean) <= best + 1e-4).all()
        if name not in ("Random", "RADE − RADE*"):
            assert (np.array(curve.mean) > random).all()


def test_fig4_is_a_run_over_time():
    pytest.importorskip("jax", reason="the optional extra `learn` is not installed")
    curves = {curve.label: curve for curve in rade.time_figure(4, 1, quick=True)}
    rate = np.array(curves["arrival rate"].mean)
    assert rate.max() > 0.8
    assert rate.min() < 0.2
    best, random = (np.array(curves[name].mean) for name in ("OPT", "Random"))
    assert all(curve.x == curves["OPT"].x for curve in curves.values())
    busy = rate > rate.mean()
    assert best[busy].mean() < best[~busy].mean()  # more load, fewer accepted
    assert (best > random).all()


def test_corrupted_answers_are_reported_as_rejected():
    setting = Setting.build([Case(corruption=0.3)], 2, 0, 20)
    step = next(step for step in setting.scenario.steps if step.corrupted.any())
    for answers in (np.ones(step.corrupted.shape), np.zeros(step.corrupted.shape)):
        reported = setting.scenario.reported(step, answers)
        assert (reported[step.corrupted] == 0).all()
        assert (reported[~step.corrupted] == answers[~step.corrupted]).all()


def test_all_figures_are_listed():
    assert {
        "fig3",
        "fig4",
        "fig5",
        "history",
        "worlds",
        "complexity",
        "map",
        "providers",
        "contracts",
    } == set(rade.figures())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["fig4", "fig5", "history", "worlds", "complexity", "map", "providers", "contracts"],
)
def test_quick_figures(name):
    pytest.importorskip("jax", reason="the optional extra `learn` is not installed")
    for curve in rade.figures()[name](2, 0, True):
        assert len(curve.x) == len(curve.mean) == len(curve.low) == len(curve.high)
        assert np.isfinite(curve.mean).all()
