import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedopt.audit.gpd import Excesses, excesses, fit, scores, transformed, transformed_slope


def exact(values):
    return Excesses(values, values, np.ones(values.size), float(values.size))


def negative_log_likelihood(values, shape, scale):
    return -stats.genpareto(shape, scale=scale).logpdf(values).sum()


@pytest.mark.parametrize("shape", [-0.7, -0.3, 0.0, 0.2, 0.9])
def test_fit_is_the_maximum_of_scipys_likelihood(shape):
    values = stats.genpareto(shape, scale=3.0).rvs(2000, random_state=np.random.default_rng(5))
    result = fit(exact(np.sort(values)))
    ours = negative_log_likelihood(values, result.shape, result.scale)
    assert ours == pytest.approx(result.negative_log_likelihood, rel=1e-9)
    for d_shape, d_scale in ((0.02, 0), (-0.02, 0), (0, 0.1), (0, -0.1)):
        assert negative_log_likelihood(values, result.shape + d_shape, result.scale + d_scale) > ours
    scale_error, shape_error = result.standard_errors()
    if shape > -0.5:
        assert abs(result.shape - shape) < 4 * shape_error
        assert abs(result.scale - 3.0) < 4 * scale_error


def test_standard_errors_match_fishers_information():
    shape, scale, count = 0.2, 2.0, 100_000
    values = stats.genpareto(shape, scale=scale).rvs(count, random_state=np.random.default_rng(1))
    scale_error, shape_error = fit(exact(np.sort(values))).standard_errors()
    assert shape_error == pytest.approx((1 + shape) / math.sqrt(count), rel=0.03)
    assert scale_error == pytest.approx(scale * math.sqrt(2 * (1 + shape) / count), rel=0.03)


def test_scores_add_up_to_zero_at_the_fit():
    values = np.sort(stats.genpareto(0.1).rvs(5000, random_state=np.random.default_rng(2)))
    data = exact(values)
    result = fit(data)
    spread = np.sqrt((scores(data, result) ** 2).sum(axis=0))
    assert np.all(np.abs(scores(data, result).sum(axis=0)) < 1e-3 * spread)


def test_joining_the_bulk_changes_nothing_that_matters():
    values = stats.genpareto(0.2).rvs(50_000, random_state=np.random.default_rng(3))
    whole, joined = fit(exact(np.sort(values))), fit(excesses(values))
    error = whole.standard_errors()[1]
    assert abs(whole.shape - joined.shape) < 1e-2 * error


def test_cells_recover_the_law_that_midpoints_miss():
    law = stats.genpareto(0.1, scale=0.8)
    values = np.floor(law.rvs(200_000, random_state=np.random.default_rng(4)))
    result = fit(excesses(values, 1.0))
    scale_error, shape_error = result.standard_errors()
    assert abs(result.shape - 0.1) < 4 * shape_error
    assert abs(result.scale - 0.8) < 4 * scale_error
    midpoints = fit(exact(np.sort(values + 0.5)))
    assert abs(midpoints.scale - 0.8) > 10 * scale_error


def test_narrow_cells_agree_with_exact_values():
    values = np.sort(stats.genpareto(-0.2).rvs(3000, random_state=np.random.default_rng(6)))
    narrow = fit(excesses(np.floor(values / 1e-4) * 1e-4, 1e-4))
    assert narrow.shape == pytest.approx(fit(exact(values)).shape, abs=1e-3)


def test_too_few_observations_are_refused():
    with pytest.raises(ValueError, match="at least 3"):
        fit(exact(np.array([1.0, 2.0])))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.floats(1e-6, 1e6), st.floats(-0.9, 50.0))
def test_transformed_excess_is_continuous_and_its_slope_right(excess, ratio):
    psi = ratio / excess
    direct = math.log1p(psi * excess) / psi if psi else excess
    assert transformed(excess, psi) == pytest.approx(direct, rel=1e-8)
    step = 1e-5 / excess
    numeric = (transformed(excess, psi + step) - transformed(excess, psi - step)) / (2 * step)
    assert transformed_slope(excess, psi) == pytest.approx(numeric, rel=1e-4)


def coles(name):
    """A series of Coles (2001). The data are no part of fedopt: `pip install openturns` brings them (as the R
    package ismev does), or put them into FEDOPT_DATA/NAME.csv, dates first, values last.
    """
    file = Path(os.environ.get("FEDOPT_DATA", "../shared/data")) / f"{name}.csv"
    if not file.exists():
        case = pytest.importorskip("openturns.usecases.coles", reason=f"{file} and openturns are not here")
        file = Path(case.__file__).with_name(f"{name}.csv")
    cells = [line.rpartition(",")[2].strip('"') for line in file.read_text().splitlines()]
    return np.array([float(cell) for cell in cells if cell.replace(".", "").isdigit()])


@pytest.mark.parametrize(
    ("name", "threshold", "count", "published", "errors"),
    [
        ("rain", 30.0, 152, (7.44, 0.184), (0.959, 0.101)),
        ("dowjones", 2.0, 37, (0.495, 0.288), (0.150, 0.258)),
    ],
)
def test_published_fits(name, threshold, count, published, errors):
    """Coles (2001), sections 4.4.1 and 4.4.2: daily rainfall, and daily returns of the index in per cent."""
    values = coles(name)
    if name == "dowjones":
        values = 100 * np.diff(np.log(values))
    excess = np.sort(values[values > threshold] - threshold)
    result = fit(exact(excess))
    assert excess.size == count
    assert (round(result.scale, 2 + (name != "rain")), round(result.shape, 3)) == published
    assert result.standard_errors() == pytest.approx(errors, abs=0.0006)
