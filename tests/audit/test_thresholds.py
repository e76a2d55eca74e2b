import numpy as np
import pytest
from scipy import stats

from fedopt.audit.sample import Grid, Sample, find_grid
from fedopt.audit.thresholds import candidates, choose, mean_residual_life


def sample(values, grid=None):
    values = np.asarray(values, dtype=float)
    return Sample(values, np.arange(values.size), values.size, grid or find_grid(values))


def test_a_kink_in_the_tail_pushes_the_threshold_above_it():
    rng = np.random.default_rng(1)
    body = rng.exponential(1.0, 97_000)
    bump = 8 + rng.exponential(3.0, 3000)
    values = rng.permutation(np.concatenate([body, bump]))
    choice = choose(sample(values))
    assert choice.passed
    assert choice.tail.threshold > 4
    assert not choice.evidence[0].accepted


def test_two_causes_of_delay_in_whole_milliseconds():
    """What a mobile network shows: a body near 20 ms and one sample in 250 near 200 ms."""
    rng = np.random.default_rng(2)
    body = 14 + rng.gamma(4.0, 1.0, 99_600)
    rare = rng.normal(200.0, 40.0, 400)
    values = np.round(rng.permutation(np.concatenate([body, rare])))
    choice = choose(sample(values))
    assert choice.tail.threshold > 30
    assert choice.tail.quantile(0.999) == pytest.approx(np.quantile(values, 0.999), rel=0.15)


def test_a_good_tail_keeps_the_lowest_candidate():
    values = stats.genpareto(0.1).rvs(50_000, random_state=np.random.default_rng(3))
    kept = [
        choose(sample(stats.genpareto(0.1).rvs(50_000, random_state=np.random.default_rng(seed)))).chosen == 0
        for seed in range(20)
    ]
    assert sum(kept) >= 14  # each candidate is tested at 5 %
    assert choose(sample(values)).tail.excesses.total == pytest.approx(2500, abs=1)


def test_candidates_rise_and_end_at_the_smallest_counts():
    values = np.random.default_rng(4).exponential(size=5000)
    levels = candidates(sample(values))
    assert np.all(np.diff(levels) > 0)
    assert np.sum(values > levels[-1]) >= 30
    assert np.sum(values > levels[0]) == 250


def test_candidates_of_rounded_data_are_edges_of_cells():
    values = np.round(np.random.default_rng(5).exponential(10.0, 20_000))
    assert all(level % 1 == 0.5 for level in candidates(sample(values, Grid(1.0))))


def test_all_equal_values_have_no_tail():
    with pytest.raises(ValueError, match="too little data"):
        choose(sample(np.ones(10_000)))


def test_mean_residual_life_of_an_exponential_is_flat():
    rows = mean_residual_life(sample(np.random.default_rng(6).exponential(2.0, 100_000)))
    assert rows.shape[1] == 4
    many = rows[rows[:, 3] > 200]
    assert np.all(np.abs(many[:, 1] - 2.0) < 5 * many[:, 2])
