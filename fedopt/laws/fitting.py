"""Envelopes from records, with a confidence level, limits of what a record can say, and a held-out check.

For a window of n slots let L_n(θ) = log E e^{θ·work}. From the windows of a record it is estimated by the
log-mean, and bounded above *simultaneously* over all θ and n at the chosen confidence by a block bootstrap:
the record is cut into blocks much longer than the windows, means over blocks are resampled, and the largest
standardised excess over all (θ, n) gives the factor of the band. ρ is the slope of the band at the longest
window, σ the least burst that puts every shorter one below the line.

A mean of e^{θ·work} that a handful of blocks decides says nothing: θ is *supported* while the blocks'
effective number (Σm)²/Σm² stays above ``MIN_EFFECTIVE``, and while the slots at the largest work seen bring
at most ``MAX_SHARE_OF_LARGEST``: ties at the maximum are no bounded support, and what was not seen would
bring as much. Unsupported θ are left out, with a warning. Where the work of a slot cannot exceed a ``bound``
that is declared, larger θ follow from the last supported one: log-moments are convex and rise by at most the
bound. What was measured on windows up to the longest is taken to go on in proportion beyond it: the one
assumption that no record can check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from fedopt.laws.fitting_record import Record
from fedopt.laws.table import Table

MIN_EFFECTIVE = 12.0
MIN_BLOCKS = 20
MAX_SHARE_OF_LARGEST = 1 / 24
ALWAYS_SUPPORTED = 0.7
"""θ times the largest work up to which the slots at it bring at most twice their own share of the mean."""
BLOCKS = 60
HEAVY = 0.1
"""Tail index ξ from which on a warning is given; two standard errors are taken off first."""


@dataclass(frozen=True)
class HeldOut:
    """Whether an envelope bounds a part of the record that it was not fitted to.

    ``excess`` is the largest L_n(θ) − (θρn + θσ) over all θ and n, in nats (negative: room), ``error`` its
    standard error by blocks; the envelope holds unless the excess is positive by more than two standard
    errors.
    """

    excess: float
    error: float
    theta: float
    window: int

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts the envelope."""
        return not self.excess > 2 * self.error


@dataclass(frozen=True)
class Fit:
    """A fitted envelope, in slots.

    Attributes:
        theta: supported tilts, 1/work, ascending, positive; shape (G,).
        rho, sigma: work per slot and work, at each tilt.
        negative_theta, negative_log_moment: tilts below 0 and the upper bound of a slot's log-moment there.
        request_size: work that, added to σ, covers what a request finds more than an instant does.
        independent: whether the work was declared i.i.d. per slot (σ = 0, log-moments of single slots).
        mean: mean work per slot of the record.
        confidence: of the simultaneous band.
        windows: longest window measured, in slots; ``blocks``: number of bootstrap blocks.
        warnings: what a reader must know.
        held_out: the check on the part of the record left out, if any.
    """

    theta: np.ndarray
    rho: np.ndarray
    sigma: np.ndarray
    negative_theta: np.ndarray
    negative_log_moment: np.ndarray
    request_size: float
    independent: bool
    mean: float
    confidence: float
    windows: int
    blocks: int
    warnings: tuple[str, ...] = ()
    held_out: HeldOut | None = field(default=None)

    def table(self) -> Table:
        """The envelope as the calculus takes it, in slots."""
        grid, rates = self.theta, self.theta * self.rho
        bursts = self.theta * self.sigma
        bias = self.theta * self.request_size
        if self.independent:
            grid = np.concatenate([self.negative_theta, grid])
            rates = np.concatenate([self.negative_log_moment, rates])
            bursts = np.concatenate([np.zeros(self.negative_theta.size), bursts])
            bias = np.concatenate([np.zeros(self.negative_theta.size), bias])
        return Table(grid, rates, bursts, bias, independent_increments=self.independent)

    def arrivals(self, slot: float) -> dict[str, Any]:
        """The arrivals model of an instance: rates per unit of time.

        An instance wants a request size above 0 wherever a promise speaks of requests; where σ covers what
        requests find, a negligible one is stated.
        """
        return {
            "model": "envelope",
            "theta": self.theta.tolist(),
            "rho": (self.rho / slot).tolist(),
            "sigma": self.sigma.tolist(),
            "independent_increments": self.independent,
            "request_size": max(self.request_size, 1e-9 * self.mean),
            "basis": "fitted",
            "confidence": self.confidence,
        }

    def impairment(self, slot: float) -> dict[str, Any]:
        """The impairment model of an instance: rates per unit of time; log-moments at θ < 0 as θκ(θ)."""
        theta = np.concatenate([self.negative_theta, self.theta])
        below = self.negative_log_moment / self.negative_theta
        return {
            "model": "table",
            "theta": theta.tolist(),
            "kappa": (np.concatenate([below, self.rho]) / slot).tolist(),
            "eta": np.concatenate([np.zeros(below.size), self.sigma]).tolist(),
            "monotone": True,
            "independent_increments": self.independent,
            "basis": "fitted",
            "confidence": self.confidence,
        }


