"""Recorded arrivals: reading, and the measured envelope."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.laws import OnOff, Poisson, Trace, log_rate, pack
from fedopt.laws.trace import read_trace


def test_the_measured_envelope_covers_its_own_windows():
    rng = np.random.default_rng(2)
    work = OnOff(1.0, 0.1, 0.1).sample(rng, 40_000)
    trace = Trace(work, (work > 0).astype(float))
    total = np.concatenate([[0.0], np.cumsum(work)])
    for theta in (0.05, 0.3, 1.0):
        for n in (1, 2, 7, 16, 40):
            weight = np.exp(theta * (total[n:] - total[:-n]))
            bound = n * trace.log_rate(theta) + trace.log_burst(theta)
            assert np.log(weight.mean()) <= bound + 1e-2
            found = weight[work[n - 1 :] > 0].mean()
            assert np.log(found) <= bound + trace.request_log_bias(theta) + 1e-2
    assert not trace.independent_increments
    assert not trace.iid
    assert log_rate(pack([trace]), 0, 0.3) == pytest.approx(trace.log_rate(0.3))


def test_poisson_requests_are_recognised():
    rng = np.random.default_rng(3)
    work, count = Poisson(0.5, 1.0).sample_requests(rng, 200_000)
    trace = Trace(work, count.astype(float))
    assert trace.log_rate(0.3) == pytest.approx(Poisson(0.5).log_rate(0.3), rel=0.1)
    assert 0.2 < trace.request_log_bias(0.3) < 0.6  # 0.3, measured with room for chance
    sample = trace.sample(rng, (3, 50))
    assert sample.shape == (3, 50)
    assert trace.mean == pytest.approx(0.5, rel=0.02)


def test_reading(tmp_path):
    file = tmp_path / "requests.csv"
    file.write_text("time,work,else\n0.5,1,x\n0.9,2,y\n\n5.0,0.5,z\n")
    trace = read_trace(file, "time", "work", 2.0)
    assert trace.work.tolist() == [3.0, 0.0, 0.5]
    assert trace.requests.tolist() == [2.0, 0.0, 1.0]
    assert read_trace(file, "time", None, 2.0).work.tolist() == [2.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("time,load\n1,2\n", "no column 'work'"),
        ("time,work\n", "0 rows"),
        ("time,work\n1,two\n", "line 2"),
        ("time,work\n1\n", "line 2"),
        ("time,work\n1,-2\n", "not negative"),
        ("time,work\nnan,2\n", "line 2"),
        ("time,work\n0,2\n1e12,2\n", "longer slot"),
    ],
)
def test_bad_files_are_told(tmp_path, text, message):
    file = tmp_path / "requests.csv"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_trace(file, "time", "work", 1.0)
