"""From an instance's models, per unit of time, to envelopes, per slot: the one place of this conversion.

| model | per slot |
|---|---|
| poisson, renewal | `rate·slot` requests, sizes as they are |
| mmpp | rates of requests and of changes times `slot` |
| sum | its parts, each as above, independent of each other |
| exponential | an independent exponential of mean `mean·slot` in each slot |
| gamma | an independent Gamma(`shape·slot`, `scale`) in each slot: the same gamma process whatever the slot |
| on-off | `peak·slot` while on; the probabilities are per slot already |
| token-bucket | `rate·slot`, burst as it is |
| envelope, table | ρ, κ times `slot`; σ, η and θ as they are |
| trace | recorded work of each slot |

An exponential model is tied to its slot (another slot is another law); all others mean the same process for
every slot up to the rounding of time, except that on-off probabilities are stated per slot.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fedopt.instance.errors import InstanceError, Problem
from fedopt.laws.models import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, TokenBucket
from fedopt.laws.operators import aggregate, own_arrival, own_impairment
from fedopt.laws.protocol import Law
from fedopt.laws.requests import Modulated, Renewal
from fedopt.laws.sizes import KINDS, Size
from fedopt.laws.table import Table
from fedopt.laws.trace import read_trace

__all__ = ["build"]


def build(document: Any, slot: float) -> Law:
    """The envelope, in slots, of an arrival or impairment model of an instance.

    Args:
        document: a model document, or a user's own object, which is in slots already.
        slot: length of a slot in units of time.

    Raises:
        InstanceError: if a trace cannot be read or used.
        ValueError: for an unknown model.
    """
    match getattr(document, "model", None):
        case "none":
            return NoImpairment()
        case "poisson":
            law = size_of(document.size)
            if law.kind in ("fixed", "exponential") and law.maximum == math.inf:
                size, exponential = float(law.parameters[0]), law.kind == "exponential"
                return Poisson(document.rate * slot, size, exponential, _per_stage(document))
            return Renewal(document.rate * slot, law, per_stage=_per_stage(document))
        case "renewal":
            law, shape = size_of(document.size), document.cv**-2
            per_stage, gaps = _per_stage(document), document.gaps
            return Renewal(document.rate * slot, law, shape, document.batch, per_stage, gaps)
        case "mmpp":
            rates = tuple(rate * slot for rate in document.rates)
            changes = tuple(tuple(rate * slot for rate in row) for row in document.changes)
            return Modulated(rates, changes, size_of(document.size))
        case "sum":
            return aggregate(*(build(part, slot) for part in document.parts))
        case "exponential":
            return ExponentialWork(document.mean * slot)
        case "gamma":
            return GammaWork(document.shape * slot, document.scale)
        case "on-off":
            return OnOff(document.peak * slot, document.on_to_off, document.off_to_on)
        case "token-bucket":
            return TokenBucket(document.rate * slot, document.burst)
        case "envelope":
            return _envelope(document, slot)
        case "table":
            return _table(document, slot)
        case "trace":
            return _trace(document, slot)
        case "learned":
            message = "an offer without a contract (impairment model learned) has no envelope"
            remedy = "plan it by fedopt operate or fedopt intent, or give the offer a contract"
            raise InstanceError([Problem("impairment", message, remedy)])
    if hasattr(document, "rho") and hasattr(document, "sigma"):
        return own_arrival(document)
    if hasattr(document, "kappa") and hasattr(document, "eta"):
        return own_impairment(document)
    raise ValueError(f"{document!r} is not a model of arrivals or impairments")


def _per_stage(document: Any) -> bool:
    return bool(getattr(document, "sizes", "common") == "per stage")


def size_of(document: Any) -> Size:
    """The law of the size that a document states."""
    if isinstance(document, int | float):
        return Size("fixed", (float(document),))
    maximum = getattr(document, "maximum", None)
    for kind in KINDS:
        stated = getattr(document, kind, None)
        if stated is not None:
            values = tuple(vars(stated).values()) if hasattr(stated, "model_fields_set") else (float(stated),)
            return Size(kind, values, math.inf if maximum is None else maximum)
    raise ValueError(f"{document!r} is no law of sizes")


def _size(size: Any) -> tuple[float, bool]:
    mean = getattr(size, "exponential", None)
    return (float(size), False) if mean is None else (float(mean), True)


def _envelope(document: Any, slot: float) -> Table:
    theta = np.array(document.theta, float)
    bias, size, exponential = None, math.nan, False
    if (
        document.request_size is not None
    ):  # requests that find the stationary work and their own, as Poisson ones
        size, exponential = _size(document.request_size)
        bias = Poisson(1.0, size, exponential).request_log_bias(theta)
    table = Table(
        theta,
        theta * np.array(document.rho) * slot,
        theta * np.array(document.sigma),
        np.asarray(bias) if bias is not None else None,
        independent_increments=document.independent_increments,
        max_size=math.nan if document.request_size is None else math.inf if exponential else size,
    )
    return table if document.peak is None else table.beyond(document.peak * slot)


def _table(document: Any, slot: float) -> Table:
    theta = np.array(document.theta, float)
    table = Table(
        theta,
        theta * np.array(document.kappa) * slot,
        theta * np.array(document.eta),
        monotone=document.monotone,
        independent_increments=document.independent_increments,
    )
    return table if document.peak is None else table.beyond(document.peak * slot)


def _trace(document: Any, slot: float) -> Law:
    path = document.path
    try:
        return read_trace(path, document.time_column, document.work_column, slot)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        remedy = "name a CSV file with a header and numeric columns of times and work"
        raise InstanceError([Problem("arrivals.file", f"{path}: {reason}", remedy)], str(path)) from error
