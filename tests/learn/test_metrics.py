"""SLAs in words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fedopt.errors import InputError
from fedopt.learn.metrics import RULES, SLA, Context, Metric, Schema, SLAError, on_every_metric


def test_parse():
    assert SLA.parse("delay=100, throughput=0.5") == SLA(100.0, 0.5)
    assert SLA.parse("delay=1e2") == SLA(100.0, 0.0)


REFUSED = (
    "",
    "delay",
    "delay=x",
    "delay=0",
    "delay=-3",
    "delay=nan",
    "delay=inf",
    "throughput=1",
    "delay=1,delay=2",
    "delay=1,throughput=-1",
)


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text):
    with pytest.raises(SLAError) as caught:
        SLA.parse(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("rule", list(RULES))
def test_rules_compose_as_they_say(rule):
    """g(total) = Σ g(part) gives back what the rule is named after."""
    law, parts = RULES[rule], (0.9, 0.5, 0.7)
    by_name = {
        "sum": sum(parts),
        "product": math.prod(parts),
        "loss": 1 - math.prod(1 - x for x in parts),
        "root-sum-square": math.sqrt(sum(x * x for x in parts)),
    }
    if law.split:
        assert law.inverse(sum(map(law.forward, parts))) == pytest.approx(by_name[rule])
    else:
        assert rule in ("min", "max")


def test_columns():
    schema = Schema(
        (Metric("reliability", "product", 0.99), Metric("cost", "sum", 4.0)),
        (Context("hour", 24), Context("slice", values=("gold", "silver"))),
    )
    assert schema.signs == (1, 1, 0, 0, 0, 0)
    columns = schema.columns({"reliability": 0.98, "cost": 2.0, "hour": 6, "slice": "silver"})
    assert columns == pytest.approx([math.log(0.98) / math.log(0.99), 0.5, 0.0, 1.0, 0.0, 1.0])
    assert schema.columns({"reliability": 1.0, "cost": 2}).tolist()[2:] == [0.0] * 4
    assert Schema.from_dict(schema.to_dict()) == schema
    for wrong in (
        {"reliability": 0.98},
        {"reliability": 1.1, "cost": 1},
        {"reliability": 0.9, "cost": "x"},
        {"reliability": 0.9, "cost": 1, "day": 3},
        {"reliability": 0.9, "cost": 1, "hour": "noon"},
    ):
        with pytest.raises(InputError):
            schema.columns(wrong)
    for name, rule in (("delay", "sum"), ("cost", "median")):
        with pytest.raises(InputError):
            Schema((Metric(name, rule),))
    with pytest.raises(InputError):
        Context("hour")


class _TwoMetrics:
    """log P = −Σ of convex functions of delay and of one further column: the optimum is known."""

    concave = True

    def log_probability(self, delay, throughput, rows=None, extra=None):
        weight = np.array([1.0, 4.0, 9.0])[np.asarray(rows) % 3][:, None]
        return -weight / delay - weight[::-1] / extra[..., 0]


def test_several_metrics_are_split_together():
    rows = np.arange(3)[None]
    found, parts = on_every_metric(
        _TwoMetrics(),
        rows,
        np.array([60.0]),
        np.zeros(1),
        np.array([[12.0]]),
        (0,),
        (np.zeros(3), np.full(3, np.inf)),
    )
    # min Σ w/x with Σ x given: x in proportion to √w
    np.testing.assert_allclose(found.delay[0], [10, 20, 30], atol=0.1)
    np.testing.assert_allclose(parts[0, :, 0], [6, 4, 2], atol=0.03)
    assert found.log_probability[0] == pytest.approx(-36 / 60 - 36 / 12, abs=1e-4)
