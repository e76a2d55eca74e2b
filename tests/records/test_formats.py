"""Every format of the table: a small file as its makers write it, and the delays that are in it."""

import gzip
import json
import warnings

import numpy as np
import pytest

from fedopt.records import Columns, RecordError, TelemetryError, read_arrivals, read_telemetry
from fedopt.records.formats import FORMATS, format_of
from fedopt.records.source import Source

INF = float("inf")


def spans():
    def span(start, took, code):
        return {
            "traceId": "a",
            "spanId": "b",
            "name": "chat",
            "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(start + took),
            "status": code,
        }

    begin = 1_700_000_000_000_000_000
    return json.dumps(
        {
            "resourceSpans": [
                {
                    "resource": {},
                    "scopeSpans": [
                        {"spans": [span(begin, 7_000_000, {}), span(begin + 10, 12_000_000, {"code": 2})]}
                    ],
                }
            ]
        }
    )


def atlas():
    ping = {"msm_id": 1, "prb_id": 2, "type": "ping", "timestamp": 5, "result": [{"rtt": 10.5}, {"x": "*"}]}
    trace = {
        "msm_id": 1,
        "prb_id": 2,
        "timestamp": 6,
        "result": [{"hop": 1, "result": [{"rtt": 1.0}]}, {"hop": 2, "result": [{"rtt": 12.0}, {"x": "*"}]}],
    }
    return json.dumps([ping, trace])


def guidellm():
    done = {"request_latency": 2.5, "time_to_first_token_ms": 80.0, "request_start_time": 10.0}
    return json.dumps({"benchmarks": [{"requests": {"successful": [done], "errored": [{"error": "x"}]}}]})


def lines(*values):
    return "\n".join(json.dumps(value) for value in values) + "\n"


