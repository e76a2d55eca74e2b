from dataclasses import dataclass, replace

import numpy as np
import pytest

from fedopt.audit.sharing import minplus_sensitivities, paper_sensitivities
from fedopt.calculus.path import Path
from fedopt.instance.arrivals import Poisson
from fedopt.instance.impairments import ExponentialImpairment, TableImpairment
from fedopt.laws import build
from fedopt.laws.protocol import Law

STEP = 1e-5


@dataclass(frozen=True, eq=False)
class Raised(Law):
    """A law with η and κ raised by the same amount at every θ."""

    base: object
    more_eta: float
    more_kappa: float

    def __getattr__(self, name):
        return getattr(self.base, name)

    @property
    def theta_max(self):
        return self.base.theta_max

    def log_rate(self, theta):
        theta = np.asarray(theta, float)
        return (np.asarray(self.base.log_rate(theta)) + np.maximum(theta, 0.0) * self.more_kappa)[()]

    def log_burst(self, theta):
        theta = np.asarray(theta, float)
        return np.maximum(np.asarray(self.base.log_burst(theta)) + theta * self.more_eta, 0.0)[()]


def table(mean):
    theta = np.geomspace(0.01, 2.2, 300)
    kappa = -np.log1p(-theta * mean) / theta
    return TableImpairment(theta=tuple(theta), kappa=tuple(kappa), eta=(0.0,) * 300, monotone=True)


def case(guardrail, factor=2.0):
    arrival = build(Poisson(rate=0.5, size=1.0), 1.0)
    impairments = tuple(build(table(mean), 1.0) for mean in (0.3, 0.2, 0.4))
    path = Path(
        arrival, impairments, np.array([2.0, 3.0, 4.0]), np.array([guardrail] * 3), 40.0, np.log(1e-3)
    )
    return path, factor * np.array([1.2, 1.25, 1.3])


def changed(path, domain, eta, kappa):
    # all three are wrapped, so that tabulation treats every evaluation alike
    raised = [Raised(m, eta * (i == domain), kappa * (i == domain)) for i, m in enumerate(path.impairments)]
    return replace(path, impairments=tuple(raised))


@pytest.mark.parametrize("guardrail", [False, True])
@pytest.mark.parametrize("find", [minplus_sensitivities, paper_sensitivities])
def test_closed_forms_equal_finite_differences(find, guardrail):
    path, rates = case(guardrail)
    theta = 0.7
    found = find(path, rates, theta)

    def score(path, rates):
        return find(path, rates, theta).score

    for domain, unit in enumerate(np.eye(3)):
        by_rate = (score(path, rates + STEP * unit) - score(path, rates - STEP * unit)) / (2 * STEP)
        assert found.by_rate[domain] == pytest.approx(by_rate, rel=1e-5, abs=1e-7)
        for values, change in ((found.by_eta, (STEP, 0.0)), (found.by_kappa, (0.0, STEP))):
            up = score(changed(path, domain, *change), rates)
            down = score(changed(path, domain, -change[0], -change[1]), rates)
            if change[0]:  # η cannot fall below 0
                down = 2 * score(changed(path, domain, 0.0, 0.0), rates) - up
            assert values[domain] == pytest.approx((up - down) / (2 * STEP), rel=1e-3)
        if guardrail or find is paper_sensitivities:
            more = score(replace(path, latencies=path.latencies + STEP * unit), rates)
            less = score(replace(path, latencies=path.latencies - STEP * unit), rates)
            assert found.by_latency[domain] == pytest.approx((more - less) / (2 * STEP), rel=1e-5)


def test_a_slot_of_pure_delay_costs_what_is_stated():
    path, rates = case(False)
    found = minplus_sensitivities(path, rates, 0.7)
    slower = replace(path, latencies=path.latencies + np.array([1.0, 0.0, 0.0]))
    assert minplus_sensitivities(slower, rates, 0.7).score - found.score == pytest.approx(found.by_latency[0])


def test_nothing_is_said_where_nothing_is_proven():
    path, _ = case(False)
    for find in (minplus_sensitivities, paper_sensitivities):
        with pytest.raises(ValueError, match="proves nothing"):
            find(path, np.full(3, 0.6), 0.7)


def test_paper_path_puts_all_on_the_smallest_reservation():
    path, rates = case(False)
    assert (paper_sensitivities(path, rates).by_rate > 0).tolist() == [True, False, False]
    parametric = replace(
        path, impairments=tuple(build(ExponentialImpairment(mean=m), 1.0) for m in (0.3, 0.2, 0.4))
    )
    assert (minplus_sensitivities(parametric, rates).by_rate > 0).all()
