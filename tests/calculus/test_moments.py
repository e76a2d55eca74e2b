"""Log-moments with slopes: the same values as the envelopes, slopes as differences show."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.calculus.moments import moment_and_slope
from fedopt.laws import (
    ExponentialWork,
    GammaWork,
    NoImpairment,
    OnOff,
    Poisson,
    TokenBucket,
    log_rate,
    pack,
)

LAWS = [
    NoImpairment(),
    ExponentialWork(0.7),
    GammaWork(1.7, 0.4),
    Poisson(0.3, 1.2),
    Poisson(0.3, 0.8, True),
    OnOff(1.2, 0.7, 0.3),
    OnOff(1.2, 0.4, 0.3),
    TokenBucket(0.6, 2.0),
]


@pytest.mark.parametrize("row", range(len(LAWS)), ids=lambda row: type(LAWS[row]).__name__)
@pytest.mark.parametrize("theta", [-3.0, -0.4, -1e-3, 1e-3, 0.3, 1.1])
def test_values_and_slopes(row, theta):
    models = pack(LAWS)
    value, slope = moment_and_slope(models, row, theta)
    assert value == pytest.approx(log_rate(models, row, theta), abs=1e-14)
    step = 1e-5
    difference = (log_rate(models, row, theta + step) - log_rate(models, row, theta - step)) / (2 * step)
    assert slope == pytest.approx(difference, rel=1e-5, abs=1e-5)


def test_outside_the_domain():
    models = pack(LAWS)
    for row, theta in ((1, 1 / 0.7), (2, 2.6), (3, 700.0), (4, 1.3)):
        assert moment_and_slope(models, row, theta) == (math.inf, math.inf)


def test_no_model():
    models = pack(LAWS[:2])
    assert moment_and_slope(models, -1, 0.5) == (0.0, 0.0)
    assert np.isfinite(moment_and_slope(models, 1, 0.5)).all()