ACCESS = '1.2.3.4 - - [10/Oct/2026:13:55:36 +0200] "GET / HTTP/1.1" {} 12 "-" "curl" {}\n'
JTL = "timeStamp,elapsed,label,responseCode,responseMessage,threadName,success,bytes,Latency,Connect\n"
K6 = {"type": "Point", "metric": "http_req_duration"}
PROMETHEUS = """# HELP http_seconds Duration.
# TYPE http_seconds histogram
http_seconds_bucket{code="200",le="0.1"} 3
http_seconds_bucket{code="200",le="0.5"} 5
http_seconds_bucket{code="200",le="+Inf"} 6
http_seconds_sum{code="200"} 9.5
http_seconds_count{code="200"} 6
"""
API = {
    "status": "success",
    "data": {
        "resultType": "matrix",
        "result": [
            {"metric": {"le": "0.1"}, "values": [[1, "10"], [2, "12"]]},
            {"metric": {"le": "+Inf"}, "values": [[1, "10"], [2, "13"]]},
        ],
    },
}
HDR = """  Detailed Percentile spectrum:
       Value   Percentile   TotalCount 1/(1-Percentile)

       0.921     0.000000            1         1.00
       4.053     0.500000            3         2.00
      12.053     1.000000            4          inf
"""
CASES = {
    "OpenTelemetry spans": (spans(), [7.0, INF], "ms"),
    "OpenTelemetry spans, console": (
        lines(
            {
                "name": "x",
                "context": {},
                "start_time": "2026-01-01T00:00:00Z",
                "end_time": "2026-01-01T00:00:00.25Z",
                "status": {"status_code": "UNSET"},
            }
        ),
        [250.0],
        "ms",
    ),
    "k6": (
        lines(
            {"type": "Metric", "metric": "http_req_duration", "data": {"type": "trend"}},
            K6 | {"data": {"time": "2026-01-01T00:00:00.1Z", "value": 5.5, "tags": {"status": "200"}}},
            K6
            | {
                "data": {
                    "time": "2026-01-01T00:00:00.2Z",
                    "value": 9.0,
                    "tags": {"status": "503", "expected_response": "false"},
                }
            },
        ),
        [5.5, INF],
        "ms",
    ),
    "k6, csv": (
        "metric_name,timestamp,metric_value,error,status\nhttp_reqs,1,1,,200\nhttp_req_duration,1,7.5,,200\n"
        "http_req_duration,2,8,,500\n",
        [7.5, INF],
        "ms",
    ),
    "vegeta": (
        lines(
            {
                "attack": "",
                "seq": 0,
                "code": 200,
                "timestamp": "2026-01-01T00:00:00Z",
                "latency": 2_000_000,
                "error": "",
            },
            {
                "attack": "",
                "seq": 1,
                "code": 0,
                "timestamp": "2026-01-01T00:00:01Z",
                "latency": 3_000_000,
                "error": "dial: refused",
            },
        ),
        [2.0, INF],
        "ms",
    ),
    "vegeta, csv": (
        "1700000000000000000,200,2000000,0,10,,,,,,,\n1700000001000000000,0,9000000,0,0,refused,,,,,,\n",
        [2.0, INF],
        "ms",
    ),
    "hey": (
        "response-time,DNS+dialup,DNS,Request-write,Response-delay,Response-read,status-code,offset\n"
        "0.0123,0,0,0,0,0,200,0.1\n0.5,0,0,0,0,0,500,0.2\n",
        [0.0123, INF],
        "s",
    ),
    "JMeter": (
        JTL + "1700000000000,250,home,200,OK,t,true,9,40,3\n1700000000100,90,home,500,x,t,false,9,1,1\n",
        [250.0, INF],
        "ms",
    ),
    "JMeter, xml": (
        '<?xml version="1.0"?>\n<testResults version="1.2">\n<httpSample t="31" lt="4" ts="1700000000000" '
        's="true" lb="a" rc="200"/>\n<sample t="44" ts="1700000000001" s="false" lb="a"/>\n</testResults>\n',
        [31.0, INF],
        "ms",
    ),
    "wrk2": (HDR, [0.921, 4.053, 4.053, 12.053], "ms"),
    "Locust": (
        json.dumps(
            [
                {
                    "name": "/",
                    "num_requests": 4,
                    "num_failures": 1,
                    "num_none_requests": 0,
                    "response_times": {"120": 2, "95": 1},
                }
            ]
        ),
        [120.0, 120.0, 95.0, INF],
        "ms",
    ),
    "Prometheus histogram": (PROMETHEUS, [0.1] * 3 + [0.5] * 2 + [INF], "s"),
    "Prometheus histogram, API": (json.dumps(API), [0.1, 0.1, INF], "s"),
    "nginx access log": (
        ACCESS.format(200, "0.125") + ACCESS.format(504, "60.000") + ACCESS.format(404, "rt=0.003"),
        [0.125, INF, 0.003],
        "s",
    ),
    "RIPE Atlas": (atlas(), [10.5, INF, 12.0, INF], "ms"),
    "vLLM or SGLang benchmark, vLLM": (
        json.dumps(
            {
                "date": "x",
                "ttfts": [0.1, 0.0],
                "itls": [[0.02, 0.03], []],
                "errors": ["", "boom"],
                "output_lens": [3, 0],
            }
        ),
        [0.15, INF],
        "s",
    ),
    "vLLM or SGLang benchmark, SGLang": (
        lines(
            {
                "backend": "sglang",
                "duration": 9.5,
                "completed": 2,
                "mean_ttft_ms": 150.0,
                "mean_tpot_ms": 25.0,
                "input_lens": [4, 5],
                "output_lens": [3, 1],
                "ttfts": [0.1, 0.2],
                "itls": [[0.02, 0.03], []],
                "generated_texts": ["a", "b"],
                "errors": ["", ""],
            }
        ),
        [0.15, 0.2],
        "s",
    ),
    "GuideLLM": (guidellm(), [2.5, INF], "s"),
    "BurstGPT trace": (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type,Elapsed time\n"
        "5,ChatGPT,472,18,490,Conversation log,1.25\n45,ChatGPT,1087,230,1317,API log,\n",
        [1.25, INF],
        "s",
    ),
    "Azure Functions trace": (
        "app,func,end_timestamp,duration\na,f,1.5,0.25\na,f,2.5,0.5\n",
        [0.25, 0.5],
        "s",
    ),
    "JSON array": (
        json.dumps([{"id": 1, "timing": {"latency_ms": 4}}, {"id": 2, "timing": {"latency_ms": 5}}]),
        [4.0, 5.0],
        "ms",
    ),
    "JSON document": (
        json.dumps({"run": "a", "data": {"rows": [{"rtt": 1.5}, {"rtt": 2.5}]}}, indent=1),
        [1.5, 2.5],
        None,
    ),
    "JSON columns": (json.dumps({"latency": [1, 2, 3], "ok": [True, True, False]}), [1.0, 2.0, INF], None),
    "JSON numbers": ("[1.5, 2.5, 3]", [1.5, 2.5, 3.0], None),
    "tabs": ("time\tlatency_us\n1\t10\n2\t20\n", [10.0, 20.0], "us"),
    "blanks": ("# time   delay\n1.0   10\n2.0     20.5\n", [10.0, 20.5], None),
    "semicolons and decimal commas": ("Zeit;Latency (ms)\n1,5;7,25\n2,5;8\n", [7.25, 8.0], "ms"),
    "pipes": ("time|delay\n1|3\n2|4\n", [3.0, 4.0], None),
    "units in cells": (
        "time,latency\n1,7.2ms\n2,1.5s\n3,800µs\n4,1m2s\n",
        [7.2, 1500.0, 0.8, 62_000.0],
        "ms",
    ),
    "units in brackets": ("t,latency(ms)\n1,3\n2,4\n", [3.0, 4.0], "ms"),
    "camel case": ("startTime,responseTimeMs,status\n1,3,200\n2,4,429\n", [3.0, INF], "ms"),
    "sentinels": ("time,rtt\n1,3\n2,-1\n3,inf\n4,\n", [3.0, INF, INF, INF], None),
    "words of failure": (
        "time,delay,outcome\n1,3,OK\n2,4,DEADLINE_EXCEEDED\n3,5,Timed out\n",
        [3.0, INF, INF],
        None,
    ),
    "flags": ("delay,success\n3,true\n4,false\n5,\n", [3.0, INF, 5.0], None),
    "messages of errors": ("delay,error\n3,\n4,connection reset\n", [3.0, INF], None),
    "a row too long": ("time,delay\n1,3\n2,4,5,6\n3,5\n", [3.0, 4.0, 5.0], None),
    "a damaged line": ('{"delay": 1}\n{"delay": \n{"delay": 3}\n', [1.0, 3.0, INF], None),
}


