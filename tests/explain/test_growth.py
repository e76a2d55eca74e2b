"""Growth of reservations by implicit differentiation against sizing anew at both sides."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fedopt.calculus import forms, minplus, paper, split
from fedopt.calculus.path import Path
from fedopt.calculus.scaling import least_scale
from fedopt.explain.growth import growth_of, slots_cost
from fedopt.laws import ExponentialWork, Poisson, Table
from fedopt.plan import TenantPlan

THETA = np.geomspace(1e-3, 2.4, 2500)


def table(model, kappa=0.0, eta=0.0, arrival=False):
    """A model as a fine table, with so much more rate and burst."""
    rates = np.asarray(model.log_rate(THETA)) + THETA * kappa
    bias = np.asarray(model.request_log_bias(THETA)) if arrival else None
    return Table(THETA, rates, THETA * eta, bias, monotone=True, independent_increments=True, iid=False)


MEANS = (0.3, 0.2, 0.4)


def path(kappa=(0.0, 0.0, 0.0), eta=(0.0, 0.0, 0.0), rho=0.0, parametric=False):
    impairments = tuple(
        ExponentialWork(mean) if parametric else table(ExponentialWork(mean), k, e)
        for mean, k, e in zip(MEANS, kappa, eta, strict=True)
    )
    arrival = Poisson(0.5) if parametric else table(Poisson(0.5), rho, arrival=True)
    kinds = np.array([True, False, True])
    return Path(arrival, impairments, np.array([2.0, 3.0, 4.0]), kinds, 40.0, math.log(1e-3))


def sized(at, form, shape):
    """(least scale, θ, parameter, split) of a form along a shape."""
    packed = minplus.PackedPath(at)
    given = packed.arguments()
    found = least_scale(packed.mask & forms.bit(form), given, 1.0, shape, np.full(3, 1e9), math.inf)
    return found[0], found[2], found[3], found[4]


def entry(form, theta, parameter=None, cut=0):
    extra = {"alpha": parameter, "split": int(cut)} if form == "image" else {}
    block = int(parameter) if "block" in form else None
    hops = ["a/a", "b/b", "c/c"]
    return TenantPlan(id="x", path=hops, form=form, theta=theta, block=block, parameters=extra)


def slope(size, change, step):
    return (math.log(size(change(step))) - math.log(size(change(-step)))) / (2 * step)


def units(i):
    return np.eye(3)[i]


@pytest.mark.parametrize("shape", [np.ones(3), np.array([1.1, 1.0, 1.2])], ids=["equal", "unequal"])
@pytest.mark.parametrize("form", [form for form in forms.FORMS if form != "image"])
def test_forms_grow_as_sizing_anew_says(form, shape):
    base = path()
    scale, *proof = sized(base, form, shape)
    growth = growth_of(base, scale * shape, entry(form, *proof))

    def by(change, step):
        return slope(lambda at: sized(at, form, shape)[0], change, step)

    near = {"rel": 1e-2, "abs": 2e-4}
    shifted = by(lambda s: replace(base, log_epsilon=base.log_epsilon + s), 0.02)
    assert growth.epsilon == pytest.approx(shifted, **near)
    assert growth.rho == pytest.approx(by(lambda s: path(rho=s), 2e-3), **near)
    for i in range(3):
        assert growth.kappa[i] == pytest.approx(by(lambda s, i=i: path(kappa=s * units(i)), 2e-3), **near)
    assert growth.eta[1] == pytest.approx(by(lambda s: path(eta=(0.1 + s) * units(1)), 0.05), rel=5e-2)
    for i in (0, 2):
        longer = by(lambda s, i=i: replace(base, latencies=base.latencies + s * units(i)), 0.02)
        assert growth.latency[i] == pytest.approx(longer, **near)
    assert math.isnan(growth.latency[1])  # a pure delay counts in whole slots
    assert math.isnan(growth.deadline)


@pytest.mark.parametrize("shape", [np.ones(3), np.array([1.1, 1.0, 1.2])], ids=["equal", "unequal"])
def test_the_image_form_grows_as_sizing_anew_says(shape):
    # its search ends near the optimum, not at it: a few per cent of the slope
    base = path(parametric=True)
    scale, *proof = sized(base, "image", shape)
    growth = growth_of(base, scale * shape, entry("image", *proof))

    def size(at):
        return sized(at, "image", shape)[0]

    shifted = slope(size, lambda s: replace(base, log_epsilon=base.log_epsilon + s), 0.2)
    assert growth.epsilon == pytest.approx(shifted, rel=0.05)
    for i in (0, 2):
        longer = slope(size, lambda s, i=i: replace(base, latencies=base.latencies + s * units(i)), 0.3)
        assert growth.latency[i] == pytest.approx(longer, rel=0.06)
    assert (growth.kappa >= 0.0).all()
    assert growth.sigma == growth.eta[0]


def test_split_grows_as_sizing_anew_says():
    base, prices, thetas = path(parametric=True), np.array([1.0, 2.0, 0.7]), [0.3]
    sizing = split.size(base, prices, thetas)
    growth = growth_of(base, sizing.rates, entry("split", sizing.theta))

    def cost(at):
        return split.size(at, prices, thetas).cost

    shifted = slope(cost, lambda s: replace(base, log_epsilon=base.log_epsilon + s), 1e-3)
    assert growth.epsilon == pytest.approx(shifted, rel=1e-4)
    raised = path(parametric=True)

    def eta(s):
        impairments = [table(ExponentialWork(mean), eta=0.1 + s * (i == 1)) for i, mean in enumerate(MEANS)]
        return replace(raised, impairments=tuple(impairments))

    at = eta(0.0)
    found = split.size(at, prices, thetas)
    assert growth_of(at, found.rates, entry("split", found.theta)).eta[1] == pytest.approx(
        slope(cost, eta, 1e-3), rel=1e-3
    )

    def shorter(s):  # a guardrail also counts rounded up, so only a shorter one is smooth
        return replace(base, latencies=base.latencies - 2e-3 * units(0) + s * units(0))

    assert growth.latency[0] == pytest.approx(slope(cost, shorter, 1e-3), rel=1e-2)
    assert math.isnan(growth.deadline)


def test_paper_path_grows_as_sizing_anew_says():
    base = path(parametric=True)
    found = paper.size_path(base)
    growth = growth_of(base, np.full(3, found.rate), entry("paper-path", found.theta))

    def rate(at):
        return paper.size_path(at).rate

    near = {"rel": 2e-3}
    assert growth.deadline == pytest.approx(
        slope(rate, lambda s: replace(base, deadline=base.deadline + s), 0.05), **near
    )
    assert growth.epsilon == pytest.approx(
        slope(rate, lambda s: replace(base, log_epsilon=base.log_epsilon + s), 0.02), **near
    )
    for i in range(3):
        longer = slope(rate, lambda s, i=i: replace(base, latencies=base.latencies + s * units(i)), 0.05)
        assert growth.latency[i] == pytest.approx(longer, **near)


def test_a_slot_more_or_less_is_the_path_sized_anew():
    base, prices, highs = path(), np.array([1.0, 2.0, 0.5]), np.full(3, 1e9)
    scale, *_ = sized(base, "fine", np.ones(3))
    rates = np.full(3, scale)
    for slots in (-1, 0, 1):
        moved = replace(base, deadline=base.deadline + slots)
        again, *_ = sized(moved, "fine", np.ones(3))
        cost = slots_cost(base, rates, prices, highs, "minplus:fine", slots, None)
        assert cost == pytest.approx(again * prices.sum(), rel=1e-6)
        least = split.size(moved, prices, [0.3]).cost
        assert slots_cost(base, rates, prices, highs, "split", slots, np.array([0.3])) == pytest.approx(least)
    assert slots_cost(base, rates, prices, highs, "minplus:fine", -38, None) == math.inf


def test_what_is_measured_or_local_has_no_slopes():
    assert growth_of(path(), np.ones(3), entry("paper-local", 0.3)) is None
    assert growth_of(path(), np.ones(3), entry("simulated", 0.3)) is None
