import os
from pathlib import Path

import numpy as np
import pytest

from fedopt.audit import (
    Audit,
    AuditError,
    Promise,
    Settings,
    audit,
    audit_schema,
    audit_telemetry,
    read_telemetry,
)
from fedopt.audit.presenting import summary
from tests.audit.processes import tandem


@pytest.fixture(scope="module")
def result():
    return audit(tandem(100_000, 0.55, 1), Promise(deadline=40.0, epsilon=0.001))


def test_document_has_the_published_fields(result):
    document = result.model_dump(mode="json")
    names = "verdict threshold exceedances shape scale extremal_index quantiles samples_to_decide drift"
    for name in names.split():
        assert name in document
    assert set(document["quantiles"]["0.999"]) >= {"estimate", "interval", "empirical"}
    assert "series" not in document


def test_quantiles_rise_and_lie_in_their_intervals(result):
    rows = list(result.quantiles.values())
    assert all(row.interval[0] <= row.estimate <= (row.interval[1] or np.inf) for row in rows)
    assert rows[0].estimate < rows[1].estimate < rows[2].estimate
    assert [row.method for row in rows] == ["counts", "counts", "tail"]


def test_document_survives_writing_and_reading(result, tmp_path):
    result.save(tmp_path / "audit.json")
    assert Audit.load(tmp_path / "audit.json") == result
    (tmp_path / "bad.json").write_text('{"verdict": 3}')
    with pytest.raises(AuditError, match="not a valid audit"):
        Audit.load(tmp_path / "bad.json")
    assert audit_schema()["$defs"]["Audit"]["properties"]["verdict"]


def test_summary_says_the_verdict_and_the_intervals(result):
    text = summary(result)
    assert "the promise is kept" in text
    assert "p99.9:" in text
    assert "counts alone" in text


def test_streaming_changes_little():
    values = tandem(400_000, 0.55, 2)
    whole = audit(values)
    bounded = audit(values, settings=Settings(keep=20_000))
    assert bounded.samples == whole.samples
    assert bounded.quantiles["0.999"].empirical == whole.quantiles["0.999"].empirical
    low, high = whole.quantiles["0.999"].interval
    assert low < bounded.quantiles["0.999"].estimate < high


def test_a_fixed_threshold_is_kept():
    values = tandem(50_000, 0.55, 3)
    assert audit(values, settings=Settings(threshold=12.0)).threshold == 12.0
    with pytest.raises(ValueError, match="tail needs"):
        audit(values, settings=Settings(threshold=float(values.max())))


@pytest.mark.parametrize(
    "change", [{"probabilities": ()}, {"probabilities": (1.0,)}, {"confidence": 1.0}, {"false_alarms": 0.9}]
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=r"between 0 and 1|confidence"):
        Settings(**change)


def test_few_clusters_are_said_to_be_few():
    found = audit(tandem(4000, 0.9, 4))
    assert all(row.warning for row in found.quantiles.values())
    assert summary(found).count("!!") == len(found.quantiles)


def test_plots_are_written(result, tmp_path):
    pytest.importorskip("matplotlib")
    from fedopt.audit.presenting import plot_audit

    assert plot_audit(result, tmp_path / "audit.png", "ms").read_bytes().startswith(b"\x89PNG")


def test_round_trip_times_of_a_mobile_network(tmp_path):
    """Public 5G round-trip times (CICV5G): whole milliseconds, and a second cause of delay near 200 ms."""
    file = Path(os.environ.get("FEDOPT_DATA", "../shared/data")) / "5g-rtt-urban-n78.csv.gz"
    if not file.exists():
        pytest.skip("the round-trip times are not here")
    found = audit_telemetry(read_telemetry(file))
    assert found.samples == 97_872
    assert found.grid == 1.0
    assert 33 < found.threshold < 150, "above the body, within the second mode"
    row = found.quantiles["0.999"]
    assert row.interval[0] < row.empirical < row.interval[1]
    assert row.estimate == pytest.approx(row.empirical, rel=0.2)
    assert len(found.series) == 22
