from __future__ import annotations

import math

import pytest

from fedopt.instance import (
    ExponentialImpairment,
    GammaImpairment,
    InstanceError,
    NoImpairment,
    Offer,
    OnOffImpairment,
    PoissonImpairment,
    TableImpairment,
)


def test_the_tilts_that_each_model_allows() -> None:
    assert TableImpairment(theta=[-1, 0.5], kappa=[1, 1], eta=[0, 0]).theta_limit(2) == 0.5
    assert ExponentialImpairment(mean=0.5).theta_limit(2) == 1
    assert GammaImpairment(shape=3, scale=0.5).theta_limit(2) == 2
    assert PoissonImpairment(rate=1, size={"exponential": 0.5}).theta_limit(2) == 2
    for model in (
        NoImpairment(),
        PoissonImpairment(rate=1),
        OnOffImpairment(peak=1, on_to_off=0.1, off_to_on=0.2),
    ):
        assert model.theta_limit(2) == math.inf


@pytest.mark.parametrize(
    ("theta", "said"), [([-1, 0, 1], "must not hold 0"), ([-2, -1], "positive"), ([1, 1], "ascending")]
)
def test_tables_that_are_none(theta: list[float], said: str) -> None:
    with pytest.raises(InstanceError, match=said):
        TableImpairment(theta=theta, kappa=[1] * len(theta), eta=[0] * len(theta))


def test_a_users_own_impairment() -> None:
    class Own:
        def kappa(self, theta: float) -> float:
            return 0.1

        def eta(self, theta: float) -> float:
            return 0.0

    own = Own()
    assert Offer(id="o", impairment=own).impairment is own
