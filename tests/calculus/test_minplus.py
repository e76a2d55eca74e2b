"""The guarantee of one path: what `evaluate` finds `verify` confirms, and nothing that was not assumed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.calculus.forms import FORMS, bit
from fedopt.calculus.minplus import Evaluation, PackedPath, evaluate, verify
from fedopt.calculus.path import Path
from fedopt.laws import ExponentialWork, OnOff, Poisson, Table
from tests.calculus.systems import case_a, case_b, path_of
from tests.oracles.random_tandems import random_tandem

FOUND = {
    "image": {"parameters": {"alpha": 1.3, "split": 0}},
    "block": {"block": 7},
    "block-ville": {"block": 7},
}


def stated(form: str, theta: float = 0.5, **more) -> Evaluation:
    """A proof as a plan states it."""
    return Evaluation(math.inf, form, theta, **{**FOUND.get(form, {}), **more})


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 2**32))
def test_what_is_found_is_verified(seed):
    rng = np.random.default_rng(seed)
    tandem = random_tandem(rng)
    size = len(tandem.rates)
    path = path_of(tandem, request=bool(rng.random() < 0.5))
    rates = np.array(tandem.rates) * rng.uniform(1.0, 2.5) * rng.uniform(1.0, 1.6, size)
    for mask in (63, int(rng.integers(1, 64))):
        found = evaluate(path, rates, mask)
        if not found.log_bound < 0.0:
            continue
        assert bit(found.form) & mask
        assert (found.block is not None) == (found.form in ("block", "block-ville") and size > 1)
        assert verify(path, rates, found) <= found.log_bound + 1e-9 * abs(found.log_bound)


def test_every_form_alone_and_all_together():
    path = path_of(case_a(1.3, 1.4, 1.35), request=True)
    rates = np.array([1.3, 1.4, 1.35])
    alone = {form: evaluate(path, rates, bit(form)) for form in FORMS}
    assert all(alone[form].form == form for form in FORMS if alone[form].log_bound < math.inf)
    best = evaluate(path, rates)
    assert best.form == "image"
    assert best.log_bound <= min(e.log_bound for e in alone.values()) + 1e-6
    assert set(best.parameters) == {"alpha", "split"}


def test_one_domain_has_no_parameters():
    path = path_of(case_b(1), request=True)
    found = evaluate(path, np.array([0.09]))
    assert found.form in ("ville", "image", "block-ville")
    assert found.block is None
    assert found.parameters == {}
    for form in ("image", "ville", "block-ville"):
        value = verify(path, np.array([0.09]), Evaluation(math.inf, form, found.theta))
        assert value == pytest.approx(found.log_bound, abs=1e-12)


def test_nothing_is_proven():
    found = evaluate(path_of(case_a(1.0, 1.0, 1.0)), np.full(3, 0.4))
    assert (found.log_bound, found.form, found.block) == (math.inf, "", None)
    late = Path(Poisson(0.5), (ExponentialWork(0.3),), [5.0], [False], 4.0, -1.0)
    assert evaluate(late, np.array([9.0])).log_bound == math.inf


def with_impairment(impairment) -> Path:
    """Two domains, the second with an impairment in question."""
    return Path(
        Poisson(0.5), (ExponentialWork(0.2), impairment), [0.0, 1.0], [False, False], 20.0, math.log(1e-3)
    )


def table(**flags) -> Table:
    """A table over θ that declares what it is told to."""
    grid = np.linspace(0.1, 2.0, 20)
    return Table(grid, grid * (0.2 + 0.05 * grid), 0.0 * grid, **flags)


def test_forms_that_a_table_does_not_declare_are_refused():
    rates = np.full(2, 1.6)
    for flags, allowed in (
        ({"monotone": False}, {"fine"}),
        ({"monotone": False, "independent_increments": True}, {"fine"}),
        ({}, {"fine", "monotone", "block"}),
        ({"independent_increments": True, "iid": False}, set(FORMS) - {"image"}),
        ({"independent_increments": True}, set(FORMS)),
    ):
        path = with_impairment(table(**flags))
        values = {form: verify(path, rates, stated(form)) for form in FORMS}
        assert {form for form, value in values.items() if value < math.inf} == allowed
        assert evaluate(path, rates).form in allowed
        assert (evaluate(path, rates, bit("image")).log_bound < math.inf) == ("image" in allowed)


def test_markov_modulated_work_has_no_image():
    path = with_impairment(OnOff(0.5, 0.2, 0.1))
    assert verify(path, np.full(2, 1.6), stated("image")) == math.inf
    assert verify(path, np.full(2, 1.6), stated("ville")) < math.inf


def test_dependent_domains_have_no_supermartingale():
    path = path_of(case_a(2.0, 2.0, 2.0), dependent=((0, 2),))
    rates = np.full(3, 2.5)
    values = {form: verify(path, rates, stated(form)) for form in FORMS if form != "image"}
    values["image"] = verify(path, rates, stated("image"))
    assert {form for form, value in values.items() if value < math.inf} == {"fine", "monotone", "block"}


@pytest.mark.parametrize("exponents", [[1.9, 1.0, 1.9], [1.0, 1.0, 1.0], [-2.0, 1.0, -2.0], [0.5, 1.0, 2.0]])
def test_too_small_exponents(exponents):
    path = path_of(case_a(2.0, 2.0, 2.0), dependent=((0, 2),))
    with pytest.raises(ValueError, match="exponents"):
        verify(path, np.full(3, 2.0), stated("fine", 0.2, parameters={"exponents": exponents}))


@pytest.mark.parametrize("exponents", [[2.0, 2.0], 2.0, [2.0, 1.0, 2.0, 1.0], [math.nan, 1.0, math.nan]])
def test_exponents_that_do_not_fit_the_path(exponents):
    path = path_of(case_a(2.0, 2.0, 2.0), dependent=((0, 2),))
    with pytest.raises(ValueError, match="exponent"):
        verify(path, np.full(3, 2.0), stated("fine", 0.2, parameters={"exponents": exponents}))


def test_sufficient_exponents_are_accepted():
    path = path_of(case_a(2.0, 2.0, 2.0), dependent=((0, 2),))
    for exponents in ([2.0, 1.0, 2.0], [3.0, 1.0, 1.5], [4.0, 2.0, 4.0]):
        value = verify(path, np.full(3, 2.0), stated("fine", 0.2, parameters={"exponents": exponents}))
        assert value < math.inf
    # exponents stated for independent domains do not count: there they are 1
    free = path_of(case_a(2.0, 2.0, 2.0))
    assert verify(free, np.full(3, 2.0), stated("fine", 0.2, parameters={"exponents": [9.0] * 3})) == verify(
        free, np.full(3, 2.0), stated("fine", 0.2)
    )


@pytest.mark.parametrize(
    ("form", "more", "words"),
    [
        ("image", {"parameters": {"alpha": 1.0 - 1e-9, "split": 0}}, "α"),
        ("image", {"parameters": {"alpha": -3.0, "split": 0}}, "α"),
        ("image", {"parameters": {"alpha": math.nan, "split": 0}}, "α"),
        ("image", {"parameters": {"alpha": 1.3, "split": 3}}, "split"),
        ("image", {"parameters": {"alpha": 1.3, "split": -3}}, "split"),
        ("block", {"block": 0}, "block"),
        ("block-ville", {"block": -4}, "block"),
        ("paper", {}, "not in"),
    ],
)
def test_malformed_proofs(form, more, words):
    path = path_of(case_a(1.5, 1.5, 1.5))
    with pytest.raises(ValueError, match=words):
        verify(path, np.full(3, 1.5), stated(form, **more))


def test_a_tilt_outside_the_domain_proves_nothing():
    path = path_of(case_a(1.5, 1.5, 1.5))
    for theta in (0.0, -0.5, 2.6, math.inf, math.nan):
        for form in FORMS:
            assert verify(path, np.full(3, 1.5), stated(form, theta)) == math.inf


def test_rates_that_are_no_numbers_prove_nothing():
    path = path_of(case_a(1.5, 1.5, 1.5))
    for rates in ([1.5, math.nan, 1.5], [1.5, -1.5, 1.5], [0.0, 1.5, 1.5]):
        for form in FORMS:
            assert verify(path, np.array(rates), stated(form)) == math.inf, form
    with pytest.raises(ValueError, match="rate"):
        verify(path, np.array([1.5, 1.5]), stated("fine"))


def test_packed_once():
    packed = PackedPath(path_of(case_a(1.2, 1.2, 1.2), request=True))
    models, arrival, impair, exponent, lag, window, biased, log_epsilon = packed.arguments()
    assert (arrival, window, biased, log_epsilon) == (0, 21, True, math.log(1e-3))
    assert list(impair) == [1, 2, 3]
    assert list(exponent) == [1.0] * 3
    assert list(lag) == [0.0] * 3
    assert models.rows.shape[0] == 4


def test_verified_at_lowered_rates():
    """What holds at rates lowered to the smallest holds at the rates themselves."""
    path = path_of(case_a(1.3, 1.3, 1.3))
    even, uneven = np.full(3, 1.5), np.array([1.5, 2.5, 1.9])
    for form in FORMS:
        proof = stated(form, 0.4)
        assert verify(path, uneven, proof) <= verify(path, even, proof)
