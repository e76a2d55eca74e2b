"""RADE: learn from accept/reject feedback what domains take, and decompose SLAs accordingly."""

from fedopt.learn.answers import Answer, Received
from fedopt.learn.decompose import DecompositionInfeasible
from fedopt.learn.history import History, HistoryError
from fedopt.learn.keeping import Kept, StateError, keep, load, save
from fedopt.learn.metrics import SLA, Context, Metric, Schema, SLAError
from fedopt.learn.orchestrator import Orchestrator, Split
from fedopt.learn.settings import Settings

__all__ = [
    "SLA",
    "Answer",
    "Context",
    "DecompositionInfeasible",
    "History",
    "HistoryError",
    "Kept",
    "Metric",
    "Orchestrator",
    "Received",
    "SLAError",
    "Schema",
    "Settings",
    "Split",
    "StateError",
    "keep",
    "load",
    "save",
]
