"""The paper's risk model: a small monotone neural network per domain, differentiated by JAX.

Three hidden layers of eight units, each linear, tanh, batch normalisation. Every weight enters through its
absolute value, and so does the batch normalisation's γ, so the output cannot decrease in either input; the
inputs are the delay and the negated throughput. The Bernoulli likelihood (4) of the paper is the loss.

Batch statistics are used while fitting a history. Online updates keep the running statistics frozen: with
the statistics of a few recent answers, which are nearly all alike, the normalised layers collapse.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Self

import numpy as np

from fedopt.errors import InputError, optional
from fedopt.learn.feedback import Array, Feedback, Rows, Scale
from fedopt.learn.model import RiskModel

LAYERS = 3
WIDTH = 8
_EPSILON = 1e-5


@dataclass(frozen=True)
class NetworkRisk(RiskModel):
    """Monotone multilayer perceptrons, one per domain.

    Attributes:
        models: number of models; they differ in their initial weights.
        seed: of the initial weights.
        epochs, fit_rate: full-batch Adam steps of `fit` and their step size.
        decay: ridge penalty on the weight matrices during `fit`; without it a hundred answers are overfitted.
        rate, runs: step size η and number of gradient steps of one `update`, the paper's online gradient
            descent; with 0 steps (default) an update is a fit from the present weights to its end.
        scale: input scale; taken from the history by `fit`.
        parameters: weights by name, first axis the models.
        statistics: frozen means and variances of the normalised layers.
    """

    models: int = 1
    seed: int = 0
    epochs: int = 300
    fit_rate: float = 0.02
    decay: float = 3e-3
    rate: float = 1e-3
    runs: int = 0
    scale: Scale | None = None
    parameters: dict[str, Any] = field(default_factory=dict, repr=False)
    statistics: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.scale is None:
            object.__setattr__(self, "scale", Scale.unit(self.models))
        if not self.parameters:
            object.__setattr__(self, "parameters", _initial(self.models, self.seed))
        if self.statistics is None:
            neutral = np.zeros((self.models, LAYERS, 2, WIDTH), np.float32)
            neutral[:, :, 1] = 1.0
            object.__setattr__(self, "statistics", neutral)

    @property
    def count(self) -> int:
        return self.models

    @property
    def units(self) -> Scale:
        """The input scale."""
        assert self.scale is not None
        return self.scale

    def fit(self, feedback: Feedback) -> Self:
        return replace(self, parameters=_initial(self.models, self.seed))._refit(
            feedback, np.arange(self.models)
        )

    def update(self, feedback: Feedback, rows: Rows | None = None) -> Self:
        index = np.arange(self.models) if rows is None else np.asarray(rows)
        if index.size == 0:
            return self
        if self.runs == 0:
            return self._refit(feedback, index)
        padded = _bucket(index.size)
        chosen = np.resize(index, padded)
        inputs = _inputs(self.units, feedback.delay, feedback.throughput, index)
        stepped = _compiled().descend(
            {name: value[chosen] for name, value in self.parameters.items()},
            self.statistics[chosen],
            _grow(inputs, padded),
            _grow(_float(feedback.accepted), padded),
            _grow(_float(feedback.weight), padded),
            np.float32(self.rate),
            self.runs,
        )
        return replace(self, parameters=self._placed(stepped, index))

    def _refit(self, feedback: Feedback, index: Rows) -> Self:
        if feedback.extra.shape[2]:
            raise InputError("the network knows delay and throughput alone: choose another model")
        scale = self.units.replaced(index, Scale.of(feedback))
        padded = _bucket(index.size)
        chosen = np.resize(index, padded)
        found, seen = _compiled().fit(
            {name: value[chosen] for name, value in self.parameters.items()},
            _grow(_inputs(scale, feedback.delay, feedback.throughput, index), padded),
            _grow(_float(feedback.accepted), padded),
            _grow(_float(feedback.weight), padded),
            np.float32(self.fit_rate),
            np.float32(self.decay),
            self.epochs,
        )
        statistics = self.statistics.copy()
        statistics[index] = np.asarray(seen)[: index.size]
        return replace(self, scale=scale, parameters=self._placed(found, index), statistics=statistics)

    def _placed(self, found: dict[str, Any], index: Rows) -> dict[str, Any]:
        """The weights with those of some models replaced."""
        parameters = {name: value.copy() for name, value in self.parameters.items()}
        for name, value in parameters.items():
            value[index] = np.asarray(found[name])[: index.size]
        return parameters

    def log_probability(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> Array:
        return np.asarray(self._evaluate("log_probability", delay, throughput, rows), dtype=float)

    def gradient(
        self, delay: Array, throughput: Array, rows: Rows | None = None, extra: Array | None = None
    ) -> tuple[Array, Array]:
        slope = np.asarray(self._evaluate("slope", delay, throughput, rows), dtype=float)
        own = self.units.rows(rows)
        return slope[..., 0] / own.delay, -slope[..., 1] / own.spread

    def _evaluate(self, name: str, delay: Array, throughput: Array, rows: Rows | None) -> Any:
        index = np.arange(self.models) if rows is None else np.asarray(rows)
        padded = _bucket(index.size)
        chosen = np.resize(index, padded)
        inputs = _grow(_inputs(self.units, delay, np.broadcast_to(throughput, delay.shape), index), padded)
        parameters = {key: value[chosen] for key, value in self.parameters.items()}
        values = getattr(_compiled(), name)(parameters, self.statistics[chosen], inputs)
        return np.asarray(values)[: index.size]

    def grown(self, models: int) -> Self:
        """With blank models up to `models`."""
        more = type(self)(models - self.models, self.seed)
        return replace(
            self,
            models=models,
            scale=self.units.grown(models),
            parameters={k: np.concatenate([v, more.parameters[k]]) for k, v in self.parameters.items()},
            statistics=np.concatenate([self.statistics, more.statistics]),
        )

    def state(self) -> dict[str, Any]:
        settings = ("models", "seed", "epochs", "fit_rate", "decay", "rate", "runs")
        return {
            **{name: getattr(self, name) for name in settings},
            **self.units.state(),
            **{f"parameter_{name}": np.asarray(value) for name, value in self.parameters.items()},
            "statistics": np.asarray(self.statistics),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        prefix = "parameter_"
        return cls(
            models=int(state["models"]),
            seed=int(state["seed"]),
            epochs=int(state["epochs"]),
            fit_rate=float(state["fit_rate"]),
            decay=float(state["decay"]),
            rate=float(state["rate"]),
            runs=int(state["runs"]),
            scale=Scale.from_state(state),
            parameters={
                name.removeprefix(prefix): np.asarray(value, np.float32)
                for name, value in state.items()
                if name.startswith(prefix)
            },
            statistics=np.asarray(state["statistics"], np.float32),
        )


def _float(values: Array) -> Any:
    return np.asarray(values, dtype=np.float32)


def _bucket(size: int) -> int:
    """A batch size that is compiled for once and reused."""
    return next((fixed for fixed in (8, 64, 256) if size <= fixed), -(-size // 256) * 256)


def _grow(values: Any, rows: int) -> Any:
    return np.pad(values, ((0, rows - values.shape[0]),) + ((0, 0),) * (values.ndim - 1))


def _inputs(scale: Scale, delay: Array, throughput: Array, rows: Rows | None) -> Any:
    u, v = scale.relative(delay, throughput, rows)
    return np.stack([u - 1.0, -v], axis=1).astype(np.float32)


def _initial(models: int, seed: int) -> dict[str, Any]:
    """Weights drawn as usual for tanh (variance 1/inputs); γ = 1, all else 0."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x52414445]))
    first = rng.normal(size=(models, WIDTH, 2)) / np.sqrt(2)
    deep = rng.normal(size=(models, LAYERS - 1, WIDTH, WIDTH)) / np.sqrt(WIDTH)
    out = rng.normal(size=(models, WIDTH)) / np.sqrt(WIDTH)
    arrays = {
        "first": first,
        "deep": deep,
        "bias": np.zeros((models, LAYERS, WIDTH)),
        "gamma": np.ones((models, LAYERS, WIDTH)),
        "beta": np.zeros((models, LAYERS, WIDTH)),
        "out": out,
        "constant": np.zeros((models,)),
    }
    return {name: value.astype(np.float32) for name, value in arrays.items()}


