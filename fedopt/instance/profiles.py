"""Profiles of inference engines: tables of concurrency and tokens per second of one request, as pools.

Benchmarks of vLLM, SGLang, GuideLLM and AIConfigurator-style sweeps say how fast one request is decoded while
a replica serves so many of them. Each row becomes an offer: a pool whose `speed` is that of one request. A
replica that serves c requests at v tokens/s each gives c·v; against the most that any row gives, T, the
offer's `work_factor` is T/(c·v), so that the capacity of the domain is T for every replica, whichever offers
share it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InstanceError, Problem
from .placing import rounded

CONCURRENCY = ("concurrency", "max_concurrency", "concurrent_requests", "batch_size", "batch", "users")
"""Columns that hold the requests served at a time, by the names that engines give them."""

SPEED = ("tokens/s/user", "tokens_per_s_per_user", "output_tps_per_request", "tps_per_request", "speed")
"""Columns that hold the tokens per second of one request."""

MILLISECONDS = (
    "tpot_ms",
    "mean_tpot_ms",
    "median_tpot_ms",
    "p99_tpot_ms",
    "tpot",
    "itl_ms",
    "mean_itl_ms",
    "itl",
)
"""Columns that hold the milliseconds of one token of one request."""

TOTAL = ("output_throughput", "output_tokens_per_second", "output_tps", "tokens/s", "throughput")
"""Columns that hold the tokens per second of all requests together."""


@dataclass(frozen=True)
class ProfileRow:
    """A replica that serves `concurrency` requests at a time, each at `speed` tokens per second."""

    concurrency: int
    speed: float

    @property
    def throughput(self) -> float:
        """Tokens per second of all of them."""
        return self.concurrency * self.speed


def read_profile(path: Path, concurrency: str | None = None, speed: str | None = None) -> list[ProfileRow]:
    """The rows of a profile (CSV), by rising concurrency.

    Parameters
    ----------
    path
        A CSV file with a header.
    concurrency, speed
        Columns of the requests at a time, and of the tokens per second of one request; found by the names
        that engines give them, also from milliseconds a token or the throughput of all, where not given.

    Raises
    ------
    InstanceError
        If the file or its numbers cannot be used.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _refused(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    names = {name.strip().lower(): name for name in (rows[0] if rows else {}) if name}

    def column(given: str | None, known: tuple[str, ...]) -> str | None:
        if given is not None and given not in names.values():
            raise _refused(path, f"has no column {given!r}; it has {', '.join(names.values())}")
        return given or next((names[name] for name in known if name in names), None)

    many, fast = column(concurrency, CONCURRENCY), column(speed, SPEED)
    token, total = column(None, MILLISECONDS), column(None, TOTAL)
    if many is None or not (fast or token or total):
        raise _refused(
            path, f"tells no concurrency and speed of a request; columns: {', '.join(names.values())}"
        )
    found = {}
    for line, row in enumerate(rows, 2):
        try:
            count = int(float(row[many]))
            value = (
                float(row[fast])
                if fast
                else 1e3 / float(row[token])
                if token
                else float(row[total or ""]) / count
            )
            if count < 1 or not 0 < value < 1e9:
                raise ValueError
        except (ValueError, TypeError, ZeroDivisionError):
            raise _refused(path, "has a row without a positive concurrency and speed", line) from None
        found[count] = ProfileRow(count, value)
    return [found[count] for count in sorted(found)]


def pool_offers(
    rows: list[ProfileRow], price: str | float = 1.0, accuracy: float | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """What one replica can do, as a quantity (`1200 token/s`), and an offer for every row of its profile.

    Parameters
    ----------
    rows
        The profile.
    price
        Of one replica, such as `2 EUR/h`, or a number in the instance's unit of cost.
    accuracy
        Of the AI model, where it is known.
    """
    most = max(row.throughput for row in rows)
    replica = f"{rounded(most, 6):.12g} token/s"
    offers = []
    for row in rows:
        factor = most / row.throughput
        rate = f"{price} / ({rounded(row.throughput, 6):.12g} token/s)"
        offers.append(
            {
                "id": f"batch-{row.concurrency}",
                "speed": f"{rounded(row.speed, 6):.12g} token/s",
                "work_factor": max(1.0, rounded(factor, 6)),
                "cost": {"model": "linear", "rate": rate},
                **({} if accuracy is None else {"accuracy": accuracy}),
            }
        )
    return replica, offers


def _refused(path: Path, message: str, line: int | None = None) -> InstanceError:
    remedy = "give a CSV with a header; name its columns by --concurrency and --speed"
    return InstanceError([Problem("", message, remedy, line)], source=str(path))
