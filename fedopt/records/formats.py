"""The formats that records come in: one entry each, with how it is recognised and how it becomes tables.

A format yields pandas frames, one row a request, and says what their columns mean. Formats that carry names
of their own come first; delimited text, JSON and Parquet with whatever columns come last.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from fedopt.errors import optional
from fedopt.records import shapes
from fedopt.records.source import LOOKED_AT, RecordError, Source

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["CHUNK", "FORMATS", "Format", "format_of"]

CHUNK = 1 << 18


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes
    ----------
    name
        As its users call it.
    recognise
        Whether a file is of this format, from its beginning.
    frames
        Its tables, one row a request. Columns named `delay` and `time` by the format need no guessing.
    value
        Columns that may hold the delay, the usual one first; none: found by their names.
    unit
        Unit of the delay, where the column's name does not say it.
    time, time_unit
        Column of the times, and the unit of its numbers.
    work
        Columns of work, for arrivals.
    groups
        Columns that tell series apart.
    ordered
        Whether rows come in the order of time. Histograms have none.
    note
        What a reader of the result must know.
    """

    name: str
    recognise: Callable[[Source], bool]
    frames: Callable[[Source], Iterator[DataFrame]]
    value: tuple[str, ...] = ()
    unit: str | None = None
    time: str | None = None
    time_unit: str | None = None
    work: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    ordered: bool = True
    note: str | None = None
    refuse: str | None = field(default=None)


