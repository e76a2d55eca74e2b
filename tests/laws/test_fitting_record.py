"""Reading records: columns, units, times of day, and messages that name the place."""

import os
from pathlib import Path

import numpy as np
import pytest

from fedopt.laws.fitting import fit
from fedopt.laws.fitting_record import Record, RecordError, Segment, of_rates, parse_hour, read_record


def written(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_and_weights(tmp_path):
    path = written(tmp_path, "t,prompt,made\n10,100,4\n10.5,200,0\n13.2,0,10\n")
    record = read_record(path, slot=1.0, work={"prompt": 0.01, "made": 0.5})
    assert np.allclose(record.segments[0].work, [5.0, 0.0, 0.0, 5.0])
    assert record.segments[0].requests.tolist() == [2, 0, 0, 1]
    assert record.requests == 3
    assert record.mean == pytest.approx(2.5)


def test_date_times_in_any_unit(tmp_path):
    path = written(
        tmp_path, "when\n2023-11-16 18:17:03.9799600\n2023-11-16T18:17:05.0Z\n2023-11-16 18:17:04\n"
    )
    assert read_record(path, slot=1.0).segments[0].requests.tolist() == [2, 1]
    assert read_record(path, slot=500.0, time_unit="ms").segments[0].requests.tolist() == [2, 0, 1]


def test_time_of_day_cuts_segments(tmp_path):
    rows = "\n".join(f"2024-01-0{day}T{hour:02d}:00:00,1" for day in (1, 2, 3) for hour in range(24))
    path = written(tmp_path, "when,work\n" + rows + "\n")
    day = read_record(path, slot=3600.0, work={"work": 1.0}, of_day=(8.0, 18.0))
    assert [segment.work.size for segment in day.segments] == [10, 10, 10]
    night = read_record(path, slot=3600.0, of_day=(22.0, 6.0))
    assert [segment.work.size for segment in night.segments] == [6, 8, 8, 2]
    with pytest.raises(RecordError, match="date-times"):
        read_record(written(tmp_path, "t\n1\n2\n"), slot=1.0, of_day=(8.0, 18.0))


def test_split():
    record = Record((Segment(np.arange(10.0), np.ones(10)), Segment(np.arange(5.0), np.ones(5))))
    first, second = record.split(0.8)
    assert first.slots == 12
    assert second.slots == 3
    assert np.concatenate([s.work for s in (*first.segments, *second.segments)]).tolist() == [
        *range(10),
        *range(5),
    ]
    with pytest.raises(ValueError, match="share"):
        record.split(1.0)


def test_available_rates_become_lost_work():
    record = Record((Segment(np.array([4.0, 0.0, 6.0, 3.0]), np.array([1.0, 0.0, 2.0, 1.0])),))
    lost = of_rates(record, 5.0, 0.5)
    assert lost.segments[0].work.tolist() == [0.5, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("t,w\n", "0 rows"),
        ("t,w\n1,2\n", "1 rows"),
        ("t,w\n1,x\n2,1\n", "line 2"),
        ("t,w\n1,-1\n2,1\n", "not negative"),
        ("t,w\n1,nan\n2,1\n", "line 2"),
        ("t,w\nyesterday,1\n2,1\n", "date-times"),
        ("t,w\n0,1\n1e12,1\n", "slots"),
        ("t,v\n0,1\n1,1\n", "no column 'w'"),
        ("t,w\n1\n2\n", "line 2"),
    ],
)
def test_bad_records_name_the_place(tmp_path, text, told):
    path = written(tmp_path, text)
    with pytest.raises(RecordError, match=told) as caught:
        read_record(path, slot=1.0, work={"w": 1.0})
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_missing_file_and_bad_hours(tmp_path):
    with pytest.raises(RecordError, match="cannot be read"):
        read_record(tmp_path / "none.csv", slot=1.0)
    with pytest.raises(RecordError, match="slot"):
        read_record(written(tmp_path, "t\n1\n2\n"), slot=0.0)
    assert parse_hour("08:30") == 8.5
    for text in ("8h", "25:00", ""):
        with pytest.raises(RecordError, match="time of day"):
            parse_hour(text)


@pytest.fixture
def azure():
    folder = Path(os.environ.get("FEDOPT_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    path = folder / "azure-llm-2023-code.csv"
    if not path.exists():
        pytest.skip("the Azure trace is not here; set FEDOPT_DATA to its folder")
    return path


def test_azure_trace(azure):
    record = read_record(
        azure, slot=1.0, time_column="TIMESTAMP", work={"ContextTokens": 2e-4, "GeneratedTokens": 0.02}
    )
    assert record.requests == 8_819
    assert record.requests / record.slots == pytest.approx(2.57, abs=0.01)
    found = fit(record, hold_out=0.5)
    assert found.held_out.holds
    assert found.theta[-1] < 0.1  # so bursty that an hour supports only small tilts
    assert any("too short" in warning for warning in found.warnings)
