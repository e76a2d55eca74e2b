"""A user's own envelopes: objects that state two functions of θ, completed with cautious properties."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["Own", "own_arrival", "own_impairment"]


@dataclass(frozen=True, eq=False)
class Own(Law):
    """An object with `rho`/`sigma` or `kappa`/`eta` (θ > 0; per slot), read through one interface.

    What the object does not state is taken on the safe side: not monotone, no independent increments, not
    i.i.d., no correction for requests, nothing known for θ < 0. Arrivals are work and so grow with the
    interval. A function that takes no arrays is called value by value.
    """

    model: Any
    arrivals: bool

    def _stated(self, name: str, default: Any) -> Any:
        return getattr(self.model, name, default)

    @property
    def monotone(self) -> bool:
        """As stated; arrivals always are."""
        return self.arrivals or bool(self._stated("monotone", False))

    @property
    def independent_increments(self) -> bool:
        """As stated, else False."""
        return bool(self._stated("independent_increments", False))

    @property
    def iid(self) -> bool:
        """As stated, else False."""
        return bool(self._stated("iid", False))

    @property
    def continuous(self) -> bool:
        """As stated, else False."""
        return bool(self._stated("continuous", False))

    @property
    def max_size(self) -> float:
        """As stated, else not known."""
        return float(self._stated("max_size", math.nan))

    @property
    def theta_max(self) -> float:
        """As stated, else no limit but where the functions become infinite."""
        return float(self._stated("theta_max", np.inf))

    @property
    def mean(self) -> float:
        """As stated, else the rate at the smallest usable θ, which is no smaller."""
        stated = self._stated("mean", None)
        if stated is not None:
            return float(stated)
        for theta in 10.0 ** np.arange(-9.0, 3.0):
            rate = float(self.rho(theta))
            if np.isfinite(rate):
                return rate
        return np.inf

    def _values(self, name: str, theta: Values, infinite_beyond: bool = True) -> np.ndarray:
        function = getattr(self.model, name)
        theta = np.asarray(theta, float)
        with np.errstate(all="ignore"):
            try:
                values = np.asarray(function(theta), float)
                if values.ndim == 0:
                    values = np.broadcast_to(values, theta.shape)
            except (TypeError, ValueError):
                values = np.empty(0)
            if values.shape != theta.shape:
                values = np.array([_value(function, float(t)) for t in theta.ravel()]).reshape(theta.shape)
        bad = np.isnan(values)
        return np.where(bad | (theta > self.theta_max) if infinite_beyond else bad, np.inf, values)

    def log_rate(self, theta: Values) -> Values:
        """θρ or θκ as stated; for θ < 0 the stated log-moment of i.i.d. work, else 0."""
        theta = np.asarray(theta, float)
        values = theta * self._values("rho" if self.arrivals else "kappa", np.where(theta > 0.0, theta, 1.0))
        if np.any(theta <= 0.0):
            below = np.zeros(theta.shape)
            if self.iid and hasattr(self.model, "log_moment"):
                below = np.minimum(self._values("log_moment", theta), 0.0)
            values = np.where(theta > 0.0, values, np.where(theta < 0.0, below, 0.0))
        return values[()]

    def log_burst(self, theta: Values) -> Values:
        """θσ or θη as stated."""
        theta = np.asarray(theta, float)
        return (theta * self._values("sigma" if self.arrivals else "eta", theta))[()]

    def request_log_bias(self, theta: Values) -> Values:
        """As stated, else +inf."""
        theta = np.asarray(theta, float)
        if not hasattr(self.model, "request_log_bias"):
            return np.full(theta.shape, np.inf)[()]
        return self._values("request_log_bias", theta)[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """As stated; TypeError where the object cannot be sampled."""
        if not hasattr(self.model, "sample"):
            raise TypeError(f"{type(self.model).__name__} has no method sample(rng, slots)")
        return np.asarray(self.model.sample(rng, slots), float)


def _value(function: Any, theta: float) -> float:
    """The function's value, +inf where it has none."""
    try:
        return float(function(theta))
    except (ArithmeticError, ValueError):
        return np.inf


def own_arrival(model: Any) -> Law:
    """`model` itself if it is one of the package's, else a user's arrivals completed."""
    return model if isinstance(model, Law) else Own(model, arrivals=True)


def own_impairment(model: Any) -> Law:
    """`model` itself if it is one of the package's, else a user's impairment completed."""
    return model if isinstance(model, Law) else Own(model, arrivals=False)
