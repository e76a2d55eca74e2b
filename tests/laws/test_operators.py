"""Aggregation, departures, leftover service and Hölder's factor as envelopes again."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.laws import (
    ExponentialWork,
    NoImpairment,
    OnOff,
    Poisson,
    TokenBucket,
    aggregate,
    hoelder,
    leftover,
    log_rate,
    output,
    pack,
)

THETA = np.array([0.05, 0.3, 0.8])


def test_independent_works_add():
    both = aggregate(Poisson(0.5, 0.5), OnOff(1.0, 0.3, 0.2))
    np.testing.assert_allclose(
        both.log_rate(THETA), Poisson(0.5, 0.5).log_rate(THETA) + OnOff(1.0, 0.3, 0.2).log_rate(THETA)
    )
    assert both.independent_increments
    assert not both.iid
    assert both.mean == pytest.approx(0.25 + 0.4)
    assert aggregate(Poisson(0.5), Poisson(0.1)).iid
    table = pack([both])
    assert log_rate(table, 0, 0.4) == pytest.approx(both.log_rate(0.4), rel=1e-3)
    assert log_rate(table, 0, 0.4) >= both.log_rate(0.4)


def test_order_of_parts_does_not_matter():
    parts = [Poisson(0.5, 0.5), ExponentialWork(0.2), TokenBucket(0.1, 1.0)]
    one, other = aggregate(*parts), aggregate(*parts[::-1])
    np.testing.assert_allclose(one.log_rate(THETA), other.log_rate(THETA), rtol=1e-14)
    np.testing.assert_allclose(one.log_burst(THETA), other.log_burst(THETA), rtol=1e-14)
    np.testing.assert_array_equal(one.request_log_bias(THETA), other.request_log_bias(THETA))


def test_dependent_works_by_hoelder_hold_for_the_worst_dependence():
    law = ExponentialWork(0.3)
    twice = aggregate(law, law, exponents=(2.0, 2.0))
    np.testing.assert_allclose(twice.log_rate(THETA), law.log_rate(2 * THETA))  # identical works: equality
    assert not twice.independent_increments
    assert hoelder(law, 1.0) is law
    assert hoelder(law, 4.0).theta_max == pytest.approx(law.theta_max / 4)
    with pytest.raises(ValueError, match="at least 1"):
        hoelder(law, 0.5)
    with pytest.raises(ValueError, match="Σ 1/p"):
        aggregate(law, law, exponents=(2.0, 3.0))
    with pytest.raises(ValueError, match="nothing"):
        aggregate()


def test_leftover_service_is_an_impairment():
    cross = leftover(ExponentialWork(0.2), TokenBucket(0.3, 2.0))
    np.testing.assert_allclose(cross.kappa(THETA), ExponentialWork(0.2).kappa(THETA) + 0.3)
    np.testing.assert_allclose(cross.eta(THETA), 2.0)
    assert cross.monotone
    assert cross.iid


@pytest.mark.parametrize(
    ("latency", "impairment"),
    [(0.0, NoImpairment()), (0.0, ExponentialWork(0.2)), (2.5, ExponentialWork(0.2))],
)
def test_departures_keep_their_envelope(latency, impairment):
    leaving = output(Poisson(0.5), impairment, 1.1, latency)
    assert not leaving.independent_increments
    assert not leaving.iid
    theta = 0.5
    assert leaving.log_rate(theta) == pytest.approx(Poisson(0.5).log_rate(theta))
    assert leaving.log_burst(theta) > 0
    assert leaving.log_rate(4.0) == np.inf  # unstable at that θ
    # the simulated server has no latency: its departures keep the envelope of one with latency, too
    work = leaving.sample(np.random.default_rng(4), (4000, 60))
    assert work.mean() == pytest.approx(0.5, rel=0.05)
    for slots in (1, 3, 10):
        weight = np.exp(theta * work[:, -slots:].sum(axis=1))
        low = weight.mean() - 4 * weight.std() / np.sqrt(weight.size)
        assert np.log(low) <= slots * leaving.log_rate(theta) + leaving.log_burst(theta)


def test_departures_need_a_server():
    with pytest.raises(ValueError, match="positive rate"):
        output(Poisson(0.5), NoImpairment(), 0.0)
