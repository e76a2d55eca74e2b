import numpy as np
import pytest

from fedopt.audit.drift import find_drift
from fedopt.audit.sample import Collector, Sample, find_grid
from tests.audit.processes import tandem


def drift(values, level=0.05):
    return find_drift(Sample(values, np.arange(values.size), values.size, find_grid(values)), level)


@pytest.mark.parametrize("load", [0.0, 0.55, 0.85])
def test_false_alarms_stay_at_their_rate(load):
    def series(seed):
        return (
            np.random.default_rng(seed).exponential(size=50_000) if load == 0 else tandem(50_000, load, seed)
        )

    alarms = sum(drift(series(seed)).kind in ("transient", "systematic") for seed in range(60))
    assert alarms <= 8  # 5 % of 60 is 3; more than 8 has probability 0.4 %


def test_a_lasting_change_is_systematic_and_placed():
    for seed in range(8):
        values = np.concatenate([tandem(50_000, 0.55, seed), tandem(50_000, 0.75, 100 + seed)])
        found = drift(values)
        assert found.kind == "systematic"
        assert found.direction == "heavier"
        assert abs(found.start - 50_000) < 8000
        assert found.end == 100_000


def test_a_passing_change_is_transient():
    kinds = []
    for seed in range(10):
        parts = [
            tandem(50_000, 0.55, seed),
            tandem(10_000, 0.8, 100 + seed),
            tandem(40_000, 0.55, 200 + seed),
        ]
        kinds.append(drift(np.concatenate(parts)).kind)
    assert kinds.count("transient") >= 8
    assert "systematic" not in kinds


def test_an_improvement_has_the_other_direction():
    values = np.concatenate([tandem(50_000, 0.75, 5), tandem(50_000, 0.55, 6)])
    found = drift(values)
    assert found.kind == "systematic"
    assert found.direction == "lighter"
    assert found.load_ratio < 1


def test_too_short_a_series_is_unknown():
    assert drift(tandem(2000, 0.9, 1)).kind == "unknown"


def late_more_often(rng, stretches, share, samples=100_000):
    """Exponential delays of which a small share is much longer in some stretches."""
    values = rng.exponential(1.0, samples)
    for start, end in stretches:
        place = np.arange(start, end)[rng.random(end - start) < share]
        values[place] = 12.0 + rng.exponential(1.0, place.size)
    return values


def kinds(draw, replications=25):
    found = []
    for seed in range(replications):
        collector = Collector()
        collector.add(draw(np.random.default_rng([21, seed])))
        found.append(find_drift(collector.sample()).kind)
    return found


def test_a_change_of_the_tail_alone_is_found():
    """One request in a thousand more is late from the middle on; the mean and p90 stay what they are."""
    found = kinds(lambda rng: late_more_often(rng, [(50_000, 100_000)], 0.001))
    assert found.count("systematic") >= 17  # nine in ten, less three standard errors


def test_two_separate_excursions_are_found():
    found = kinds(lambda rng: late_more_often(rng, [(20_000, 25_000), (70_000, 75_000)], 0.006))
    assert len(found) - found.count("none") >= 15


@pytest.mark.parametrize("cap", [3.0, 6.0])
def test_capped_series_raise_no_alarm(cap):
    found = kinds(lambda rng: np.minimum(rng.exponential(1.0, 50_000), cap), 40)
    assert found.count("none") >= 37  # at 1 %, four and more have a probability of 0.0006
