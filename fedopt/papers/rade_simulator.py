"""The analytic simulator: domains whose controllers accept what their random load leaves room for.

The paper gives its simulator only by reference; this one is a documented choice. A domain of capacity C and
service constant s carries a load x with distribution F(x) = 1 − (1−x)^{α/λ}. It accepts (τ, θ) if and only
if s / (1 − x − θ/C) ≤ τ, hence

    P(τ, θ) = 1 − min(1, θ/C + s/τ)^{α/λ}.

The load parameter λ_t is also the mean number of requests per step (Poisson). Equation (7) of the paper is
read as λ_t = ½ (sin(2πt/T) + 1)(2r − 0.2) + 0.1, whose mean over a period is r.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fedopt.learn.decompose import Acceptance
from fedopt.learn.feedback import Array, Rows


class DomainParameters(NamedTuple):
    """Capacity C (units of throughput) and service constant s (units of delay) of each domain."""

    names: tuple[str, ...]
    capacity: Array
    service: Array


PAPER_DOMAINS = DomainParameters(
    ("URLLC", "mMTC", "eMBB"), np.array([1.0, 0.75, 3.0]), np.array([1.47, 7.35, 4.9])
)
"""Gbps and ms."""
ALPHA = 11.5


class Network(Protocol):
    """What the online loop needs of a world of domains; row run·N + n is domain n of run `run`."""

    @property
    def domains(self) -> int:
        """Number of domains N."""
        ...

    def acceptance(self, step: int) -> Acceptance | None:
        """True acceptance probabilities at a step, or None where they are unknown."""
        ...

    def answer(self, step: int, rows: Rows, delay: Array, throughput: Array, coin: Array) -> Array:
        """1 (accepted) or 0 of each partial request; `coin` is uniform on [0, 1) and decides by chance."""
        ...


@dataclass(frozen=True)
class TrueAcceptance:
    """P of the analytic domains at given loads; `load` has one value per row, shape (M,)."""

    capacity: Array
    service: Array
    load: Array
    alpha: float = ALPHA

    @property
    def concave(self) -> bool:
        """log P is concave where α/λ ≥ 1: u = θ/C + s/τ is convex, so is u^{α/λ}."""
        return bool((self.load <= self.alpha).all())

    def log_probability(self, delay: Array, throughput: Array, rows: Rows | None = None) -> Array:
        u, _, exponent = self._parts(delay, throughput, rows)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log1p(-(np.minimum(u, 1.0) ** exponent)))

    def gradient(self, delay: Array, throughput: Array, rows: Rows | None = None) -> tuple[Array, Array]:
        u, (capacity, service), exponent = self._parts(delay, throughput, rows)
        with np.errstate(divide="ignore", over="ignore"):
            common = (
                exponent
                * np.minimum(u, 1.0) ** (exponent - 1)
                / -np.expm1(exponent * np.log(np.minimum(u, 1.0)))
            )
            by_delay = common * service / np.asarray(delay, float) ** 2
        return np.where(u < 1, by_delay, 1e300), np.where(u < 1, -common / capacity, -1e300)

    def _parts(
        self, delay: Array, throughput: Array, rows: Rows | None
    ) -> tuple[Array, tuple[Array, Array], Array]:
        rows = np.arange(self.load.size) if rows is None else rows
        kind = rows % self.capacity.size
        capacity, service = self.capacity[kind][:, None], self.service[kind][:, None]
        u = throughput / capacity + service / np.maximum(np.asarray(delay, float), 1e-12)
        return u, (capacity, service), (self.alpha / self.load[rows])[:, None]


@dataclass(frozen=True)
class AnalyticNetwork:
    """Several independent runs of the analytic domains under a load that rises and falls.

    Attributes:
        mean_load: r of each run, shape (runs,).
        period: T, steps.
        parameters: the domains.
        alpha: of the load's distribution, of each domain or one for all.
        phase: by which each domain's load runs ahead, in periods; the paper's all move together.
    """

    mean_load: Array
    period: int
    parameters: DomainParameters = PAPER_DOMAINS
    alpha: float | Array = ALPHA
    phase: Array | float = 0.0

    @property
    def domains(self) -> int:
        return len(self.parameters.names)

    def load(self, step: int) -> Array:
        """λ_t of each run, shape (runs,)."""
        return load_at(self.mean_load, step, self.period)

    def acceptance(self, step: int) -> TrueAcceptance:
        ahead = np.broadcast_to(np.asarray(self.phase, float), (self.domains,)) * self.period
        load = np.stack([load_at(self.mean_load, step + shift, self.period) for shift in ahead], axis=1)
        # only α/λ counts: a domain's own α is a load of its own
        load = load * (ALPHA / np.broadcast_to(np.asarray(self.alpha, float), (self.domains,)))
        return TrueAcceptance(self.parameters.capacity, self.parameters.service, load.reshape(-1))

    def answer(self, step: int, rows: Rows, delay: Array, throughput: Array, coin: Array) -> Array:
        log_p = self.acceptance(step).log_probability(delay[:, None], throughput[:, None], rows)[:, 0]
        return (coin < np.exp(log_p)).astype(float)


def load_at(mean_load: Array, step: float, period: int) -> Array:
    """λ_t: between 0.1 and 2r − 0.1, with mean r over a period."""
    return np.asarray(0.5 * (np.sin(2 * np.pi * step / period) + 1) * (2 * np.asarray(mean_load) - 0.2) + 0.1)


@dataclass(frozen=True)
class RequestModel:
    """SLAs as they arrive: delay and throughput uniform, a Poisson number of them per step."""

    delay: tuple[float, float] = (90.0, 110.0)
    throughput: tuple[float, float] = (0.4, 0.6)


@dataclass(frozen=True)
class Step:
    """The requests of all runs at one step, as a flat list.

    Attributes:
        run: which run each belongs to, shape (R,); sorted.
        turn: 0 for a run's first request in this step, 1 for its second, …, shape (R,).
        delay, throughput: the SLA, shape (R,).
        coin: the domains' chance, shape (R, N).
        corrupted: whether something else is reported than the answer, shape (R, N).
        simplex: a uniformly random split, shape (R, N).
    """

    run: NDArray[np.intp]
    turn: NDArray[np.intp]
    delay: Array
    throughput: Array
    coin: Array
    corrupted: NDArray[np.bool_]
    simplex: Array


@dataclass(frozen=True)
class Scenario:
    """All chance of a set of runs, drawn before any method acts, so that methods are compared on equal terms.

    Run b draws from the stream (seed, seeds[b]) alone: runs with the same number meet the same requests and
    the same luck, whatever their load, corruption or neighbours.
    """

    steps: tuple[Step, ...] = field(repr=False)
    runs: int
    domains: int
    rejecting: bool = False
    """Whether a corrupted answer is reported as a rejection, whatever it was; otherwise as its opposite."""

    def reported(self, step: Step, answers: Array) -> Array:
        """What is reported of the domains' answers, shape (R, N)."""
        return np.where(step.corrupted, 0.0 if self.rejecting else 1 - answers, answers)

    @classmethod
    def draw(
        cls,
        rates: Array,
        seeds: NDArray[np.intp],
        domains: int,
        seed: int,
        corruption: Array | float = 0.0,
        requests: RequestModel | None = None,
    ) -> Scenario:
        """Draw; `rates` is the mean number of requests of each run and step, shape (runs, steps)."""
        model = requests or RequestModel()
        runs, steps = rates.shape
        level = np.broadcast_to(np.asarray(corruption, float), (runs,))
        pieces: list[list[tuple[np.ndarray, ...]]] = [[] for _ in range(steps)]
        for b in range(runs):
            rng = np.random.default_rng(np.random.SeedSequence([seed, int(seeds[b])]))
            chance = rng.random((steps,))
            most = 24
            noise = rng.random((steps, most, 2 + 2 * domains))
            simplex = rng.exponential(size=(steps, most, domains))
            counts = _poisson(chance, rates[b], most)
            for t in np.flatnonzero(counts):
                k = counts[t]
                cut = noise[t, :k]
                pieces[t].append(
                    (
                        np.full(k, b),
                        np.arange(k),
                        model.delay[0] + (model.delay[1] - model.delay[0]) * cut[:, 0],
                        model.throughput[0] + (model.throughput[1] - model.throughput[0]) * cut[:, 1],
                        cut[:, 2 : 2 + domains],
                        cut[:, 2 + domains :] < level[b],
                        simplex[t, :k] / simplex[t, :k].sum(axis=1, keepdims=True),
                    )
                )
        empty = (
            np.zeros(0, np.intp),
            np.zeros(0, np.intp),
            np.zeros(0),
            np.zeros(0),
            np.zeros((0, domains)),
            np.zeros((0, domains), bool),
            np.zeros((0, domains)),
        )
        return cls(
            tuple(
                Step(*(np.concatenate(column) for column in zip(*(piece or [empty]), strict=True)))
                for piece in pieces
            ),
            runs,
            domains,
        )


def _poisson(chance: Array, rate: Array, most: int) -> NDArray[np.intp]:
    """Poisson numbers by inversion, so that runs with a higher rate get the same requests and more."""
    counts = np.zeros(chance.size, dtype=np.intp)
    term = np.exp(-rate)
    below = term.copy()
    for k in range(1, most + 1):
        counts += chance >= below
        term = term * rate / k
        below = below + term
    return counts
