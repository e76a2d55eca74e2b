"""Anderson acceleration of a fixed-point iteration, with a safeguard.

Type II with a short memory: the next point is the mixture of the last ones whose residuals cancel best. It is
taken only while the residual keeps falling; where it does not, and whenever the iteration itself changes, the
memory is dropped.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Anderson"]

Floats = npt.NDArray[np.float64]


class Anderson:
    """Accelerates w ← f(w); vectors should be scaled so that their parts weigh alike."""

    def __init__(self, memory: int = 4, growth: float = 1.0) -> None:
        self.memory, self.growth = memory, growth
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._points: list[Floats] = []
        self._images: list[Floats] = []
        self._last = np.inf

    def next(self, point: Floats, image: Floats) -> Floats:
        """Where to go on after f(point) = image: a mixture of images, or the image itself."""
        residual = float(np.linalg.norm(image - point))
        if residual > self.growth * self._last:  # the last mixture did not help
            self.reset()
        self._last = residual
        self._points.append(point)
        self._images.append(image)
        del self._points[: -self.memory - 1], self._images[: -self.memory - 1]
        if len(self._points) < 2:
            return image
        residuals = np.array([f - w for w, f in zip(self._points, self._images, strict=True)])
        steps = np.diff(residuals, axis=0).T
        scale = max(float(np.linalg.norm(steps)), 1e-300)
        system = np.vstack([steps, 1e-6 * scale * np.eye(steps.shape[1])])  # keeps the mixture small
        target = np.concatenate([residuals[-1], np.zeros(steps.shape[1])])
        weights = np.linalg.lstsq(system, target, rcond=None)[0]
        if float(np.abs(weights).sum()) > 10.0:
            return image
        return image - np.diff(np.array(self._images), axis=0).T @ weights
