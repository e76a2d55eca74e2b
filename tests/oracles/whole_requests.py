"""Whole requests in continuous time, domain by domain: the recursion D_i(n) = max(D_{i−1}(n), D_i(n−1)) +
X_i(n).

Priority work carries over: a server works for the tenant only while none of it is left. So a tenant's
requests are served in the time that priority leaves, and finishing times are read back from that clock.
"""

from __future__ import annotations

import heapq

import numpy as np

__all__ = ["finished", "pooled", "sojourns"]


def finished(
    begin: np.ndarray, work: np.ndarray, rate: float, at: np.ndarray, jobs: np.ndarray
) -> np.ndarray:
    """When requests are finished that one server gets at `begin`, ascending, each with so much `work`.

    at, jobs: times, ascending, and work of the priority jobs of that server.
    """
    need = np.cumsum(work) / rate
    if not len(at):
        return np.maximum.accumulate(begin - (need - work / rate)) + need
    spent = np.cumsum(jobs) / rate
    start = np.maximum.accumulate(at - (spent - jobs / rate)) + (spent - jobs / rate)
    edges = np.concatenate([[0.0], start + jobs / rate])
    # time left to the tenant until each job begins; from then on the clock stands still until it ends
    left = np.concatenate([[0.0], start - np.concatenate([[0.0], spent[:-1]])])
    last = np.searchsorted(start, begin, side="right")
    entry = left[last] + np.maximum(begin - edges[last], 0.0)
    done = np.maximum.accumulate(entry - (need - work / rate)) + need
    last = np.searchsorted(left[1:], done, side="left")  # jobs that begin before so much time was left
    return edges[last] + (done - left[last])


def sojourns(
    arrivals: np.ndarray,
    work: np.ndarray,
    rates: np.ndarray,
    priority: list[tuple[np.ndarray, np.ndarray]],
    delays: np.ndarray,
) -> np.ndarray:
    """Time from arrival to the end of the last domain, every request whole; shapes (n,), (n,), (L,), L,
    (L,)."""
    at = arrivals
    for rate, (times, jobs), delay in zip(rates, priority, delays, strict=True):
        at = finished(at, work, rate, times, jobs) + delay
    return at - arrivals


def pooled(begin: np.ndarray, work: np.ndarray, speed: float, servers: int) -> np.ndarray:
    """When the requests of a first come, first served pool are done; each is served at `speed` by one
    server."""
    free, done = [0.0] * servers, np.empty(len(begin))
    for n, (time, size) in enumerate(zip(begin, work, strict=True)):
        done[n] = max(time, heapq.heappop(free)) + size / speed
        heapq.heappush(free, done[n])
    return done
