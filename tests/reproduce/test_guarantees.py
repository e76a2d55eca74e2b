"""What a guarantee costs: the prototype's table within its stated accuracy, on the small cases."""

import pytest

from fedopt.reproduce import guarantees


@pytest.mark.parametrize("name", ["A", "B", "B with 2 domains"])
def test_least_rates_agree_with_the_prototype(name):
    least, error = guarantees.least_rate(guarantees.TABLE[name], 4_000, seed=1)
    known = guarantees.PROTOTYPE[name]["least"]
    assert abs(least - known) < 0.01 * known + 3 * error


@pytest.mark.parametrize("name", ["A", "B", "B with 2 domains"])
def test_proven_rates_agree_with_the_prototype(name):
    known = guarantees.PROTOTYPE[name]
    case = guarantees.TABLE[name]
    for guarantee, form in (
        ("paper-path", "paper-path"),
        ("minplus:fine", "fine"),
        ("minplus:ville", "ville"),
    ):
        assert guarantees.proven_rate(case, guarantee) == pytest.approx(
            known[form] * known["least"], rel=0.015
        )


def test_the_order_of_guarantees():
    case = guarantees.CASE_A
    rates = [guarantees.proven_rate(case, g) for g in ("minplus", "minplus:fine", "paper-path")]
    assert rates == sorted(rates)
