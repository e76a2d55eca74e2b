"""What lies inside the formats: the rows of each, taken from lines or JSON values.

Every extractor yields dictionaries, one a request. A request that did not come back has `failed` true.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

Row = dict[str, Any]
LATE = math.inf
ACCESS_LOG = re.compile(
    r'^\S+ \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<request>[^"]*)" (?P<status>\d{3}) (?:\d+|-)(?P<rest>.*)$'
)
_BUCKET = re.compile(r"^(\w+)_bucket\{([^}]*)\}\s+([0-9.eE+]+)")
_REQUEST_TIME = re.compile(r"\b(?:request_time|rt)[=:]\s*\"?([0-9.]+|-)")
_LAST_NUMBER = re.compile(r'(?:^|\s)"?(\d+\.\d{3})"?(?=\s|$)')


@dataclass(frozen=True)
class Layout:
    """How delimited text is laid out: separator and decimal mark, columns, lines to skip, comment sign."""

    separator: str
    decimal: str
    names: list[str]
    skip: int
    comment: str | None
    twice: bool


def layout_of(lines: Sequence[str]) -> Layout:
    """The layout of delimited text from its first lines: the separator that cuts the most lines alike."""
    comments = [line for line in lines if line.lstrip().startswith("#")]
    body = [line for line in lines if not line.lstrip().startswith("#")]
    heading = None
    if comments and body:
        names = re.split(r"[,;\t\s]+", comments[-1].lstrip("# ").strip())
        if not any(_is_number(name) for name in names):
            heading = comments[-1].lstrip("# ").strip()
    sample = body[:60] or [heading or ""]
    separator = max((",", ";", "\t", "|", r"\s+"), key=lambda sign: _regularity(sample, sign))
    if _regularity(sample, separator) <= 0:
        separator = ","
    first = _cut(heading if heading is not None else sample[0], separator)
    named = heading is not None or not all(_is_number(name) or not name.strip() for name in first)
    names = [name.strip().strip('"') for name in first]
    if not named:
        names = ["value"] if len(first) == 1 else [f"column{i + 1}" for i in range(len(first))]
    names = [name or f"column{i + 1}" for i, name in enumerate(names)]
    cells = [cell.strip() for line in sample[1:] for cell in _cut(line, separator)]
    commas = sum(re.fullmatch(r"-?\d+,\d+", cell) is not None for cell in cells)
    points = sum(re.fullmatch(r"-?\d+\.\d+", cell) is not None for cell in cells)
    decimal = "," if separator != "," and commas > points else "."
    skip = 1 if named and heading is None else 0
    return Layout(separator, decimal, names, skip, "#" if comments else None, len(set(names)) < len(names))


def _cut(line: str, separator: str) -> list[str]:
    if separator == r"\s+":
        return line.split()
    return next(csv.reader([line], delimiter=separator), [])


def _regularity(lines: Sequence[str], separator: str) -> float:
    """Fields a line minus one, times the share of lines that have as many as the first; blanks count
    least.
    """
    try:
        counts = [len(_cut(line, separator)) for line in lines]
    except csv.Error:
        return -1.0
    alike = sum(count == counts[0] for count in counts) / len(counts)
    if counts[0] < 2 or alike < 0.5:
        return -1.0
    return (1e-3 if separator == r"\s+" else 1.0) * alike * min(counts[0] - 1, 3)


def _is_number(text: str) -> bool:
    try:
        float(text.strip().replace(",", ".", 1))
    except ValueError:
        return False
    return True


def objects(value: Any) -> Iterator[Row]:
    """Rows of JSON of any shape: an object, a list of objects or numbers, lists of equal length side by
    side.
    """
    if isinstance(value, list):
        if value and all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
            yield from ({"value": item} for item in value)
            return
        for item in value:
            yield from (
                [_flat(item)] if isinstance(item, dict) else objects(item) if isinstance(item, list) else []
            )
        return
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield {"value": value}
        return
    if not isinstance(value, dict):
        return
    table = _largest_list(value)
    if table is not None and len(table) > 1 and all(isinstance(item, dict) for item in table):
        yield from (_flat(item) for item in table)
        return
    columns = {
        name: items
        for name, items in value.items()
        if isinstance(items, list) and items and not any(isinstance(item, dict | list) for item in items)
    }
    longest = max((len(items) for items in columns.values()), default=0)
    scalars = sum(isinstance(item, int | float) for item in value.values())
    if longest > 1 and len(columns) >= scalars:
        columns = {name: items for name, items in columns.items() if len(items) == longest}
        yield from (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        return
    yield _flat(value)


def _flat(value: Row, prefix: str = "") -> Row:
    """Nested objects as columns with dotted names; lists are left out."""
    row: Row = {}
    for name, item in value.items():
        if isinstance(item, dict):
            row |= _flat(item, f"{prefix}{name}.")
        elif not isinstance(item, list):
            row[f"{prefix}{name}"] = item
    return row


def _largest_list(value: Any, depth: int = 0) -> list[Any] | None:
    """The longest list of objects in a tree of objects."""
    found = [value] if isinstance(value, list) and value and isinstance(value[0], dict) else []
    if isinstance(value, dict) and depth < 5:
        found += [part for item in value.values() if (part := _largest_list(item, depth + 1)) is not None]
    return max(found, key=len, default=None)


def otlp_spans(value: Any) -> Iterator[Row]:
    """Spans of the OTLP JSON encoding."""
    for resource in value.get("resourceSpans", []):
        for scope in resource.get("scopeSpans", resource.get("instrumentationLibrarySpans", [])):
            for span in scope.get("spans", []):
                begin, end = int(span["startTimeUnixNano"]), int(span.get("endTimeUnixNano") or 0)
                code = (span.get("status") or {}).get("code", 0)
                yield {
                    "time": begin / 1e9,
                    "duration": (end - begin) / 1e6 if end else LATE,
                    "name": span.get("name"),
                    "failed": code in (2, "STATUS_CODE_ERROR"),
                }


def console_spans(value: Any) -> Iterator[Row]:
    """Spans as the SDK's console exporter prints them."""
    import pandas as pd

    begin = pd.Timestamp(value["start_time"])
    end = pd.Timestamp(value["end_time"]) if value.get("end_time") else None
    status = (value.get("status") or {}).get("status_code", "UNSET")
    yield {
        "time": begin.timestamp(),
        "duration": LATE if end is None else (end - begin).total_seconds() * 1e3,
        "name": value.get("name"),
        "failed": status == "ERROR",
    }


