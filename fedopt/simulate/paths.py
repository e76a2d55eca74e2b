"""From the calculus to the simulator: a path at its rates, as whole requests or as a fluid in slots."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fedopt.laws.gaps import two_rates, weibull
from fedopt.laws.models import ExponentialWork, GammaWork, OnOff, Poisson, TokenBucket
from fedopt.laws.operators import Sum
from fedopt.laws.requests import Modulated, Renewal
from fedopt.laws.sizes import Size
from fedopt.laws.table import Table
from fedopt.laws.trace import Trace
from fedopt.simulate import traffic
from fedopt.simulate.requests import Stage, System
from fedopt.simulate.slot_work import SlotWork, slot_work
from fedopt.simulate.slots import SlotPath
from fedopt.simulate.traffic import Law, Source

if TYPE_CHECKING:
    from fedopt.calculus.path import Path


def allowed_slots(path: Path) -> int:
    """Whole slots of queueing that the deadline leaves after all latencies; negative where nothing can keep
    it.

    The simulated servers keep a guardrail's whole latency as a delay, as pure delays do.
    """
    return math.floor(float(path.deadline - path.latencies.sum()) + 1e-9)


def slot_path(path: Path, rates: np.ndarray, *, arrivals: Any = None, seed: int = 0) -> SlotPath:
    """What to simulate for a tenant on a path at these rates (work per slot).

    Impairments of domains that may depend on each other are driven by one random stream: wherever they have
    the same law they are the same process, the strongest dependence. ``arrivals`` replaces the path's own.

    Raises TypeError where a user's own model has no ``sample(rng, slots)``.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1 << 20,)))
    law = arrivals if isinstance(arrivals, SlotWork) else slot_work(arrivals or path.arrival, rng)
    impairments = tuple(slot_work(impairment, rng) for impairment in path.impairments)
    return SlotPath(law, impairments, np.asarray(rates, dtype=float), tuple(_streams(path)))


def request_system(
    path: Path,
    rates: np.ndarray,
    *,
    arrivals: Any = None,
    request_size: Any = None,
    seed: int = 0,
) -> System:
    """A tenant's whole requests on a path at these rates (work per slot).

    `arrivals` replaces the path's own; `request_size` is what an envelope's request brings (work, or an
    object with the mean `exponential`). Latencies, those of guardrails included, are delays after the domain.
    Impairments of domains that may depend on each other share a random stream.

    Raises TypeError where requests cannot be drawn from the arrivals, or work from an impairment.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1 << 20,)))
    model = path.arrival if arrivals is None else arrivals
    source, size = request_stream(model, request_size, rng)
    flowing = [not whole for whole in path.whole or (True,) * len(path)]
    speeds = np.zeros(len(path)) if path.speeds is None else path.speeds
    stages = tuple(
        Stage(float(speed), None, float(delay), servers=max(int(rate / speed + 1e-6), 1))
        if speed > 0.0
        else Stage(float(rate), slot_work(law, rng), float(delay), flows, stream=number)
        for rate, law, delay, flows, number, speed in zip(
            rates, path.impairments, path.latencies, flowing, _streams(path), speeds, strict=True
        )
    )
    return System(source, (size,) * (len(path) if getattr(model, "per_stage", False) else 1), stages)


def request_stream(
    model: Any, request_size: Any = None, rng: np.random.Generator | None = None, slots: int = 1_000_000
) -> tuple[Source, Law]:
    """The instants and sizes of whole requests behind an arrival model (in slots).

    A law per slot sends its slot's work as one request at the slot's start, a token bucket a request as large
    as its burst whenever it is full. A user's own model is sampled once and replayed.

    Raises TypeError where a model is work without requests.
    """
    if isinstance(model, Poisson):
        size = traffic.exponential(model.size) if model.exponential else traffic.deterministic(model.size)
        return traffic.poisson(model.rate), size
    if isinstance(model, Renewal):
        gap = _gap(model)
        if model.batch > 1:
            return traffic.batches(gap, traffic.deterministic(model.batch)), _sizes(model.size)
        return traffic.renewal(gap), _sizes(model.size)
    if isinstance(model, Modulated):
        return traffic.modulated(model.rates, model.generator), _sizes(model.size)
    if isinstance(model, ExponentialWork):
        return traffic.periodic(1.0), traffic.exponential(model.mean_work)
    if isinstance(model, GammaWork):
        return traffic.periodic(1.0), traffic.gamma(model.shape, model.mean)
    if isinstance(model, OnOff):
        gap = traffic.chain_gap(model.on_to_off, model.off_to_on)
        return traffic.renewal(gap), traffic.deterministic(model.peak)
    if isinstance(model, TokenBucket):
        if not model.burst > 0:
            raise TypeError("a token bucket without a burst is a fluid and has no requests")
        return traffic.periodic(model.burst / model.rate), traffic.deterministic(model.burst)
    if isinstance(model, Table):
        return _envelope_stream(model, request_size)
    if isinstance(model, Trace) and model.gaps is not None and model.sizes is not None:
        return traffic.replay(model.gaps, model.sizes), traffic.empirical(model.sizes)
    if isinstance(model, Trace):
        work = model.work
    elif hasattr(model, "stream"):
        times, sizes = model.stream(rng or np.random.default_rng(0), slots)
        return traffic.replay(np.diff(times, prepend=times[-1] - slots), sizes), traffic.empirical(sizes)
    elif hasattr(model, "sample"):
        work = np.asarray(model.sample(rng or np.random.default_rng(0), slots), dtype=float)
    else:
        raise TypeError(f"{type(model).__name__} cannot be sampled: it has no method sample(rng, slots)")
    at = np.flatnonzero(work > 0)
    if at.size == 0:
        raise TypeError(f"{type(model).__name__} sent no work in {work.size} slots")
    gaps = np.diff(at, prepend=at[-1] - work.size)
    return traffic.replay(gaps, work[at]), traffic.empirical(work[at])


def _gap(model: Renewal) -> Law:
    """The law of a renewal process's gaps as the simulator draws it."""
    if model.gaps == "hyperexponential":
        first, fast, slow = two_rates(model.rate, model.cv)
        return traffic.hyperexponential(first, 1.0 / fast, 1.0 / slow)
    if model.gaps == "weibull":
        shape, scale = weibull(model.cv)
        return traffic.weibull(shape, scale / model.rate)
    return traffic.gamma(model.shape, 1.0 / model.rate)


