"""SLAs in words."""

from __future__ import annotations

import pytest

from fedopt.learn.sla import SLA, SLAError


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
    "delay=1,jitter=2",
    "delay=1,delay=2",
    "delay=1,throughput=-1",
)


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text):
    with pytest.raises(SLAError) as caught:
        SLA.parse(text)
    assert caught.value.exit_code == 2
