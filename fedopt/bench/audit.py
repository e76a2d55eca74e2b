"""Coverage of the audit's intervals at exact quantiles of many kinds of series, and the power of its drift
test; pyextremes (or scipy's fit of the same law) and a moving-block bootstrap beside it.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.signal import lfilter

from fedopt.audit import Promise, Settings, audit
from fedopt.audit.auditing import judge
from fedopt.audit.counts import count_above, few_clusters
from fedopt.audit.sample import Collector
from fedopt.bench.row import Row
from fedopt.kernels import kernel

PROBABILITIES = (0.99, 0.999, 0.9999)
WARM_UP = 20_000
CONFIDENCE = 0.95
BOOTSTRAPS = 200

Draw = Callable[[np.random.Generator, int], np.ndarray]
Survival = Callable[[float], float]


def sojourns(gaps: np.ndarray, work: np.ndarray) -> np.ndarray:
    """Sojourn times of a single server in order of arrival, after a warm-up; gaps lie before each request."""
    steps = np.concatenate([[0.0], work[:-1] - gaps[1:]])
    walk = np.cumsum(steps)
    return np.asarray((walk - np.minimum.accumulate(walk) + work)[WARM_UP:])


def _queue(gap: Draw, work: Draw) -> Draw:
    return lambda rng, n: sojourns(gap(rng, n + WARM_UP), work(rng, n + WARM_UP))


def _exponential(rng: np.random.Generator, n: int, rate: float = 1.0) -> np.ndarray:
    return rng.exponential(1 / rate, n)


def _interrupted(rng: np.random.Generator, n: int) -> np.ndarray:
    """Gaps of a Poisson process of rate 1.2 that is on and off half of the time, 10 units on average."""
    fast, slow, share = _interrupted_phases()
    return np.where(rng.random(n) < share, rng.exponential(1 / fast, n), rng.exponential(1 / slow, n))


def _interrupted_phases() -> tuple[float, float, float]:
    rate, off, on = 1.2, 0.1, 0.1
    slow, fast = np.sort(np.roots([1.0, -(rate + off + on), rate * on]))
    return float(fast), float(slow), float((rate - slow) / (fast - slow))


def _sojourn_rate(transform: Callable[[float], float]) -> float:
    """The rate of the exponential sojourn time of a queue with exponential work of mean 1 and renewal
    arrivals of this Laplace transform."""
    return float(brentq(lambda left: 1 - left - transform(left), 1e-9, 1 - 1e-12))


def _interrupted_transform(s: float) -> float:
    fast, slow, share = _interrupted_phases()
    return share * fast / (fast + s) + (1 - share) * slow / (slow + s)


def _queue_survival(
    load: float, work: Callable[[np.ndarray], np.ndarray], excess: Callable[[np.ndarray], np.ndarray]
) -> Survival:
    """P(sojourn > x) under Poisson arrivals by Pollaczek and Khinchine's sum on a fine grid.

    work, excess: P(work ≤ x) and P(residual work ≤ x), mean work 1.
    """
    step, size = 0.01, 1 << 21
    edges = (np.arange(size + 1) - 0.5).clip(0) * step
    one, rest = (np.diff(law(edges), prepend=0.0)[1:] for law in (work, excess))
    waiting = (1 - load) / (1 - load * np.fft.rfft(rest))
    mass = np.fft.irfft(waiting * np.fft.rfft(one), size)
    above = np.concatenate([[1.0], 1 - np.cumsum(mass)])
    return lambda x: float(np.interp(x, (np.arange(size + 1) - 0.5) * step, above))


def _lognormal_excess(x: np.ndarray) -> np.ndarray:
    """P(residual ≤ x) of log-normal work of location −1/2 and scale 1: (E min(S, x))/E S."""
    with np.errstate(divide="ignore"):
        z = np.log(x) + 0.5
    return np.asarray(stats.norm.cdf(z - 1) + x * stats.norm.sf(z))


def _autoregressive(rng: np.random.Generator, n: int) -> np.ndarray:
    noise = rng.standard_normal(n + WARM_UP) * math.sqrt(1 - 0.81)
    return np.asarray(-stats.norm.logsf(lfilter([1.0], [1.0, -0.9], noise)[WARM_UP:]))


@kernel
def _garch_path(noise: np.ndarray) -> np.ndarray:
    found = np.empty(noise.size)
    variance = 1.0
    for i in range(noise.size):
        found[i] = abs(noise[i]) * math.sqrt(variance)
        variance = 0.05 + 0.10 * found[i] * found[i] + 0.85 * variance
    return found


def _garch(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.asarray(_garch_path(rng.standard_normal(n + WARM_UP))[WARM_UP:])


def _garch_survival() -> Survival:
    ordered = np.sort(_garch(np.random.default_rng(20_260_103), 20_000_000))
    return lambda x: float(1 - np.searchsorted(ordered, x, side="right") / ordered.size)


@kernel
def _max_path(values: np.ndarray, keep: float) -> np.ndarray:
    found = values.copy()
    for i in range(1, values.size):
        found[i] = max(keep * found[i - 1], (1 - keep) * values[i])
    return found


def _armax(rng: np.random.Generator, n: int) -> np.ndarray:
    """Maxima of Fréchet noise that decays by a fifth a step (extremal index 0.2), to the power 0.3."""
    frechet = 1 / rng.exponential(1.0, n + WARM_UP)
    return np.asarray(_max_path(frechet, 0.8)[WARM_UP:] ** 0.3)


def _mixture(share: float, high: float, scale: float = 0.01, body: Draw = _exponential) -> Draw:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.where(rng.random(n) < share, high * (1 + scale * rng.standard_normal(n)), body(rng, n))

    return draw


def _mixture_survival(share: float, high: float, body: Survival = lambda x: math.exp(-x)) -> Survival:
    return lambda x: share * float(stats.norm.sf(x, high, 0.01 * high)) + (1 - share) * body(x)


def _lognormal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.lognormal(0.0, 0.5, n)


def _lognormal_survival(x: float) -> float:
    return float(stats.norm.sf(math.log(x) / 0.5))


def _lost(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.01, np.inf, rng.exponential(1.0, n))


def _decay(rate: float) -> Callable[[], Survival]:
    return lambda: lambda x: math.exp(-rate * x)


def _poisson(load: float) -> Draw:
    return partial(_exponential, rate=load)


SERIES: dict[str, tuple[Draw, Callable[[], Survival]]] = {
    "exponential": (_exponential, _decay(1.0)),
    "M/M/1 .8": (_queue(_poisson(0.8), _exponential), _decay(0.2)),
    "M/M/1 .9": (_queue(_poisson(0.9), _exponential), _decay(0.1)),
    "M/M/1 .95": (_queue(_poisson(0.95), _exponential), _decay(0.05)),
    "D/M/1 .9": (
        _queue(lambda rng, n: np.full(n, 1 / 0.9), _exponential),
        lambda: _decay(_sojourn_rate(lambda s: math.exp(-s / 0.9)))(),
    ),
    "interrupted Poisson .6": (
        _queue(_interrupted, _exponential),
        lambda: _decay(_sojourn_rate(_interrupted_transform))(),
    ),
    "log-normal service .7": (
        _queue(_poisson(0.7), lambda rng, n: rng.lognormal(-0.5, 1.0, n)),
        lambda: _queue_survival(
            0.7, lambda x: stats.lognorm.cdf(x, 1.0, scale=math.exp(-0.5)), _lognormal_excess
        ),
    ),
    "Pareto service .6": (
        _queue(_poisson(0.6), lambda rng, n: 1.5 * rng.pareto(2.5, n)),
        lambda: _queue_survival(
            0.6, lambda x: 1 - (1 + x / 1.5) ** -2.5, lambda x: 1 - (1 + x / 1.5) ** -1.5
        ),
    ),
    "AR(1) .9": (_autoregressive, _decay(1.0)),
    "ARMAX .8": (_armax, lambda: lambda x: -math.expm1(-(x ** (-1 / 0.3)))),
    "GARCH": (_garch, _garch_survival),
    "mixture 5 %": (
        _mixture(0.05, 30.0, body=_lognormal),
        lambda: _mixture_survival(0.05, 30.0, _lognormal_survival),
    ),
    "mixture 0.3 %": (
        _mixture(0.003, 30.0, body=_lognormal),
        lambda: _mixture_survival(0.003, 30.0, _lognormal_survival),
    ),
    "mixture 0.05 %": (
        _mixture(0.0005, 30.0, body=_lognormal),
        lambda: _mixture_survival(0.0005, 30.0, _lognormal_survival),
    ),
    "hangs 0.03 %": (_mixture(0.0003, 1e4), lambda: _mixture_survival(0.0003, 1e4)),
    "capped at p99.95": (
        lambda rng, n: np.minimum(rng.exponential(1.0, n), -math.log(0.0005)),
        _decay(1.0),
    ),
    "integers": (lambda rng, n: np.rint(rng.exponential(8.0, n)), _decay(1 / 8)),
    "1 % lost": (_lost, lambda: lambda x: 0.01 + 0.99 * math.exp(-x)),
}
"""How each series is drawn, and P(delay > x)."""


def levels(name: str) -> list[tuple[float, float, float]]:
    """(nominal p, level, P(delay > level)) of a series at p99, p99.9 and p99.99.

    Of lost requests the share 1 − p is that of the answered ones that are late; whole numbers are judged
    between two of them.
    """
    survival = SERIES[name][1]()
    found = []
    for p in PROBABILITIES:
        tail = (1 - p) if name != "1 % lost" else 0.01 + 0.99 * (1 - p)
        high = 1.0
        while survival(high) > tail:
            high *= 2
        level = float(brentq(lambda x, tail=tail: survival(x) - tail, high / 2, high, xtol=1e-10 * high))
        if name == "integers":
            level = math.floor(level) + 0.5
        found.append((p, level, survival(level)))
    return found


def rows(name: str, samples: int, replications: int, seed: int = 0, beside: bool = False) -> list[Row]:
    """One series at p99, p99.9 and p99.99, 95 % intervals.

    covered: of the quantile; unmarked, of_them_covered: how many intervals bear no mark and the share of
    them that cover; width: median width over the quantile; false_kept, false_broken: verdicts on a promise
    that holds with equality; upper_over_truth: median upper end of P(late) over the truth. beside: also of
    what people use instead.
    """
    draw, wanted = SERIES[name][0], levels(name)
    tails = tuple(1 - tail for _, _, tail in wanted)
    found: dict[float, dict[str, list[float]]] = {p: defaultdict(list) for p in PROBABILITIES}
    seconds = 0.0
    for replication in range(replications):
        values = draw(np.random.default_rng([seed, 2, replication]), samples)
        begin = time.perf_counter()
        try:
            result = audit(values, Promise(deadline=wanted[1][1], epsilon=wanted[1][2]), Settings(tails))
        except ValueError:  # refused: no interval, no verdict
            for p in PROBABILITIES:
                found[p]["refused"].append(1.0)
            continue
        seconds += time.perf_counter() - begin
        collector = Collector()
        collector.add(values)
        sample = collector.sample()
        others = _beside(values, tails, seed + replication) if beside else {}
        for place, (p, level, tail) in enumerate(wanted):
            row = result.quantiles[f"{1 - tail:.12g}"]
            low, high = (
                limit if end is None else end
                for end, limit in zip(row.interval, (-math.inf, math.inf), strict=True)
            )
            counted = count_above(sample, level)
            above = counted.interval(CONFIDENCE)[1]
            add = found[p]
            at = level if name != "integers" else math.ceil(level)
            add["covered"].append(low <= at <= high)
            add["marked"].append(row.warning is not None or row.at_least)
            add["width"].append((high - low) / level)
            verdict = judge(counted, tail, CONFIDENCE)
            add["false_kept"].append(verdict == "kept")
            add["false_broken"].append(verdict == "broken")
            add["verdict_marked"].append(few_clusters(counted) is not None)
            add["upper_over_truth"].append(above / tail)
            for peer, ends in others.items():
                add[f"{peer}_covered"].append(ends[place][0] <= level <= ends[place][1])
                add[f"{peer}_width"].append((ends[place][1] - ends[place][0]) / level)
    return [_row(f"{name}, n {samples:,}, p{100 * p:g}", found[p], seconds / replications) for p in found]


def _row(case: str, found: dict[str, list[float]], seconds: float) -> Row:
    marked = np.array(found.pop("marked", []), dtype=bool)
    covered = np.array(found["covered"])
    more: dict[str, object] = {
        "unmarked": int((~marked).sum()),
        "of_them_covered": float(covered[~marked].mean()) if (~marked).any() else "–",
    }
    for name, values in found.items():
        wide = name.endswith("width") or name == "upper_over_truth"
        more[name] = (
            float(np.median(values) if wide else np.mean(values)) if name != "refused" else len(values)
        )
    return Row(case, seconds, more=more)


def _beside(values: np.ndarray, tails: Sequence[float], seed: int) -> dict[str, list[tuple[float, float]]]:
    """Intervals of the quantiles as others find them, each a list by quantile."""
    known = np.where(np.isfinite(values), values, np.nanmax(values[np.isfinite(values)]))
    return {"peaks": _peaks(known, tails, seed), "blocks": _blocks(known, tails, seed)}


def _peaks(values: np.ndarray, tails: Sequence[float], seed: int) -> list[tuple[float, float]]:
    """Peaks over the 95 % quantile by pyextremes with its bootstrap (which takes no seed), all excesses
    independent; by scipy's fit and the same bootstrap where pyextremes is not installed."""
    threshold = float(np.quantile(values, 0.95))
    try:
        import pandas as pd
        from pyextremes import EVA
    except ImportError:
        excess, rng = values[values > threshold] - threshold, np.random.default_rng(seed)
        depth = np.array([1 - (1 - p) * values.size / excess.size for p in tails])
        ends = []
        for _ in range(BOOTSTRAPS // 4):
            shape, _, scale = stats.genpareto.fit(rng.choice(excess, excess.size), floc=0)
            ends.append(threshold + stats.genpareto.ppf(depth, shape, scale=scale))
        return list(zip(*np.quantile(ends, [0.025, 0.975], axis=0).tolist(), strict=True))
    series = pd.Series(values, index=pd.date_range("2000-01-01", periods=values.size, freq="s"))
    model = EVA(series)
    model.get_extremes("POT", threshold=threshold, r="1ms")
    model.fit_model("MLE", distribution="genpareto")
    _, low, high = model.get_return_value(
        [1 / (1 - p) for p in tails], return_period_size="1s", alpha=CONFIDENCE, n_samples=BOOTSTRAPS // 4
    )
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _blocks(values: np.ndarray, tails: Sequence[float], seed: int) -> list[tuple[float, float]]:
    """Percentile intervals of sample quantiles over resampled blocks of √n consecutive values."""
    rng, size = np.random.default_rng(seed), math.ceil(math.sqrt(values.size))
    offsets = np.arange(size)
    found = []
    for _ in range(BOOTSTRAPS):
        starts = rng.integers(0, values.size - size + 1, math.ceil(values.size / size))
        again = values[(starts[:, None] + offsets).ravel()[: values.size]]
        found.append(np.quantile(again, tails))
    return list(zip(*np.quantile(found, [0.025, 0.975], axis=0).tolist(), strict=True))
