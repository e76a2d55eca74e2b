"""TRE: Table I's settings and Figures 2, 3 and 4 of the paper, with the exact values beside the Monte-Carlo.

What is known of the paper's settings is used as it is: three exponential servers of rates 1, 1.15 and 1.25,
fixed shifts of 1.5 in all, loads .55 to .95, 6,000 packets from empty, 10,000 trials, the p99.9 of each trial
averaged, and an 18-step bisection on the admitted share α at 0.985 τ. Everything else is a choice, named
``CHOICE`` here and listed on the page of the documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.linalg import expm
from scipy.optimize import brentq

from fedopt.calculus.store_and_forward import least_bound, least_scale
from fedopt.laws import Poisson
from fedopt.papers.series import Series
from fedopt.papers.tre_shared import Shared, sample_quantiles
from fedopt.simulate import traffic
from fedopt.simulate.estimates import Estimate, estimate, top_size
from fedopt.simulate.requests import Delays, Stage, System, settling, simulate
from fedopt.simulate.splitting import TRIALS as SPLIT_TRIALS
from fedopt.simulate.splitting import violation

Figure = Callable[..., list[Series]]

RATES = (1.0, 1.15, 1.25)
SHIFTS = (0.5, 0.5, 0.5)  # CHOICE: the sum is given, its parts are not (they do not matter)
LOADS = (0.55, 0.65, 0.75, 0.85, 0.95)  # .65 is a CHOICE
PACKETS = 6_000
TRIALS, QUICK_TRIALS = 10_000, 200
SPLIT_REQUESTS = 20_000
PROBABILITY = 0.999
STEPS, SAFETY = 18, 0.985
DEADLINE = 40.0  # CHOICE, in mean service times of the first domain
VICTIM, BURSTY = 0.25, (0.15, 0.15, 0.15)  # CHOICE: packets per unit of time of four tenants
SHARES = (0.4, 0.2, 0.2, 0.2)  # CHOICE: of every domain's service rate
FACTORS = (1.0, 1.5, 2.0, 2.5, 3.0)  # CHOICE: rate in a burst over mean rate
BURST_SHARE, BURST_LENGTH = 0.2, 30.0  # CHOICE
DEGRADED_LOAD = 0.7  # CHOICE
DEGRADATIONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)  # CHOICE: loss of service rate
DOMAINS = ("access", "transport", "compute")


def figures() -> dict[str, Figure]:
    """The figures by name; each takes (trials, seed, quick)."""
    return {"table1": settings, "promise": promise, "fig2": admission, "fig3": isolation, "fig4": degradation}


# --- exact values: sojourns in the M/M/1 tandem are sums of exponentials (Burke, Reich) ---------------------


def exact_tail(delay: float, load: float, rates: tuple[float, ...]) -> float:
    """P(sojourn > ``delay``) of a Poisson stream of rate ``load`` through exponential servers, without
    shifts.

    The sojourn is a sum of independent exponentials of rates μ_d − λ; its tail is the phase-type expression
    (e^{Tt} 1)_1, which stays exact where rates agree. Raises ValueError where a server is overloaded.
    """
    decays = np.array(rates, dtype=float) - load
    if not (decays > 0).all():
        raise ValueError(f"load {load:g} is not below every service rate")
    generator = np.diag(-decays) + np.diag(decays[:-1], 1)
    return float(expm(generator * delay)[0].sum())


def exact_quantile(load: float, rates: tuple[float, ...], probability: float = 0.999) -> float:
    """The delay exceeded with probability 1 − ``probability``, without shifts."""
    slowest = min(rates) - load
    upper = 50.0 * len(rates) / slowest
    return float(
        brentq(lambda delay: exact_tail(delay, load, rates) - (1 - probability), 0.0, upper, xtol=1e-10)
    )


# --- the figures --------------------------------------------------------------------------------------------


def tandem(load: float, rates: tuple[float, ...] = RATES) -> System:
    """The paper's tandem with Poisson packets of rate ``load``, of exponential size drawn anew in each domain
    (the first server has rate 1)."""
    stages = tuple(Stage(rate, delay=shift) for rate, shift in zip(rates, SHIFTS, strict=True))
    return System(traffic.poisson(load), (traffic.exponential(1.0),) * len(rates), stages)


def _trials(system: System, trials: int, seed: int) -> Delays:
    """Short runs from empty, with what the p99.9 of each needs."""
    top = top_size(PACKETS, PROBABILITY)
    return simulate(system, PACKETS, trials=trials, top=top, cells=False, seed=seed)


def settings(trials: int = TRIALS, seed: int = 0, quick: bool = False) -> list[Series]:
    """Table I: the load and service rate of every domain, and the exact p99.9 that they imply."""
    points = tuple(float(i + 1) for i in range(len(RATES)))
    exact = tuple(exact_quantile(load, RATES) + sum(SHIFTS) for load in LOADS)
    return [
        Series("service rate", points, RATES, RATES, RATES, None, "domain", "packets per unit of time"),
        Series("fixed shift", points, SHIFTS, SHIFTS, SHIFTS, None, "domain", "units of time"),
        Series("exact p99.9", LOADS, exact, exact, exact, None, "load", "delay"),
    ]


def promise(trials: int = SPLIT_TRIALS, seed: int = 0, quick: bool = False) -> list[Series]:
    """The p99.9 of Table I's tandem as a deadline: what is proven, exact and simulated of it at every load.

    Bound: the image form of whole requests. Factor: on all service rates, where the bound meets 1e-3; the
    exact tail does at 1. Simulated by splitting, in so many trials.
    """
    count = min(16, trials) if quick else trials
    chain = np.array(RATES)
    bounds, tails, factors, found = [], [], [], []
    for load in LOADS:
        deadline = exact_quantile(load, RATES)
        law = Poisson(load, 1.0, exponential=True, per_stage=True)
        bounds.append(math.exp(least_bound(law, chain, deadline).log_bound))
        tails.append(exact_tail(deadline, load, RATES))
        factors.append(least_scale(law, chain, 10.0 * chain, deadline, math.log(1 - PROBABILITY))[0])
        system = tandem(load)
        rare = violation(
            system, deadline + sum(SHIFTS), requests=SPLIT_REQUESTS, warmup=settling(system, SPLIT_REQUESTS),
            trials=count, seed=seed,
        )  # fmt: skip
        found.append(Estimate(rare.probability, rare.error))
    axes = ("load", "P(delay > exact p99.9)")
    return [
        _line("bound", LOADS, bounds, axes),
        _line("exact tail", LOADS, tails, axes),
        _band("simulated", LOADS, found, axes),
        _line("factor on the rates", LOADS, factors, ("load", "proven over exact rate")),
    ]


def admission(trials: int = TRIALS, seed: int = 0, quick: bool = False) -> list[Series]:
    """Figure 2: p99.9 of best effort and of admission at the largest share α that keeps it at 0.985 τ."""
    count = QUICK_TRIALS if quick else trials
    best, managed, alphas = [], [], []
    for load in LOADS:
        found = _short_runs(load, count, seed)
        best.append(found)
        alpha = 1.0 if found.mean <= SAFETY * DEADLINE else _largest_share(load, count, seed)
        alphas.append(alpha)
        managed.append(found if alpha == 1.0 else _short_runs(alpha * load, count, seed))
    exact = [exact_quantile(load, RATES) + sum(SHIFTS) for load in LOADS]
    exact_managed = [
        exact_quantile(a * load, RATES) + sum(SHIFTS) for a, load in zip(alphas, LOADS, strict=True)
    ]
    axes = ("offered load", "p99.9 of the end-to-end delay")
    return [
        _band("best effort", LOADS, best, axes),
        _band("TRE-managed", LOADS, managed, axes),
        _line("deadline τ", LOADS, [DEADLINE] * len(LOADS), axes),
        _line("best effort, true p99.9", LOADS, exact, axes),
        _line("TRE-managed, true p99.9", LOADS, exact_managed, axes),
        _line("admitted share α", LOADS, alphas, (axes[0], "share of the packets")),
        _line(
            "finite-run estimate over true p99.9",
            LOADS,
            [e.mean / t for e, t in zip(best, exact, strict=True)],
            (axes[0], "ratio"),
        ),
    ]


def _short_runs(load: float, trials: int, seed: int) -> Estimate:
    return _trials(tandem(load), trials, seed).mean_quantile(PROBABILITY)


def _largest_share(load: float, trials: int, seed: int) -> float:
    """18 bisection steps on α, all on the same random numbers, so that the estimate is monotone in α."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _short_runs(middle * load, trials, seed).mean <= SAFETY * DEADLINE:
            low = middle
        else:
            high = middle
    return low


