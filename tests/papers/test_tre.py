"""The TRE paper's figures in quick mode: shapes, exact values, and what the finite runs underestimate."""

import pytest

from fedopt.papers import tre
from fedopt.papers.output import as_document, as_rows, as_text, write_csv, write_markdown, write_png


@pytest.fixture(scope="module")
def admission():
    return {series.label: series for series in tre.admission(seed=1, quick=True)}


def test_settings_state_the_exact_quantiles():
    series = {s.label: s for s in tre.settings()}
    exact = dict(zip(series["exact p99.9"].x, series["exact p99.9"].mean, strict=True))
    for load, value in ((0.55, 22.032779), (0.75, 35.790854), (0.85, 55.303440), (0.95, 149.055178)):
        assert exact[load] == pytest.approx(value, abs=1e-6)


@pytest.mark.slow
def test_the_promise_of_every_load():
    """Bound, exact tail and simulation of Table I's p99.9, and the rates that the bound needs."""
    series = {s.label: s for s in tre.promise(trials=16, seed=1)}
    for bound, exact, simulated in zip(
        *(series[name].mean for name in ("bound", "exact tail", "simulated")), strict=True
    ):
        assert exact == pytest.approx(1e-3, rel=1e-6)
        assert exact < bound < 8 * exact
        assert simulated == pytest.approx(exact, rel=0.35)
    assert series["factor on the rates"].mean == pytest.approx((1.126, 1.074, 1.038, 1.015, 1.003), abs=2e-3)


def test_best_effort_breaks_and_admission_keeps_the_deadline(admission):
    best, managed = admission["best effort"], admission["TRE-managed"]
    assert best.mean[-1] > tre.DEADLINE
    assert max(managed.mean) <= tre.SAFETY * tre.DEADLINE + 1e-9
    shares = admission["admitted share α"].mean
    assert list(shares) == sorted(shares, reverse=True)
    assert shares[0] == 1.0
    # 18 halvings: the share is as large as the criterion allows, to within 2^-18
    assert managed.mean[-1] == pytest.approx(tre.SAFETY * tre.DEADLINE, rel=1e-3)


def test_finite_runs_underestimate(admission):
    ratio = dict(zip(tre.LOADS, admission["finite-run estimate over true p99.9"].mean, strict=True))
    assert ratio[0.85] == pytest.approx(1 - 0.21, abs=0.02)
    assert ratio[0.95] == pytest.approx(1 - 0.48, abs=0.03)


def test_isolation():
    series = {s.label: s for s in tre.isolation(trials=40, seed=1)}
    shared, own = series["steady tenant, shared queue"], series["steady tenant, reservation"]
    assert shared.mean[-1] > 3 * shared.mean[0]
    assert own.mean[-1] < 1.1 * own.mean[0]
    assert shared.mean[0] < own.mean[0]  # what isolation costs while nobody bursts


def test_degradation_is_attributed_to_the_degraded_domain():
    series = {s.label: s for s in tre.degradation(trials=50, seed=1)}
    for name in tre.DOMAINS:
        share = series[f"{name} degraded: attributed to {name}"]
        exact = series[f"{name} degraded: attributed to {name}, exact"]
        assert list(exact.mean) == sorted(exact.mean)
        assert share.mean[-1] > share.mean[0]
        # finite runs shrink long tails, so the attribution is near the exact one but not equal to it
        assert share.mean == pytest.approx(exact.mean, abs=0.15)


def test_files(tmp_path, admission):
    curves = list(admission.values())
    write_csv(tmp_path / "a.csv", curves)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "series,x,mean,low,high,published"
    assert len(lines) == 1 + len(as_rows(curves)) == 1 + 7 * len(tre.LOADS)
    assert {"label", "x", "mean", "low", "high"} <= as_document(curves)[0].keys()
    assert "best effort" in as_text("fig2", curves)
    write_markdown(tmp_path / "a.md", curves)
    table = (tmp_path / "a.md").read_text().splitlines()
    assert table[0].startswith("| offered load | best effort | TRE-managed |")
    assert len(table) == 2 + len(tre.LOADS)
    assert table[2].startswith("| 0.55 | ")
    assert " ± " in table[2]
    pytest.importorskip("matplotlib")
    write_png(tmp_path / "a.png", curves, "Figure 2")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
