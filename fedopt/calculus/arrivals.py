"""Credit for arrivals: a request that carries a path across its deadline carries it beyond.

The image form bounds by Ψ = e^{θA}F(G), which is at least e^{θz} where the excess z = A + G_1 is positive;
1 would do. So Ψ may be multiplied by any κ(z) with κ ≥ e^{−θz} for z > 0 and, for z ≤ 0,

    κ(z) ≥ e^{−ω} 𝒥K(z − R_1),   K(y) = E_θ κ(y + a),

where a is the work that arrives in a slot, tilted by θ, R_1 the smallest reservation, ω > 0 what every term
of e^{θA}F shrinks by in a slot at least, and 𝒥 the worst that impairments can do to z: with the probability
that some domain has a jump, z may rise by any part of it. κ oscillates within a few requests of z = 0; far
below, it is close to E e^{−θ·overshoot}, and that is what a bound is multiplied by.

κ is computed on a grid whose cells carry suprema, from κ = 1 downwards. Every step of the iteration is a
proof, so it may end anywhere. Proof: docs/explanation/overshoot.md.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import kernel

__all__ = ["CELLS", "EXPONENTIAL_SIZE", "FINE_CELLS", "FIXED_SIZE", "crossing_factor", "span"]

FIXED_SIZE, EXPONENTIAL_SIZE = 1, 2
CELLS, FINE_CELLS = 48, 192
"""Cells of the grid per mean size of a request, to search with and for the value that is stated."""
_SWEEPS, _TOLERANCE = 400, 1e-4
_ROUNDING = 1.0 + 1e-9


@kernel
def span(requests) -> float:
    """Mean sizes of a request below zero from which on κ is held constant: what a slot hardly ever brings."""
    count = abs(requests)
    return 3.0 + count + 4.0 * math.sqrt(count)


@kernel
def _poisson(mean, shares):
    """Probabilities of 0, 1, … requests; the last one holds the rest.  How many there are."""
    shares[0] = math.exp(-mean)
    total = shares[0]
    m = 0
    while m + 2 < shares.size and 1.0 - total > 1e-9:
        m += 1
        shares[m] = shares[m - 1] * mean / m
        total += shares[m]
    shares[m + 1] = max(1.0 - total, 0.0)
    return m + 2


@kernel
def _greatest_ahead(values, width, out, queue):
    """out[c] = max of values[c … c + width]; queue: scratch for positions of falling values."""
    head, tail = 0, 0
    for c in range(values.size - 1, -1, -1):
        while tail > head and values[queue[tail - 1]] <= values[c]:
            tail -= 1
        queue[tail] = c
        tail += 1
        while queue[head] > c + width:
            head += 1
        out[c] = values[queue[head]]


@kernel
def _least_floor(top, shares, counts, chances, ahead, shrink, known):
    """The least f that κ may have in cell 0 and everywhere below, by bisection down from the known one.

    From there m requests lead to κ of f or at most top[m], impairments to K at most ahead[j] with probability
    chances[j].
    """
    failed, proven = 0.0, known
    for _ in range(24):
        f = 0.5 * (failed + proven)
        value = shares[counts - 1]
        for m in range(counts - 1):
            value += shares[m] * max(f, top[m])
        total = 0.0
        for j in range(4):
            total += chances[j] * max(value, ahead[j])
        if shrink * total <= f:
            proven = f
        else:
            failed = f
    return proven


@kernel
def _jump_chances(jumps, jump, chances):
    """Probabilities of no jump of an impairment in a slot, of one, of two, and of anything else.

    A jump of unknown size counts as anything.
    """
    chances[:] = 0.0
    if jumps < math.inf:
        chances[0] = math.exp(-jumps)
        if jump < math.inf:
            chances[1] = chances[0] * jumps
            chances[2] = 0.5 * chances[1] * jumps
    chances[3] = max(1.0 - chances[0] - chances[1] - chances[2], 0.0)


@kernel
def _with_requests(c, kappa, over, shares, counts, first, last):
    """Σ_{m≥1} of the probability of m requests of one size times κ where they lead from cell c."""
    below = kappa.size
    value = shares[counts - 1]
    for m in range(1, counts - 1):
        i, j = c + first[m], c + last[m]
        best = over[max(i - below, 0)] if j >= below else kappa[j]
        if i < below:
            best = max(best, kappa[i])
        value += shares[m] * best
    return value


@kernel
def _smoothed(kappa, shares, counts, decay, loss, part, smooth, smoother, top):
    """The same for requests of exponential size, of all cells, into `part`; from cell 0, into `top`.

    One more request: S(c) = (1−ρ) max of two cells + ρ S(c+1), a loss of E e^{−θ·size} above zero.
    """
    below = kappa.size
    smooth[:below] = kappa
    smooth[below] = 1.0
    part[:] = shares[counts - 1]
    above = 1.0
    for m in range(1, counts - 1):
        above *= loss
        smoother[below] = above
        for c in range(below - 1, -1, -1):
            smoother[c] = (1.0 - decay) * max(smooth[c], smooth[c + 1]) + decay * smoother[c + 1]
        top[m] = smoother[0]
        for c in range(below):
            part[c] += shares[m] * smoother[c]
            smooth[c] = smoother[c]
        smooth[below] = above


@kernel
def _peaks(kappa, counts, last, top):
    """The greatest κ to which m requests of one size may lead from cell 0, without κ there, into `top`."""
    greatest, c = 0.0, 1
    for m in range(1, counts - 1):
        while c <= last[m] and c < kappa.size:
            greatest = max(greatest, kappa[c])
            c += 1
        top[m] = greatest if last[m] < kappa.size else 1.0


@kernel
def crossing_factor(theta, rate, kind, size, requests, jumps, jump, slack, cells):
    """(factor, middle, ceiling) ≤ 1: the most that 𝒥K may be far below the deadline's crossing, more than a
    request's size below it, and anywhere.

    kind: FIXED_SIZE or EXPONENTIAL_SIZE; size: mean work of a request under the tilt θ; requests: their mean
    number a slot under the tilt, < 0 for −requests of them in every slot. rate: the smallest reservation,
    work/slot. jumps: mean number of impairments' jumps a slot, all domains together, at the tilt at which
    they are most frequent, of at most `jump` work each (+inf where unknown); +inf where every slot may bring
    work. slack: ω. cells: of the grid, per size.
    """
    per_slot = max(1, round(rate / size * cells))
    step = rate / per_slot
    below = math.ceil(span(requests) * size / step) + per_slot + 1
    shares = np.zeros(26)
    if requests < 0.0:
        counts = int(-requests) + 2
        if counts > shares.size:
            return 1.0, 1.0, 1.0
        shares[counts - 2] = 1.0
    else:
        counts = _poisson(requests, shares)
        if counts == shares.size:  # too many requests a slot for their sizes to matter
            return 1.0, 1.0, 1.0
    fixed = kind == FIXED_SIZE
    first, last = np.empty(counts, dtype=np.int64), np.empty(counts, dtype=np.int64)
    loss = math.exp(-theta * size) if fixed else 1.0 / (1.0 + theta * size)
    beyond, each = shares[counts - 1], 1.0  # K just above zero: E e^{−θa} under the tilt
    for m in range(counts - 1):
        exact = m * size / step
        first[m] = int(exact)
        last[m] = first[m] if exact == first[m] else first[m] + 1
        beyond += shares[m] * each
        each *= loss
    over = np.empty(last[counts - 2] + 2)  # e^{−θz} at the left ends of the cells above zero
    for c in range(over.size):
        over[c] = math.exp(-theta * step * c)
    chances = np.empty(4)
    _jump_chances(jumps, jump, chances)
    reach = math.ceil(jump / step) if chances[1] > 0.0 else 0
    shrink, decay = math.exp(-slack), math.exp(-step / size)
    kappa = np.ones(below)  # cell c: z in ((c − below) step, (c − below + 1) step]; cell 0: and all z below
    after = np.ones(below + 1)  # K, with one cell above zero, where it is greatest
    after[below] = beyond
    one, two, rest = np.zeros(below + 1), np.zeros(below + 1), np.ones(below + 1)
    part, smooth, smoother = np.empty(below), np.empty(below + 1), np.empty(below + 1)
    top, ahead = np.zeros(counts), np.zeros(4)
    queue = np.empty(below + 2, dtype=np.int64)
    former, kept, kept_after = np.ones(below), np.ones(below), np.ones(below + 1)
    trying, stride = False, 0.0
    for sweep in range(_SWEEPS):
        # `trying`: κ was moved further along the last change than is proven; holds only if nothing rises
        if not fixed:
            _smoothed(kappa, shares, counts, decay, loss, part, smooth, smoother, top)
        else:
            _peaks(kappa, counts, last, top)
        if trying:
            for c in range(1, below):
                more = _with_requests(c, kappa, over, shares, counts, first, last) if fixed else part[c]
                after[c] = shares[0] * kappa[c] + more
        if chances[1] > 0.0:
            _greatest_ahead(after, reach, one, queue)
            _greatest_ahead(after, 2 * reach, two, queue)
        _greatest_ahead(after, below, rest, queue)
        ahead[1], ahead[2], ahead[3] = one[1], two[1], rest[1]
        if not trying:
            former[:] = kappa
        start = min(1.0, kappa[0] * 1.0001 + 1e-4) if trying else kappa[0]
        floor = _least_floor(top, shares, counts, chances, ahead, shrink, start)
        risen = trying and floor > kappa[0]
        if not risen:
            for c in range(per_slot + 1):
                kappa[c] = min(kappa[c], floor)
        # from the lowest cell up, so that values below are the newest
        for c in range(1, below):
            more = _with_requests(c, kappa, over, shares, counts, first, last) if fixed else part[c]
            value = shares[0] * kappa[c] + more
            if not trying:
                after[c] = value
            if c + per_slot < below:
                value = chances[0] * value + chances[1] * one[c] + chances[2] * two[c] + chances[3] * rest[c]
                value *= shrink
                if trying and value > kappa[c + per_slot]:
                    risen = True
                    break
                kappa[c + per_slot] = min(kappa[c + per_slot], value)
        if trying:
            trying = False
            if risen:
                kappa[:] = kept
                after[:] = kept_after
                stride *= 0.25
            continue
        change = 0.0
        for c in range(below):
            change = max(change, former[c] - kappa[c])
        if change < _TOLERANCE and sweep > 12:
            break
        if sweep % 12 == 11:
            kept[:], kept_after[:] = kappa, after
            stride = max(stride, 4.0) * 2.0
            for c in range(below):
                kappa[c] -= stride * (former[c] - kappa[c])
            trying = True
    middle = kappa[0] / shrink
    ceiling = max(middle, beyond)
    for c in range(1, below):
        ceiling = max(ceiling, after[c])
        if (below - 1 - c) * step >= size:
            value = chances[0] * after[c] + chances[1] * one[c] + chances[2] * two[c] + chances[3] * rest[c]
            middle = max(middle, value)
    factor = min(kappa[0] / shrink * _ROUNDING, 1.0)
    return factor, min(middle * _ROUNDING, 1.0), min(max(middle, ceiling) * _ROUNDING, 1.0)
