"""From documents per unit of time to envelopes per slot."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.instance import InstanceError
from fedopt.instance import arrivals as a
from fedopt.instance import impairments as i
from fedopt.laws import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, TokenBucket, build

SLOT = 0.5


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (a.Poisson(rate=0.4, size=2.0), Poisson(0.2, 2.0)),
        (a.Poisson(rate=0.4, size={"exponential": 1.5}), Poisson(0.2, 1.5, True)),
        (a.ExponentialWork(mean=0.6), ExponentialWork(0.3)),
        (a.OnOff(peak=2.0, on_to_off=0.2, off_to_on=0.1), OnOff(1.0, 0.2, 0.1)),
        (a.TokenBucket(rate=0.6, burst=2.0), TokenBucket(0.3, 2.0)),
        (i.NoImpairment(), NoImpairment()),
        (i.ExponentialImpairment(mean=0.6), ExponentialWork(0.3)),
        (i.GammaImpairment(shape=2.0, scale=0.3), GammaWork(1.0, 0.3)),
        (i.PoissonImpairment(rate=0.4, size=0.3), Poisson(0.2, 0.3)),
        (i.OnOffImpairment(peak=2.0, on_to_off=0.2, off_to_on=0.1), OnOff(1.0, 0.2, 0.1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_parametric_models(document, expected):
    assert build(document, SLOT) == expected


def test_the_mean_is_the_documents_mean_times_the_slot():
    assert build(i.GammaImpairment(shape=2.0, scale=0.3), SLOT).mean == pytest.approx(0.3)
    assert build(a.Poisson(rate=0.4, size=2.0), SLOT).mean == pytest.approx(0.4)


def test_tables():
    document = a.EnvelopeArrivals(theta=(0.1, 0.5), rho=(0.4, 0.6), sigma=(1.0, 2.0), request_size=1.5)
    envelope = build(document, SLOT)
    assert envelope.rho(0.5) == pytest.approx(0.3)
    assert envelope.sigma(0.5) == pytest.approx(2.0)
    assert envelope.request_log_bias(0.5) == pytest.approx(0.75)
    assert not envelope.independent_increments
    silent = a.EnvelopeArrivals(theta=(0.1,), rho=(0.4,), sigma=(1.0,), independent_increments=True)
    assert build(silent, SLOT).request_log_bias(0.1) == np.inf
    assert build(silent, SLOT).iid
    table = i.TableImpairment(
        theta=(-1.0, 0.5), kappa=(0.2, 0.4), eta=(0.0, 0.1), independent_increments=True
    )
    impairment = build(table, SLOT)
    assert impairment.log_moment(-1.0) == pytest.approx(-0.1)
    assert not impairment.monotone
    assert impairment.iid


def test_traces(tmp_path):
    file = tmp_path / "requests.csv"
    file.write_text("time,work\n0.1,1\n0.7,2\n")
    document = a.TraceArrivals(file=str(file))
    assert build(document, SLOT).work.tolist() == [1.0, 2.0]
    with pytest.raises(InstanceError, match=r"missing\.csv"):
        build(a.TraceArrivals(file=str(tmp_path / "missing.csv")), SLOT)


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="not a model"):
        build(object(), SLOT)
