"""Random systems of whole requests: what is promised, whether it is kept, and the least rate that keeps it.

A system is drawn at a load; its deadline is the shortest that the calculus proves at those rates. So every
system has a promise, and the loads are those that were asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedopt.calculus.minplus import evaluate
from fedopt.calculus.path import Path
from fedopt.laws import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, Renewal, Size, TokenBucket
from fedopt.simulate import requests, splitting
from fedopt.simulate.crossing import crossing
from fedopt.simulate.estimates import Share
from fedopt.simulate.paths import request_system
from fedopt.simulate.requests import late_share, settling

TRIALS = 64
RARE = 2e-3
"""Promises below this are simulated by splitting where that applies."""
_PRECISION = 1e-3  # relative, of the least proven rates
_FLOOR = 1e-4  # of ε: a probability that is smaller is not told from 0


@dataclass(frozen=True, eq=False)
class Drawn:
    """A path with its promise, and rates (work per slot, shape (L,)) at which the promise is proven."""

    path: Path
    rates: np.ndarray
    load: float

    def scaled(self, scale: float) -> np.ndarray:
        """The rates times a factor; pools in whole servers, at least as many as that takes."""
        rates = scale * self.rates
        if self.path.speeds is None:
            return rates
        speeds = np.asarray(self.path.speeds)
        pool = speeds > 0.0
        rates[pool] = np.ceil(rates[pool] / speeds[pool] - 1e-9) * speeds[pool]
        return rates

    @property
    def epsilon(self) -> float:
        """Promised."""
        return math.exp(self.path.log_epsilon)

    @property
    def name(self) -> str:
        """What the system is, in a few words."""
        law = self.path.arrival
        parts = [type(law).__name__]
        if isinstance(law, Renewal):
            parts = [f"batches of {law.batch}" if law.batch > 1 else f"gaps of shape {law.shape:g}"]
            parts.append(f"{law.size.kind} sizes")
        elif isinstance(law, Poisson):
            parts.append("exponential sizes" if law.exponential else "fixed sizes")
        if getattr(law, "per_stage", False):
            parts.append("per stage")
        speeds = np.zeros(len(self.path)) if self.path.speeds is None else np.asarray(self.path.speeds)
        if speeds.any():
            counts = self.rates[speeds > 0] / speeds[speeds > 0]
            parts.append("pool of " + ", ".join(f"{count:.0f}" for count in counts))
        busy = [type(law).__name__ for law in self.path.impairments if not isinstance(law, NoImpairment)]
        if busy:
            parts.append(f"{len(busy)} impaired")
        if self.path.whole is not None and not all(self.path.whole[:-1]):
            parts.append(f"{self.path.whole[:-1].count(False)} cut through")
        return "; ".join(parts)


def draw(seed: int) -> Drawn:
    """One to eight domains with arrivals, sizes, forwarding, pools, latencies, load and ε drawn at random.

    Promises below 2e-3 are drawn where splitting can meet them: requests that keep their order and leave
    every domain whole.
    """
    rng = np.random.default_rng((seed, 0x73797374))
    u = rng.uniform
    hops = int(rng.integers(1, 9))
    epsilon = 10.0 ** u(-6.0, -2.0)
    law, own = _arrivals(rng)
    impairments: tuple[Any, ...] = (NoImpairment(),) * hops
    if not own:
        impairments = tuple(_impairment(rng, law.mean) for _ in range(hops))
    whole, speeds = [True] * hops, np.zeros(hops)
    load = u(0.2, 0.95)
    means = np.array([law.mean + impairment.mean for impairment in impairments])
    spread = rng.uniform(1.0, 1.3, hops)
    spread[rng.integers(hops)] = 1.0
    rates = means / load * spread
    if not own and epsilon > RARE:
        whole = [bool(rng.random() < 0.7) for _ in range(hops)]
    if not own and math.isfinite(law.max_size) and rng.random() < 0.4:
        place = hops - 1 if epsilon <= RARE or rng.random() < 0.5 else int(rng.integers(hops))
        servers = int(rng.integers(1, 25))
        speeds[place] = rates[place] / servers
        impairments = tuple(
            NoImpairment() if i == place else impairment for i, impairment in enumerate(impairments)
        )
        whole[place] = True
    latencies = np.where(rng.random(hops) < 0.3, u(0.0, 3.0, hops), 0.0)
    path = Path(
        law, impairments, latencies, np.zeros(hops, dtype=bool), 1.0, math.log(epsilon), whole=tuple(whole),
        speeds=speeds if speeds.any() else None,
    )  # fmt: skip
    return Drawn(_with_deadline(path, rates), rates, load)


def _arrivals(rng: np.random.Generator) -> tuple[Any, bool]:
    """Arrivals of a mean of some .05 to 1 work per slot; whether sizes are drawn anew in each domain."""
    u = rng.uniform
    rate, mean = u(0.05, 0.6), u(0.4, 2.5)
    sizes = (
        lambda: Size("fixed", (mean,)),
        lambda: Size("exponential", (mean,)),
        lambda: Size("exponential", (mean,), 8.0 * mean),
        lambda: Size("gamma", (mean, u(0.3, 1.5))),
        lambda: Size("uniform", (0.2 * mean, 1.8 * mean)),
        lambda: Size("lognormal", (mean, u(0.5, 1.5)), u(6.0, 20.0) * mean),
        lambda: Size("pareto", (0.5 * mean, u(1.5, 3.0)), u(8.0, 20.0) * mean),
        lambda: Size("discrete", ((0.3 * mean, mean, 5.0 * mean), (0.6, 0.3, 0.1))),
    )
    kind = int(rng.integers(12))
    if kind == 0:
        return Poisson(rate, mean), False
    if kind == 1:
        return Poisson(rate, mean, exponential=True), False
    if kind == 2:
        return ExponentialWork(u(0.1, 0.8)), False
    if kind == 3:
        return OnOff(mean, u(0.2, 0.8), u(0.05, 0.4)), False
    if kind == 4:
        return TokenBucket(u(0.1, 0.6), u(0.5, 4.0)), False
    if kind == 5:
        return Poisson(rate, mean, exponential=True, per_stage=True), True
    size = sizes[int(rng.integers(len(sizes)))]()
    if kind == 6:
        return Renewal(rate, size, float(rng.choice([0.5, 1.0, 4.0])), per_stage=True), True
    if kind == 7:
        return Renewal(rate / 3.0, size, 1.0, int(rng.integers(2, 5))), False
    return Renewal(rate, size, float(rng.choice([0.5, 1.0, 2.0, 4.0]))), False


def _impairment(rng: np.random.Generator, mean: float) -> Any:
    """None in half the domains, else work with priority of some 5 to 50 % of the tenant's."""
    u = rng.uniform
    work = mean * u(0.05, 0.5)
    size = mean * u(0.5, 3.0)
    return (
        NoImpairment,
        NoImpairment,
        NoImpairment,
        lambda: ExponentialWork(work),
        lambda: GammaWork(work / size, size),
        lambda: Poisson(work / size, size),
        lambda: OnOff(4.0 * work, 0.45, 0.15),
    )[int(rng.integers(7))]()


