"""Every RADE figure runs, has bands around its means, and keeps the order that is beyond doubt."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.papers import rade


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
        if name != "Random":
            assert (np.array(curve.mean) > random).all()


def test_all_figures_are_listed():
    assert {"fig3", "fig4", "fig5", "complexity", "map", "models", "regret", "providers", "contracts"} == set(
        rade.figures()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["fig4", "fig5", "complexity", "map", "models", "regret", "providers", "contracts"]
)
def test_quick_figures(name):
    pytest.importorskip("jax", reason="the optional extra `learn` is not installed")
    for curve in rade.figures()[name](2, 0, True):
        assert len(curve.x) == len(curve.mean) == len(curve.low) == len(curve.high)
        assert np.isfinite(curve.mean).all()
