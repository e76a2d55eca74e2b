"""Records of requests, read from the files that people have: logs, load generators, traces and benchmarks."""

from fedopt.records.arrivals import Arrivals, read_arrivals
from fedopt.records.source import RecordError
from fedopt.records.telemetry import Chunk, Columns, Telemetry, TelemetryError, read_telemetry

__all__ = [
    "Arrivals",
    "Chunk",
    "Columns",
    "RecordError",
    "Telemetry",
    "TelemetryError",
    "read_arrivals",
    "read_telemetry",
]
