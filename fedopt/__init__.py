"""Plan federated AI services under tail-latency contracts."""

__version__ = "0.1.0"
