"""Money that adds up: amounts in whole cents, split without gaining or losing any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

__all__ = ["apportion", "cents"]

LARGEST = 10**18


def cents(amount: float | Decimal) -> int:
    """An amount in units of money as whole cents, halves to even. Raises ValueError where it is not finite
    or too large.
    """
    value = Decimal(repr(amount)) if isinstance(amount, float) else Decimal(amount)
    if not value.is_finite() or abs(value) * 100 > LARGEST:
        raise ValueError(f"{amount} is no amount that can be settled")
    return int((value * 100).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """Split whole cents in proportion to weights ≥ 0 by largest remainders; the parts add up to the total
    exactly.

    Equal remainders go to the earlier part first. All weights zero: equal parts. Raises ValueError for
    negative or infinite weights, or none.
    """
    if not weights or not all(math.isfinite(w) and w >= 0 for w in weights):
        raise ValueError("weights must be finite, not negative, and at least one")
    scale = max(weights)
    exact = [Decimal(w / scale) if scale > 0 else Decimal(1) for w in weights]
    whole = sum(exact)
    size = abs(total)
    ideal = [size * part / whole for part in exact]
    parts = [int(value) for value in ideal]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - ideal[i], i))
    for index in order[: size - sum(parts)]:
        parts[index] += 1
    return parts if total >= 0 else [-part for part in parts]
