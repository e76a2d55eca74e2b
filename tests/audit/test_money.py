import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.audit.settlement import apportion, cents, money


@settings(deadline=None, max_examples=500, derandomize=True)
@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.floats(0, 1e12, allow_nan=False), min_size=1, max_size=40),
)
def test_parts_add_up_and_are_within_a_cent_of_their_share(total, weights):
    parts = apportion(total, weights)
    assert sum(parts) == total
    whole = sum(weights)
    for part, weight in zip(parts, weights, strict=True):
        if whole > 0:
            assert abs(part - total * weight / whole) <= 1 + 1e-9 * abs(total)
        if weight == 0 and whole > 0:
            assert part == 0


def test_10000_random_settlements_conserve_money():
    import numpy as np

    rng = np.random.default_rng(1)
    for _ in range(10_000):
        total = int(rng.integers(-(10**9), 10**9))
        weights = (rng.random(int(rng.integers(1, 12))) ** 4 * (rng.random() < 0.95)).tolist()
        assert sum(apportion(total, weights)) == total


@pytest.mark.parametrize(
    ("amount", "whole"),
    [(1.0, 100), (0.1, 10), (2.675, 268), (0.005, 0), (0.015, 2), (-1.1, -110), (1e15, 10**17)],
)
def test_cents(amount, whole):
    assert cents(amount) == whole


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), 1e300])
def test_no_amount(amount):
    with pytest.raises(ValueError, match="no amount"):
        cents(amount)


def test_wrong_weights_are_refused_and_equal_ones_favour_the_earlier():
    for weights in ([], [-1.0], [float("inf")]):
        with pytest.raises(ValueError, match="weights"):
            apportion(1, weights)
    assert apportion(100, [0.0, 0.0, 0.0]) == [34, 33, 33]
    assert apportion(-100, [1.0, 1.0, 1.0]) == [-34, -33, -33]


def test_money_in_words():
    assert [money(x) for x in (0, 5, -5, 123456)] == ["0.00", "0.05", "-0.05", "1,234.56"]
