"""Arrival and impairment envelopes in slots: models, operators on them, and their compiled form."""

from fedopt.envelopes.build import build
from fedopt.envelopes.compiled import ModelTable, log_burst, log_rate, pack, request_log_bias
from fedopt.envelopes.exponential import ExponentialWork
from fedopt.envelopes.gamma import GammaWork
from fedopt.envelopes.none import NoImpairment
from fedopt.envelopes.on_off import OnOff
from fedopt.envelopes.operators import aggregate, hoelder, leftover, output
from fedopt.envelopes.own import own_arrival, own_impairment
from fedopt.envelopes.poisson import Poisson
from fedopt.envelopes.protocol import Arrival, Impairment
from fedopt.envelopes.table import Table
from fedopt.envelopes.token_bucket import TokenBucket
from fedopt.envelopes.trace import Trace

__all__ = [
    "Arrival",
    "ExponentialWork",
    "GammaWork",
    "Impairment",
    "ModelTable",
    "NoImpairment",
    "OnOff",
    "Poisson",
    "Table",
    "TokenBucket",
    "Trace",
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
