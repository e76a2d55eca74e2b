"""Audits: extreme-value statistics of telemetry, the verdict on a promise, drift, recalibration,
attribution.
"""

from fedopt.audit.auditing import audit, audit_telemetry
from fedopt.audit.document import Audit, AuditError, Promise, audit_schema
from fedopt.audit.settings import Settings
from fedopt.records import Columns, TelemetryError, read_telemetry

__all__ = [
    "Audit",
    "AuditError",
    "Columns",
    "Promise",
    "Settings",
    "TelemetryError",
    "audit",
    "audit_schema",
    "audit_telemetry",
    "read_telemetry",
]
