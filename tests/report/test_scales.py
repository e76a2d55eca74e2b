import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedopt.report.drawing import Linear, Log, decade, round_step


def test_ends_meet_ends():
    scale = Linear(2.0, 12.0, 50.0, 250.0)
    assert (scale(2.0), scale(12.0), scale(7.0)) == (50.0, 250.0, 150.0)
    assert Log(-4, 0, 200.0, 0.0)(-1) == 50.0


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_lie_inside_are_even_and_say_their_value(low, span, wanted):
    scale = Linear(low, low + span, 0.0, 100.0)
    ticks = scale.ticks(wanted)
    assert len(ticks) <= wanted + 1
    values = [value for value, _ in ticks]
    slack = 1e-6 * max(1.0, abs(low), span)
    assert all(low - slack <= value <= low + span + slack for value in values)
    step = round_step(span / wanted)
    assert all(math.isclose(b - a, step, rel_tol=1e-6, abs_tol=slack) for a, b in pairwise(values))
    for value, label in ticks:
        assert float(label.replace(",", "")) == pytest.approx(value, abs=1e-9 + 1e-9 * abs(value))


def test_labels_have_as_many_digits_as_the_step_needs():
    assert [label for _, label in Linear(0, 100, 0, 1).ticks(4)] == ["0", "25", "50", "75", "100"]
    assert [label for _, label in Linear(0, 1, 0, 1).ticks(4)] == ["0", "0.25", "0.50", "0.75", "1.00"]
    assert [label for _, label in Linear(1, 4, 0, 1).ticks(6, whole=True)] == ["1", "2", "3", "4"]


def test_no_width_is_no_error():
    assert Linear(3.0, 3.0, 0.0, 10.0)(3.0) == 0.0
    assert Linear(3.0, 3.0, 0.0, 10.0).ticks()
    assert round_step(float("nan")) == 1.0


def test_decades():
    assert [decade(k) for k in (0, -1, -2, -3, -12, 2)] == ["1", "0.1", "0.01", "10⁻³", "10⁻¹²", "10²"]
    assert [label for _, label in Log(-20.0, 0.0, 1.0, 0.0).ticks(5)] == [
        "10⁻²⁰",
        "10⁻¹⁶",
        "10⁻¹²",
        "10⁻⁸",
        "10⁻⁴",
        "1",
    ]
