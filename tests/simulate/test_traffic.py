"""Laws: means, scaling, refusals."""

import numpy as np
import pytest
from scipy import integrate, stats

from fedopt.simulate import traffic
from fedopt.simulate.requests import Stage, System, simulate

ALL = [
    traffic.deterministic(0.7),
    traffic.exponential(2.0),
    traffic.gamma(2.5, 1.5),
    traffic.hyperexponential(0.3, 0.5, 2.0),
    traffic.between(0.2, 1.4),
    traffic.lognormal(1.3, 0.8),
    traffic.pareto(4.0, 0.6),
    traffic.weibull(1.7, 0.9),
    traffic.empirical([0.1, 0.4, 2.0]),
]


def services_of(law, count=200_000):
    """Services alone: no request ever waits when gaps are longer than any service."""
    system = System(traffic.periodic(1e3), (law,), (Stage(1.0),))
    return simulate(system, count, keep=True, seed=5).kept[0]


@pytest.mark.parametrize("law", [*ALL, traffic.geometric(3.5)])
def test_mean(law):
    x = services_of(law)
    assert abs(x.mean() - law.mean) <= 4.5 * x.std() / np.sqrt(x.size) + 1e-10


def test_truncated_laws_are_the_laws_below_their_maximum():
    for law, untruncated in (
        (
            traffic.truncated(traffic.lognormal(1.3, 0.8), 2.0),
            stats.lognorm(np.sqrt(np.log1p(0.64)), scale=1.3 / np.sqrt(1.64)),
        ),
        (traffic.truncated(traffic.pareto(1.5, 0.6), 4.0), stats.pareto(1.5, scale=0.6)),
    ):
        maximum = law.parameters[2]
        x = services_of(law, 50_000)
        assert x.max() <= maximum
        inside = untruncated.cdf(maximum)
        assert stats.kstest(x, lambda t, law=untruncated, part=inside: law.cdf(t) / part).pvalue > 1e-3
        mean = integrate.quad(lambda t, law=untruncated: t * law.pdf(t), 0, maximum)[0] / inside
        assert law.mean == pytest.approx(mean, rel=1e-6)


def test_gaps_of_a_chain_are_those_between_its_slots_that_are_on():
    leave_on, leave_off = 0.4, 0.25
    gaps = services_of(traffic.chain_gap(leave_on, leave_off), 100_000)
    longer = [leave_on * (1 - leave_off) ** max(k - 1, 0) if k else 1.0 for k in range(8)]
    seen = [(gaps > k).mean() for k in range(8)]
    assert np.abs(np.array(seen) - longer).max() < 4.5 * 0.5 / np.sqrt(gaps.size)
    assert (gaps == np.floor(gaps)).all()


def test_bursts_come_at_once_between_single_requests():
    source = traffic.bursts(0.2, 5, 50.0)
    assert source.rate == pytest.approx(0.3)
    system = System(source, (traffic.deterministic(1e-9),), (Stage(1.0),))
    run = simulate(system, 40_000, keep=True, seed=3)
    assert (run.kept[0] > 4.5e-9).mean() == pytest.approx(0.1 / 0.3 / 5, rel=0.02)


def test_geometric_sizes_are_whole():
    x = services_of(traffic.geometric(3.5), 20_000)
    assert (x == np.floor(x)).all()
    assert x.min() == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: traffic.exponential(0.0),
        lambda: traffic.pareto(1.0, 1.0),
        lambda: traffic.between(2.0, 1.0),
        lambda: traffic.empirical([]),
        lambda: traffic.empirical([1.0, float("nan")]),
        lambda: traffic.geometric(0.5),
        lambda: traffic.hyperexponential(1.5, 1.0, 1.0),
        lambda: traffic.truncated(traffic.exponential(2.0), 3.0),
        lambda: traffic.chain_gap(0.5, 0.0),
        lambda: traffic.deterministic(float("inf")),
        lambda: traffic.on_off(0.0, 0.0, 1.0, 1.0),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(ValueError, match=r"."):
        make()
