"""Secure aggregation: the broker learns the sum of the operators' numbers and nothing else about them.

Every pair of operators agrees on a key (X25519), every operator adds to its fixed-point numbers the streams
of its pairs, with opposite signs at the two ends, and a stream of its own. The pairs cancel in the sum. Once
the broker has named who answered, each of those reveals its own stream together with its streams towards
those who did not: a drop-out between the two steps costs nobody's privacy, and one before them costs nothing
at all. After Bonawitz et al., Practical secure aggregation for privacy-preserving machine learning (CCS
2017), without its secret sharing: who drops out between the steps costs that one aggregate, and the run goes
on with the next.

What the broker learns is proven in docs/explanation/masking.md; it rests on two refusals that are kept here:
an operator masks one vector under a label, and reveals over one set of survivors in a run, which must be a
majority at least.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

from fedopt.errors import InputError, optional

__all__ = [
    "MODULUS",
    "Masker",
    "MaskingError",
    "decoded",
    "encoded",
    "fewest_survivors",
    "generate_secret",
    "public_part",
    "revealed_sum",
]

BITS = 128
MODULUS = 1 << BITS
"""Masked numbers are integers modulo this."""

FRACTION_BITS = 40
"""Fixed point: a number x stands as x · 2^40, an error below 1e-12 per operator."""

LARGEST = 2.0**70
"""The largest magnitude that is encoded: sums over 2^16 operators stay below half the modulus."""

_WIDTH = BITS // 8
_KEY = 32
_SALT = b"fedopt masking v1"


class MaskingError(InputError):
    """A step of the aggregation that would fail or reveal more than a sum; the message says which."""


def encoded(value: float, rounding: Literal["down", "up", "nearest"] = "nearest") -> int:
    """A number as fixed point modulo `MODULUS`.

    A lower bound is rounded down and a cost up, so that the sums certify as the exact numbers would. Raises
    MaskingError for a number that is not finite or beyond `LARGEST`.
    """
    if not math.isfinite(value) or abs(value) > LARGEST:
        # the number itself is not for the broker, who is told why its question was refused
        raise MaskingError(f"a number has no fixed-point form; it must be finite and at most {LARGEST:.3g}")
    scaled = Fraction(value) * (1 << FRACTION_BITS)
    if rounding == "nearest":
        return round(scaled) % MODULUS
    return (math.floor(scaled) if rounding == "down" else math.ceil(scaled)) % MODULUS


def decoded(total: int) -> float:
    """The number that a sum of fixed-point numbers stands for."""
    centred = total % MODULUS
    if centred >= MODULUS // 2:
        centred -= MODULUS
    return float(Fraction(centred, 1 << FRACTION_BITS))


def fewest_survivors(operators: int) -> int:
    """The fewest operators for whose sum anyone reveals: a majority, and two at least."""
    return max(2, operators // 2 + 1)


def generate_secret() -> bytes:
    """An operator's secret of one run: 64 bytes, the X25519 key and the seed of its own stream."""
    return secrets.token_bytes(2 * _KEY)


def public_part(secret: bytes) -> bytes:
    """The X25519 public key of a secret, which the other operators of the run need: 32 bytes."""
    return bytes(_private(secret).public_key().public_bytes_raw())


