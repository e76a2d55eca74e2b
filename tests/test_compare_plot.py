"""The plot of a comparison: what is drawn, from which numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fedopt
from fedopt.compare import disclosed, private_numbers
from fedopt.instance import Piecewise, load
from fedopt.instance.generating import generate

INSTANCES = Path(__file__).parents[1] / "instances"


@pytest.fixture(scope="module")
def comparison():
    return fedopt.compare(load(INSTANCES / "metro-llm.yaml"), ["central", "admm", "bundle"], gap=1e-2)


def test_every_method_is_drawn(comparison, tmp_path):
    pytest.importorskip("matplotlib")
    comparison.plot(tmp_path / "convergence.svg")
    drawn = (tmp_path / "convergence.svg").read_text(encoding="utf-8")
    for text in ("admm: relaxation", "bundle: dual", "central: plan", "certifies nothing", "is given"):
        # text is drawn as glyphs; the SVG keeps it in comments
        assert re.search(rf"<!--[^>]*{text}", drawn), text
    comparison.plot(tmp_path / "convergence.png")
    assert (tmp_path / "convergence.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="png, svg, pdf"):
        comparison.plot(tmp_path / "convergence.xls")


def test_disclosure_of_each_method(comparison):
    pytest.importorskip("cryptography")
    central, admm, bundle = comparison.rows
    instance = load(INSTANCES / "metro-llm.yaml")
    assert central.private_numbers == private_numbers(instance, "minplus")
    assert (central.numbers_told, central.costs_told) == (None, None)
    assert (admm.private_numbers, admm.costs_told) == (0, 0)
    assert admm.numbers_told > 0
    assert bundle.costs_told == 4 * sum(b["rounds"] for b in comparison.plans[2].ledger["boundaries"])
    assert central.disclosure == f"{central.private_numbers} private"
    assert admm.disclosure == f"{admm.numbers_told} told, 0 costs"
    plan = comparison.plans[1]
    assert plan.ledger["relaxation"]["by_round"][-1]["told"] <= disclosed(plan, instance).told


def test_private_numbers_are_capacities_costs_and_under_split_contracts():
    instance = generate(4, 2, 2, seed=1)
    linear_or_quadratic = sum(1 + (d.offers[0].cost.model == "quadratic") for d in instance.domains)
    assert private_numbers(instance, "minplus") == 4 + linear_or_quadratic
    assert private_numbers(instance, "split") > private_numbers(instance, "minplus") + 4
    (first, *_) = instance.domains
    curved = instance.with_({f"domains.{first.id}.offers.{first.offers[0].id}.cost": STEPS.model_dump()})
    before = 1 + (first.offers[0].cost.model == "quadratic")
    assert private_numbers(curved, "minplus") == private_numbers(instance, "minplus") - before + 4


STEPS = Piecewise(points=((0.0, 1.0), (2.0, 3.0), (4.0, 9.0)))
