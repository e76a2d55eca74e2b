"""Settlement: scores, sensitivities, shares by the paper's rule and by Shapley, statements that conserve
money.
"""

from fedopt.settlement.document import Settlement, Statement
from fedopt.settlement.settling import SettlementError, settle, verdicts_of

__all__ = ["Settlement", "SettlementError", "Statement", "settle", "verdicts_of"]
