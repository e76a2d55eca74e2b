"""Laws of work per slot under exponential tilts of either sign: log-moments, tilted laws, eigenvectors.

The density e^{vw − Λ(v)} turns each of the independent laws into one of its own family. An on-off chain is
tilted through the eigenvector of its tilted transition matrix: with PDw = rw, D = diag(1, e^{v·peak}), the
chain P'(x, y) = P(x, y) D(y) w(y) / (r w(x)) has the likelihood ratio r w(x) e^{−v·work} / w(y) per slot. A
stationary chain of two states is reversible, so all of this holds backwards in time as well.
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import kernel
from fedopt.simulate import slot_work as sw
from fedopt.simulate.slot_work import SlotWork
from fedopt.simulate.streams import exponential, gamma, mix, poisson, uniform

TILTABLE = (sw.NONE, sw.POISSON, sw.POISSON_EXPONENTIAL, sw.EXPONENTIAL, sw.GAMMA, sw.ATOMS, sw.ON_OFF)
OFF, ON, START = range(3)
"""Phases of a source; sources without memory stay in START."""
_NEXT = np.uint64(0x9FB21C651E98DF25)


@kernel
def on_off_spectrum(tilt, peak, leave_on, leave_off):
    """(log r, log(w_on / w_off)) of the tilted matrix, for tilts of either sign."""
    x = tilt * peak
    if x > 600.0:
        return math.inf, math.inf
    grown = math.exp(x)
    stay_off, stay_on = 1.0 - leave_off, (1.0 - leave_on) * grown
    half = 0.5 * (stay_off - stay_on)
    root = math.sqrt(half * half + leave_on * leave_off * grown)
    # r − stay_off without cancellation, and w_on/w_off = (r − stay_off)/(leave_off·grown); at far negative
    # tilts grown is 0, and the ratio what the second form leaves of it
    if half < 0.0:
        above = root - half
        ratio = above / (leave_off * grown)
    else:
        above = leave_on * leave_off * grown / (root + half)
        ratio = leave_on / (root + half)
    return math.log(stay_off + above), math.log(ratio)


@kernel
def log_moment(code, a, b, c, sizes, cumulated, tilt):
    """Λ of a slot's work at a tilt (log of the spectral radius for a chain), nats; +inf outside the domain.

    a, b, c: the law's parameters; sizes, cumulated: its atoms and their cumulated shares.
    """
    if code == sw.POISSON:
        return a * math.expm1(tilt * b) if tilt * b < 700.0 else math.inf
    if code == sw.POISSON_EXPONENTIAL:
        return a * tilt * b / (1.0 - tilt * b) if tilt * b < 1.0 else math.inf
    if code == sw.EXPONENTIAL:
        return -math.log1p(-tilt * a) if tilt * a < 1.0 else math.inf
    if code == sw.GAMMA:
        return -a * math.log1p(-tilt * b) if tilt * b < 1.0 else math.inf
    if code == sw.ON_OFF:
        return on_off_spectrum(tilt, a, b, c)[0]
    if code == sw.ATOMS:
        total, before = 0.0, 0.0
        for j in range(sizes.shape[0]):
            if tilt * sizes[j] > 700.0:
                return math.inf
            total += (cumulated[j] - before) * math.expm1(tilt * sizes[j])
            before = cumulated[j]
        return a * total
    return 0.0


def moment(law: SlotWork, tilt: float) -> float:
    """`log_moment` of a law."""
    return float(log_moment(law.code, *law.parameters, law.work, law.requests, tilt))


def domain(law: SlotWork) -> float:
    """Supremum of a law's usable tilts; laws with all moments are cut where e^{tilt·work} is e^50."""
    a, b, _ = law.parameters
    if law.code == sw.EXPONENTIAL:
        return 1.0 / a
    if law.code in (sw.GAMMA, sw.POISSON_EXPONENTIAL):
        return 1.0 / b
    if law.code == sw.POISSON:
        return 50.0 / b
    if law.code == sw.ON_OFF:
        return 50.0 / a
    return 50.0 / float(law.work.max()) if law.code == sw.ATOMS else math.inf