def _with_deadline(path: Path, rates: np.ndarray) -> Path:
    """The path with the shortest deadline that is proven at these rates."""
    fixed = float(path.latencies.sum())

    def bound(slots: float) -> float:
        return evaluate(replace(path, deadline=fixed + slots), rates).log_bound

    low, high = 0.0, 4.0
    while bound(high) > path.log_epsilon:
        low, high = high, 3.0 * high
        if high > 1e7:
            raise ValueError("nothing is proven of this system, whatever the deadline")
    high, _ = crossing(bound, path.log_epsilon, low, high, accuracy=0.02, narrow=2e-3)
    while bound(high) > path.log_epsilon:
        high *= 1.002
    return replace(path, deadline=fixed + high)


def late(system: Drawn, rates: np.ndarray, seed: int, effort: int, confidence: float = 0.95) -> Share:
    """P(late) at these rates; effort: requests of each of 64 trials, twice as many where they are counted."""
    path = system.path
    simulated = request_system(path, rates)
    if splitting.applies(simulated) and system.epsilon < RARE:
        found = splitting.violation(
            simulated,
            path.deadline,
            requests=effort,
            warmup=settling(simulated, effort),
            enough=system.epsilon / 64,
            trials=TRIALS,
            seed=seed,
        )
        return found.share(confidence)
    counts = requests.simulate(
        simulated,
        2 * effort,
        trials=TRIALS,
        warmup=settling(simulated, effort),
        deadlines=(path.deadline,),
        seed=seed,
    )
    return late_share(counts, path.deadline, confidence)


def proven_scale(system: Drawn) -> float:
    """The least factor on the system's rates at which its promise is proven."""

    def bound(scale: float) -> float:
        return evaluate(system.path, system.scaled(scale)).log_bound

    at, _ = crossing(bound, system.path.log_epsilon, _stable(system), 1.0, accuracy=5e-3, narrow=_PRECISION)
    while at < 1.0 and bound(at) > system.path.log_epsilon:
        at *= 1.0 + _PRECISION
    return min(at, 1.0)


def least_scale(system: Drawn, seed: int, effort: int) -> tuple[float, float]:
    """The least factor on the system's rates at which ε of requests are late in simulation, and its standard
    error: that of log P, one nat at most, over the slope of the chord of log P from the edge of stability."""
    edge = _stable(system)

    def log_probability(scale: float) -> float:
        share = late(system, system.scaled(scale), seed, effort)
        return math.log(max(share.estimate, _FLOOR * system.epsilon))

    at, _ = crossing(
        log_probability, system.path.log_epsilon, edge, proven_scale(system), accuracy=0.1, narrow=4e-3
    )
    share = late(system, system.scaled(at), seed + 1, 4 * effort, 0.6827)
    slope = system.path.log_epsilon / (at - edge)
    off, error = 0.0, 1.0
    if share.estimate > 0.0:
        off = system.path.log_epsilon - math.log(share.estimate)
        error = min(0.5 * (share.high - share.low) / share.estimate, 1.0)
    return at + float(np.clip(off, -1.0, 1.0)) / slope, error / abs(slope)


def cost(number: int, effort: int, seed: int) -> dict[str, float]:
    """What a system is, and the factors on its rates that are proven and that simulation needs."""
    system = draw(number)
    least, error = least_scale(system, seed, effort)
    return {
        "hops": len(system.path),
        "load": system.load,
        "epsilon": system.epsilon,
        "window": system.path.window,
        "proven": proven_scale(system),
        "least": least,
        "error": error,
    }


def _stable(system: Drawn) -> float:
    """A factor just above that at which some domain has no more than the mean work."""
    means = np.array([system.path.arrival.mean + impairment.mean for impairment in system.path.impairments])
    return 1.002 * float((means / system.rates).max())