def delays(path, columns=None):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_telemetry(path, columns)
        return np.concatenate([chunk.value for chunk in found.chunks()]), found


@pytest.mark.parametrize("name", list(CASES))
def test_delays_and_unit(tmp_path, name):
    text, expected, unit = CASES[name]
    path = tmp_path / "record"
    path.write_text(text, encoding="utf-8")
    values, found = delays(path)
    assert values.tolist() == pytest.approx(expected)
    assert found.unit == unit
    assert found.rows == len(expected)
    assert found.failed.total() == sum(value == INF for value in expected)
    packed = tmp_path / "record.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert delays(packed)[0].tolist() == values.tolist()


@pytest.mark.parametrize(
    "name", [name for name in CASES if any(name.startswith(form.name) for form in FORMATS[1:-2])]
)
def test_the_format_is_recognised_by_name(tmp_path, name):
    path = tmp_path / "record"
    path.write_text(CASES[name][0], encoding="utf-8")
    assert name.startswith(format_of(Source(path)).name)


def test_parquet_with_durations_and_zones(tmp_path):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "when": pd.to_datetime(["2026-01-01T00:00:00+01:00", "2026-01-01T00:00:02+01:00"]),
            "latency": pd.to_timedelta([7.5, 12.0], unit="ms"),
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    values, found = delays(tmp_path / "a.parquet", Columns(time="when"))
    assert values.tolist() == [7.5, 12.0]
    assert found.unit == "ms"
    assert delays(tmp_path / "a.parquet", Columns(unit="s"))[0].tolist() == [0.0075, 0.012]