def tilted(law: SlotWork, tilt: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(parameters (4,), shares of atoms, log-eigenvector (3,)) of a tilted law, as `draw` takes them.

    The eigenvector is scaled to a least value of one over OFF and ON; its value at START continues it to the
    stationary chain before its first slot. It is zero for laws without memory.
    """
    a, b, c = law.parameters
    none = np.zeros(3)
    if law.code == sw.POISSON:
        mean = a * math.exp(tilt * b)
        return np.array([mean, b, math.exp(-mean), 0.0]), law.requests, none
    if law.code == sw.POISSON_EXPONENTIAL:
        mean = a / (1.0 - tilt * b)
        return np.array([mean, b / (1.0 - tilt * b), math.exp(-mean), 0.0]), law.requests, none
    if law.code == sw.EXPONENTIAL:
        return np.array([a / (1.0 - tilt * a), 0.0, 0.0, 0.0]), law.requests, none
    if law.code == sw.GAMMA:
        return np.array([a, b / (1.0 - tilt * b), 0.0, 0.0]), law.requests, none
    if law.code == sw.ATOMS:
        rates = a * np.diff(np.concatenate([[0.0], law.requests])) * np.exp(tilt * law.work)
        mean = float(rates.sum())
        return np.array([mean, 0.0, math.exp(-mean), 0.0]), np.cumsum(rates) / mean, none
    if law.code == sw.ON_OFF:
        log_r, ratio = on_off_spectrum(tilt, a, b, c)
        off, on = (0.0, ratio) if ratio >= 0.0 else (-ratio, 0.0)
        share = c / (b + c)
        first_on = math.log(share) + tilt * a + on
        first_off = math.log1p(-share) + off if share < 1.0 else -math.inf
        start = float(np.logaddexp(first_on, first_off))
        parameters = np.array(
            [
                a,
                b * math.exp(off - on - log_r),
                c * math.exp(tilt * a + on - off - log_r),
                math.exp(first_on - start),
            ]
        )
        return parameters, law.requests, np.array([off, on, start - log_r])
    if law.code == sw.NONE:
        return np.zeros(4), law.requests, none
    raise TypeError("importance sampling needs work that is i.i.d. per slot or a stationary on-off chain")


@kernel
def _atom(shares, row, start, stop, word):
    """Position of an atom drawn by its cumulated share."""
    u = uniform(word)
    low, high = start, stop - 1
    while low < high:
        middle = (low + high) // 2
        if shares[row, middle] < u:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def draw(codes, parameters, starts, sizes, shares, row, s, phase, word):
    """(work of a slot, next phase) of source s under tilt number `row`, from one word.

    parameters: of all tilts and sources as `tilted` gives them, shape (rows, sources, 4); the atoms of source
    s are sizes[starts[s]:starts[s+1]], their cumulated shares lie at the same places of shares[row].
    """
    code = codes[s]
    first, second = parameters[row, s, 0], parameters[row, s, 1]
    if code in (sw.POISSON, sw.POISSON_EXPONENTIAL, sw.ATOMS):
        if uniform(word) <= parameters[row, s, 2]:
            return 0.0, phase
        count = poisson(word, first)
        if code == sw.POISSON:
            return count * second, phase
        word = mix(word + _NEXT)
        if code == sw.POISSON_EXPONENTIAL:
            return (second * gamma(word, float(count)) if count > 0 else 0.0), phase
        work = 0.0
        for _ in range(count):
            work += sizes[_atom(shares, row, starts[s], starts[s + 1], word)]
            word = mix(word + _NEXT)
        return work, phase
    if code == sw.EXPONENTIAL:
        return first * exponential(word), phase
    if code == sw.GAMMA:
        return second * gamma(word, first), phase
    if code == sw.ON_OFF:
        if phase == ON:
            on = uniform(word) >= second
        else:
            on = uniform(word) < parameters[row, s, 2 if phase == OFF else 3]
        return (first, ON) if on else (0.0, OFF)
    return 0.0, phase


# --- what a request adds to the work that it finds ------------------------------------------------------

NOTHING, FIXED, EXPONENTIAL, ATOM, FIRST_ON = range(5)


def own_work(law: SlotWork) -> tuple[int, float]:
    """(kind, size or mean) of what a request drawn at random adds to the slot's work as an instant sees it.

    Poisson requests bring their own size; of work without requests the slot is drawn in proportion to its
    work, which adds an exponential part to gamma work and finds a chain on. Raises TypeError for other laws.
    """
    a, b, _ = law.parameters
    if law.code == sw.POISSON:
        return FIXED, b
    if law.code == sw.POISSON_EXPONENTIAL:
        return EXPONENTIAL, b
    if law.code == sw.EXPONENTIAL:
        return EXPONENTIAL, a
    if law.code == sw.GAMMA:
        return EXPONENTIAL, b
    if law.code == sw.ATOMS:
        return ATOM, 0.0
    if law.code == sw.ON_OFF:
        return FIRST_ON, 0.0
    raise TypeError("a probability per request needs Poisson, exponential, gamma or on-off arrivals")


def log_own(law: SlotWork, kind: int, size: float, tilt: float) -> float:
    """Log-moment of a request's own work; for FIRST_ON that of its slot is in the eigenvector's start."""
    if kind == FIXED:
        return tilt * size
    if kind == EXPONENTIAL:
        return -math.log1p(-tilt * size) if tilt * size < 1.0 else math.inf
    if kind == ATOM:
        shares = np.diff(np.concatenate([[0.0], law.requests]))
        return math.log(float((shares * np.exp(tilt * law.work)).sum()))
    return 0.0


@kernel
def draw_own(kind, size, tilt, starts, sizes, shares, word):
    """A request's own work under a tilt; shares: of the arrivals' atoms, tilted, in row 0."""
    if kind == FIXED:
        return size
    if kind == EXPONENTIAL:
        return size / (1.0 - tilt * size) * exponential(word)
    if kind == ATOM:
        return sizes[_atom(shares, 0, starts[0], starts[1], word)]
    return 0.0
