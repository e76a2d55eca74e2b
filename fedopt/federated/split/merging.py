"""Columns of one lane that a program mixed, as one column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fedopt.federated.split.lanes import LEAST_MARGIN, arriving
from fedopt.pricing import Column

__all__ = ["merged"]


def merged(columns: Sequence[Column], weights: npt.NDArray[np.float64]) -> Column:
    """The column in the middle of several of one lane. The least rate is convex in the shares and the bursts
    are convex in the margins, so every domain keeps the shares in the middle at the rate in the middle.
    """
    share = np.maximum(weights, 0.0) / np.maximum(weights, 0.0).sum()
    first = columns[0]
    if len(columns) == 1 or "shares" not in first.proof:
        return columns[int(np.argmax(share))]
    rates = np.tensordot(share, np.array([column.rates for column in columns]), axes=1)
    shares = np.tensordot(share, np.array([column.proof["shares"] for column in columns]), axes=1)
    burst = arriving(first.proof["base"], np.maximum(shares[:, 2], LEAST_MARGIN))
    return replace(first, rates=rates, proof={**first.proof, "shares": shares, "bursts": burst})
