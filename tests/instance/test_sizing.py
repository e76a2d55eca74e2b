from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from fedopt.calculus.minplus import evaluate
from fedopt.calculus.path import Path
from fedopt.instance import (
    SLO,
    EnvelopeArrivals,
    ExponentialImpairment,
    ExponentialWork,
    GammaImpairment,
    NoImpairment,
    OnOff,
    Poisson,
    PoissonImpairment,
    TokenBucket,
)
from fedopt.instance.placing import log_moment, ville_rate
from fedopt.laws import build


def test_log_moments_against_integration() -> None:
    theta, slot = 0.7, 0.5

    def integrated(law: object) -> float:
        value, _ = integrate.quad(lambda x: math.exp(theta * x) * law.pdf(x), 0, 200)  # type: ignore[attr-defined]
        return math.log(value)

    at = np.array([theta])
    assert log_moment(ExponentialWork(mean=0.8), at, slot)[0] == pytest.approx(
        integrated(stats.expon(scale=0.4)), rel=1e-7
    )
    assert log_moment(GammaImpairment(shape=3, scale=0.6), at, slot)[0] == pytest.approx(
        integrated(stats.gamma(1.5, scale=0.6)), rel=1e-7
    )
    counts = np.arange(60)
    fixed = np.exp(0.7 * 0.4 * counts) @ stats.poisson(1.5).pmf(counts)
    assert log_moment(PoissonImpairment(rate=3, size=0.4), at, slot)[0] == pytest.approx(
        math.log(fixed), rel=1e-9
    )
    random = (1 / (1 - 0.7 * 0.4)) ** counts @ stats.poisson(1.5).pmf(counts)
    assert log_moment(Poisson(rate=3, size={"exponential": 0.4}), at, slot)[0] == pytest.approx(
        math.log(random), rel=1e-9
    )
    assert log_moment(NoImpairment(), at, slot)[0] == 0
    assert log_moment(TokenBucket(rate=2, burst=3), at, slot)[0] == pytest.approx(0.7)
    with pytest.raises(TypeError, match="OnOff"):
        log_moment(OnOff(peak=1, on_to_off=0.1, off_to_on=0.1), at, slot)


def test_ville_against_published_rates() -> None:
    """The column "ville" of the table of guarantees: what it reserves, times the least rate."""
    slo = SLO(deadline=30, epsilon=1e-3)
    arrivals = Poisson(rate=0.5)
    impairments = [ExponentialImpairment(mean=mean) for mean in (0.3, 0.2, 0.4)]
    assert ville_rate(arrivals, impairments, slo, 1.0, 0, 9) == pytest.approx(1.50 * 1.1063, rel=0.01)
    slo = SLO(deadline=100, epsilon=1e-3)
    arrivals = Poisson(rate=0.05)
    for hops, least, ratio in ((1, 0.0850, 1.020), (2, 0.0869, 1.037), (3, 0.0876, 1.069), (5, 0.09, 1.117)):
        impairments = [PoissonImpairment(rate=0.01, size=0.3)] * hops
        assert ville_rate(arrivals, impairments, slo, 1.0, 0, 0) == pytest.approx(ratio * least, rel=0.01)


def test_what_costs_rate() -> None:
    arrivals, impairments = Poisson(rate=0.5), [ExponentialImpairment(mean=0.3)]
    slo = SLO(deadline=30, epsilon=1e-3)
    base = ville_rate(arrivals, impairments, slo, 1.0, 0, 0)
    assert ville_rate(arrivals, impairments, slo, 1.0, 5, 0) > base
    assert ville_rate(arrivals, impairments, slo, 1.0, 0, 5) > base
    assert ville_rate(arrivals, impairments * 2, slo, 1.0, 0, 0) > base
    assert ville_rate(arrivals, impairments, SLO(deadline=30, epsilon=1e-3, of="time"), 1.0, 0, 0) < base
    assert ville_rate(arrivals, impairments, slo, 1.0, 30, 0) == math.inf
    assert ville_rate(arrivals, impairments, slo, 1.0, 0, 30) == math.inf


@pytest.mark.parametrize("of", ["requests", "time"])
@pytest.mark.parametrize("latency", [0.0, 5.0])
def test_an_envelope_is_sized_to_what_the_calculus_proves(of: str, latency: float) -> None:
    """The rate is proven by the forms for any envelope, and not half again too large."""
    slot, theta = 0.5, (0.1, 0.3, 0.8)
    arrivals = EnvelopeArrivals(theta=theta, rho=(0.55, 0.6, 0.7), sigma=(0.1, 0.2, 0.5), request_size=1.0)
    slo = SLO(deadline=40, epsilon=1e-3, of=of)
    impairment = ExponentialImpairment(mean=0.3)
    rate = ville_rate(arrivals, [impairment, impairment], slo, slot, latency, 3.0)
    path = Path(
        arrival=build(arrivals, slot),
        impairments=(build(impairment, slot),) * 2,
        latencies=np.array([3.0, latency]) / slot,
        rate_latency=np.array([False, True]),
        deadline=slo.deadline / slot,
        log_epsilon=math.log(slo.epsilon),
        per_request=of == "requests",
    )
    assert evaluate(path, np.full(2, rate * slot)).log_bound <= math.log(slo.epsilon) + 1e-9
    assert evaluate(path, np.full(2, rate * slot / 1.5)).log_bound > math.log(slo.epsilon)