def format_of(source: Source) -> Format:
    """The first format of the table that recognises a file. Raises RecordError for one that is empty or no
    text.
    """
    try:
        if source.magic != b"PAR1" and not source.lines:
            raise RecordError(f"{source.path}: the file is empty")
        if (
            len(source.head) == LOOKED_AT
            and len(source.lines) < 2
            and not source.first.lstrip().startswith(("{", "["))
        ):
            raise RecordError(
                f"{source.path}: a line of more than {LOOKED_AT // 2:,} characters; this is no record"
            )
        found = next(form for form in FORMATS if form.recognise(source))
    except OSError as error:
        raise RecordError(f"{source.path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise RecordError(f"{source.path}: neither text nor Parquet, or damaged: {error}") from error
    if found.refuse is not None:
        raise RecordError(f"{source.path}: {found.name}: {found.refuse}")
    return found


def _batched(rows: Iterator[dict[str, Any]]) -> Iterator[DataFrame]:
    import pandas as pd

    while batch := list(islice(rows, CHUNK)):
        yield pd.DataFrame.from_records(batch)


def _rows(extract: Callable[[Any], Iterator[dict[str, Any]]]) -> Callable[[Source], Iterator[DataFrame]]:
    """Frames of the rows that `extract` finds in each JSON value of a file."""

    def frames(source: Source) -> Iterator[DataFrame]:
        return _batched(row for value in source.values() for row in extract(value))

    return frames


def _has(*keys: str) -> Callable[[Source], bool]:
    """Recognises JSON (lines) whose first object has all these keys."""

    def recognise(source: Source) -> bool:
        first = source.start
        while isinstance(first, list) and first:
            first = first[0]
        return isinstance(first, dict) and all(key in first for key in keys)

    return recognise


def _header(*names: str) -> Callable[[Source], bool]:
    """Recognises delimited text whose header holds all these columns."""

    def recognise(source: Source) -> bool:
        return set(names) <= {name.strip().strip('"') for name in re.split(r"[,;\t]", source.first)}

    return recognise


def _delimited(source: Source) -> Iterator[DataFrame]:
    """Delimited text with or without a header."""
    import pandas as pd

    layout = shapes.layout_of(source.lines[:200])
    if layout.twice:
        raise RecordError(
            f"{source.path}: two columns have the same name; the first line is {source.first.strip()[:200]!r}"
        )

    def read(skip: int, forgiving: bool) -> Iterator[DataFrame]:
        options: dict[str, Any] = {"low_memory": False}
        if forgiving:
            width = len(layout.names)
            options = {"engine": "python", "on_bad_lines": lambda row: row[:width]}
        with source.open() as stream:
            yield from pd.read_csv(
                stream,
                sep=layout.separator,
                decimal=layout.decimal,
                header=None,
                names=layout.names,
                index_col=False,
                skiprows=layout.skip + skip,
                comment=layout.comment,
                chunksize=CHUNK,
                skipinitialspace=True,
                **options,
            )

    done = 0
    try:
        for frame in read(0, False):
            yield frame
            done += len(frame)
    except (pd.errors.ParserError, OverflowError):
        for frame in read(0, True):  # a row with too many fields: slower, and without it
            if done < len(frame):
                yield frame.iloc[done:]
            done = max(done - len(frame), 0)


def _parquet(source: Source) -> Iterator[DataFrame]:
    with optional("Parquet files", "telemetry"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        for batch in pq.ParquetFile(source.path).iter_batches(batch_size=CHUNK):
            yield batch.to_pandas(self_destruct=False)
    except (pa.ArrowException, OSError) as error:
        raise RecordError(
            f"{source.path}: not a Parquet file that can be read: {str(error)[:200]}"
        ) from error


def _whole(
    read: Callable[[Sequence[str]], Iterator[dict[str, Any]]],
) -> Callable[[Source], Iterator[DataFrame]]:
    """Frames of the rows that `read` finds in the lines of a file."""

    def frames(source: Source) -> Iterator[DataFrame]:
        with source.open() as stream:
            yield from _batched(read(stream))  # type: ignore[arg-type]

    return frames


def _jtl(source: Source) -> Iterator[DataFrame]:
    return _batched(shapes.jmeter_xml(source.open()))


def _vegeta_csv(source: Source) -> Iterator[DataFrame]:
    for frame in _delimited(source):
        named = frame.iloc[:, :6]
        named.columns = ["timestamp", "code", "latency", "bytes_out", "bytes_in", "error"]
        yield named


def _one_metric(source: Source) -> Iterator[DataFrame]:
    for frame in _delimited(source):
        yield frame[frame["metric_name"] == "http_req_duration"]


FORMATS: tuple[Format, ...] = (
    Format("Parquet", lambda s: s.magic == b"PAR1", _parquet),
    Format(
        "OpenTelemetry spans",
        _has("resourceSpans"),
        _rows(shapes.otlp_spans),
        ("duration",),
        "ms",
        "time",
        "s",
    ),
    Format(
        "OpenTelemetry spans",
        lambda s: _has("start_time", "end_time", "context")(s),
        _rows(shapes.console_spans),
        ("duration",),
        "ms",
        "time",
        "s",
    ),
    Format(
        "k6",
        lambda s: _has("type", "metric", "data")(s) and s.start["type"] in ("Metric", "Point"),
        _rows(shapes.k6_points),
        ("http_req_duration",),
        "ms",
        "time",
    ),
    Format(
        "k6",
        _header("metric_name", "timestamp", "metric_value"),
        _one_metric,
        ("metric_value",),
        "ms",
        "timestamp",
        "s",
    ),
    Format("vegeta", _has("attack", "seq", "latency"), _rows(shapes.vegeta), ("latency",), "ms", "timestamp"),
    Format(
        "vegeta",
        lambda s: re.match(r"\d{18,20},\d{1,3},\d+,\d+,\d+,", s.first) is not None,
        lambda s: (shapes.nanoseconds(frame) for frame in _vegeta_csv(s)),
        ("latency",),
        "ms",
        "timestamp",
        "s",
    ),
    Format(
        "hey",
        _header("response-time", "status-code", "offset"),
        _delimited,
        ("response-time",),
        "s",
        "offset",
        "s",
    ),
    Format(
        "JMeter",
        _header("timeStamp", "elapsed"),
        _delimited,
        ("elapsed",),
        "ms",
        "timeStamp",
        "ms",
        groups=("label",),
    ),
    Format(
        "JMeter",
        lambda s: "<testResults" in s.head[:2000],
        _jtl,
        ("elapsed",),
        "ms",
        "timeStamp",
        "ms",
        groups=("label",),
    ),
    Format(
        "wrk2",
        lambda s: "Detailed Percentile spectrum" in s.head,
        _whole(shapes.hdr_histogram),
        ("latency",),
        "ms",
        ordered=False,
        note="a histogram without order in time: dependence cannot be seen",
    ),
    Format(
        "wrk",
        lambda s: s.first.startswith("Running ") and "Thread Stats" in s.head,
        _delimited,
        refuse="the summary holds a few percentiles only; record every request, or run wrk2 --latency",
    ),
    Format(
        "Locust",
        _header("Type", "Name", "Request Count", "Failure Count"),
        _delimited,
        refuse="the statistics hold percentiles only; run locust --json, which counts every response time",
    ),
    Format(
        "Locust",
        _has("response_times", "num_requests"),
        _rows(shapes.locust),
        ("latency",),
        "ms",
        ordered=False,
        note="a histogram without order in time: dependence cannot be seen",
    ),
    Format(
        "Prometheus histogram",
        lambda s: re.search(r'^\w+_bucket\{[^}]*le="', s.head, re.MULTILINE) is not None,
        _whole(shapes.prometheus_text),
        ("delay",),
        "s",
        ordered=False,
        note="delays are the upper bounds of histogram buckets, without order in time",
    ),
    Format(
        "Prometheus histogram",
        lambda s: (
            _has("status", "data")(s) and isinstance(s.start["data"], dict) and "result" in s.start["data"]
        ),
        _rows(shapes.prometheus_api),
        ("delay",),
        "s",
        ordered=False,
        note="delays are the upper bounds of histogram buckets",
    ),
    Format(
        "nginx access log",
        lambda s: shapes.ACCESS_LOG.match(s.first) is not None,
        _whole(shapes.access_log),
        ("request_time",),
        "s",
        "time",
    ),
    Format(
        "RIPE Atlas",
        _has("msm_id", "prb_id", "result"),
        _rows(shapes.ripe_atlas),
        ("rtt",),
        "ms",
        "timestamp",
        "s",
    ),
    Format(
        "vLLM or SGLang benchmark",
        _has("ttfts", "itls"),
        _rows(shapes.llm_benchmark),
        ("e2e", "ttft", "tpot"),
        "s",
    ),
    Format(
        "vLLM or SGLang benchmark",
        _has("mean_ttft_ms", "mean_tpot_ms"),
        _delimited,
        refuse="the summary holds means and percentiles only; record every request "
        "(vllm bench serve --save-result --save-detailed, sglang.bench_serving --output-details)",
    ),
    Format(
        "GuideLLM",
        _has("benchmarks"),
        _rows(shapes.guidellm),
        ("request_latency", "time_to_first_token_ms"),
        "s",
        "time",
        "s",
    ),
    Format(
        "Azure LLM trace",
        _header("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
        _delimited,
        time="TIMESTAMP",
        work=("ContextTokens", "GeneratedTokens"),
    ),
    Format(
        "Azure Functions trace",
        _header("app", "func", "end_timestamp", "duration"),
        _delimited,
        ("duration",),
        "s",
        "end_timestamp",
        "s",
        groups=(),
    ),
    Format(
        "BurstGPT trace",
        _header("Timestamp", "Model", "Request tokens", "Response tokens"),
        _delimited,
        ("Elapsed time",),
        "s",
        "Timestamp",
        "s",
        ("Request tokens", "Response tokens"),
        (),
    ),
    Format(
        "Mooncake trace",
        _has("timestamp", "input_length", "output_length"),
        _rows(shapes.objects),
        time="timestamp",
        time_unit="ms",
        work=("input_length", "output_length"),
    ),
    Format("JSON", lambda s: s.start is not None, _rows(shapes.objects)),
    Format("delimited text", lambda s: True, _delimited),
)
