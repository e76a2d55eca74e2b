"""What a curious broker can work out: an attack on privacy with nothing but a run's documents.

Each answer tells a point of the marginal cost curve: at the loads z the prices after the dual step are a
subgradient of the operator's cost, capacity included. The attack reads the curve off these points, and takes
the largest load that an offer ever answered while more was proposed for its capacity.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fedopt.federated.dual import answered_prices
from fedopt.federated.protocol.messages import Answer, Message, Opening, Proposal, Response

if TYPE_CHECKING:
    from fedopt.instance import Instance

__all__ = ["Guess", "Recovered", "recovered", "what_is_seen"]

Floats = npt.NDArray[np.float64]
_SHORT = 1e-6


@dataclass(frozen=True, eq=False)
class Guess:
    """What is seen of an offer: points (load, price) of its marginal cost, shape (points, 2), and the load at
    which its answers stopped though more was proposed (None where they never did).
    """

    points: Floats
    stopped: float | None

    def marginal(self) -> float | None:
        """The lower quartile of the prices at which the offer carried something: capacity only adds to them,
        and with a linear cost the rest is the cost of a unit, each time under another noise.
        """
        carried = self.points[self.points[:, 0] > 0.0]
        return float(np.quantile(carried[:, 1], 0.25)) if len(carried) else None


@dataclass(frozen=True)
class Recovered:
    """Relative errors of the attack: the median over offers of the marginal cost at the loads of the end, and
    the share of domains whose capacity is known to 1 %.
    """

    marginal_error: float
    capacities_known: float


def what_is_seen(crossed: Iterable[tuple[str, Message, Answer]]) -> Mapping[str, Guess]:
    """Guesses by offer from (operator, question, answer) as they crossed."""
    names: dict[str, tuple[str, ...]] = {}
    points: dict[str, list[tuple[float, float]]] = {}
    stops: dict[str, list[float]] = {}
    for operator, question, answer in crossed:
        if isinstance(question, Opening):
            names[operator] = question.offers
        if not (isinstance(question, Proposal) and isinstance(answer, Response)) or question.of != "cost":
            continue
        x, p, rho, z = (
            np.array(values) for values in (question.loads, question.prices, question.penalties, answer.loads)
        )
        prices = answered_prices(x, p, rho, z)
        for o, name in enumerate(names[operator]):
            points.setdefault(name, []).append((float(z[o]), float(prices[o])))
            if z[o] < x[o] * (1.0 - _SHORT):
                stops.setdefault(name, []).append(float(z[o]))
    return {
        name: Guess(np.array(seen), max(stops[name]) if name in stops else None)
        for name, seen in points.items()
    }


def recovered(guesses: Mapping[str, Guess], instance: Instance) -> Recovered:
    """How near the guesses are to an instance, whose domains have one offer each."""
    errors, known, domains = [], 0, 0
    for domain in instance.domains:
        (offer,) = domain.offers
        guess = guesses[f"{domain.id}/{offer.id}"]
        seen = guess.marginal()
        if seen is not None:
            load = float(guess.points[-1, 0])
            true = float(offer.cost.marginal(load))
            errors.append(abs(seen - true) / true)
        domains += 1
        if guess.stopped is not None:
            capacity = domain.capacity / offer.work_factor
            known += abs(guess.stopped - capacity) <= 0.01 * capacity
    return Recovered(float(np.median(errors)), known / domains)
