import numpy as np
import pytest

from fedopt.audit.covariates import fit_covariates, hour_of_day

SAMPLES = 60_000


def series(seed, effect):
    """Exponential tail whose scale grows with a load that wanders slowly."""
    rng = np.random.default_rng(seed)
    load = np.repeat(rng.random(SAMPLES // 500), 500)
    return rng.exponential(np.exp(effect * load)), load[:, None]


def test_effect_is_found_and_conditional_quantiles_follow_it():
    values, load = series(1, 1.0)
    tail = fit_covariates(values, load, ("load",), float(np.quantile(values, 0.9)))
    (effect,) = tail.effects()
    assert abs(effect.on_scale - 1.0) < 4 * effect.on_scale_error
    assert effect.on_rate > 0
    assert effect.p_value < 1e-4
    for level in (0.2, 0.8):
        estimate, low, high = tail.quantile(0.999, np.array([[level]]))[0]
        truth = np.exp(level) * np.log(1000)
        assert low < estimate < high
        assert estimate == pytest.approx(truth, rel=0.1)


def test_no_effect_is_not_found_more_often_than_stated():
    found = 0
    for seed in range(40):
        values, load = series(100 + seed, 0.0)
        (effect,) = fit_covariates(values, load, ("load",), float(np.quantile(values, 0.9))).effects()
        found += effect.p_value < 0.05
    assert found <= 6  # 5 % of 40 is 2; more than 6 has probability 0.4 %


def test_intervals_of_conditional_quantiles_cover():
    hits = 0
    for seed in range(40):
        values, load = series(200 + seed, 0.7)
        tail = fit_covariates(values, load, ("load",), float(np.quantile(values, 0.9)))
        _, low, high = tail.quantile(0.999, np.array([[0.5]]))[0]
        hits += low <= np.exp(0.35) * np.log(1000) <= high
    assert hits >= 33  # of 40 at 95 %


def test_hour_goes_round():
    table, names = hour_of_day(np.array([0.0, 86_400.0, 43_200.0]))
    assert table[0] == pytest.approx(table[1])
    assert table[0] == pytest.approx(-table[2])
    assert len(names) == 2


def test_impossible_input_is_refused():
    values, load = series(1, 0.0)
    with pytest.raises(ValueError, match="constant"):
        fit_covariates(values, np.ones((SAMPLES, 1)), ("one",), 1.0)
    with pytest.raises(ValueError, match="too few"):
        fit_covariates(values, load, ("load",), 1e9)
    with pytest.raises(ValueError, match="one finite covariate"):
        fit_covariates(values, load, ("a", "b"), 1.0)