def fit(
    record: Record,
    *,
    theta: Sequence[float] | None = None,
    confidence: float = 0.95,
    windows: int | None = None,
    independent: bool = False,
    hold_out: float = 0.0,
    bootstraps: int = 2_000,
    seed: int = 0,
    bound: float | None = None,
) -> Fit:
    """Fit an envelope to a record.

    Args:
        record: work per slot.
        theta: tilts, 1/work, positive; default a geometric grid as far as the record supports it.
        confidence: of the simultaneous band over all tilts and windows.
        windows: longest window in slots; default a hundredth of the record, at most 4,096.
        independent: declare the work i.i.d. per slot: only single slots are measured, and σ = 0.
        hold_out: share of the record, at its end, that is left out of the fit and checked against it.
        bootstraps: resamplings; seed: of them.
        bound: the work of a slot never exceeds it (declared; None: no bound is known).

    Raises:
        ValueError: for a record with too few slots, or one that supports no tilt asked for.
    """
    if not 0 < confidence < 1 or not 0 <= hold_out < 1:
        raise ValueError(
            f"confidence must lie in (0, 1) and hold_out in [0, 1), got {confidence}, {hold_out}"
        )
    used, rest = record.split(1 - hold_out) if hold_out > 0 else (record, None)
    if used.slots < MIN_BLOCKS * 2 or used.mean <= 0:
        raise ValueError(
            f"the record has {used.slots} slots and mean work {used.mean:g}; that is too little to fit"
        )
    lengths = np.array([1]) if independent else _lengths(_longest(used, windows))
    asked = np.sort(np.asarray(theta, dtype=float)) if theta is not None else _default_grid(used)
    if not (asked > 0).all():
        raise ValueError("tilts must be positive; those below 0 are chosen from them")
    block = max(2 * int(lengths[-1]), -(-used.slots // BLOCKS), 1)
    largest = max(float(segment.work.max()) for segment in record.segments)
    if bound is not None and not bound >= largest:
        raise ValueError(f"a slot holds {largest:g} work, more than the bound {bound:g}")
    log_mean, means, counts = _block_means(used, asked, lengths, block)
    blocks = means.shape[0]
    warnings: list[str] = []
    if blocks < MIN_BLOCKS:
        warnings.append(
            f"only {blocks} blocks of {block} slots: the band is rough; shorten the windows or record longer"
        )
    part = means * counts[:, :, None]
    effective = part.sum(axis=0) ** 2 / (part**2).sum(axis=0)  # (n, θ)
    supported = (effective >= min(MIN_EFFECTIVE, 0.6 * blocks)).all(axis=0)
    share = _share_of_largest(used, asked, log_mean[0])
    supported &= (share <= MAX_SHARE_OF_LARGEST) | (asked * largest <= ALWAYS_SUPPORTED)
    last = int(np.argmin(supported)) if not supported.all() else supported.size
    if last == 0:
        raise ValueError(
            f"the record is too short for every tilt asked for (from {asked[0]:g}): a few blocks decide "
            "the mean"
        )
    if bound is None:
        warnings.extend(_heavy_warning(used))
    if last < asked.size and bound is None:
        warnings.append(
            f"the record is too short for θ above {asked[last - 1]:.4g}: there fewer than "
            f"{MIN_EFFECTIVE:g} blocks, or the largest work seen, decide the mean of e^(θ·work); "
            "those tilts are left out (--bound, where the largest work of a slot is known, allows more)"
        )
    negative = -asked[:last][::-1]
    below_mean, below_means, below_counts = _block_means(used, negative, np.array([1]), block)
    flat = np.concatenate([means[:, :, :last].reshape(blocks, -1), below_means[:, 0]], axis=1)
    weight = np.concatenate(
        [np.repeat(counts, last, axis=1), np.repeat(below_counts, negative.size, axis=1)], axis=1
    )
    raised = _band(flat, weight, confidence, bootstraps, seed)
    band = log_mean[:, :last] + raised[: -negative.size].reshape(lengths.size, last)
    below = np.minimum(below_mean[0] + raised[-negative.size :], 0.0)
    tilts = asked[:last]
    if bound is not None:  # log-moments are convex in θ and rise by at most the bound
        beyond = bound * lengths[:, None] * (asked[last:] - tilts[-1])
        tilts, band = asked, np.concatenate([band, band[:, -1:] + beyond], axis=1)
    # (1/θ) log E e^{θ·work} grows with θ (Jensen), so the band of a larger tilt serves a smaller one
    positive = np.minimum.accumulate((band / tilts)[:, ::-1], axis=1)[:, ::-1] * tilts
    rate = positive[-1] / lengths[-1]
    credit = np.concatenate([[1], lengths[:-1] + 1])[:, None] * rate
    burst = np.zeros(tilts.size) if independent else np.maximum((positive - credit).max(axis=0), 0.0)
    # below the tilt of least rate that tilt's rate and burst serve: a table's chord to (0, 0) says the same
    first = int(np.argmin(np.round(rate / tilts, 12)[::-1]))
    first = tilts.size - 1 - first
    tilts, rate, burst = tilts[first:], rate[first:], burst[first:]
    found = Fit(
        theta=tilts,
        rho=rate / tilts,
        sigma=burst / tilts,
        negative_theta=negative,
        negative_log_moment=below,
        request_size=_request_size(used, tilts, lengths, rate, burst),
        independent=independent,
        mean=used.mean,
        confidence=confidence,
        windows=int(lengths[-1]),
        blocks=blocks,
        warnings=tuple(warnings + _dependence_warning(used, independent) + _gap_warning(used)),
    )
    if rest is None:
        return found
    return Fit(**{**vars(found), "held_out": check(found, rest)})


def check(fitted: Fit, record: Record) -> HeldOut:
    """Compare a fitted envelope with a record, at all its tilts and at windows up to its longest."""
    longest = min(max(fitted.windows, 1), max(1, record.slots // 20))
    lengths = _lengths(longest)
    block = max(2 * longest, -(-record.slots // BLOCKS), 1)
    log_mean, means, counts = _block_means(record, fitted.theta, lengths, block)
    line = fitted.theta * (fitted.rho * lengths[:, None] + fitted.sigma)
    excess = log_mean - line
    n, g = np.unravel_index(int(np.argmax(excess)), excess.shape)
    cells = means[:, n, g] * counts[:, n] / counts[:, n].mean()
    error = float(cells.std(ddof=1) / math.sqrt(cells.size) / cells.mean()) if cells.size > 1 else math.inf
    return HeldOut(float(excess[n, g]), error, float(fitted.theta[g]), int(lengths[n]))


def _longest(record: Record, windows: int | None) -> int:
    shortest = min(segment.work.size for segment in record.segments)
    longest = max(1, min(record.slots // 100, 4_096, shortest)) if windows is None else windows
    if not 1 <= longest <= shortest:
        raise ValueError(f"windows of {longest} slots do not fit into a segment of {shortest} slots")
    return longest


def _lengths(longest: int) -> np.ndarray:
    """Window lengths 1 … 8, then rising by a third, up to ``longest``."""
    lengths = list(range(1, min(longest, 8) + 1))
    while lengths[-1] < longest:
        lengths.append(min(max(lengths[-1] * 4 // 3, lengths[-1] + 1), longest))
    return np.array(lengths)


def _default_grid(record: Record) -> np.ndarray:
    scale = 1.0 / (record.mean + record.deviation)
    return scale * np.geomspace(1e-4, 100.0, 49)


def _block_means(
    record: Record, theta: np.ndarray, lengths: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log-means of e^{θ·work} over all windows, (n, θ); the blocks' means relative to them, (blocks, n, θ);
    and how many windows each block has, (blocks, n).
    """
    sums, counts = [], []
    for segment in record.segments:
        total = np.concatenate([[0.0], np.cumsum(segment.work)])
        pieces = max(1, round(segment.work.size / block))
        edges = np.linspace(0, segment.work.size, pieces + 1).astype(int)
        for a, b in pairwise(edges):
            sums.append([total[n:][a:b] - total[:-n][a:b] for n in lengths])
            counts.append([values.size for values in sums[-1]])
    tops = [max((float(s[i].max()) for s in sums if s[i].size), default=0.0) for i in range(lengths.size)]
    means = np.zeros((len(sums), lengths.size, theta.size))
    for k, windows in enumerate(sums):
        for i, values in enumerate(windows):
            if values.size:
                shift = np.where(theta > 0, theta * tops[i], 0.0)
                means[k, i] = np.exp(np.outer(values, theta) - shift).mean(axis=0)
    weight = np.array(counts, dtype=float)[:, :, None]
    pooled = (means * weight).sum(axis=0) / weight.sum(axis=0)
    log_mean = np.log(pooled) + np.where(theta > 0, theta * np.array(tops)[:, None], 0.0)
    return log_mean, means / pooled, weight[:, :, 0]


def _band(means: np.ndarray, weight: np.ndarray, confidence: float, bootstraps: int, seed: int) -> np.ndarray:
    """What to add to each log-mean for a simultaneous upper bound, from block means and the windows that they
    are taken over, both (blocks, cells).

    Blocks differ in length, so that a resampled mean is a ratio: weighted sum over weights.
    """
    blocks = means.shape[0]
    if blocks < 2:
        return np.full(means.shape[1], np.inf)
    unbias = math.sqrt(blocks / (blocks - 1))
    error = unbias * np.sqrt((weight**2 * (means - 1) ** 2).sum(axis=0)) / weight.sum(axis=0)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=bootstraps).astype(float)
    total = drawn @ weight
    resampled = (drawn @ (weight * means)) / total
    # how far a resampled mean falls below the record's, in its own errors: so far may the truth lie above
    squares = drawn @ (weight * means) ** 2 - 2 * resampled * (drawn @ (weight**2 * means))
    squares += resampled**2 * (drawn @ weight**2)
    own = unbias * np.sqrt(np.maximum(squares, 0.0)) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        shortfall = np.where(own > 1e-12, (1.0 - resampled) / own, 0.0)
    factor = float(np.quantile(shortfall.max(axis=1), confidence))
    return np.log1p(max(factor, 0.0) * error)


def _share_of_largest(record: Record, theta: np.ndarray, log_mean: np.ndarray) -> np.ndarray:
    """The part of the mean of e^{θ·work of a slot} that slots at the largest work seen bring; shape (θ,).

    None where the largest is plainly all that a slot can hold: in one slot of twenty and more, and a third as
    often as the next lower work (counts of requests thin out far faster towards their largest).
    """
    work = np.concatenate([segment.work for segment in record.segments])
    levels, count = np.unique(work, return_counts=True)
    largest = float(levels[-1])
    if count[-1] >= work.size / 20 and (count.size < 2 or count[-1] >= count[-2] / 3):
        return np.zeros(theta.size)
    return np.exp(math.log(np.mean(work == largest)) + theta * largest - log_mean)


def _heavy_warning(record: Record) -> list[str]:
    """A warning where the work of a slot has a power tail, of which no exponential moment exists.

    By the moment estimator of the tail index (Dekkers, Einmahl and de Haan 1989) from the largest √n·2
    values.
    """
    work = np.sort(np.concatenate([segment.work for segment in record.segments]))
    count = min(int(2 * math.sqrt(work.size)), work.size // 10)
    if count < 20 or not work[-count - 1] > 0 or np.unique(work[-count:]).size < count / 2:
        return []
    logs = np.log(work[-count:]) - math.log(work[-count - 1])
    first, second = float(logs.mean()), float((logs**2).mean())
    if not second > first**2:
        return []
    index = first + 1 - 0.5 / (1 - first**2 / second)
    if index - 2 * math.sqrt((1 + index**2) / count) < HEAVY:
        return []
    return [
        f"the work of a slot has a power tail (index ξ about {index:.2f}): E e^(θ·work) exists for no θ, and "
        "what is fitted says only that the record held nothing larger; declare the largest possible work of "
        "a slot with --bound"
    ]


def _gap_warning(record: Record) -> list[str]:
    """A warning for a silence far longer than any other: an outage, or a gap in the record."""
    lengths: list[tuple[int, int]] = []
    seen = 0
    for segment in record.segments:
        empty = np.concatenate([[0], (segment.requests == 0).astype(int), [0]])
        edges = np.flatnonzero(np.diff(empty))
        lengths += [(int(b - a), seen + int(a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        seen += segment.work.size
    lengths.sort(reverse=True)
    if len(lengths) < 10:
        return []
    longest, start = lengths[0]
    usual = float(np.mean([length for length, _ in lengths[1:6]]))
    if longest < 50 or longest < 10 * usual:
        return []
    return [
        f"no request came for {longest:,} slots from slot {start:,} on, {longest / usual:.0f} times the usual"
        " longest silence: an outage or a gap in the record, which lowers the mean and the envelope; leave "
        "that time out"
    ]


def _request_size(
    record: Record, theta: np.ndarray, lengths: np.ndarray, rate: np.ndarray, burst: np.ndarray
) -> float:
    """Least B such that windows that end where requests come stay below the line raised by θB."""
    worst = 0.0
    for i, n in enumerate(lengths):
        credit = (1 if i == 0 else int(lengths[i - 1]) + 1) * rate
        top, log_sum, total = 0.0, np.full(theta.size, -np.inf), 0.0
        for segment in record.segments:
            sums = np.concatenate([[0.0], np.cumsum(segment.work)])
            values = sums[n:] - sums[:-n]
            weight = segment.requests[n - 1 :]
            if not weight.any():
                continue
            top = float(values[weight > 0].max())
            powers = np.exp(np.outer(values - top, theta)) * weight[:, None]
            here = np.log(powers.sum(axis=0)) + theta * top
            log_sum = np.logaddexp(log_sum, here)
            total += float(weight.sum())
        if total > 0:
            excess = log_sum - math.log(total) - credit - burst
            worst = max(worst, float((excess / theta).max()))
    return worst


def _dependence_warning(record: Record, independent: bool) -> list[str]:
    """A warning where work was declared i.i.d. but neighbouring slots are correlated beyond chance."""
    if not independent:
        return []
    pairs = sum(max(segment.work.size - 1, 0) for segment in record.segments)
    deviation = record.deviation
    if pairs < 2 or deviation == 0:
        return []
    mean = record.mean
    products = sum(float(((s.work[1:] - mean) * (s.work[:-1] - mean)).sum()) for s in record.segments)
    correlation = products / pairs / deviation**2
    if abs(correlation) * math.sqrt(pairs) < 4:
        return []
    return [
        f"work was declared independent from slot to slot, but neighbouring slots have correlation "
        f"{correlation:.2f}: the envelope is likely too low; fit without declaring independence"
    ]