class Masker:
    """One operator's side of the aggregations of a run.

    `public` holds the public part of every operator of the run, its own included, as each of them signed it.
    The masks depend on the secret, the run and the labels alone, so an operator that is rebuilt after a crash
    from the same secret and asked the same again answers the same.
    """

    def __init__(
        self,
        run: str,
        operator: str,
        secret: bytes,
        public: Mapping[str, bytes],
        fewest: int | None = None,
    ) -> None:
        """`fewest`: over how many operators a sum is opened at least, a majority in any case.

        Raises MaskingError where the operator's own key is not among them, or a key is none or occurs twice.
        """
        if public.get(operator) != public_part(secret):
            raise MaskingError(f"the keys of run {run!r} do not hold the key that {operator!r} published")
        if len(public) < 2:
            raise MaskingError("a sum over one operator hides nothing; masking needs two operators at least")
        if len(set(public.values())) < len(public):
            raise MaskingError(f"two operators of run {run!r} published the same key")
        self.run = run
        self.operator = operator
        self.operators = frozenset(public)
        self.fewest = max(fewest or 0, fewest_survivors(len(public)))
        self._own = secret[_KEY:]
        self._pairs = {
            other: _agreed(secret, key, run, operator, other)
            for other, key in public.items()
            if other != operator
        }
        self._masked: dict[str, tuple[int, ...]] = {}
        self._survivors: frozenset[str] | None = None

    def mask(self, label: str, values: Sequence[int]) -> list[int]:
        """The values (fixed point) under the streams of the label; each alone is uniformly distributed.

        Raises MaskingError where other values were masked under this label: their difference would be open.
        """
        if self._masked.setdefault(label, tuple(values)) != tuple(values):
            raise MaskingError(f"other numbers were masked under {label!r} already")
        total = [
            value + own
            for value, own in zip(values, self._stream(self._own, label, len(values)), strict=True)
        ]
        for other in self._pairs:
            total = [
                before + pair
                for before, pair in zip(total, self._pair(other, label, len(values)), strict=True)
            ]
        return [value % MODULUS for value in total]

    def reveal(self, label: str, survivors: Sequence[str] | frozenset[str]) -> list[int]:
        """What must be subtracted from this operator's masked numbers so that they cancel over the survivors.

        Raises MaskingError where nothing was masked under this label, another set was named before in the run
        (sums of equal numbers over different sets differ by single operators' numbers), or the set is too
        small or lacks this operator.
        """
        named = frozenset(survivors)
        if label not in self._masked:
            raise MaskingError(f"nothing was masked under {label!r}")
        if not named <= self.operators or self.operator not in named:
            raise MaskingError(
                f"the survivors of {label!r} must be operators of the run and include {self.operator!r}"
            )
        if len(named) < self.fewest:
            raise MaskingError(
                f"{len(named)} survivors of {len(self.operators)} operators are too few; a sum is revealed "
                f"over {self.fewest} or more"
            )
        if self._survivors is not None and self._survivors != named:
            raise MaskingError(f"another set of survivors was named before {label!r} in this run")
        self._survivors = named
        count = len(self._masked[label])
        total = self._stream(self._own, label, count)
        for other in self.operators - named:
            total = [
                before + pair for before, pair in zip(total, self._pair(other, label, count), strict=True)
            ]
        return [value % MODULUS for value in total]

    def _pair(self, other: str, label: str, count: int) -> list[int]:
        stream = self._stream(self._pairs[other], label, count)
        return stream if self.operator < other else [-value for value in stream]

    def _stream(self, key: bytes, label: str, count: int) -> list[int]:
        """`count` numbers modulo `MODULUS`, indistinguishable from uniform ones without the key."""
        fresh = _derived(key, f"stream\0{self.run}\0{label}".encode())
        data = _keystream(fresh, count * _WIDTH)
        return [int.from_bytes(data[at : at + _WIDTH], "big") for at in range(0, len(data), _WIDTH)]


def revealed_sum(masked: Mapping[str, Sequence[int]], reveals: Mapping[str, Sequence[int]]) -> list[int]:
    """The broker's side: the sum (fixed point) over the operators that revealed, from what each masked and
    revealed.

    Raises MaskingError where a survivor did not reveal (then this aggregate is lost; nothing was learnt), or
    the lengths differ.
    """
    missing = sorted(set(reveals) - set(masked))
    if missing or not reveals:
        raise MaskingError(f"there are no masked numbers of {', '.join(missing) or 'anybody'}")
    lengths = {len(masked[name]) for name in reveals} | {len(values) for values in reveals.values()}
    if len(lengths) != 1:
        raise MaskingError("the operators masked vectors of different lengths")
    return [
        sum(masked[name][i] - reveals[name][i] for name in reveals) % MODULUS for i in range(lengths.pop())
    ]


def _private(secret: bytes) -> Any:
    with optional("masked sums", "federation"):
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    if len(secret) != 2 * _KEY:
        raise MaskingError(f"a secret has {2 * _KEY} bytes, not {len(secret)}")
    return X25519PrivateKey.from_private_bytes(secret[:_KEY])


def _agreed(secret: bytes, key: bytes, run: str, operator: str, other: str) -> bytes:
    """The key of a pair of operators in a run, the same at both ends."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    try:
        shared = _private(secret).exchange(X25519PublicKey.from_public_bytes(key))
    except ValueError as error:
        raise MaskingError(f"the key of {other!r} is no X25519 public key") from error
    first, second = sorted((operator, other))
    return _derived(shared, f"pair\0{run}\0{first}\0{second}".encode())


def _derived(key: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), _KEY, _SALT, info).derive(key)


def _keystream(key: bytes, length: int) -> bytes:
    """ChaCha20 under a key that is used once, so the nonce may be constant."""
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

    return Cipher(ChaCha20(key, bytes(16)), None).encryptor().update(bytes(length))
