"""The pricing oracle: the cheapest path and rates of a tenant at given prices, with a proof that nothing is
cheaper."""

from fedopt.pricing.network import Abandoned, Network, TenantClass
from fedopt.pricing.pricing import Oracle, Priced, sizing_for
from fedopt.pricing.sizing import Column

__all__ = ["Abandoned", "Column", "Network", "Oracle", "Priced", "TenantClass", "sizing_for"]
