"""The switches of a federated run; the defaults are the ones that are measured in the documentation."""

from __future__ import annotations

from dataclasses import dataclass

from fedopt.errors import InputError

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How a run is conducted.

    Attributes:
        penalty: first penalty of an offer, in its opening price per mean load of its stage and offer of its
            domain.
        over_relaxation: how far past the broker's loads the operators are asked, 1 to 2; 1 is plain ADMM.
        balance: whether penalties follow the residuals.
        anderson: whether the iteration is accelerated.
        list_penalty: one penalty for all offers, from the mean price, in place of one per price (textbook).
        relaxation: the gap to which the relaxation is certified before whole units are chosen; None: half of
            the plan's gap.
        most_rounds: rounds for the relaxation at most.
        most_confirmations: rounds for whole units at most.
        masked: whether sums over operators are masked (method admm).
        alone: each domain is its own operator, whatever the instance says.
        noise: relative noise of what operators disclose, in process.
        staleness: rounds in a row that an operator may miss.
        seed: of run ids and noise.
    """

    penalty: float = 0.25
    over_relaxation: float = 1.6
    balance: bool = True
    anderson: bool = False
    list_penalty: bool = False
    relaxation: float | None = None
    most_rounds: int = 200
    most_confirmations: int = 24
    masked: bool = False
    alone: bool = False
    noise: float = 0.0
    staleness: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("penalty", self.penalty > 0.0, "a positive number"),
            ("over_relaxation", 0.0 < self.over_relaxation < 2.0, "between 0 and 2"),
            ("relaxation", self.relaxation is None or self.relaxation >= 0.0, "0 or more"),
            ("most_rounds", self.most_rounds >= 1, "1 or more"),
            ("most_confirmations", self.most_confirmations >= 0, "0 or more"),
            ("noise", 0.0 <= self.noise < 1.0, "at least 0 and below 1"),
            ("staleness", self.staleness >= 0, "0 or more"),
        )
        for name, fine, what in checks:
            if not fine:
                raise SettingsError(f"{name} must be {what}, is {getattr(self, name)!r}")


class SettingsError(InputError):
    """A switch with a value that it cannot take."""
