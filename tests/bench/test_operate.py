"""The operate suite at its smallest size: rows as published. What it measures is not asserted."""

from __future__ import annotations

import pytest

from fedopt.bench.operate import COMPARED, day, rows


def test_one_arrival_beside_a_few_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedopt.bench.operate.DOMAINS", 3)
    plan, arrival = rows(6, 2, 2)
    assert plan.case == "plan of 6 tenants of 2 kinds, 3 x 3"
    assert arrival.case.startswith("arrival beside 6 tenants of 2 kinds, 3 x 3: median of 2")
    for row in (plan, arrival):
        assert row.seconds > 0
        assert row.gap is not None
        assert 0 <= row.gap <= 0.05


def test_a_day_under_a_policy() -> None:
    (row,) = day("mean-rate", "quick-day", 1)
    assert row.case == "quick-day, seed 1: mean-rate"
    assert set(row.more) == {*COMPARED, "processor_s"}
    assert row.more["kept"] + row.more["undecided"] + row.more["broken"] == row.more["admitted"]
    assert row.gap is None
