"""Sampled work per slot against the log-moments of its envelope."""

import numpy as np
import pytest

from fedopt.laws.models import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, TokenBucket
from fedopt.laws.table import Table
from fedopt.laws.trace import Trace
from fedopt.simulate.slot_work import admitted, sample, slot_work
from fedopt.simulate.streams import streams

GRID = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])


def drawn(model, slots=400_000, child=0):
    law = slot_work(model)
    out, weights = np.empty(slots), np.empty(slots)
    sample(law.code, *law.parameters, law.work, law.requests, *streams(77, 1, child)[0], out, weights)
    return law, out, weights


@pytest.mark.parametrize(
    "model",
    [
        Poisson(0.4, 1.5),
        Poisson(40.0, 0.1),
        Poisson(0.4, 0.8, True),
        ExponentialWork(0.7),
        GammaWork(0.4, 0.5),
        OnOff(1.0, 0.6, 0.4),
    ],
    ids=repr,
)
def test_log_moments(model):
    law, x, _ = drawn(model)
    assert law.mean == pytest.approx(model.mean)
    assert abs(x.mean() - law.mean) < 4.5 * x.std() / np.sqrt(x.size)
    for theta in (-1.0, 0.2, 0.5):
        powers = np.exp(theta * x)
        error = powers.std() / np.sqrt(x.size) / powers.mean()
        assert abs(np.log(powers.mean()) - model.log_moment(theta)) < 4.5 * error


def test_on_off_is_a_stationary_chain():
    model = OnOff(2.0, 0.1, 0.05)
    _, x, _ = drawn(model)
    on = x > 0
    assert on.mean() == pytest.approx(1 / 3, abs=0.01)
    assert (~on[1:])[on[:-1]].mean() == pytest.approx(0.1, abs=0.005)
    assert on[1:][~on[:-1]].mean() == pytest.approx(0.05, abs=0.003)
    first = [drawn(model, 1, child)[1][0] > 0 for child in range(600)]
    assert np.mean(first) == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / 600))


def test_token_bucket_conforms_and_is_full():
    model = TokenBucket(0.3, 2.0)
    _, x, _ = drawn(model, 5_000)
    total = np.concatenate([[0.0], np.cumsum(x)])
    for n in (1, 3, 10, 100):
        assert (total[n:] - total[:-n]).max() <= 0.3 * n + 2.0 + 1e-9
    assert x.max() == pytest.approx(2.3, abs=0.1)
    assert x.mean() > 0.9 * 0.3


def test_trace_is_replayed_with_its_requests():
    work, requests = np.array([0.0, 2.0, 5.0, 1.0]), np.array([0.0, 1.0, 3.0, 1.0])
    _, x, weights = drawn(Trace(work, requests), 40)
    place = int(np.argmax(x == 5.0))
    assert np.array_equal(np.roll(np.tile(work, 10), place - 2), x)
    assert (weights[x == 5.0] == 3.0).all()


def test_nothing():
    _, x, weights = drawn(NoImpairment(), 100)
    assert not x.any()
    assert not weights.any()


@pytest.mark.parametrize(
    "model", [ExponentialWork(0.3), Poisson(0.5), Poisson(0.05, 3.0), OnOff(1.0, 0.2, 0.1)]
)
def test_a_table_is_met_by_the_law_drawn_for_it(model):
    table = Table(GRID, model.log_rate(GRID), model.log_burst(GRID))
    law = admitted(table)
    rate = law.parameters[0]
    share = np.diff(np.concatenate([[0.0], law.requests]))
    drawn_rate = np.array([rate * (share * np.expm1(t * law.work)).sum() for t in GRID])
    bound = table.log_rate(GRID)
    assert (drawn_rate <= bound * (1 + 1e-6)).all()
    assert (drawn_rate >= 0.65 * bound).all()
    assert drawn_rate.sum() >= 0.8 * bound.sum()
    assert admitted(Table(GRID, 0 * GRID, 0 * GRID)).mean == 0


def test_a_users_own_model():
    class Uniform:
        def rho(self, theta):
            return theta * 0 + 1.0

        def sigma(self, theta):
            return theta * 0

        def sample(self, rng, slots):
            return rng.uniform(0, 1, slots)

    law = slot_work(Uniform(), np.random.default_rng(1), 10_000)
    assert law.mean == pytest.approx(0.5, abs=0.02)
    with pytest.raises(TypeError, match="sample"):
        slot_work(object())
