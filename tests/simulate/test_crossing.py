"""Where a decreasing function meets a level: smooth ones, small steps, and levels that are never met."""

import math

import pytest

from fedopt.simulate.crossing import crossing


def test_nearly_linear():
    asked = []

    def measure(x):
        asked.append(x)
        return -7.0 * x - 0.5 * math.exp(0.1 * x)

    at, slope = crossing(measure, -20.0, 1.0, 5.0, accuracy=1e-6)
    assert measure(at) == pytest.approx(-20.0, abs=1e-6)
    assert slope == pytest.approx(-7.0 - 0.05 * math.exp(0.1 * at), rel=0.01)
    assert len(asked) < 8


def test_a_step_at_the_level():
    """Ends above the step, with the slope of the whole."""
    at, slope = crossing(lambda x: -10.0 * x + (0.05 if x < 2.0 else 0.0), -20.02, 1.0, 3.0)
    assert 2.0 <= at < 2.0025
    at, slope = crossing(lambda x: -10.0 * x + (0.05 if x < 2.0 else -0.05), -20.0, 1.0, 3.0)
    assert 2.0 <= at <= 2.0 * (1 + 1e-4)
    assert slope == pytest.approx(-10.0, rel=0.5)


def test_nothing_in_the_interval():
    at, slope = crossing(lambda x: -x, -9.0, 1.0, 5.0)
    assert at == 5.0
    assert math.isnan(slope)
