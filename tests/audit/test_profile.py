import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from fedopt.audit.gpd import Excesses, fit
from fedopt.audit.tails import (
    Tail,
    deviance,
    interval_of_quantile,
    quantile_gradient,
    tail_quantile,
)


@pytest.fixture(scope="module")
def tail():
    """Simulated from the fit that Coles (2001) publishes for daily rainfall: 152 of 17,531 days above 30
    mm.
    """
    values = np.sort(stats.genpareto(0.184, scale=7.44).rvs(152, random_state=np.random.default_rng(9)))
    data = Excesses(values, values, np.ones(152), 152.0)
    return Tail(30.0, 17_531, data, fit(data))


def direct_deviance(tail, level, probability):
    """The same by scipy: maximise binomial × generalised Pareto under the constraint."""
    excess, count, samples = tail.excesses.left, tail.excesses.total, tail.samples

    def value(parameters):
        shape, log_rate = parameters
        depth = log_rate - math.log(probability)
        if depth <= 0 or log_rate >= 0:
            return 1e9
        scale = (level - tail.threshold) / (math.expm1(shape * depth) / shape)
        density = stats.genpareto(shape, scale=scale).logpdf(excess).sum()
        total = -density - count * log_rate - (samples - count) * math.log1p(-math.exp(log_rate))
        return total if np.isfinite(total) else 1e9

    starts = ([tail.fit.shape, math.log(tail.rate)], [0.05, math.log(tail.rate)], [0.5, math.log(tail.rate)])
    found = min(
        minimize(
            value, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000}
        ).fun
        for start in starts
    )
    free = tail.fit.negative_log_likelihood - count * math.log(tail.rate)
    free -= (samples - count) * math.log1p(-tail.rate)
    return 2 * (found - free)


@pytest.mark.parametrize("level", [80.0, 106.0, 150.0, 300.0])
def test_deviance_equals_direct_maximisation(tail, level):
    probability = 1 / 36_500
    assert deviance(tail, level, probability) == pytest.approx(
        direct_deviance(tail, level, probability), abs=1e-4
    )


def test_interval_ends_are_where_the_deviance_is_critical(tail):
    probability = 1 - 1 / 36_500
    low, high = interval_of_quantile(tail, probability, 3.841, 20.0)
    estimate = tail.quantile(probability)
    assert low < estimate < high
    assert high - estimate > estimate - low, "a profile interval of a far quantile leans upwards"
    for end in (low, high):
        assert deviance(tail, end, 1 - probability) == pytest.approx(3.841, abs=0.02)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 1e-6, 0.4])
def test_quantile_gradient_equals_finite_differences(shape):
    from fedopt.audit.gpd import Fit

    depth, step = 3.0, 1e-6

    def at(log_scale, psi):
        return tail_quantile(10.0, Fit(math.exp(log_scale), psi, 0.0, np.eye(2)), depth)

    log_scale, psi = math.log(2.0), shape / 2.0
    by_fit, by_rate = quantile_gradient(Fit(2.0, psi, 0.0, np.eye(2)), depth)
    assert by_fit[0] == pytest.approx(
        (at(log_scale + step, psi) - at(log_scale - step, psi)) / (2 * step), rel=1e-4
    )
    assert by_fit[1] == pytest.approx(
        (at(log_scale, psi + step) - at(log_scale, psi - step)) / (2 * step), rel=1e-4
    )
    deeper = tail_quantile(10.0, Fit(2.0, psi, 0.0, np.eye(2)), depth + step)
    assert by_rate == pytest.approx((deeper - at(log_scale, psi)) / step, rel=1e-4)
