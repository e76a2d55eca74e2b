"""Arrival and impairment envelopes in slots: models, operators on them, and their compiled form."""

from fedopt.laws.build import build
from fedopt.laws.compiled import ModelTable, log_burst, log_rate, pack, request_log_bias
from fedopt.laws.models import ExponentialWork, GammaWork, NoImpairment, OnOff, Poisson, TokenBucket
from fedopt.laws.operators import aggregate, hoelder, leftover, output, own_arrival, own_impairment
from fedopt.laws.protocol import Arrival, Impairment
from fedopt.laws.requests import Modulated, Renewal, WholeRequests
from fedopt.laws.sizes import Size
from fedopt.laws.table import Table
from fedopt.laws.trace import Trace

__all__ = [
    "Arrival",
    "ExponentialWork",
    "GammaWork",
    "Impairment",
    "ModelTable",
    "Modulated",
    "NoImpairment",
    "OnOff",
    "Poisson",
    "Renewal",
    "Size",
    "Table",
    "TokenBucket",
    "Trace",
    "WholeRequests",
    "aggregate",
    "build",
    "hoelder",
    "leftover",
    "log_burst",
    "log_rate",
    "output",
    "own_arrival",
    "own_impairment",
    "pack",
    "request_log_bias",
]
