"""Envelopes fitted to records: they bound what they should, and say what they cannot know."""

import numpy as np
import pytest

from fedopt.laws.fitting import _block_means, check, fit
from fedopt.laws.fitting_record import Record, Segment
from fedopt.laws.models import ExponentialWork, OnOff, Poisson


def recorded(model, slots, seed):
    rng = np.random.default_rng(seed)
    if isinstance(model, Poisson):
        work, requests = model.sample_requests(rng, slots)
    else:
        work = model.sample(rng, slots)
        requests = (work > 0).astype(float)
    return Record((Segment(np.asarray(work, float), np.asarray(requests, float)),))


def log_moment_of_interval(model, theta, n):
    """log E e^{θA} of n slots of the true law."""
    if isinstance(model, OnOff):
        p, q = model.on_to_off, model.off_to_on
        tilted = np.array([[1 - q, q], [p, 1 - p]]) * np.array([1.0, np.exp(theta * model.peak)])
        start = np.array([1 - model.on_share, model.on_share]) * np.array([1.0, np.exp(theta * model.peak)])
        return float(np.log(start @ np.linalg.matrix_power(tilted, n - 1) @ np.ones(2)))
    return float(n * model.log_moment(theta))


@pytest.mark.parametrize("model", [Poisson(0.5), ExponentialWork(0.7), OnOff(1.0, 0.1, 0.05)], ids=repr)
def test_covers_the_true_law_at_the_stated_confidence(model):
    """The envelope lies above the true log-moments at every tilt and window in at least 95 % of records, less
    noise.
    """
    covered, records = 0, 30
    for seed in range(records):
        found = fit(recorded(model, 4_000, seed), windows=32, bootstraps=500, seed=seed)
        covered += all(
            log_moment_of_interval(model, t, n) <= t * (r * n + s) + 1e-12
            for t, r, s in zip(found.theta, found.rho, found.sigma, strict=True)
            if t < 20
            for n in (1, 2, 4, 8, 16, 32)
        )
    assert covered >= 0.95 * records - 3 * np.sqrt(0.95 * 0.05 * records)


def test_independent_work_from_single_slots_and_both_signs():
    model = Poisson(0.5)
    found = fit(recorded(model, 50_000, 1), independent=True)
    assert (found.sigma == 0).all()
    truth = model.rho(found.theta)
    assert (found.rho >= truth * 0.999).all()
    middle = np.searchsorted(found.theta, 0.5)
    assert found.rho[middle] == pytest.approx(truth[middle], rel=0.05)
    assert (found.negative_log_moment <= 0).all()
    below = model.log_moment(found.negative_theta)
    assert (found.negative_log_moment >= below - 1e-3).all()
    assert found.table().iid


def test_the_fit_is_not_wasteful():
    model = OnOff(1.0, 0.1, 0.05)
    found = fit(recorded(model, 100_000, 3), windows=100)
    near = np.argmin(np.abs(found.theta - 0.1))
    theta = found.theta[near]
    assert found.rho[near] == pytest.approx(model.rho(theta), rel=0.25)


def test_tilts_beyond_the_record_are_left_out_with_a_warning():
    found = fit(recorded(ExponentialWork(1.0), 3_000, 5), theta=[0.1, 0.3, 0.9, 2.0], windows=16)
    assert found.theta[-1] < 0.9
    assert any("too short" in warning for warning in found.warnings)
    with pytest.raises(ValueError, match="too short for every tilt"):
        fit(recorded(ExponentialWork(1.0), 3_000, 5), theta=[5.0], windows=16)


def test_dependence_declared_away_is_noticed():
    found = fit(recorded(OnOff(1.0, 0.1, 0.05), 20_000, 1), independent=True)
    assert any("correlation" in warning for warning in found.warnings)
    assert not fit(recorded(Poisson(0.5), 20_000, 1), independent=True).warnings[1:]


def test_held_out_part_is_checked():
    model = Poisson(0.5)
    kept = fit(recorded(model, 40_000, 1), hold_out=0.4, windows=64)
    assert kept.held_out is not None
    assert kept.held_out.holds
    first = recorded(model, 20_000, 1).segments[0]
    heavier = recorded(Poisson(1.0), 20_000, 2).segments[0]
    changed = Record(
        (
            Segment(
                np.concatenate([first.work, heavier.work]), np.concatenate([first.requests, heavier.requests])
            ),
        )
    )
    broken = fit(changed, hold_out=0.5, windows=64)
    assert not broken.held_out.holds
    assert check(kept, recorded(model, 20_000, 9)).holds


def test_requests_that_come_in_batches_find_more_than_an_instant():
    rng = np.random.default_rng(1)
    requests = np.where(rng.random(40_000) < 0.05, 8.0, 0.0)
    found = fit(Record((Segment(requests.copy(), requests),)), windows=16)
    assert found.request_size > 1.0
    plain = fit(recorded(Poisson(0.5), 40_000, 1), windows=16)
    assert 0.3 < plain.request_size < 2.5


