"""Random numbers inside compiled kernels: one 64-bit word, one variate.

A stream is a pair of 64-bit numbers (start, odd step); its i-th word is SplitMix64's mixing function of
``start + i·step``. Every variate is a pure function of one word: where a method needs more (the rare corners
of a ziggurat, the rejections of a gamma), it goes on hashing that word. So the n-th variate of a stream is
the same whatever law the earlier ones had, kernels keep the whole generator in a register, and common random
numbers come free when two systems are compared. Each trial owns a stream derived from a
``numpy.random.SeedSequence`` and the trial's index alone, so a result never depends on how trials are spread
over threads.

Sources: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014); Marsaglia and Tsang,
"The ziggurat method for generating random variables" (2000) and "A simple method for generating gamma
variables" (2000).
"""

from __future__ import annotations

import math

import numpy as np

from fedopt.kernels import kernel


def streams(seed: int | np.random.SeedSequence, count: int, first: int = 0) -> np.ndarray:
    """Streams ``first … first+count−1`` of a seed; shape ``(count, 2)``, ``uint64``: start and odd step.

    Stream i comes from the seed sequence's child number i, whichever block of streams it is asked in.
    """
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    states = np.empty((count, 2), dtype=np.uint64)
    for i in range(count):
        child = np.random.SeedSequence(
            entropy=root.entropy, spawn_key=(*root.spawn_key, first + i), pool_size=root.pool_size
        )
        states[i] = child.generate_state(2, np.uint64)
    states[:, 1] = _well_mixed_steps(states[:, 1])
    return states


def _well_mixed_steps(words: np.ndarray) -> np.ndarray:
    """Odd steps whose bits change often enough (the test of SplittableRandom)."""
    steps = words | np.uint64(1)
    flips = np.bitwise_count(steps ^ (steps >> np.uint64(1)))
    return np.where(flips < 24, steps ^ np.uint64(0xAAAAAAAAAAAAAAAA), steps)


def _exponential_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ziggurat tables of e^{−x}: 256 layers of area v, tail from r."""
    r, v = _EXP_START, 0.0039496598225815571993
    edges = np.empty(257)
    edges[0] = v * math.exp(r)
    edges[1] = r
    for i in range(2, 256):
        edges[i] = -math.log(v / edges[i - 1] + math.exp(-edges[i - 1]))
    edges[256] = 0.0
    scale = 2.0**53
    inside = np.floor(edges[1:] / edges[:-1] * scale).astype(np.int64)
    return inside, edges[:-1] / scale, np.exp(-edges)


def _normal_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ziggurat tables of e^{−x²/2} on x ≥ 0: 256 layers of area v, tail from r."""
    r, v = _NOR_START, 0.00492867323399
    edges = np.empty(257)
    edges[0] = v * math.exp(0.5 * r * r)
    edges[1] = r
    for i in range(2, 256):
        edges[i] = math.sqrt(-2.0 * math.log(v / edges[i - 1] + math.exp(-0.5 * edges[i - 1] ** 2)))
    edges[256] = 0.0
    scale = 2.0**53
    inside = np.floor(edges[1:] / edges[:-1] * scale).astype(np.int64)
    return inside, edges[:-1] / scale, np.exp(-0.5 * edges**2)


_EXP_START = 7.69711747013104972
_NOR_START = 3.6541528853610088
_EXP_INSIDE, _EXP_WIDTH, _EXP_HEIGHT = _exponential_tables()
_NOR_INSIDE, _NOR_WIDTH, _NOR_HEIGHT = _normal_tables()
_TO_UNIT = 1.0 / 9007199254740992.0  # 2^−53
# Each law hashes on with a constant of its own: laws that call one another never meet the same word twice.
_AFTER_EXPONENTIAL = np.uint64(0x9E3779B97F4A7C15)
_AFTER_NORMAL = np.uint64(0xD1342543DE82EF95)
_AFTER_GAMMA = np.uint64(0xA0761D6478BD642F)
_AFTER_POISSON = np.uint64(0xE7037ED1A0B428DB)