def k6_points(value: Any) -> Iterator[Row]:
    """Durations among k6's points."""
    if value.get("type") == "Point" and value.get("metric") == "http_req_duration":
        data = value["data"]
        tags = data.get("tags") or {}
        yield {
            "time": data["time"],
            "http_req_duration": data["value"],
            "status": tags.get("status"),
            "failed": tags.get("expected_response") == "false",
        }


def vegeta(value: Any) -> Iterator[Row]:
    """Results of vegeta encode: latency in nanoseconds."""
    yield {
        "timestamp": value["timestamp"],
        "latency": value["latency"] / 1e6,
        "code": value.get("code"),
        "error": value.get("error"),
    }


def nanoseconds(frame: DataFrame) -> DataFrame:
    """Vegeta's CSV with times in seconds and latencies in milliseconds."""
    return frame.assign(timestamp=frame["timestamp"] / 1e9, latency=frame["latency"] / 1e6)


def jmeter_xml(stream: IO[str]) -> Iterator[Row]:
    """Samples of a JTL file in XML."""
    from defusedxml.ElementTree import iterparse

    with stream:
        for _, node in iterparse(stream, events=("end",)):
            if node.tag in ("sample", "httpSample"):
                yield {
                    "timeStamp": float(node.get("ts", "nan")),
                    "elapsed": float(node.get("t", "nan")),
                    "label": node.get("lb", ""),
                    "success": node.get("s", "true"),
                }
                node.clear()


def hdr_histogram(lines: Sequence[str]) -> Iterator[Row]:
    """Counts of wrk2's percentile spectrum: value, percentile, total count."""
    counted = 0
    for line in lines:
        cells = line.split()
        if len(cells) == 4 and all(_is_number(cell) or cell == "inf" for cell in cells):
            total = int(float(cells[2]))
            yield from ({"latency": float(cells[0])} for _ in range(total - counted))
            counted = max(counted, total)


def locust(value: Any) -> Iterator[Row]:
    """Counts of response times of one entry of locust --json."""
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        name = entry.get("name", "")
        counted = 0
        for level, count in entry["response_times"].items():
            counted += int(count)
            yield from ({"latency": float(level), "name": name, "failed": False} for _ in range(int(count)))
        without = int(entry.get("num_none_requests", 0)) + int(entry.get("num_failures", 0))
        yield from ({"latency": LATE, "name": name, "failed": True} for _ in range(without))


