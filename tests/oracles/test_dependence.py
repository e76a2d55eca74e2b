"""Dependent domains: independence would be violated, Hölder's inequality is not."""

from __future__ import annotations

import math

import numpy as np

from fedopt.laws import ExponentialWork, Poisson, hoelder
from tests.oracles import formulas, slot_simulator
from tests.oracles.tandem import plain


class Shared(ExponentialWork):
    """The same work in every domain that holds this object."""

    def sample(self, rng, slots):
        if getattr(self, "drawn", None) is None:
            object.__setattr__(self, "drawn", super().sample(rng, slots))
        return self.drawn


def test_the_same_impairment_in_two_domains():
    copies, window, rates = 3000, 6, [1.05, 1.0]
    tandem = plain(Poisson(0.3), [ExponentialWork(0.35)] * 2, rates, window)
    shared = Shared(0.35)
    twin = plain(Poisson(0.3), [shared, shared], rates, window)
    value = slot_simulator.path_values(twin, [window], np.random.default_rng(3), copies, 400, 200)[0][0]
    for theta in (0.1, 0.25, 0.5):
        means = np.exp(theta * value).mean(axis=0)
        low = math.log(means.mean() - 3 * means.std() / math.sqrt(copies))
        for form in (
            formulas.fine,
            formulas.monotone,
            lambda *a, **k: formulas.block(*a, 3, **k),
        ):
            assert low <= form(tandem, theta, exponents=(2.0, 2.0))
    likely = (value > 1e-7).mean()
    best = min(
        formulas.best_theta(lambda t, f=form: f(tandem, t, exponents=(2.0, 2.0)), 1.4, 30, 0.01, 5.0)[0]
        for form in (formulas.fine, formulas.monotone)
    )
    assert math.log(likely) <= best


def test_exponents_are_hoelders_factors():
    law = ExponentialWork(0.35)
    tandem = plain(Poisson(0.3), [law, law], [1.05, 1.0], 8)
    replaced = plain(Poisson(0.3), [hoelder(law, 2.0), hoelder(law, 2.0)], [1.05, 1.0], 8)
    assert formulas.fine(tandem, 0.4, exponents=(2.0, 2.0)) == formulas.fine(replaced, 0.4)
    assert formulas.fine(tandem, 0.4) < formulas.fine(replaced, 0.4)
