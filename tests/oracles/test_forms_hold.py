"""No form is violated: neither its bound on the probability nor the moment its proof bounds on the way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.oracles import formulas, slot_simulator
from tests.oracles.random_tandems import all_forms, fine, random_tandem, scaled, theta_top, with_window

FEW = (1, 4, 6)
"""Random tandems checked in every run; `slow` checks 30 more."""


def probabilities(seed: int, copies: int, slots: int) -> None:
    """Simulated violation probabilities, per instant and per request, against every form."""
    rng = np.random.default_rng(seed)
    tandem = scaled(random_tandem(rng), math.log(rng.choice([0.5, 0.2, 0.05])))
    n = tandem.window
    windows = sorted({n, max(n - 3, math.ceil(tandem.lags.sum()), 1)})
    systems = {
        "queue": slot_simulator.queue(tandem, windows, rng, copies, slots, 300),
        "path": slot_simulator.path(tandem, windows, rng, copies, slots, 300),
    }
    for w, window in enumerate(windows):
        for request in (False, True):
            for form, bound, theta in all_forms(with_window(tandem, window), request):
                for name, found in systems.items():
                    likely = found.requests[w] if request else found.instants[w]
                    error = found.requests_error[w] if request else found.instants_error[w]
                    where = f"{seed=}, {name}, {window=}, {request=}, {form}, {theta=}"
                    assert math.log(max(likely - error, 1e-300)) <= bound + 1e-9, where


def moments(seed: int, copies: int, slots: int, alphas=(1.0, 1.4, 2.0), choices=(None, 0.15, 0.5)) -> None:
    """E sup e^{θ·path value} against the union forms, E e^{θG_1} at the deadline's start against image.

    These are what the proofs bound before Markov's inequality, whose slack would hide a wrong constant.
    """
    rng = np.random.default_rng(1000 + seed)
    tandem = random_tandem(rng)
    tandem = with_window(tandem, max(int(rng.integers(2, 12)), math.ceil(tandem.lags.sum())))
    tandem = scaled(tandem, math.log(0.5))
    n, size = tandem.window, len(tandem.rates)
    value = slot_simulator.path_values(tandem, [n], rng, copies, slots, 300)[0][0]
    start = slot_simulator.path_values(tandem, [n], rng, copies, slots, 0, arrivals=False)[0][0]
    iid = tandem.arrival.iid and all(j.iid for j in tandem.impairments)
    for theta in min(0.5 * theta_top(tandem), 3.0) * np.array([0.1, 0.3, 0.8]):
        low = _low(np.exp(theta * value))
        bounds = {"fine": fine(tandem, theta, False), "monotone": formulas.monotone(tandem, theta)}
        if size > 1:
            bounds |= {f"block {g}": formulas.block(tandem, theta, g) for g in (2, 3, 5, 9)}
        for form, bound in bounds.items():
            assert low <= bound, f"seed {seed}, θ {theta}, {form}"
        if not iid:
            continue
        low = _low(np.exp(theta * start))
        burst = formulas.moments(tandem, theta)[2]
        for alpha in alphas:
            for growth in ("crude", "ordered"):
                for ratio in choices:
                    ratios = None if ratio is None else [ratio] * (size - 1)
                    charges = [alpha * theta] * (size - 1)
                    bound = (
                        formulas.image(tandem, theta, charges, first=0, growth=growth, ratios=ratios) - burst
                    )
                    assert low <= bound, f"seed {seed}, θ {theta}, image {growth}, α {alpha}, γ/θ {ratio}"


def _low(samples: np.ndarray) -> float:
    """log of the mean less three standard errors over independent copies."""
    means = samples.mean(axis=0)
    return math.log(max(means.mean() - 3 * means.std(ddof=1) / math.sqrt(means.size), 1e-300))


@pytest.mark.parametrize("seed", FEW)
def test_no_form_is_violated(seed):
    probabilities(seed, 300, 400)


@pytest.mark.parametrize("seed", FEW)
def test_no_moment_exceeds_what_the_proof_states(seed):
    moments(seed, 300, 200, (1.0, 1.4), (None, 0.3))


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted(set(range(33)) - set(FEW)))
def test_no_form_is_violated_in_thirty_tandems(seed):
    probabilities(seed, 1500, 1500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", sorted(set(range(33)) - set(FEW)))
def test_no_moment_exceeds_what_the_proof_states_in_thirty_tandems(seed):
    moments(seed, 2000, 600)
