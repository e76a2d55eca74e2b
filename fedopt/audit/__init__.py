"""Audits: extreme-value statistics of telemetry, the verdict on a contract, recalibration, attribution."""