def isolation(trials: int = TRIALS, seed: int = 0, quick: bool = False) -> list[Series]:
    """Figure 3: the steady tenant's p99.9 while the three others burst together; one queue against
    reservations.
    """
    count = QUICK_TRIALS if quick else trials
    shared: list[Estimate] = []
    reserved: list[Estimate] = []
    bursty_shared: list[Estimate] = []
    bursty_reserved: list[Estimate] = []
    for factor in FACTORS:
        system = Shared.bursting(
            (VICTIM, *BURSTY), (False, True, True, True), factor, BURST_SHARE, BURST_LENGTH, RATES, SHARES
        )
        for tenant, one, own in ((0, shared, reserved), (1, bursty_shared, bursty_reserved)):
            trials_of = count if tenant == 0 else max(1, count // 4)
            found = sample_quantiles(system, PACKETS, tenant, trials_of, PROBABILITY, seed) + sum(SHIFTS)
            one.append(estimate(found[0]))
            own.append(estimate(found[1]))
    axes = ("burst rate over mean rate of the other tenants", "p99.9 of the end-to-end delay")
    alone = exact_quantile(VICTIM, tuple(SHARES[0] * rate for rate in RATES)) + sum(SHIFTS)
    return [
        _band("steady tenant, shared queue", FACTORS, shared, axes),
        _band("steady tenant, reservation", FACTORS, reserved, axes),
        _line("steady tenant, reservation, true p99.9", FACTORS, [alone] * len(FACTORS), axes),
        _band("bursting tenant, shared queue", FACTORS, bursty_shared, axes),
        _band("bursting tenant, reservation", FACTORS, bursty_reserved, axes),
    ]


def degradation(trials: int = TRIALS, seed: int = 0, quick: bool = False) -> list[Series]:
    """Figure 4: p99.9 while one domain loses service rate, and its share of the marginal attribution.

    A domain's marginal is the p99.9 that vanishes when its service takes no time; shares are marginals over
    their sum. The exact shares (from the exact quantiles) are drawn beside the estimates.
    """
    count = QUICK_TRIALS if quick else trials
    series = []
    for degraded, name in enumerate(DOMAINS):
        tails, shares, exact_shares = [], [], []
        for loss in DEGRADATIONS:
            rates = tuple(rate * (1 - loss) if d == degraded else rate for d, rate in enumerate(RATES))
            whole, samples = _marginals(rates, count, seed)
            tails.append(whole)
            shares.append(_share(samples, degraded))
            exact = np.array(
                [
                    exact_quantile(DEGRADED_LOAD, rates)
                    - exact_quantile(DEGRADED_LOAD, tuple(r for j, r in enumerate(rates) if j != d))
                    for d in range(len(rates))
                ]
            )
            exact_shares.append(float(exact[degraded] / exact.sum()))
        axes = (f"loss of service rate in {name}", "p99.9 of the end-to-end delay")
        part = (axes[0], "share of the attribution")
        series.append(_band(f"{name} degraded: p99.9", DEGRADATIONS, tails, axes))
        series.append(_band(f"{name} degraded: attributed to {name}", DEGRADATIONS, shares, part))
        series.append(
            _line(f"{name} degraded: attributed to {name}, exact", DEGRADATIONS, exact_shares, part)
        )
    return series


def _marginals(rates: tuple[float, ...], trials: int, seed: int) -> tuple[Estimate, np.ndarray]:
    """The tandem's p99.9 and, per trial and domain, what vanishes when the domain takes no time."""
    whole = tandem(DEGRADED_LOAD, rates)
    run = _trials(whole, trials, seed)
    columns = []
    for d in range(len(rates)):
        sizes = tuple(traffic.deterministic(0.0) if j == d else law for j, law in enumerate(whole.sizes))
        without = _trials(replace(whole, sizes=sizes), trials, seed)
        columns.append(run.quantiles(PROBABILITY) - without.quantiles(PROBABILITY))
    return run.mean_quantile(PROBABILITY), np.stack(columns, axis=1)


def _share(samples: np.ndarray, domain: int) -> Estimate:
    """A domain's mean marginal over the sum of all, with the standard error of the ratio."""
    means = samples.mean(axis=0)
    share = float(means[domain] / means.sum())
    residual = samples[:, domain] - share * samples.sum(axis=1)
    error = float(residual.std(ddof=1) / np.sqrt(residual.size) / means.sum()) if residual.size > 1 else 0.0
    return Estimate(share, error)


def _band(label: str, x: tuple[float, ...], values: list[Estimate], axes: tuple[str, str]) -> Series:
    means = tuple(value.mean for value in values)
    low, high = zip(*(value.interval() for value in values), strict=True)
    return Series(label, x, means, low, high, None, *axes)


def _line(label: str, x: tuple[float, ...], values: list[float], axes: tuple[str, str]) -> Series:
    exact = tuple(float(value) for value in values)
    return Series(label, x, exact, exact, exact, None, *axes)
