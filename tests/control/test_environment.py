"""What truly happens is a pure function of scenario and seed, and scaled laws are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.control.environment import Timeline, scaled_arrivals
from fedopt.control.scenario import Scenario
from fedopt.instance import (
    EnvelopeArrivals,
    ExponentialImpairment,
    ExponentialSize,
    ExponentialWork,
    GammaImpairment,
    Instance,
    OnOff,
    OnOffImpairment,
    Poisson,
    PoissonImpairment,
    TableImpairment,
    TokenBucket,
)
from fedopt.instance.weighing import scaled_impairment
from fedopt.laws import build

IMPAIRMENTS = [
    ExponentialImpairment(mean=0.3),
    GammaImpairment(shape=0.5, scale=0.4),
    PoissonImpairment(rate=0.2, size=0.5),
    PoissonImpairment(rate=0.2, size=ExponentialSize(exponential=0.5)),
    OnOffImpairment(peak=0.6, on_to_off=0.5, off_to_on=0.2),
    TableImpairment(theta=(0.1, 0.5, 1.0), kappa=(0.1, 0.12, 0.2), eta=(0.0, 0.1, 0.3)),
]


@pytest.mark.parametrize("law", IMPAIRMENTS, ids=lambda law: law.model)
@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_a_scaled_impairment_has_the_moments_of_the_scaled_work(law: object, factor: float) -> None:
    plain, scaled = build(law, 1.0), build(scaled_impairment(law, factor), 1.0)
    for theta in (0.05, 0.2, 0.4):
        # E exp(θ·fI) = E exp((fθ)·I): the log-moment per slot and the burst at fθ
        expected = float(plain.log_rate(factor * theta)), float(plain.log_burst(factor * theta))
        found = float(scaled.log_rate(theta)), float(scaled.log_burst(theta))
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    "arrivals",
    [
        Poisson(rate=0.4),
        ExponentialWork(mean=0.4),
        OnOff(peak=1.0, on_to_off=0.3, off_to_on=0.2),
        TokenBucket(rate=0.4, burst=2.0),
        EnvelopeArrivals(theta=(0.2, 0.5), rho=(0.4, 0.5), sigma=(0.1, 0.2), request_size=1.0),
    ],
    ids=lambda law: law.model,
)
def test_scaled_traffic_has_the_scaled_mean(arrivals: object) -> None:
    plain, scaled = build(arrivals, 1.0), build(scaled_arrivals(arrivals, 1.5), 1.0)
    assert float(scaled.mean) == pytest.approx(1.5 * float(plain.mean))
    assert scaled_arrivals(arrivals, 1.0) is arrivals


def test_the_same_seed_is_the_same_day_and_another_is_not(day: Scenario, network: Instance) -> None:
    one, two = Timeline(day, network, 7), Timeline(day, network, 7)
    assert [one.at(k) for k in range(day.periods)] == [two.at(k) for k in range(day.periods)]
    assert one.members != Timeline(day, network, 8).members


def test_spans_factors_and_stays_are_as_written(day: Scenario, network: Instance) -> None:
    line = Timeline(day, network, 0)
    moments = [line.at(k) for k in range(day.periods)]
    assert [k for k, m in enumerate(moments) if "c1/m" in m.degraded] == [2, 3, 4]
    assert [k for k, m in enumerate(moments) if "a1" in m.failed] == [6, 7]
    assert [k for k, m in enumerate(moments) if m.reissued] == [1]
    assert [m.factors["scan"] for m in moments] == [1.0] * 5 + [1.2] * 5
    assert [k for k, m in enumerate(moments) if any(p.id == "guest" for p in m.members)] == [3, 4, 5, 6]
    assert line.peaks() == {"chat": 1.0, "scan": 1.2}
    chats = [member for member in line.members if member.like == "chat" and member.id != "guest"]
    assert len(chats) == 5
    assert all(member.leaves > member.arrives for member in line.members)


def test_arrivals_and_stays_have_the_stated_means(network: Instance) -> None:
    scenario = Scenario.model_validate(
        {
            "instance": "x",
            "periods": 4000,
            "period": 2000,
            "streams": [{"like": "chat", "rate": 2.0, "stay": 8.0}],
        }
    )
    members = Timeline(scenario, network, 1).members
    stays = np.array([member.leaves - member.arrives for member in members])
    assert len(members) == pytest.approx(8000, abs=4 * 8000**0.5)
    # ⌈exponential of mean 8⌉ is geometric: mean 1/(1 − e^{−1/8}), standard deviation close to its mean
    mean = 1 / (1 - np.exp(-1 / 8))
    assert stays.mean() == pytest.approx(mean, abs=4 * mean / len(stays) ** 0.5)
