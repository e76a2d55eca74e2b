"""Speed of the simulator of whole requests on the three-domain tandem; Ciw (event-driven) beside it, where
installed, in the same run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from fedopt.bench.row import Row
from fedopt.simulate import traffic
from fedopt.simulate.estimates import top_size
from fedopt.simulate.requests import Stage, System, simulate

RATES = (1.0, 1.15, 1.25)
LOAD = 0.85
PEER = "Ciw"
REPETITIONS = 3


def tandem() -> System:
    """The TRE paper's tandem at load .85."""
    stages = tuple(Stage(rate, delay=0.5) for rate in RATES)
    return System(traffic.poisson(LOAD), (traffic.exponential(1.0),) * len(RATES), stages)


def ours(case: str, packets: int, trials: int, threads: int | None) -> list[Row]:
    """Time for all packets of all trials, random draws, p99.9 of each trial and the sketch included;
    the best of three."""
    simulate(tandem(), 1_000, trials=2, threads=threads)  # compile
    top = top_size(packets, 0.999)
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        simulate(tandem(), packets, trials=trials, top=top, seed=1, threads=threads)
        times.append(time.perf_counter() - start)
    return [_row(case, min(times), packets * trials)]


def peer(packets: int) -> list[Row]:
    """Time that Ciw needs for about so many packets; no row where it is not installed."""
    try:
        import ciw
    except ImportError:
        return []
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
    return [_row(PEER, time.perf_counter() - start, packets)]


def rows(
    packets: int = 1_000_000,
    trials: int = 60,
    peer_packets: int = 20_000,
    run: Callable[..., list[Row]] = lambda measure, *given: measure(*given),
) -> list[Row]:
    """One thread, all threads, and Ciw; ``run`` calls each measurement, here or in a process of its own."""
    table = run(ours, "one thread", packets, trials, 1) + run(ours, "all threads", packets, trials, None)
    beside = run(peer, peer_packets)
    for other in beside:
        rate = other.more["packets_per_second"]
        table = [replace(row, ratio_to=PEER, ratio=row.more["packets_per_second"] / rate) for row in table]
    return table + beside


def _row(case: str, seconds: float, packets: int) -> Row:
    return Row(case, seconds, more={"packets": packets, "packets_per_second": packets / seconds})