def test_another_column_can_be_named_and_a_guess_is_said(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(CASES["vLLM or SGLang benchmark, vLLM"][0])
    values, _ = delays(path, Columns(value="ttft"))
    assert values.tolist() == [0.1, INF]
    assert delays(path)[1].notes == [
        "vLLM or SGLang benchmark: delays are those of 'e2e' (--value ttft or tpot for another)."
    ]
    path.write_text("a,b\n1,x\n2,y\n")
    assert "only column of numbers" in delays(path)[1].notes[0]
    path.write_text("latency,ttft\n1,2\n2,3\n")
    assert "'ttft' could be meant too" in delays(path)[1].notes[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Running 30s test @ http://x\n  Thread Stats   Avg\n", "wrk2 --latency"),
        (
            '{"duration": 9.5, "mean_ttft_ms": 15.0, "mean_tpot_ms": 2.5, "p99_ttft_ms": 40.0}\n',
            "save-detailed",
        ),
        ("Type,Name,Request Count,Failure Count,Median\nGET,/,5,0,3\n", "locust --json"),
    ],
)
def test_summaries_are_refused_with_what_would_do(tmp_path, text, told):
    path = tmp_path / "record"
    path.write_text(text)
    with pytest.raises(TelemetryError, match=told):
        delays(path)


def test_times_with_zones_are_one_scale(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "time,delay\n2026-01-01T12:00:00+02:00,1\n2026-01-01T10:00:01Z,2\n2026-01-01 10:00:02,3\n"
    )
    (chunk,) = read_telemetry(path).chunks()
    assert np.diff(chunk.time).tolist() == [1.0, 1.0]


ARRIVALS = {
    "Azure LLM": (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n"
        "2023-11-16 18:17:04.4799600,3180,8\n",
        "GeneratedTokens",
        [0.0, 0.5],
        [10, 8],
    ),
    "BurstGPT": (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,x\n"
        "45,ChatGPT,1087,230,1317,x\n",
        "Response tokens",
        [0.0, 40.0],
        [18, 230],
    ),
    "Mooncake": (
        lines(
            {"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]},
            {"timestamp": 3000, "input_length": 7319, "output_length": 490, "hash_ids": [0]},
        ),
        "output_length",
        [0.0, 3.0],
        [500, 490],
    ),
    "JMeter": (CASES["JMeter"][0], None, [0.0, 0.1], [1, 1]),
    "blanks": ("0.5 3\n1.5 4\n", "column2", [0.0, 1.0], [3, 4]),
}


@pytest.mark.parametrize("name", list(ARRIVALS))
def test_arrivals_in_seconds(tmp_path, name):
    text, column, times, work = ARRIVALS[name]
    path = tmp_path / "trace"
    path.write_text(text)
    found = read_arrivals(path, work=None if column is None else {column: 1.0})
    assert (found.times - found.times[0]).tolist() == pytest.approx(times, abs=1e-6)
    assert found.work.tolist() == work
    slow = read_arrivals(path, unit="ms")
    if name != "BurstGPT":
        assert slow.times[1] - slow.times[0] == pytest.approx(
            times[1] * (1 if name == "blanks" else 1000), abs=1e-3
        )


def test_clock_time_is_that_of_the_zone_written(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("when\n1970-01-01T09:30:00+02:00\n1970-01-01T09:31:00+02:00\n")
    assert read_arrivals(path).calendar == 9.5 * 3600
    with pytest.raises(RecordError, match="instance's unit"):
        read_arrivals(path, unit=None)
