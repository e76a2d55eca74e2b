"""A user's own models: completed on the safe side, tabulated for the compiled form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.laws import ExponentialWork, build, log_burst, log_rate, own_arrival, pack, request_log_bias


class Scalar:
    """States two functions of a single number."""

    def rho(self, theta):
        return -math.log(1 - 0.5 * theta) / theta

    def sigma(self, theta):
        return 0.25


class Complete(ExponentialWork):
    """States everything; not one of the known classes to the compiled form."""


class Declared:
    """An impairment that declares what it is."""

    monotone = independent_increments = iid = True
    theta_max = 2.0
    mean = 0.5

    def kappa(self, theta):
        return ExponentialWork(0.5).kappa(theta)

    def eta(self, theta):
        return np.zeros_like(theta)

    def log_moment(self, theta):
        return ExponentialWork(0.5).log_moment(theta)


def test_two_functions_are_enough():
    law = build(Scalar(), 1.0)
    assert law.monotone
    assert not law.independent_increments
    assert not law.iid
    assert law.theta_max == math.inf
    assert law.mean == pytest.approx(0.5, rel=1e-3)
    assert law.rho(np.array([0.5, 1.0])) == pytest.approx([Scalar().rho(0.5), Scalar().rho(1.0)])
    assert law.log_rate(3.0) == math.inf  # where the function fails
    with pytest.raises(TypeError, match="sample"):
        law.sample(np.random.default_rng(0), 3)
    table = pack([law])
    for theta in (0.01, 0.5, 1.5):
        assert log_rate(table, 0, theta) >= law.log_rate(theta) * (1 - 1e-12)
        assert log_rate(table, 0, theta) == pytest.approx(law.log_rate(theta), rel=2e-3)
        assert log_burst(table, 0, theta) == pytest.approx(0.25 * theta)
        assert request_log_bias(table, 0, theta) == math.inf


def test_declared_properties_count():
    table = pack([Declared()])
    assert table.monotone[0]
    assert table.independent[0]
    assert table.iid[0]
    exact = ExponentialWork(0.5)
    for theta in (-1.0, -0.1, 0.3, 1.8):
        assert log_rate(table, 0, theta) >= exact.log_moment(theta) - 1e-12
        assert log_rate(table, 0, theta) == pytest.approx(exact.log_moment(theta), rel=2e-3)
    assert log_rate(table, 0, 2.1) == math.inf


def test_the_packages_own_models_pass_unchanged():
    law = Complete(0.3)
    assert own_arrival(law) is law
    assert log_rate(pack([law]), 0, 0.5) == law.log_rate(0.5)


def test_an_envelope_that_is_infinite_everywhere_is_refused():
    class Hopeless(Scalar):
        def rho(self, theta):
            return math.inf

    with pytest.raises(ValueError, match="infinite"):
        pack([Hopeless()])