@kernel(inline="always")
def mix(word):
    """SplitMix64's finaliser: a bijection of 64-bit words with full avalanche."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@kernel(inline="always")
def word_at(start, step, index):
    """Word number ``index`` of a stream."""
    return mix(start + step * np.uint64(index))


@kernel(inline="always")
def uniform(word):
    """Uniform on (0, 1), never 0 or 1."""
    return (np.int64(word >> np.uint64(11)) + 0.5) * _TO_UNIT


@kernel
def _exponential_outside(word, layer, x):
    """The rare part of the exponential ziggurat: wedge and tail (one draw in 45)."""
    offset = 0.0
    while True:
        word = mix(word + _AFTER_EXPONENTIAL)
        if layer == 0:
            offset += _EXP_START  # memoryless beyond the last layer: start again from there
        else:
            low = _EXP_HEIGHT[layer]
            if low + uniform(word) * (_EXP_HEIGHT[layer + 1] - low) < math.exp(-x):
                return offset + x
        word = mix(word + _AFTER_EXPONENTIAL)
        layer = np.int64(word & np.uint64(255))
        mantissa = np.int64(word >> np.uint64(11))
        x = mantissa * _EXP_WIDTH[layer]
        if mantissa < _EXP_INSIDE[layer]:
            return offset + x


@kernel(inline="always")
def exponential(word):
    """Exponential of mean one."""
    layer = np.int64(word & np.uint64(255))
    mantissa = np.int64(word >> np.uint64(11))
    x = mantissa * _EXP_WIDTH[layer]
    if mantissa >= _EXP_INSIDE[layer]:
        x = _exponential_outside(word, layer, x)
    return x


@kernel
def normal(word):
    """Normal of mean zero and variance one."""
    while True:
        layer = np.int64(word & np.uint64(255))
        sign = 1.0 if word & np.uint64(256) else -1.0
        mantissa = np.int64(word >> np.uint64(11))
        x = mantissa * _NOR_WIDTH[layer]
        if mantissa < _NOR_INSIDE[layer]:
            return sign * x
        word = mix(word + _AFTER_NORMAL)
        if layer == 0:
            while True:
                x = exponential(word) / _NOR_START
                word = mix(word + _AFTER_NORMAL)
                if 2.0 * exponential(word) > x * x:
                    return sign * (_NOR_START + x)
                word = mix(word + _AFTER_NORMAL)
        low = _NOR_HEIGHT[layer]
        if low + uniform(word) * (_NOR_HEIGHT[layer + 1] - low) < math.exp(-0.5 * x * x):
            return sign * x
        word = mix(word + _AFTER_NORMAL)


@kernel
def gamma(word, shape):
    """Gamma of the given shape > 0 and scale one."""
    boost = 1.0
    if shape < 1.0:
        boost = uniform(word) ** (1.0 / shape)
        word = mix(word + _AFTER_GAMMA)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = normal(word)
        word = mix(word + _AFTER_GAMMA)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        u = uniform(word)
        word = mix(word + _AFTER_GAMMA)
        if math.log(u) < 0.5 * x * x + d - d * v + d * math.log(v):
            return boost * d * v


@kernel
def poisson(word, mean):
    """Poisson count of the given mean ≥ 0: inversion below 12, a gamma-binomial step down above.

    The step (Ahrens and Dieter 1974): the m-th point of a unit Poisson process lies at a gamma of shape m. If
    it lies beyond the mean, the count is binomial among the m−1 earlier points; otherwise m plus the rest's
    count.
    """
    count = 0
    while mean > 12.0:
        m = int(mean * 0.875)
        point = gamma(word, float(m))
        word = mix(word + _AFTER_POISSON)
        if point > mean:
            p = mean / point
            for _ in range(m - 1):
                if uniform(word) < p:
                    count += 1
                word = mix(word + _AFTER_POISSON)
            return count
        count += m
        mean -= point
        word = mix(word + _AFTER_POISSON)
    probability = math.exp(-mean)
    left = uniform(word)
    k = 0
    while left > probability and k < 200:
        left -= probability
        k += 1
        probability *= mean / k
    return count + k


@kernel
def fill(start, step, kind, shape, out):
    """Fill an array with words 0, 1, …: kind 0 uniform, 1 exponential, 2 normal, 3 gamma, 4 Poisson of
    ``shape``.
    """
    for i in range(out.shape[0]):
        word = word_at(start, step, i)
        if kind == 0:
            out[i] = uniform(word)
        elif kind == 1:
            out[i] = exponential(word)
        elif kind == 2:
            out[i] = normal(word)
        elif kind == 3:
            out[i] = gamma(word, shape)
        else:
            out[i] = poisson(word, shape)
