"""What a server is told when it starts: where its state lies and what it takes at most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["BASE", "Settings"]

BASE = "/fedopt/v1"
"""The path under which everything versioned lies: the name of the API and its major version."""


@dataclass(frozen=True)
class Settings:
    """Limits and folders of a server. Times in seconds, sizes in bytes.

    state: folder of the database and its lock. workers: jobs that run at a time. queue: jobs of one caller
    that may wait. job_seconds: the longest time limit of a job (and its default). body_bytes, body_seconds: a
    request's body. read_seconds: reading a posted document. request_seconds: answering a request that is no
    stream. rate: requests of a caller per second in the long run (0: any). at_once, streams: requests and
    event streams of a caller that are open at a time. keep_hours, keep_jobs: how long and how many finished
    jobs are kept. grace_seconds: what running jobs are given when the server ends. memory_bytes: of one
    worker process. attempts: how often a job is begun that a dying server interrupted.
    """

    state: Path
    workers: int = 1
    queue: int = 100
    job_seconds: float = 600.0
    body_bytes: int = 16_000_000
    body_seconds: float = 30.0
    read_seconds: float = 30.0
    request_seconds: float = 60.0
    rate: float = 50.0
    at_once: int = 32
    streams: int = 16
    keep_hours: float = 168.0
    keep_jobs: int = 10_000
    grace_seconds: float = 10.0
    memory_bytes: int = 4_000_000_000
    attempts: int = 3
    ping_seconds: float = 15.0