def prometheus_text(lines: Sequence[str]) -> Iterator[Row]:
    """Counts of the histogram in a text exposition; of several the one with most observations."""
    found: dict[str, dict[str, dict[float, float]]] = {}
    for line in lines:
        match = _BUCKET.match(line)
        if match:
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match.group(2)))
            level = float(labels.pop("le").replace("+Inf", "inf"))
            found.setdefault(match.group(1), {}).setdefault(str(labels), {})[level] = float(match.group(3))
    if found:
        most = max(found.values(), key=lambda series: sum(max(b.values()) for b in series.values()))
        for buckets in most.values():
            yield from _expanded(buckets)


def prometheus_api(value: Any) -> Iterator[Row]:
    """Counts of a histogram's buckets as the HTTP API returns them, by the steps of a range."""
    series: dict[str, dict[float, list[tuple[float, float]]]] = {}
    for result in value["data"]["result"]:
        labels = dict(result["metric"])
        level = float(str(labels.pop("le", "nan")).replace("+Inf", "inf"))
        points = result.get("values") or [result["value"]]
        series.setdefault(str(labels), {})[level] = [(float(at), float(count)) for at, count in points]
    for buckets in series.values():
        steps = sorted({at for points in buckets.values() for at, _ in points})
        last: dict[float, float] = dict.fromkeys(buckets, 0.0)
        for number, at in enumerate(steps):
            now = {level: dict(points).get(at, last[level]) for level, points in buckets.items()}
            if number or len(steps) == 1:  # counters begin before the range
                yield from _expanded({level: max(now[level] - last[level], 0.0) for level in now}, at)
            last = now


def _expanded(buckets: dict[float, float], at: float | None = None) -> Iterator[Row]:
    below = 0.0
    for level, count in sorted(buckets.items()):
        row = {"delay": level} if at is None else {"delay": level, "time": at}
        yield from (row for _ in range(round(count - below)))
        below = max(below, count)


def access_log(lines: Sequence[str]) -> Iterator[Row]:
    """Requests of an access log in the combined format with $request_time after it."""
    for line in lines:
        match = ACCESS_LOG.match(line.rstrip("\n"))
        if match is None:
            yield {"time": None, "request_time": None, "status": None}
            continue
        rest = match.group("rest")
        spelled = _REQUEST_TIME.search(rest)
        numbers = _LAST_NUMBER.findall(rest)
        value = spelled.group(1) if spelled else numbers[0] if numbers else None
        yield {"time": match.group("time"), "request_time": value, "status": int(match.group("status"))}


def ripe_atlas(value: Any) -> Iterator[Row]:
    """Results of ping, traceroute (its last hop), HTTP and DNS measurements; a lost packet failed."""
    for entry in value if isinstance(value, list) else [value]:
        base = {"timestamp": entry.get("timestamp"), "prb_id": entry.get("prb_id")}
        results = entry.get("result") or [{}]
        if isinstance(results, dict):
            results = [results]
        if results and "hop" in results[0]:
            results = results[-1].get("result") or [{}]
        for result in results:
            rtt = result.get("rtt", result.get("rt")) if isinstance(result, dict) else None
            yield base | {"rtt": LATE if rtt is None else rtt, "failed": rtt is None}


def llm_benchmark(value: Any) -> Iterator[Row]:
    """Requests of a vLLM or SGLang benchmark: first token, time per output token, end to end."""
    count = len(value["ttfts"])
    errors = value.get("errors") or [""] * count
    for number in range(count):
        first, gaps = value["ttfts"][number], value["itls"][number] or []
        failed = bool(errors[number])
        yield {
            "e2e": LATE if failed else first + sum(gaps),
            "ttft": LATE if failed else first,
            "tpot": LATE if failed else sum(gaps) / max(len(gaps), 1),
            "failed": failed,
        }


def guidellm(value: Any) -> Iterator[Row]:
    """Requests of GuideLLM's benchmarks, one series a benchmark."""
    for number, benchmark in enumerate(value["benchmarks"], 1):
        requests = benchmark.get("requests") or {}
        if isinstance(requests, list):
            requests = {"successful": requests}
        for kind in ("successful", "errored", "incomplete"):
            for request in requests.get(kind) or []:
                failed = kind != "successful"
                yield {
                    "time": request.get("request_start_time", request.get("start_time")),
                    "request_latency": LATE if failed else request.get("request_latency"),
                    "time_to_first_token_ms": LATE if failed else request.get("time_to_first_token_ms"),
                    "time_per_output_token_ms": LATE if failed else request.get("time_per_output_token_ms"),
                    "run": number,
                    "failed": failed,
                }