def _sizes(size: Size) -> Law:
    """A law of sizes as the simulator draws it; those that it does not know by a sample of them."""
    one, *other = size.parameters
    cut = math.isfinite(size.maximum)
    if size.kind == "lognormal":
        return traffic.truncated(traffic.lognormal(one, other[0]), size.maximum)
    if size.kind == "pareto" and other[0] > 1.0:
        return traffic.truncated(traffic.pareto(other[0], one), size.maximum)
    if size.kind == "fixed":
        return traffic.deterministic(one)
    if size.kind == "exponential" and not cut:
        return traffic.exponential(one)
    if size.kind == "gamma" and not cut:
        return traffic.gamma(other[0] ** -2, one)
    if size.kind == "uniform" and not cut:
        return traffic.between(one, other[0])
    return traffic.empirical(size.sample(np.random.default_rng(0), 400_000))


def _envelope_stream(model: Table, request_size: Any) -> tuple[Source, Law]:
    """Requests that an envelope admits, with its burst used: half of the rate as Poisson requests, half as
    bursts.

    With B the size of a request, m ≤ min_θ θσ/log E e^{θB} requests at one instant, repeated every p slots,
    have log E e^{θA} ≤ (1 + length/p)·m·log E e^{θB}; so Poisson requests of rate ½ min_θ θρ/(E e^{θB} − 1)
    and p = 2m·max_θ log E e^{θB}/θρ keep the envelope at every tilt of its grid.
    """
    if request_size is None:
        raise TypeError("an envelope without request_size does not say what a request is")
    mean = getattr(request_size, "exponential", None)
    law = traffic.deterministic(float(request_size)) if mean is None else traffic.exponential(float(mean))
    theta = model.grid[model.grid > 0]
    unit = Poisson(1.0, law.mean, mean is not None)
    moment, own = np.asarray(unit.log_rate(theta)), np.asarray(unit.request_log_bias(theta))
    rate, burst = np.asarray(model.log_rate(theta)), np.asarray(model.log_burst(theta))
    usable = np.isfinite(moment) & np.isfinite(rate) & np.isfinite(burst)
    if not usable.any() or not (rate[usable] > 0).all():
        raise TypeError("the envelope leaves no rate to requests of this size")
    many = int(np.floor((burst[usable] / own[usable]).min() * (1 + 1e-12)))
    single = float((rate[usable] / moment[usable]).min())
    if many < 1:
        return traffic.poisson(single), law
    gap = 2 * many * float((own[usable] / rate[usable]).max())
    return traffic.bursts(single / 2, many, gap), law


def _streams(path: Path) -> list[int]:
    """The number of each domain's random stream: one for all domains that may depend on each other."""
    stream = list(range(len(path)))
    for group in path.dependent:
        for position in group:
            stream[position] = group[0]
    return stream


def counts_requests(model: Any) -> bool:
    """Whether a model's weights are numbers of requests (else they are work)."""
    return isinstance(model, Poisson | Trace | Table)


def remarks(path: Path, arrivals: Any = None, whole: bool = False) -> list[str]:
    """What a reader must know about how models were turned into something that can be simulated.

    ``arrivals`` are those that replaced the path's own, if any; ``whole``: as whole requests.
    """
    notes = []
    model = path.arrival if arrivals is None else arrivals
    if isinstance(model, Table) and whole:
        notes.append(
            "arrivals: an envelope is no law; simulated as requests it admits, half in bursts of its σ"
        )
    elif isinstance(model, Table):
        notes.append("arrivals: a table is simulated as the heaviest compound Poisson work it admits")
    elif whole and isinstance(model, TokenBucket):
        notes.append("arrivals: a token bucket sends a request as large as its burst whenever it is full")
    elif whole and isinstance(model, Sum):
        notes.append("arrivals: requests of a sum are sampled once and replayed from random places on")
    elif whole and not isinstance(model, Poisson | Renewal | Modulated | Trace):
        notes.append("arrivals: a law per slot sends one request a slot, at the slot's start")
    if any(isinstance(impairment, Table) for impairment in path.impairments):
        notes.append("impairments: a table is simulated as the heaviest compound Poisson work it admits")
    if bool((path.rate_latency & (path.latencies > 0)).any()):
        notes.append("latency: a rate-latency guardrail is simulated as a delay of its whole latency")
    if path.dependent:
        notes.append(
            "dependence: domains that may depend on each other are driven by the same random numbers"
        )
    return notes
