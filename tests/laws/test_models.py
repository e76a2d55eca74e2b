"""Every model: what an envelope promises, against moments of samples, convexity and the compiled form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.laws import (
    Arrival,
    ExponentialWork,
    GammaWork,
    Impairment,
    NoImpairment,
    OnOff,
    Poisson,
    Table,
    TokenBucket,
    log_burst,
    log_rate,
    pack,
    request_log_bias,
)

positive = st.floats(0.01, 5.0)
chance = st.floats(0.01, 1.0)
LAWS = st.one_of(
    st.builds(Poisson, positive, positive, st.booleans()),
    st.builds(ExponentialWork, positive),
    st.builds(GammaWork, positive, positive),
    st.builds(OnOff, positive, chance, chance),
    st.builds(TokenBucket, positive, positive),
    st.just(NoImpairment()),
)
SAMPLED = [
    Poisson(0.5, 0.8),
    Poisson(0.5, 0.3, True),
    ExponentialWork(0.4),
    GammaWork(1.7, 0.3),
    OnOff(1.2, 0.2, 0.1),
    OnOff(1.2, 0.9, 0.8),
    OnOff(1.2, 0.3, 0.7),
    OnOff(1.2, 1.0, 1.0),
    TokenBucket(0.4, 1.5),
]


def tilts(law, count: int = 12) -> np.ndarray:
    """θ from tiny to the end of the domain, or to where moments leave the range of floats."""
    top = min(law.theta_max, 20.0 / max(law.mean, 0.05), 300.0 / getattr(law, "size", 1.0))
    return top * np.concatenate([[1e-9, 1e-6, 1e-3], np.linspace(0.02, 0.999, count)])


@settings(deadline=None, max_examples=150, derandomize=True)
@given(LAWS)
def test_rate_grows_with_theta_and_log_moment_is_convex(law):
    theta = tilts(law, 40)
    rho = law.rho(theta)
    assert np.all(np.isfinite(rho))
    assert np.all(np.diff(rho) >= -1e-9 * (1 + np.abs(rho[1:])))
    assert np.all(rho >= law.mean * (1 - 1e-6) - 1e-12)
    moment = law.log_rate(theta)
    middle = law.log_rate(0.5 * (theta[:-1] + theta[1:]))
    assert np.all(middle <= 0.5 * (moment[:-1] + moment[1:]) + 1e-9 * (1 + np.abs(moment[1:])))
    assert np.all(law.log_burst(theta) >= 0)
    assert np.all(law.request_log_bias(theta) >= -1e-12)


@settings(deadline=None, max_examples=80, derandomize=True)
@given(LAWS)
def test_beyond_the_domain_nothing_is_promised(law):
    if np.isfinite(law.theta_max):
        beyond = np.array([1.0 + 1e-9, 1.5, 1e6]) * law.theta_max
        assert np.all(np.isinf(law.log_rate(beyond)))
        assert np.all(np.isinf(law.request_log_bias(beyond)))


@settings(deadline=None, max_examples=120, derandomize=True)
@given(st.lists(LAWS, min_size=1, max_size=4))
def test_compiled_equals_objects_in_any_order(laws):
    for order in itertools.islice(itertools.permutations(range(len(laws))), 3):
        table = pack([laws[i] for i in order])
        for row, i in enumerate(order):
            law = laws[i]
            assert bool(table.monotone[row]) == law.monotone
            assert bool(table.independent[row]) == law.independent_increments
            assert bool(table.iid[row]) == law.iid
            for theta in tilts(law, 4):
                assert log_rate(table, row, theta) == pytest.approx(law.log_rate(theta), rel=1e-11, abs=1e-15)
                assert log_rate(table, row, -theta) == pytest.approx(
                    law.log_moment(-theta), rel=1e-11, abs=1e-15
                )
                assert log_burst(table, row, theta) == pytest.approx(
                    law.log_burst(theta), rel=1e-9, abs=1e-14
                )
                found, stated = request_log_bias(table, row, theta), law.request_log_bias(theta)
                assert found == pytest.approx(stated, rel=1e-9, abs=1e-14)
            assert log_rate(table, row, 2.0 * law.theta_max) == law.log_rate(2.0 * law.theta_max)
        assert (
            log_rate(table, -1, 0.5) == log_burst(table, -1, 0.5) == request_log_bias(table, -1, 0.5) == 0.0
        )


@pytest.mark.parametrize("law", SAMPLED, ids=repr)
def test_samples_keep_the_envelope_and_the_request_correction(law):
    rng = np.random.default_rng(11)
    copies = 100_000
    theta = np.array([0.1, 0.3, 0.45]) * min(law.theta_max, 3.0)
    for slots in (1, 2, 5, 9):
        work = law.sample(rng, (copies, slots))
        total, last = work.sum(axis=1), work[:, -1]
        for t in theta:
            weight = np.exp(t * total)
            bound = slots * law.log_rate(t) + law.log_burst(t)
            assert weight.mean() - 4 * weight.std() / np.sqrt(copies) <= np.exp(bound)
            if law.iid and not isinstance(law, TokenBucket):  # then the envelope is exact
                assert weight.mean() + 4 * weight.std() / np.sqrt(copies) >= np.exp(bound)
            if not (isinstance(law, Poisson) and not law.exponential):
                found = last * weight  # work-weighted: the slot of a unit of work
                low = (found.mean() - 4 * found.std() / np.sqrt(copies)) / last.mean()
                heavier = 2.0 if isinstance(law, Poisson) else 1.0  # work favours large requests
                assert low <= 1.02 * np.exp(bound + heavier * law.request_log_bias(t))
    assert law.sample(rng, (2000, 200)).mean() == pytest.approx(law.mean, rel=0.03) or isinstance(
        law, TokenBucket
    )


@pytest.mark.parametrize("law", [law for law in SAMPLED if isinstance(law, Poisson)], ids=repr)
def test_a_request_of_a_poisson_process_finds_the_rest_unchanged(law):
    rng = np.random.default_rng(5)
    work, count = law.sample_requests(rng, (400_000,))
    theta = 0.5
    weight = count * np.exp(theta * work)
    found = weight.mean() / count.mean()
    error = weight.std() / np.sqrt(work.size) / count.mean()
    assert found == pytest.approx(np.exp(law.log_rate(theta) + law.request_log_bias(theta)), abs=4 * error)


@pytest.mark.parametrize(
    "law", [law for law in SAMPLED if isinstance(law, (ExponentialWork, GammaWork))], ids=repr
)
def test_request_correction_is_the_size_biased_slot(law):
    theta, h = 0.4, 1e-6
    slope = (law.log_rate(theta + h) - law.log_rate(theta - h)) / (2 * h)
    assert law.request_log_bias(theta) == pytest.approx(np.log(slope / law.mean), abs=1e-7)


@pytest.mark.parametrize(
    ("p", "q"), [(0.2, 0.1), (0.9, 0.8), (1.0, 1.0), (0.01, 0.02), (1.0, 0.3), (0.4, 1.0)]
)
def test_on_off_against_matrices(p, q):
    for x in (1e-8, 1e-3, 0.5, 3.0, 29.0, 31.0, 60.0):
        law = OnOff(1.0, p, q)
        chain = np.array([[1 - q, q], [p, 1 - p]])
        tilted = chain * np.array([1.0, np.exp(x)])
        values, vectors = np.linalg.eig(tilted)
        radius = values.real.max()
        vector = np.abs(vectors[:, values.real.argmax()].real)
        start = np.array([p, q]) / (p + q)
        assert law.log_rate(x) == pytest.approx(np.log(radius), rel=1e-7, abs=1e-14)
        assert law.log_burst(x) == pytest.approx(np.log(start @ vector / vector.min()), rel=1e-5, abs=1e-9)
        bias = np.log(np.exp(x) * vector[1] / radius / (start @ vector))
        assert law.request_log_bias(x) == pytest.approx(bias, rel=1e-6, abs=1e-9)
        conditional = np.array([0.0, np.exp(x)])  # given on in the last slot, going backwards
        for slots in range(1, 7):
            bound = slots * law.log_rate(x) + law.log_burst(x) + law.request_log_bias(x)
            assert np.log(conditional.sum()) <= bound + 1e-9
            conditional = (conditional @ chain) * np.array([1.0, np.exp(x)])


def test_on_off_maximal_inequality_holds():
    """P(sup over ℓ of A(t−ℓ, t) − rate·ℓ > x) ≤ e^{θσ − θx} for rate = ρ(θ), and given that slot t is on."""
    rng = np.random.default_rng(8)
    for law in (OnOff(1.0, 0.2, 0.1), OnOff(1.0, 0.9, 0.7)):
        work = law.sample(rng, (10_000, 300))[:, ::-1]
        for theta in (0.3, 0.9):
            walk = np.cumsum(work - law.rho(theta), axis=1).max(axis=1)
            for x in (0.5, 1.5, 3.0):
                for chosen, extra in ((walk, 0.0), (walk[work[:, 0] > 0], law.request_log_bias(theta))):
                    likely = (chosen > x).mean()
                    error = np.sqrt(likely * (1 - likely) / chosen.size)
                    assert likely - 3 * error <= np.exp(law.log_burst(theta) + extra - theta * x)


def test_token_bucket_samples_conform():
    law = TokenBucket(0.4, 1.7)
    work = law.sample(np.random.default_rng(0), (50, 300))
    total = np.concatenate([np.zeros((50, 1)), np.cumsum(work, axis=1)], axis=1)
    for n in range(1, 60):
        assert (total[:, n:] - total[:, :-n]).max() <= 0.4 * n + 1.7 + 1e-9


@pytest.mark.parametrize("law", [*SAMPLED, NoImpairment(), Table([0.5], [0.3], [0.1])], ids=repr)
def test_models_meet_the_protocols(law):
    assert isinstance(law, Arrival)
    assert isinstance(law, Impairment)
    assert np.shape(law.rho(0.4)) == ()
    assert np.shape(law.sigma(np.full((2, 3), 0.4))) == (2, 3)
    assert law.kappa(0.4) == law.rho(0.4)
    assert law.eta(0.4) == law.sigma(0.4)