def test_documents_for_an_instance():
    found = fit(recorded(Poisson(0.5), 20_000, 1), windows=32)
    arrivals, impairment = found.arrivals(2.0), found.impairment(2.0)
    assert arrivals["rho"][0] == pytest.approx(found.rho[0] / 2)
    assert impairment["theta"][0] < 0 < impairment["theta"][-1]
    assert min(impairment["kappa"]) >= 0
    from fedopt.instance.arrivals import EnvelopeArrivals
    from fedopt.instance.impairments import TableImpairment

    EnvelopeArrivals.model_validate(arrivals)
    TableImpairment.model_validate(impairment)


def test_segments_are_never_joined():
    """Two halves with a gap: a window across it would see the burst at the end and the one at the start
    together.
    """
    quiet, loud = np.zeros(400), np.full(20, 5.0)
    first = Segment(np.concatenate([quiet, loud]), np.ones(420))
    second = Segment(np.concatenate([loud, quiet]), np.ones(420))
    joined = Segment(np.concatenate([first.work, second.work]), np.ones(840))
    theta, windows = np.array([1.0]), np.array([40])
    apart, _, _ = _block_means(Record((first, second)), theta, windows, 100)
    together, _, _ = _block_means(Record((joined,)), theta, windows, 100)
    assert apart[0, 0] < 100.0
    assert together[0, 0] > 190.0


@pytest.mark.parametrize(
    "options", [{"confidence": 1.0}, {"hold_out": 1.0}, {"windows": 10**6}, {"theta": [-1.0]}]
)
def test_nonsense_is_refused(options):
    with pytest.raises(ValueError, match=r"."):
        fit(recorded(Poisson(0.5), 1_000, 1), **options)
    with pytest.raises(ValueError, match="too little"):
        fit(recorded(Poisson(0.5), 10, 1))


@pytest.mark.parametrize("rate", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("slots", [400, 2_000])
def test_the_band_of_independent_work_covers_at_every_tilt(rate, slots):
    """Counts with ties at their maximum: what is supported lies above the true law, all tilts together."""
    model, covered, records = Poisson(rate), 0, 60
    for seed in range(records):
        found = fit(recorded(model, slots, [slots, seed]), independent=True, bootstraps=500, seed=seed)
        covered += bool((found.rho >= model.rho(found.theta) * (1 - 1e-9)).all())
    assert covered >= 0.95 * records - 3 * np.sqrt(0.95 * 0.05 * records)


def test_ties_at_the_maximum_are_no_bounded_support():
    record = recorded(Poisson(0.5), 2_000, 6)
    assert np.count_nonzero(record.segments[0].work == record.segments[0].work.max()) > 1
    found = fit(record, independent=True)
    assert found.theta[-1] < 2
    assert found.theta.size > 20
    assert any("largest work seen" in warning for warning in found.warnings)


def test_a_declared_bound_supports_every_tilt():
    """Work of at most 4 a slot: above the true law at tilts that the record alone says nothing of."""
    values, chance = np.arange(5.0), np.array([0.6, 0.3, 0.08, 0.018, 0.002])
    held = 0
    for seed in range(30):
        work = np.random.default_rng([8, seed]).choice(values, 500, p=chance)
        record = Record((Segment(work, (work > 0).astype(float)),))
        found = fit(record, independent=True, bound=4.0, seed=seed)
        assert found.theta[-1] > 20
        assert (found.rho <= 4.0 + 1e-9).all()
        truth = np.log(np.exp(np.outer(found.theta, values - 4)) @ chance) / found.theta + 4
        held += bool((found.rho >= truth - 1e-9).all())
    assert held >= 25  # 95 % of 30, less three standard errors
    with pytest.raises(ValueError, match="more than the bound"):
        fit(record, independent=True, bound=0.5)


def test_a_power_tail_is_named_and_lighter_ones_are_not():
    rng = np.random.default_rng(9)

    def told(work):
        found = fit(Record((Segment(work, np.ones(work.size)),)), independent=True)
        return any("power tail" in warning for warning in found.warnings)

    assert told((1 - rng.random(20_000)) ** (-1 / 2.0))
    for light in (rng.exponential(1.0, 20_000), rng.gamma(3.0, 1.0, 20_000), rng.poisson(3.0, 20_000) * 1.0):
        assert not told(light)


def test_an_outage_is_named():
    rng = np.random.default_rng(10)
    requests = rng.poisson(0.5, 20_000).astype(float)
    assert not any("outage" in warning for warning in fit(Record((Segment(requests, requests),))).warnings)
    requests[5_000:6_000] = 0
    (warning,) = [w for w in fit(Record((Segment(requests, requests),))).warnings if "outage" in w]
    assert "from slot 5,0" in warning or "from slot 4,99" in warning
