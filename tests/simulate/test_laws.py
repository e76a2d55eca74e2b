"""Laws: means, scaling, refusals."""

import numpy as np
import pytest

from fedopt.simulate import laws, sources
from fedopt.simulate.tandem import Tandem, delays

ALL = [
    laws.deterministic(0.7),
    laws.exponential(2.0),
    laws.gamma(2.5, 1.5),
    laws.hyperexponential(0.3, 0.5, 2.0),
    laws.between(0.2, 1.4),
    laws.lognormal(1.3, 0.8),
    laws.pareto(4.0, 0.6),
    laws.weibull(1.7, 0.9),
    laws.empirical([0.1, 0.4, 2.0]),
]


def services_of(law, count=200_000):
    """Services alone: no packet ever waits when gaps are longer than any service."""
    return delays(Tandem(sources.periodic(1e9), (law,)), count, seed=5)


@pytest.mark.parametrize("law", [*ALL, laws.geometric(3.5)])
def test_mean(law):
    x = services_of(law)
    assert abs(x.mean() - law.mean) <= 4.5 * x.std() / np.sqrt(x.size) + 1e-12


@pytest.mark.parametrize("law", ALL)
def test_scaling(law):
    scaled = law.scaled(3.0)
    assert scaled.mean == pytest.approx(3 * law.mean)
    assert np.allclose(services_of(scaled, 100), 3 * services_of(law, 100))


def test_geometric_sizes_are_whole():
    x = services_of(laws.geometric(3.5), 20_000)
    assert (x == np.floor(x)).all()
    assert x.min() == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: laws.exponential(0.0),
        lambda: laws.pareto(1.0, 1.0),
        lambda: laws.between(2.0, 1.0),
        lambda: laws.empirical([]),
        lambda: laws.empirical([1.0, float("nan")]),
        lambda: laws.geometric(0.5),
        lambda: laws.hyperexponential(1.5, 1.0, 1.0),
        lambda: laws.geometric(2.0).scaled(2.0),
        lambda: laws.deterministic(float("inf")),
        lambda: sources.on_off(0.0, 0.0, 1.0, 1.0),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(ValueError, match=r"."):
        make()
