"""The period's kernel against the room's other simulator, and its reports against its own impairments."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.control.packets import (
    BATCHES,
    SHARE,
    WINDOW,
    impairment_of,
    listen,
    probe,
    reference_level,
)
from fedopt.instance import ExponentialImpairment, Poisson, PoissonImpairment
from fedopt.laws import build
from fedopt.simulate.slot_work import slot_work
from fedopt.simulate.slots import SlotPath, simulate

LAWS = (
    ExponentialImpairment(mean=0.3),
    PoissonImpairment(rate=0.5, size=0.4),
    ExponentialImpairment(mean=0.4),
)


@pytest.fixture(scope="module")
def path() -> SlotPath:
    laws = tuple(slot_work(build(law, 1.0)) for law in LAWS)
    return SlotPath(slot_work(build(Poisson(rate=0.5), 1.0)), laws, np.array([1.1, 1.05, 1.2]))


def _seed(number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([4, number])


def test_late_shares_agree_with_the_other_simulator(path: SlotPath) -> None:
    levels = np.full(3, np.inf)
    shares = []
    for number in range(60):
        sent, late = listen(path, 12_000, _seed(number), levels).late(8)
        shares.append(late.sum() / sent.sum())
    other = simulate(path, 12_000, trials=60, seed=9)
    theirs = other.requests[:, 9:].sum(axis=1) / other.requests.sum(axis=1)
    error = np.hypot(np.std(shares, ddof=1), np.std(theirs, ddof=1)) / 60**0.5
    assert np.mean(shares) == pytest.approx(theirs.mean(), abs=4 * error)
    assert np.mean(shares) > 20 * error / 4  # there is something to compare


def test_domains_report_what_their_impairments_were(path: SlotPath) -> None:
    levels = np.array([reference_level(law, 0)[0] for law in path.impairments])
    observed = listen(path, 4813, _seed(1), levels)
    windows = 4813 // WINDOW // BATCHES * BATCHES
    for place in range(3):
        work = impairment_of(path, place, 4813, _seed(1))[: windows * WINDOW]
        sums = work.reshape(windows, WINDOW).sum(axis=1)
        batch = np.arange(windows) * BATCHES // windows
        counts = np.bincount(batch[sums > levels[place]], minlength=BATCHES)
        assert counts.tolist() == observed.counts[place].tolist()
        excess = np.maximum(sums / levels[place] - 1, 0).sum()
        assert observed.excess[place].sum() == pytest.approx(excess)


def test_the_reference_is_exceeded_in_its_share_of_windows(path: SlotPath) -> None:
    for law in path.impairments:
        level, share = reference_level(law, 0)
        assert 0 < share <= SHARE
        start = reference_level(law, 1)[0]  # another sample of the same law
        assert start == pytest.approx(level, rel=0.05)
    assert reference_level(slot_work(build(PoissonImpairment(rate=1e-12), 1.0)), 0)[0] == np.inf


def test_batches_and_series_hold_every_request_once(path: SlotPath) -> None:
    observed = listen(path, 5000, _seed(2), np.full(3, np.inf))
    sent, late = observed.late(3)
    assert sent.sum() == observed.weight.sum() == len(observed.series())
    assert late.sum() == (observed.series() > 3).sum()
    assert (observed.delay >= 0).sum() == (observed.weight > 0).sum()


def test_a_domain_that_serves_nobody_makes_everybody_late(path: SlotPath) -> None:
    stopped = SlotPath(path.arrivals, path.impairments, np.array([1.1, 0.0, 1.2]))
    sent, late = listen(stopped, 2000, _seed(3), np.full(3, np.inf)).late(10_000 - 1)
    # what has not left 4,096 slots after the end counts as late beyond any deadline up to there
    sent, late = listen(stopped, 2000, _seed(3), np.full(3, np.inf)).late(50)
    assert late.tolist() == sent.tolist()


def test_an_unused_domain_reports_of_itself_as_a_used_one_does(path: SlotPath) -> None:
    law = path.impairments[0]
    level, share = reference_level(law, 0)
    counts, excess = probe(law, level, 240_000, _seed(9))
    assert counts.shape == excess.shape == (BATCHES,)
    seen = counts.sum() / (240_000 // WINDOW)
    assert seen == pytest.approx(share, abs=4 * (share * (1 - share) / 24_000) ** 0.5 + 2e-3)
    assert ((excess > 0) == (counts > 0)).all()
    louder = slot_work(build(ExponentialImpairment(mean=0.45), 1.0))
    assert probe(louder, level, 24_000, _seed(9))[0].sum() > 3 * probe(law, level, 24_000, _seed(9))[0].sum()
