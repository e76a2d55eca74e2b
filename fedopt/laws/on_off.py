"""Markov-modulated on-off work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedopt.laws.protocol import Law, Shape, Values

__all__ = ["OnOff"]


@dataclass(frozen=True)
class OnOff(Law):
    """A two-state chain that brings `peak` work in each slot in which it is on, started stationary.

    Let P be the transition matrix, π its stationary law, D = diag(1, e^{θ·peak}), r the spectral radius of PD
    and w > 0 its right eigenvector, PDw = rw. Then θρ = log r and θσ = log(⟨π, w⟩ / min w).

    *Fixed interval.* With π = πP, E e^{θA} over n slots is π(PD)ⁿ1 ≤ π(PD)ⁿw / min w = rⁿ⟨π, w⟩ / min w.

    *Supremum over intervals with a common end t* (Ville). Read the states backwards from t + 1: Y_0, Y_1 =
    X_t, Y_2 = X_{t−1}, … A stationary chain of two states is reversible, so Y is the same chain, and M_ℓ =
    r^{−ℓ} e^{θ A(t−ℓ, t)} w(Y_ℓ) satisfies E[M_{ℓ+1} | Y_ℓ = i] = M_ℓ (PDw)_i / (r w_i) = M_ℓ: a martingale
    with E M_0 = ⟨π, w⟩. As e^{θA} r^{−ℓ} ≤ M_ℓ / min w, the maximal inequality costs the factor ⟨π, w⟩ / min
    w, the same as before. Products over independent sources and a factor that decreases with ℓ keep it a
    supermartingale; an interval that ends earlier starts with the same mean ⟨π, w⟩, because E M_ℓ = ⟨π, w⟩
    for all ℓ.

    *Requests.* All slots that bring work bring `peak`, so a unit of work drawn at random finds the stationary
    chain given X_t = on. There M_1 = r^{−1} e^{θ·peak} w_on, and M is a martingale from ℓ = 1. So both bounds
    hold with ⟨π, w⟩ replaced by e^{θ·peak} w_on / r; the logarithm of the quotient is the bias.

    Attributes:
        peak: work per slot while on.
        on_to_off: probability of a change in a slot, in (0, 1].
        off_to_on: probability of a change in a slot, in (0, 1].
    """

    peak: float
    on_to_off: float
    off_to_on: float

    @property
    def slot_start(self) -> bool:
        """One request in each slot that is on, at its start."""
        return True

    @property
    def max_size(self) -> float:
        """The peak."""
        return self.peak

    @property
    def mean_size(self) -> float:
        """The peak."""
        return self.peak

    @property
    def iid(self) -> bool:
        """Only where the next state does not depend on the present one."""
        return self.on_to_off + self.off_to_on == 1.0

    @property
    def theta_max(self) -> float:
        """Every tilt is usable."""
        return np.inf

    @property
    def on_share(self) -> float:
        """Stationary probability of being on."""
        return self.off_to_on / (self.on_to_off + self.off_to_on)

    @property
    def mean(self) -> float:
        """Mean work per slot."""
        return self.peak * self.on_share

    def _spectrum(self, theta: Values) -> tuple[np.ndarray, np.ndarray]:
        """log r and log(w_on / w_off) for tilts θ of either sign, stable for tiny and huge θ·peak."""
        p, q = self.on_to_off, self.off_to_on
        x = np.asarray(theta, float) * self.peak
        # Small tilts: y = r − 1 solves y² + by − qz = 0 with z = e^x − 1, b = p + q − (1−p)z.
        z = np.expm1(np.minimum(x, 30.0))
        b = p + q - (1.0 - p) * z
        root = np.sqrt((p - q - (1.0 - p) * z) ** 2 + 4.0 * p * q * (z + 1.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            over = np.where(b > 0.0, 2.0 * z / (b + root), (root - b) / (2.0 * q))  # y / q
            low_rate, low_ratio = np.log1p(q * over), np.log1p(over) - x
        # Large ones: divide the matrix by e^x.
        e = np.exp(-np.maximum(x, 0.0))
        half = (1.0 - q) * e - (1.0 - p)
        scaled = 0.5 * ((1.0 - q) * e + (1.0 - p) + np.sqrt(half * half + 4.0 * p * q * e))
        with np.errstate(divide="ignore", invalid="ignore"):
            high_rate = x + np.log(scaled)
            high_ratio = np.log((scaled - (1.0 - q) * e) / q)
        large = x > 30.0
        return np.where(large, high_rate, low_rate), np.where(large, high_ratio, low_ratio)

    def _log_start(self, ratio: np.ndarray) -> np.ndarray:
        """log(⟨π, w⟩ / w_off)."""
        on = self.on_share
        return np.logaddexp(np.log1p(-on) if on < 1.0 else -np.inf, np.log(on) + ratio)

    def log_rate(self, theta: Values) -> Values:
        """log of the spectral radius for θ > 0; for θ < 0 as well where the work is i.i.d., else 0."""
        theta = np.asarray(theta, float)
        rate = self._spectrum(theta)[0]
        return (rate if self.iid else np.where(theta < 0.0, 0.0, rate))[()]

    def log_burst(self, theta: Values) -> Values:
        """log(⟨π, w⟩ / min w) ≥ 0."""
        ratio = self._spectrum(theta)[1]
        return np.maximum(self._log_start(ratio) - np.minimum(ratio, 0.0), 0.0)[()]

    def request_log_bias(self, theta: Values) -> Values:
        """log(e^{θ·peak} w_on / (r ⟨π, w⟩)): the slot of a unit of work is on."""
        rate, ratio = self._spectrum(theta)
        return (np.asarray(theta, float) * self.peak + ratio - rate - self._log_start(ratio))[()]

    def sample(self, rng: np.random.Generator, slots: Shape) -> np.ndarray:
        """Stationary work per slot, shape `slots`, time on the last axis."""
        shape = (slots,) if isinstance(slots, int) else tuple(slots)
        p, q = self.on_to_off, self.off_to_on
        draw = rng.random(shape)
        low, high = min(q, 1.0 - p), max(q, 1.0 - p)
        # One draw a slot decides: on (below low), off (from high on), else kept or, where q > 1 − p, flipped.
        decided = (draw < low) | (draw >= high)
        on = draw < low
        decided[..., 0] = True
        on[..., 0] = draw[..., 0] < self.on_share
        time = np.broadcast_to(np.arange(shape[-1]), shape)
        last = np.maximum.accumulate(np.where(decided, time, 0), axis=-1)
        state = np.take_along_axis(on, last, axis=-1)
        if q > 1.0 - p:
            state = state ^ ((time - last) % 2 == 1)
        return np.where(state, self.peak, 0.0)
