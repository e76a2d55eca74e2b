"""Results in notebooks: frames, figures and HTML of plans, comparisons, simulations and audits."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import fedopt
from fedopt.audit import audit
from fedopt.errors import MissingExtraError

INSTANCE = fedopt.load(Path(__file__).parents[2] / "instances" / "quickstart.yaml")


@pytest.fixture(scope="module")
def results():
    plan = fedopt.solve(INSTANCE)
    simulation = fedopt.simulate(plan, INSTANCE, slots=20_000, trials=2, seed=1)
    delays = np.random.default_rng(1).exponential(size=4000)
    comparison = fedopt.compare(INSTANCE, ["central", "bundle"])
    return {"plan": plan, "comparison": comparison, "simulation": simulation, "audit": audit(delays)}


def test_frames_hold_what_was_decided_and_measured(results):
    pytest.importorskip("pandas")
    frames = {name: result.to_frame() for name, result in results.items()}
    plan = results["plan"]
    assert len(frames["plan"]) == sum(len(entry.path) for entry in plan.tenants)
    rates = frames["plan"].set_index(["tenant", "domain"])["reserved"]
    for entry in plan.tenants:
        for domain, rate in entry.reservations.items():
            assert rates[entry.id, domain] == rate
    simulated = frames["simulation"].set_index("tenant")
    for tenant in results["simulation"].tenants:
        assert simulated.loc[tenant.id, "simulated"] == tenant.violation.estimate
        assert simulated.loc[tenant.id, "q0.999"] == tenant.quantiles[0.999].estimate
    assert list(frames["audit"]["quantile"]) == [float(q) for q in results["audit"].quantiles]
    assert list(frames["comparison"]["method"]) == ["central", "bundle"]


def test_plots_are_figures(results):
    figure = pytest.importorskip("matplotlib.figure").Figure
    for result in results.values():
        drawn = result.plot()
        assert isinstance(drawn, figure)
        assert all(axis.has_data() for axis in drawn.axes[:1])
        drawn.canvas.draw()


def test_html_is_escaped_and_names_what_it_shows(results):
    for result in results.values():
        shown = result._repr_html_()
        assert shown.startswith("<div>")
        assert "<table>" in shown
    evil = INSTANCE.with_({"name": "<script>alert(1)</script>"})
    assert "<script>" not in fedopt.solve(evil)._repr_html_()


def test_what_is_missing_is_named(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for result in results.values():
        with pytest.raises(MissingExtraError, match=r"pandas: pip install 'fedopt\[table\]'"):
            result.to_frame()
        with pytest.raises(MissingExtraError, match=r"pip install 'fedopt\[plot\]'"):
            result.plot()
