"""First in, first out."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.learn.feedback import Buffer, Feedback


def filled(number: int, capacity: int = 4) -> Buffer:
    buffer = Buffer.empty(2, capacity)
    for value in range(number):
        buffer.push(np.array([1]), np.array([float(value)]), np.array([0.5]), np.array([1.0]))
    return buffer


def kept(buffer: Buffer, row: int = 1) -> set[float]:
    view = buffer.view(np.array([row]))
    return set(view.delay[view.weight > 0].tolist())


def test_the_oldest_makes_room():
    assert kept(filled(3)) == {0.0, 1.0, 2.0}
    assert kept(filled(9)) == {5.0, 6.0, 7.0, 8.0}
    assert kept(filled(9), row=0) == set()


def test_forget_keeps_the_newest():
    buffer = filled(9)
    buffer.forget(np.array([1]), keep=2)
    assert kept(buffer) == {7.0, 8.0}
    buffer.forget(np.array([1]))
    assert kept(buffer) == set()


def test_extend_skips_padding_and_state_resumes():
    buffer = Buffer.empty(2, 3)
    buffer.extend(
        Feedback.of(np.arange(8.0).reshape(2, 4), 0.5, 1.0, np.array([[1, 1, 1, 1], [1, 0, 1, 0.0]]))
    )
    assert kept(buffer, 0) == {1.0, 2.0, 3.0}
    assert kept(buffer, 1) == {4.0, 6.0}
    again = Buffer.from_state(buffer.state())
    again.push(np.array([0]), np.array([9.0]), np.array([0.5]), np.array([0.0]))
    assert kept(again, 0) == {2.0, 3.0, 9.0}
    assert kept(buffer, 0) == {1.0, 2.0, 3.0}


def test_capacity_is_positive():
    with pytest.raises(ValueError, match="at least one"):
        Buffer.empty(1, 0)
