import gzip
import json

import numpy as np
import pytest

from fedopt.audit import Columns, Promise, Settings, TelemetryError, audit_telemetry, read_telemetry


def write_csv(path, rows, header="time,tenant,delay"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def rows():
    rng = np.random.default_rng(1)
    return [f"{i * 0.1:.1f},{'ab'[i % 2]},{v:.6f}" for i, v in enumerate(rng.exponential(3.0, 4000))]


def collected(path, columns=None):
    telemetry = read_telemetry(path, columns)
    chunks = list(telemetry.chunks())
    return np.concatenate([chunk.value for chunk in chunks]), telemetry


def test_csv_json_lines_gzip_and_parquet_say_the_same(tmp_path, rows):
    plain = write_csv(tmp_path / "a.csv", rows)
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    lines = tmp_path / "a.jsonl"
    fields = [row.split(",") for row in rows]
    lines.write_text(
        "".join(json.dumps({"time": float(t), "tenant": g, "delay": float(v)}) + "\n" for t, g, v in fields)
    )
    expected = np.array([float(v) for _, _, v in fields])
    for path in (plain, packed, lines):
        assert np.array_equal(collected(path)[0], expected)
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table(
        {"time": [float(t) for t, _, _ in fields], "tenant": [g for _, g, _ in fields], "delay": expected}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    values, telemetry = collected(tmp_path / "a.parquet")
    assert np.array_equal(values, expected)
    assert telemetry.used.groups == ("tenant",)


def test_series_are_told_apart(tmp_path, rows):
    result = audit_telemetry(read_telemetry(write_csv(tmp_path / "a.csv", rows)))
    assert set(result.series) == {"a", "b"}
    assert sum(part.samples for part in result.series.values()) == result.samples == 4000


def test_a_file_of_numbers_alone(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("\n".join(f"{v:.5f}" for v in np.random.default_rng(2).exponential(size=500)))
    values, telemetry = collected(path)
    assert values.size == 500
    assert telemetry.used.value == "value"


def test_semicolons_spaces_iso_times_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("\ufefftimestamp; RTT \n2026-01-01T00:00:00Z;3.5\n2026-01-01T00:00:01Z;4\n".encode())
    chunk = next(iter(read_telemetry(path).chunks()))
    assert chunk.value.tolist() == [3.5, 4.0]
    assert np.diff(chunk.time).tolist() == [1.0]


def test_rows_without_a_usable_delay_are_late(tmp_path, rows):
    path = write_csv(tmp_path / "a.csv", [*rows, "1,a,oops", "1,a,", "1,a,nan", "1,a,inf", "1,a,-1"])
    telemetry = read_telemetry(path)
    result = audit_telemetry(telemetry)
    assert (result.samples, result.lost) == (4005, 5)
    assert "oops" in telemetry.first_failed
    told = "3 without a usable delay; 1 with an infinite delay; 1 with a negative delay"
    assert any(f"5 of 4,005 requests count as late: {told}" in note for note in result.notes)
    left_out = audit_telemetry(read_telemetry(path, Columns(ignore_failed=True)))
    assert (left_out.samples, left_out.lost) == (4000, 0)
    assert any("were left out" in note for note in left_out.notes)


def test_lost_answers_break_a_promise_that_the_others_keep(tmp_path):
    rng = np.random.default_rng(12)
    lost = rng.random(20_000) < 0.01
    rows = [
        f"{i},{'' if gone else f'{v:.3f}'},{'timeout' if gone else 'ok'}"
        for i, (v, gone) in enumerate(zip(rng.exponential(10.0, 20_000), lost, strict=True))
    ]
    path = write_csv(tmp_path / "a.csv", rows, "time,delay,status")
    promise = Promise(deadline=150.0, epsilon=0.005)
    found = audit_telemetry(read_telemetry(path), promise)
    assert found.verdict == "broken"
    assert found.violation.count >= lost.sum()
    assert audit_telemetry(read_telemetry(path, Columns(ignore_failed=True)), promise).verdict == "kept"


def test_rows_out_of_order_are_said_to_be(tmp_path, rows):
    path = write_csv(tmp_path / "a.csv", rows[2000:] + rows[:2000])
    assert any("not in order of time" in note for note in audit_telemetry(read_telemetry(path)).notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"delay\n", "no usable row"),
        (b"a,b\n1,2\n", "which column"),
        (b"delay,delay\n1,2\n", "same name"),
        (b"delay\nx\ny\n", "no usable row"),
        (b"PAR1 nonsense", "Parquet"),
        (b"\x1f\x8b\x08 broken", "neither text nor Parquet|cannot be read"),
        (b"\xff\xfe\x00\x01", "neither text"),
        (b"delay\n" + b"9" * 2_000_000, "a line of more than"),
        (b"delay\n1\n2\n3\n", "too little data"),
        (b"delay\n" + b"5\n" * 5000, "all values are equal"),
    ],
)
def test_hopeless_files_are_refused_with_a_reason(tmp_path, content, message):
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(TelemetryError, match=message):
        audit_telemetry(read_telemetry(path))


def test_missing_file_and_missing_column(tmp_path, rows):
    with pytest.raises(TelemetryError, match="cannot be read"):
        list(read_telemetry(tmp_path / "none.csv").chunks())
    path = write_csv(tmp_path / "a.csv", rows)
    with pytest.raises(TelemetryError, match="there is no column 'rtt'"):
        list(read_telemetry(path, Columns(value="rtt")).chunks())


def test_500_mutated_files_are_handled_or_refused(tmp_path):
    """Bytes changed, dropped, doubled, inserted, files cut: a result or a TelemetryError, nothing else."""
    rng = np.random.default_rng(3)
    good_csv = (
        "time,delay\n" + "".join(f"{i},{v:.3f}\n" for i, v in enumerate(rng.exponential(size=300)))
    ).encode()
    good_jsonl = "".join(
        json.dumps({"t": i, "delay": round(v, 3)}) + "\n" for i, v in enumerate(rng.exponential(size=300))
    ).encode()
    handled = refused = 0
    path = tmp_path / "mutant"
    for number in range(500):
        data = bytearray((good_csv, good_jsonl, gzip.compress(good_csv))[number % 3])
        for _ in range(int(rng.integers(1, 12))):
            place = int(rng.integers(len(data)))
            match int(rng.integers(5)):
                case 0:
                    data[place] = int(rng.integers(256))
                case 1:
                    del data[place : place + int(rng.integers(1, 60))]
                case 2:
                    data[place:place] = data[place : place + 40]
                case 3:
                    data[place:place] = bytes(rng.integers(0, 256, 5, dtype=np.uint8))
                case 4:
                    del data[place:]
            if not data:
                break
        path.write_bytes(bytes(data))
        try:
            result = audit_telemetry(read_telemetry(path), settings=Settings(probabilities=(0.99,)))
            assert result.samples <= 1000
            handled += 1
        except TelemetryError:
            refused += 1
    assert handled + refused == 500
    assert handled >= 30
