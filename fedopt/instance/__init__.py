"""Instances: what is asked of the network. Typed documents, reading with placed errors, graph and policy."""

from .arrivals import (
    EnvelopeArrivals,
    ExponentialSize,
    ExponentialWork,
    OnOff,
    OwnArrivals,
    Poisson,
    TokenBucket,
    TraceArrivals,
)
from .costs import Linear, OwnCost, Piecewise, Quadratic
from .documents import SLO, Domain, Instance, Link, Offer, Policy, Tenant, Units
from .errors import InstanceError, Problem
from .graph import admissible
from .impairments import (
    Ask,
    ExponentialImpairment,
    GammaImpairment,
    LearnedImpairment,
    NoImpairment,
    OnOffImpairment,
    OwnImpairment,
    PoissonImpairment,
    TableImpairment,
)
from .reading import examples, load, loads
from .writing import dump, dumps

__all__ = [
    "SLO",
    "Ask",
    "Domain",
    "EnvelopeArrivals",
    "ExponentialImpairment",
    "ExponentialSize",
    "ExponentialWork",
    "GammaImpairment",
    "Instance",
    "InstanceError",
    "LearnedImpairment",
    "Linear",
    "Link",
    "NoImpairment",
    "Offer",
    "OnOff",
    "OnOffImpairment",
    "OwnArrivals",
    "OwnCost",
    "OwnImpairment",
    "Piecewise",
    "Poisson",
    "PoissonImpairment",
    "Policy",
    "Problem",
    "Quadratic",
    "TableImpairment",
    "Tenant",
    "TokenBucket",
    "TraceArrivals",
    "Units",
    "admissible",
    "dump",
    "dumps",
    "examples",
    "load",
    "loads",
]
