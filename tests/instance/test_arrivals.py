from __future__ import annotations

import math
from pathlib import Path

import pytest

from fedopt.instance import (
    SLO,
    EnvelopeArrivals,
    ExponentialSize,
    ExponentialWork,
    InstanceError,
    OnOff,
    Poisson,
    Tenant,
    TokenBucket,
    TraceArrivals,
)


def test_the_tilts_that_each_model_allows() -> None:
    table = EnvelopeArrivals(theta=[0.1, 0.5], rho=[1, 2], sigma=[0, 0], request_size=1)
    assert table.theta_limit(0.5) == 0.5
    assert ExponentialWork(mean=2).theta_limit(0.5) == 1
    assert Poisson(rate=1, size={"exponential": 4}).theta_limit(0.5) == 0.25
    for model in (
        TokenBucket(rate=1),
        Poisson(rate=1, size=3),
        OnOff(peak=1, on_to_off=1, off_to_on=0.5),
        TraceArrivals(file="x.csv"),
    ):
        assert model.theta_limit(0.5) == math.inf


def test_the_size_of_requests_may_be_a_number_or_a_law() -> None:
    assert Poisson(rate=1).size == 1.0
    assert Poisson(rate=1, size=ExponentialSize(exponential=2)) == Poisson(rate=1, size={"exponential": 2})


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"theta": [0.2, 0.1], "rho": [1, 1], "sigma": [0, 0]}, "theta"),
        ({"theta": [0.1, 0.2], "rho": [1], "sigma": [0, 0]}, ""),
        ({"theta": [-0.1, 0.2], "rho": [1, 1], "sigma": [0, 0]}, "theta[0]"),
        ({"theta": [0.1], "rho": [-1], "sigma": [0]}, "rho[0]"),
        ({"theta": [0.1], "rho": [math.nan], "sigma": [0]}, "rho[0]"),
        ({"theta": [], "rho": [], "sigma": []}, "theta"),
    ],
)
def test_tables_that_are_none(arguments: dict[str, list[float]], place: str) -> None:
    with pytest.raises(InstanceError) as caught:
        EnvelopeArrivals(**arguments)
    assert place in [problem.place for problem in caught.value.problems]


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "5", True, None, 1e300, 10**400, [1]])
def test_rates_must_be_positive_finite_numbers(value: object) -> None:
    with pytest.raises(InstanceError, match="rate"):
        Poisson(rate=value)


@pytest.mark.parametrize("value", [0, -0.1, 1.1])
def test_probabilities_lie_above_0_and_up_to_1(value: float) -> None:
    with pytest.raises(InstanceError, match="on_to_off"):
        OnOff(peak=1, on_to_off=value, off_to_on=0.5)


def test_a_users_own_arrivals_pass_and_other_objects_do_not() -> None:
    class Own:
        def rho(self, theta: float) -> float:
            return 1.0

        def sigma(self, theta: float) -> float:
            return 0.0

    own = Own()
    slo = SLO(deadline=1, epsilon=0.1)
    assert Tenant(id="t", arrivals=own, slo=slo).arrivals is own
    for wrong in (object(), Own, 5, "poisson", None):
        with pytest.raises(InstanceError, match="arrivals"):
            Tenant(id="t", arrivals=wrong, slo=slo)


def test_a_trace_lies_beside_its_instance(tmp_path: Path) -> None:
    trace = TraceArrivals.model_validate({"file": "t.csv"}, context={"directory": tmp_path})
    assert trace.path == tmp_path / "t.csv"
    assert TraceArrivals(file="t.csv").path == Path("t.csv")