@dataclass(frozen=True)
class _Compiled:
    """The four compiled functions over a batch of models."""

    fit: Any
    descend: Any
    log_probability: Any
    slope: Any


@lru_cache(maxsize=1)
def _compiled() -> _Compiled:
    """Compile lazily, so that importing this module costs nothing and needs no JAX."""
    with optional("neural risk models", "learn"):
        import jax
        import jax.numpy as jnp

    def linear(weight: Any, h: Any, bias: Any) -> Any:
        return jnp.abs(weight) @ h + bias[:, None]

    def hidden(p: Any, layer: int, h: Any) -> Any:
        weight = p["first"] if layer == 0 else p["deep"][layer - 1]
        return jnp.tanh(linear(weight, h, p["bias"][layer]))

    def normalise(p: Any, layer: int, h: Any, mean: Any, variance: Any) -> Any:
        factor = jnp.abs(p["gamma"][layer]) * jax.lax.rsqrt(variance + _EPSILON)
        return h * factor[:, None] + (p["beta"][layer] - mean * factor)[:, None]

    def logit(p: Any, statistics: Any, x: Any) -> Any:
        """Log odds of acceptance of one model at inputs x of shape (2, K), with frozen statistics."""
        h = x
        for layer in range(LAYERS):
            h = normalise(p, layer, hidden(p, layer, h), statistics[layer, 0], statistics[layer, 1])
        return jnp.abs(p["out"]) @ h + p["constant"]

    def logit_of_batch(p: Any, x: Any, share: Any) -> tuple[Any, Any]:
        """The same with the batch's own (weighted) statistics, which are returned too."""
        h, seen = x, []
        for layer in range(LAYERS):
            h = hidden(p, layer, h)
            mean = h @ share
            variance = jnp.square(h - mean[:, None]) @ share
            seen.append(jnp.stack([mean, variance]))
            h = normalise(p, layer, h, mean, variance)
        return jnp.abs(p["out"]) @ h + p["constant"], jnp.stack(seen)

    def loss(z: Any, accepted: Any, share: Any) -> Any:
        return share @ (accepted * jax.nn.softplus(-z) + (1 - accepted) * jax.nn.softplus(z))

    def shares(weight: Any) -> Any:
        return weight / jnp.maximum(weight.sum(), 1e-12)

    def fit_one(
        p: Any, x: Any, accepted: Any, weight: Any, rate: Any, decay: Any, epochs: int
    ) -> tuple[Any, Any]:
        share = shares(weight)

        def objective(q: Any) -> Any:
            size = sum(jnp.square(q[name]).sum() for name in ("first", "deep", "out", "gamma"))
            return loss(logit_of_batch(q, x, share)[0], accepted, share) + 0.5 * decay * size

        def adam(carry: Any, step: Any) -> tuple[Any, None]:
            q, first, second = carry
            gradient = jax.grad(objective)(q)
            tree = jax.tree_util.tree_map
            first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
            second = tree(lambda s, g: 0.999 * s + 0.001 * g * g, second, gradient)
            down, scale = 1 - 0.9 ** (step + 1.0), 1 - 0.999 ** (step + 1.0)
            q = tree(lambda w, m, s: w - rate * (m / down) / (jnp.sqrt(s / scale) + 1e-8), q, first, second)
            return (q, first, second), None

        zeros = jax.tree_util.tree_map(jnp.zeros_like, p)
        (q, _, _), _ = jax.lax.scan(adam, (p, zeros, zeros), jnp.arange(epochs, dtype=jnp.float32))
        return q, logit_of_batch(q, x, share)[1]

    def descend_one(p: Any, statistics: Any, x: Any, y: Any, weight: Any, rate: Any, runs: int) -> Any:
        share = shares(weight)
        gradient = jax.grad(lambda q: loss(logit(q, statistics, x), y, share))

        def step(_: Any, q: Any) -> Any:
            return jax.tree_util.tree_map(lambda w, g: w - rate * g, q, gradient(q))

        return jax.lax.fori_loop(0, runs, step, p)

    def log_probability_one(p: Any, statistics: Any, x: Any) -> Any:
        return -jax.nn.softplus(-logit(p, statistics, x))

    def slope_one(p: Any, statistics: Any, x: Any) -> Any:
        total = jax.grad(lambda inputs: log_probability_one(p, statistics, inputs).sum())
        return total(x).T

    @partial(jax.jit, static_argnames="epochs")
    def fit(p: Any, x: Any, accepted: Any, weight: Any, rate: Any, decay: Any, epochs: int) -> Any:
        return jax.vmap(partial(fit_one, rate=rate, decay=decay, epochs=epochs))(p, x, accepted, weight)

    @partial(jax.jit, static_argnames="runs")
    def descend(p: Any, statistics: Any, x: Any, y: Any, weight: Any, rate: Any, runs: int) -> Any:
        return jax.vmap(partial(descend_one, rate=rate, runs=runs))(p, statistics, x, y, weight)

    return _Compiled(
        fit=fit,
        descend=descend,
        log_probability=jax.jit(jax.vmap(log_probability_one)),
        slope=jax.jit(jax.vmap(slope_one)),
    )
