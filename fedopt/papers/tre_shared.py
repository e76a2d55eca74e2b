"""Several tenants over one tandem: one queue for all, or a reserved server for each, on the same random
numbers.

Tenants send Poisson packets whose rates depend on one common two-state environment, so that their bursts
coincide. *Shared*: all packets pass the domains first in, first out at full service rate. *Reserved*: tenant
c has servers of its own, of share_c times the service rate, and sees only its own packets. Each packet's
service requirements are the same in both worlds, so the two differ by the discipline alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedopt.simulate import traffic
from fedopt.simulate.requests import Stage, System, departures
from fedopt.simulate.trials import over_blocks


@dataclass(frozen=True)
class Shared:
    """Tenants on a tandem of exponential servers.

    Attributes:
        calm, burst: packets per unit of time of every tenant in the two states of the environment.
        burst_share: stationary share of time in the burst state, in [0, 1).
        burst_length: mean length of a burst, in units of time.
        service_rates: packets per unit of time that each domain serves.
        shares: the part of every domain's service rate that is reserved for each tenant; at most 1 together.
    """

    calm: tuple[float, ...]
    burst: tuple[float, ...]
    burst_share: float
    burst_length: float
    service_rates: tuple[float, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.calm) == len(self.burst) == len(self.shares) or not self.service_rates:
            raise ValueError("calm, burst and shares need one entry per tenant, and there must be a server")
        if min(*self.calm, *self.burst) < 0 or not 0 <= self.burst_share < 1 or not self.burst_length > 0:
            raise ValueError("rates must not be negative, burst_share in [0, 1), burst_length positive")
        if min(self.shares) <= 0 or sum(self.shares) > 1 + 1e-12:
            raise ValueError("shares must be positive and add up to at most 1")

    @classmethod
    def bursting(
        cls,
        means: Sequence[float],
        bursty: Sequence[bool],
        factor: float,
        burst_share: float,
        burst_length: float,
        service_rates: tuple[float, ...],
        shares: tuple[float, ...],
    ) -> Shared:
        """Tenants of given mean rates; the bursty ones send ``factor`` times their mean in bursts, the rest
        between them.

        Raises ValueError where the factor exceeds 1/burst_share, so that nothing is left for the calm state.
        """
        if not 1 <= factor <= 1 / burst_share:
            raise ValueError(f"factor must lie between 1 and {1 / burst_share:g}, got {factor:g}")
        calm = (1 - burst_share * factor) / (1 - burst_share)
        return cls(
            tuple(m * calm if b else m for m, b in zip(means, bursty, strict=True)),
            tuple(m * factor if b else m for m, b in zip(means, bursty, strict=True)),
            burst_share,
            burst_length,
            service_rates,
            shares,
        )

    def packets(self, rng: np.random.Generator, tenant: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Instants and tenants of all packets up to the ``count``-th of one tenant."""
        rates = np.array([self.calm, self.burst])
        mean = (1 - self.burst_share) * self.calm[tenant] + self.burst_share * self.burst[tenant]
        span = 1.3 * count / mean + 20 * self.burst_length
        while True:
            edges, bursting = self._environment(rng, span)
            state = bursting.astype(int)
            number = rng.poisson(np.diff(edges)[:, None] * rates[state])
            period = np.repeat(np.arange(state.size)[:, None], number.shape[1], axis=1)
            place = np.repeat(period.ravel(), number.ravel())
            times = edges[place] + rng.random(place.size) * np.diff(edges)[place]
            owners = np.repeat(np.tile(np.arange(number.shape[1]), state.size), number.ravel())
            order = np.argsort(times)
            times, owners = times[order], owners[order]
            mine = np.flatnonzero(owners == tenant)
            if mine.size >= count:
                return times[: mine[count - 1] + 1], owners[: mine[count - 1] + 1]
            span *= 1.5

    def _environment(self, rng: np.random.Generator, span: float) -> tuple[np.ndarray, np.ndarray]:
        """Edges of the periods of the environment up to a time, and whether each is a burst."""
        if self.burst_share == 0:
            return np.array([0.0, span]), np.array([False])
        calm_length = self.burst_length * (1 - self.burst_share) / self.burst_share
        pairs = int(2 * span / (self.burst_length + calm_length)) + 20
        bursting = (np.arange(2 * pairs) + (rng.random() < self.burst_share)) % 2 == 1
        lengths = rng.exponential(np.where(bursting, self.burst_length, calm_length))
        edges = np.minimum(np.concatenate([[0.0], np.cumsum(lengths)]), span)
        return edges, bursting


def sample_quantiles(
    system: Shared,
    packets: int,
    tenant: int,
    trials: int,
    probability: float,
    seed: int,
    threads: int | None = None,
) -> np.ndarray:
    """Sample quantiles of one tenant's delays over its first ``packets`` packets, from empty.

    Returns shape (2, trials): in one queue for all, and in the tenant's reserved servers.
    """
    own_law = (traffic.exponential(1.0),)
    source = traffic.poisson(1.0)
    together = System(source, own_law, tuple(Stage(rate) for rate in system.service_rates))
    share = system.shares[tenant]
    alone = System(source, own_law, tuple(Stage(share * rate) for rate in system.service_rates))

    def work(first: int, count: int) -> np.ndarray:
        found = np.empty((2, count))
        for i in range(count):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(first + i,)))
            times, owners = system.packets(rng, tenant, packets)
            sizes = rng.exponential(1.0, (len(system.service_rates), times.size))
            mine = owners == tenant
            for row, delays in enumerate(
                (
                    (departures(together, times, sizes) - times)[mine],
                    departures(alone, times[mine], sizes[:, mine]) - times[mine],
                )
            ):
                found[row, i] = np.quantile(delays, probability)
        return found

    return np.concatenate(list(over_blocks(work, trials, max(1, -(-trials // 64)), threads)), axis=1)
