"""Speed of the packet simulator on the three-domain tandem, with Ciw (event-driven) beside it in the same
run.

    python tests/bench/simulate.py

Rows: case, seconds, packets, rate (packets per second, random draws included), ratio_to and ratio.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from fedopt.simulate import laws, sources
from fedopt.simulate.tandem import Tandem, simulate

RATES = (1.0, 1.15, 1.25)
LOAD = 0.85


def tandem() -> Tandem:
    """The paper's tandem at load .85."""
    return Tandem(sources.poisson(LOAD), tuple(laws.exponential(1 / r) for r in RATES), (0.5, 0.5, 0.5))


def ours(packets: int, trials: int, threads: int | None) -> float:
    """Seconds for all packets of all trials, p99.9 of each trial and the pooled sketch included."""
    start = time.perf_counter()
    simulate(tandem(), packets, trials=trials, seed=1, threads=threads)
    return time.perf_counter() - start


def ciw_seconds(packets: int) -> float | None:
    """Seconds that Ciw needs for about ``packets`` packets; None where it is not installed."""
    try:
        import ciw
    except ImportError:
        return None
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(LOAD), None, None],
        service_distributions=[ciw.dists.Exponential(rate) for rate in RATES],
        routing=[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]],
        number_of_servers=[1, 1, 1],
    )
    ciw.seed(1)
    simulation = ciw.Simulation(network)
    start = time.perf_counter()
    simulation.simulate_until_max_time(packets / LOAD)
    return time.perf_counter() - start


def rows(packets: int = 1_000_000, trials: int = 60, ciw_packets: int = 20_000) -> list[dict[str, Any]]:
    """Rows of the table: one and all threads, and Ciw."""
    simulate(tandem(), 1_000, trials=2)  # compile
    table: list[dict[str, Any]] = []
    for case, threads in (("one thread", 1), ("all processors", None)):
        seconds = min(ours(packets, trials, threads) for _ in range(3))
        table.append(
            {
                "case": case,
                "seconds": seconds,
                "packets": packets * trials,
                "rate": packets * trials / seconds,
            }
        )
    seconds_of_ciw = ciw_seconds(ciw_packets)
    if seconds_of_ciw is not None:
        rate = ciw_packets / seconds_of_ciw
        table.append({"case": "Ciw", "seconds": seconds_of_ciw, "packets": ciw_packets, "rate": rate})
        for row in table[:-1]:
            row.update(ratio_to="Ciw", ratio=row["rate"] / rate)
    return table


if __name__ == "__main__":
    json.dump(rows(), sys.stdout, indent=2)
    print()
