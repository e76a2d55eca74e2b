"""Several tenants over one tandem: one queue for all, or a reserved server for each, on the same random
numbers.

Tenants send Poisson packets whose rates depend on one common two-state environment, so that their bursts
coincide.
*Shared*: all packets pass the domains first in, first out at full service rate. *Reserved*: tenant c has
servers of its own, of share_c times the service rate, and sees only its own packets. Each packet's service
requirements are the same in both worlds, so the two differ by the discipline alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedopt.kernels import kernel
from fedopt.simulate import quantiles as q
from fedopt.simulate.quantiles import push
from fedopt.simulate.streams import exponential, mix, streams, uniform, word_at
from fedopt.simulate.tandem import Estimate, estimate
from fedopt.simulate.trials import Progress, over_blocks

_ENVIRONMENT = np.uint64(0x2545F4914F6CDD1D)


@dataclass(frozen=True)
class SharedTandem:
    """Tenants on a tandem of exponential servers.

    Attributes:
        calm, burst: packets per unit of time of every tenant in the two states of the environment.
        burst_share: stationary share of time in the burst state, in [0, 1).
        burst_length: mean length of a burst, in units of time.
        service_rates: packets per unit of time that each domain serves.
        shares: the part of every domain's service rate that is reserved for each tenant; at most 1 together.
        shift: sum of fixed delays.
    """

    calm: tuple[float, ...]
    burst: tuple[float, ...]
    burst_share: float
    burst_length: float
    service_rates: tuple[float, ...]
    shares: tuple[float, ...]
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.calm) == len(self.burst) == len(self.shares) or not self.service_rates:
            raise ValueError("calm, burst and shares need one entry per tenant, and there must be a server")
        if min(*self.calm, *self.burst) < 0 or not 0 <= self.burst_share < 1 or not self.burst_length > 0:
            raise ValueError("rates must not be negative, burst_share in [0, 1), burst_length positive")
        if min(self.shares) <= 0 or sum(self.shares) > 1 + 1e-12:
            raise ValueError("shares must be positive and add up to at most 1")


@dataclass(frozen=True)
class SharedRun:
    """Sample quantiles of one tenant's delays, per trial: first in a shared queue, then under reservation."""

    shared: np.ndarray
    reserved: np.ndarray

    def estimates(self) -> tuple[Estimate, Estimate]:
        """Means over trials with standard errors: shared, reserved."""
        return estimate(self.shared), estimate(self.reserved)


@kernel
def _run(
    calm, burst, leave_calm, leave_burst, services, shares, watched, packets, stream, shared_top, own_top
):
    domains = services.shape[0]
    tenants = calm.shape[0]
    together = np.empty(domains)
    alone = np.empty((tenants, domains))
    gap_alone = np.empty(tenants)
    total_calm = calm.sum()
    total_burst = burst.sum()
    steady = leave_calm <= 0.0
    for trial in range(stream.shape[0]):
        origin = stream[trial, 0]
        step = stream[trial, 1]
        weather = mix(origin + _ENVIRONMENT)
        together[:] = 0.0
        alone[:] = 0.0
        gap_alone[:] = 0.0
        bursting = (not steady) and uniform(word_at(weather, step, 0)) < leave_calm / (
            leave_calm + leave_burst
        )
        changes = 1
        left = np.inf
        if not steady:
            left = exponential(word_at(weather, step, changes)) / (leave_burst if bursting else leave_calm)
        index = 0
        seen = 0
        shared_heap = shared_top[trial]
        own_heap = own_top[trial]
        shared_heap[:] = -1.0
        own_heap[:] = -1.0
        while seen < packets:
            gap = 0.0
            need = exponential(word_at(origin, step, index))
            index += 1
            while True:
                rate = total_burst if bursting else total_calm
                if need < left * rate:
                    wait = need / rate
                    gap += wait
                    left -= wait
                    break
                need -= left * rate
                gap += left
                bursting = not bursting
                changes += 1
                left = exponential(word_at(weather, step, changes)) / (
                    leave_burst if bursting else leave_calm
                )
            pick = uniform(word_at(origin, step, index)) * (total_burst if bursting else total_calm)
            index += 1
            c = 0
            while c < tenants - 1:
                pick -= burst[c] if bursting else calm[c]
                if pick < 0.0:
                    break
                c += 1
            for other in range(tenants):
                gap_alone[other] += gap
            g = gap
            h = gap_alone[c]
            gap_alone[c] = 0.0
            delay = 0.0
            own = 0.0
            for d in range(domains):
                s = services[d] * exponential(word_at(origin, step, index))
                index += 1
                before = together[d]
                now = max(before - g, 0.0) + s
                g += now - before
                together[d] = now
                delay += now
                before = alone[c, d]
                now = max(before - h, 0.0) + s / shares[c]
                h += now - before
                alone[c, d] = now
                own += now
            if c == watched:
                seen += 1
                if delay > shared_heap[0]:
                    push(shared_heap, delay)
                if own > own_heap[0]:
                    push(own_heap, own)
        shared_heap.sort()
        own_heap.sort()


_kernel: Any = _run


def simulate(
    tandem: SharedTandem,
    packets: int,
    *,
    tenant: int = 0,
    trials: int = 1,
    probability: float = 0.999,
    seed: int | np.random.SeedSequence = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> SharedRun:
    """Sample quantiles of one tenant's delays over its first ``packets`` packets, from empty, per trial.

    Memory: the largest n − ⌊p(n−1)⌋ delays of a trial. Results do not depend on ``threads``.
    """
    if packets < 1 or trials < 1 or not 0 <= tenant < len(tandem.calm):
        raise ValueError(
            f"need packets >= 1, trials >= 1 and an existing tenant, got {packets}, {trials}, {tenant}"
        )
    top = q.top_size(packets, probability)
    leave_burst = 1.0 / tandem.burst_length
    leave_calm = leave_burst * tandem.burst_share / (1.0 - tandem.burst_share)
    arrays = (
        np.array(tandem.calm, dtype=float),
        np.array(tandem.burst, dtype=float),
        leave_calm,
        leave_burst,
        1.0 / np.array(tandem.service_rates, dtype=float),
        np.array(tandem.shares, dtype=float),
    )

    def work(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        shared, own = np.empty((count, top)), np.empty((count, top))
        _kernel(*arrays, tenant, packets, streams(seed, count, first), shared, own)
        return q.from_top(shared, packets, probability), q.from_top(own, packets, probability)

    parts = list(over_blocks(work, trials, max(1, min(64, -(-trials // 8))), threads, progress))
    shared, reserved = (np.concatenate(column) for column in zip(*parts, strict=True))
    return SharedRun(shared + tandem.shift, reserved + tandem.shift)


def with_bursts(
    means: Sequence[float],
    bursty: Sequence[bool],
    factor: float,
    burst_share: float,
    **rest: Any,
) -> SharedTandem:
    """Tenants of given mean rates; the bursty ones send ``factor`` times their mean in bursts, the rest
    between them.

    Raises ValueError where the factor exceeds 1/burst_share, so that nothing is left for the calm state.
    """
    if not 1 <= factor <= 1 / burst_share:
        raise ValueError(f"factor must lie between 1 and {1 / burst_share:g}, got {factor:g}")
    calm_factor = (1 - burst_share * factor) / (1 - burst_share)
    return SharedTandem(
        calm=tuple(m * calm_factor if b else m for m, b in zip(means, bursty, strict=True)),
        burst=tuple(m * factor if b else m for m, b in zip(means, bursty, strict=True)),
        burst_share=burst_share,
        **rest,
    )
