"""Decomposing in service: what is refused, what is learned, what a split promises."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from fedopt.errors import InputError
from fedopt.learn import (
    SLA,
    Answer,
    Context,
    DecompositionInfeasible,
    History,
    Metric,
    Orchestrator,
    Schema,
    Settings,
    SLAError,
)
from fedopt.papers.rade_simulator import PAPER_DOMAINS, TrueAcceptance
from tests.learn.conftest import random_history

NAMES = ("urllc", "mmtc", "embb")


@pytest.fixture
def orchestrator() -> Orchestrator:
    return Orchestrator.from_history(History(NAMES, None, random_history(1, 100, 3)[1]))


def swapped_answers(number: int, seed: int, swapped: bool = True) -> tuple[TrueAcceptance, list[Answer]]:
    """Answers to random splits of a world in which the first two domains are each other."""
    order = [1, 0, 2] if swapped else [0, 1, 2]
    truth = TrueAcceptance(PAPER_DOMAINS.capacity[order], PAPER_DOMAINS.service[order], np.full(3, 0.5))
    rng = np.random.default_rng(seed)
    found = []
    for delay, throughput in zip(
        100 * rng.dirichlet(np.ones(3), number), rng.uniform(0.4, 0.6, number), strict=True
    ):
        p = np.exp(truth.log_probability(delay[:, None], np.full((3, 1), throughput)))[:, 0]
        accepted = rng.random(3) < p
        found += [Answer(n, bool(a), d, throughput) for n, a, d in zip(NAMES, accepted, delay, strict=True)]
    return truth, found


def true_acceptance(truth: TrueAcceptance, split) -> float:
    delays = np.array(list(split.delay.values()))[:, None]
    return float(np.exp(truth.log_probability(delays, np.full((3, 1), split.sla.throughput)).sum()))


def test_decompose():
    convex = Orchestrator.from_history(
        History(NAMES, None, random_history(1, 100, 3)[1]), Settings(model="convex")
    )
    split = convex.decompose(SLA(100, 0.5))
    assert sum(split.delay.values()) == pytest.approx(100)
    assert split.gap < 1e-6
    assert split.accepted == pytest.approx(np.prod(list(split.probability.values())))
    for method in ("grid", "slsqp", "price"):
        other = convex.decompose(SLA(100, 0.5), method=method)
        assert other.log_probability == pytest.approx(split.log_probability, abs=1e-3)
    bounded = convex.decompose(SLA(100, 0.5), {"urllc": 50}, {"mmtc": 30})
    assert bounded.delay["urllc"] >= 50 - 1e-6
    assert bounded.delay["mmtc"] <= 30 + 1e-6
    with pytest.raises(DecompositionInfeasible):
        convex.decompose(SLA(100, 0.5), {"urllc": 101})
    for wrong in ({"min_delay": {"core": 1}}, {"method": "magic"}, {"domains": ["core"]}):
        with pytest.raises(SLAError):
            convex.decompose(SLA(100, 0.5), **wrong)
    with pytest.raises(SLAError):
        Orchestrator().decompose(SLA(1))


def test_a_batch_is_what_single_requests_are(orchestrator):
    slas = [SLA(90 + k, 0.4 + k / 100) for k in range(12)]
    batch = orchestrator.decompose_batch(slas, certify=True)
    for sla, split in zip(slas, batch, strict=True):
        alone = orchestrator.decompose(sla)
        assert split.log_probability == pytest.approx(alone.log_probability, abs=1e-6)
        assert sum(split.delay.values()) == pytest.approx(sla.delay)
    quick = orchestrator.decompose_batch(slas)
    assert quick[0].gap is None
    for one, other in zip(quick, batch, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-3)


def test_an_update_reaches_the_optimum_after_a_change(orchestrator):
    """200 answers a domain of a world in which two domains are swapped: the split moves all the way."""
    truth, answers = swapped_answers(200, 1)
    before = true_acceptance(truth, orchestrator.decompose(SLA(100, 0.5)))
    received = orchestrator.observe(answers)
    assert received.learned == 600
    assert {"urllc", "mmtc"} <= set(received.changed)
    after = orchestrator.decompose(SLA(100, 0.5))
    assert before < 0.95
    assert true_acceptance(truth, after) > 0.99
    assert after.accepted > 0.95


@pytest.mark.parametrize("model", ["convex", "logistic", "spline", "isotonic", "network"])
def test_every_kind_follows_a_change(model):
    if model == "network":
        pytest.importorskip("jax", reason="the optional extra `learn` is not installed")
    learned = Orchestrator.from_history(
        History(NAMES, None, random_history(1, 100, 3)[1]), Settings(model=model)
    )
    truth, answers = swapped_answers(100 if model == "network" else 200, 1)
    learned.observe(answers)
    assert true_acceptance(truth, learned.decompose(SLA(100, 0.5))) > 0.98


def test_one_by_one_or_together(orchestrator):
    """Answers of a batch are the same knowledge as one after the other."""
    _, answers = swapped_answers(15, 2, swapped=False)
    other = Orchestrator.from_history(History(NAMES, None, random_history(1, 100, 3)[1]))
    orchestrator.observe(answers)
    for answer in answers:
        other.observe(answer)
    for delay, again in zip(orchestrator.buffer.delay, other.buffer.delay, strict=True):
        np.testing.assert_array_equal(delay, again)
    ask, rows = (np.full((3, 4), [5.0, 20.0, 40.0, 80.0]), np.full((3, 1), 0.5)), np.arange(3)
    for one, two in zip(orchestrator.model.members, other.model.members, strict=True):
        own, again = (m.model.log_probability(*ask, rows) for m in (one, two))
        np.testing.assert_allclose(np.exp(own), np.exp(again), atol=1e-4)
    # a batch is foretold in one, so the members' shares differ a little: the splits are as good
    split = other.decompose(SLA(100, 0.5))
    delays = np.array(list(split.delay.values()))[:, None]
    worth = orchestrator.model.log_probability(delays, np.full((3, 1), 0.5)).sum()
    assert worth >= orchestrator.decompose(SLA(100, 0.5)).log_probability - 1e-3


BAD = [
    Answer("urllc", True, math.nan),
    Answer("urllc", True, 0.0),
    Answer("urllc", True, -3.0),
    Answer("urllc", True, 3.0, math.inf),
    Answer("urllc", True, 3.0, -1.0),
    Answer("urllc", 2, 3.0),
    Answer("urllc", math.nan, 3.0),
    Answer("urllc", None, 3.0),
    Answer("urllc", "yes", 3.0),
    Answer("", True, 3.0),
    Answer("urllc", True, None),
    Answer("urllc", True, 3.0, time=math.nan),
    Answer("urllc", True, 3.0, values={"jitter": 1}),
    Answer("urllc", True, None, request="never sent"),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_what_is_no_answer_is_refused_and_nothing_of_its_batch_is_learned(orchestrator, bad):
    good = Answer("embb", False, 30.0, 0.5, request="r")
    before = {key: np.copy(value) for key, value in orchestrator.state().items()}
    with pytest.raises(InputError, match="answer 2"):
        orchestrator.observe([good, bad])
    after = orchestrator.state()
    assert all(np.array_equal(before[k], after[k], equal_nan=k == "model.came") for k in before)
    assert orchestrator.observe(good).learned == 1


def test_late_and_repeated_answers_by_request(orchestrator):
    split = orchestrator.decompose(SLA(100, 0.5), request="r1")
    first = orchestrator.observe([Answer("urllc", True, request="r1"), Answer("urllc", False, request="r1")])
    assert (first.learned, first.duplicates) == (1, 1)
    again = orchestrator.observe([Answer("urllc", True, request="r1"), Answer("mmtc", False, request="r1")])
    assert (again.learned, again.duplicates) == (1, 1)
    row = orchestrator.names.index("mmtc")
    assert orchestrator.buffer.delay[row, 0] == split.delay["mmtc"]
    assert orchestrator.buffer.accepted[row, 0] == 0.0
    orchestrator.decompose_batch([SLA(90, 0.5), SLA(95, 0.5)], requests=["a", "b"])
    assert orchestrator.observe(Answer("embb", True, request="b")).learned == 1


def test_requests_are_forgotten_beyond_their_number():
    history = History(NAMES, None, random_history(1, 40, 3)[1])
    orchestrator = Orchestrator.from_history(history, Settings(requests=3))
    orchestrator.decompose_batch([SLA(100, 0.5)] * 5, requests=list("abcde"))
    assert list(orchestrator.requests.entries) == ["c", "d", "e"]
    with pytest.raises(InputError, match="nothing is known"):
        orchestrator.observe(Answer("urllc", True, request="a"))


def test_new_domains_and_answers_of_one_domain_are_welcome():
    history = History(("ran1", "core1"), ("ran", "core"), random_history(1, 100, 3)[1].rows(np.array([0, 1])))
    orchestrator = Orchestrator.from_history(history)
    orchestrator.observe(Answer("ran1", True, 20.0, 0.5, stage="ran"))
    rng = np.random.default_rng(0)
    better = [Answer("core2", bool(d > 5), d, 0.5, stage="core") for d in rng.uniform(1, 90, 80)]
    orchestrator.observe(better)
    split = orchestrator.decompose(SLA(60, 0.5))
    assert list(split.delay) == ["ran1", "core2"]
    assert list(orchestrator.decompose(SLA(60, 0.5), domains=["ran1", "core1"]).delay) == ["ran1", "core1"]
    for wrong in (Answer("core2", True, 3.0, stage="ran"), Answer("edge", True, 3.0)):
        with pytest.raises(InputError, match="stage"):
            orchestrator.observe(wrong)


def test_it_begins_with_nothing():
    orchestrator = Orchestrator()
    _, answers = swapped_answers(60, 4)
    orchestrator.observe(answers)
    truth, _ = swapped_answers(1, 0)
    assert true_acceptance(truth, orchestrator.decompose(SLA(100, 0.5))) > 0.97


def test_old_answers_count_less_by_their_time():
    history = History(NAMES, None, random_history(1, 40, 3)[1])
    old = [Answer("embb", False, 30.0, 0.5, time=0.0)] * 30
    new = [Answer("embb", True, 30.0, 0.5, time=100.0)] * 10
    stated = {}
    for half_life in (5.0, math.inf):
        settings = Settings(model="logistic", half_life_time=half_life, alarm=math.inf)
        orchestrator = Orchestrator.from_history(history, settings)
        orchestrator.observe([*old, *new])
        row = np.array([2])
        stated[half_life] = math.exp(
            orchestrator.model.log_probability(np.array([[30.0]]), np.array([[0.5]]), row)[0, 0]
        )
    assert stated[5.0] > stated[math.inf] + 0.2


def test_further_metrics_and_context():
    """Reliability composes as a product; at night a domain needs less time."""
    schema = Schema((Metric("reliability", "product", 0.995),), (Context("hour", 24),))
    rng = np.random.default_rng(0)
    answers = []
    for _ in range(500):
        hour = float(rng.integers(24))
        for name, need in (("a", 10.0), ("b", 20.0)):
            delay, reliability = rng.uniform(2, 80), 1 - 10 ** rng.uniform(-4, -1.3)
            needed = need * (1 + 0.6 * np.cos(2 * np.pi * hour / 24)) + (0.05 if name == "a" else 0.2) / (
                1 - reliability
            )
            p = 1 / (1 + np.exp(-8 * np.log(delay / needed)))
            values = {"reliability": reliability, "hour": hour}
            answers.append(Answer(name, bool(rng.random() < p), delay, 0.5, values))
    orchestrator = Orchestrator(("a", "b"), schema=schema)
    orchestrator.observe(answers)
    sla = SLA(80, 0.5, {"reliability": 0.98})
    noon, midnight = (orchestrator.decompose(sla, context={"hour": hour}) for hour in (12, 0))
    for split in (noon, midnight):
        assert math.prod(part["reliability"] for part in split.parts.values()) == pytest.approx(0.98)
        assert sum(split.delay.values()) == pytest.approx(80)
        # the domain for which reliability is dear is asked for less of it
        assert split.parts["b"]["reliability"] < split.parts["a"]["reliability"]
    tight = SLA(40, 0.5, {"reliability": 0.98})
    assert (
        orchestrator.decompose(tight, context={"hour": 12}).accepted
        > orchestrator.decompose(tight, context={"hour": 0}).accepted
    )
    with pytest.raises(InputError, match="reliability"):
        orchestrator.decompose(SLA(80, 0.5))
    with pytest.raises(SLAError, match="grid"):
        orchestrator.decompose(sla, method="price", context={"hour": 1})
    batch = orchestrator.decompose_batch([sla] * 2, contexts=[{"hour": 12}, {"hour": 0}])
    assert batch[0].delay == pytest.approx(noon.delay)
    with pytest.raises(InputError, match="delay and throughput alone"):
        Orchestrator(("a",), Settings(model="convex"), schema)


def test_warnings(orchestrator):
    assert any("extrapolate" in text for text in orchestrator.warnings(SLA(100, 2.0)))
    assert not orchestrator.warnings(SLA(100, 0.5))
    delay = np.random.default_rng(1).uniform(1, 90, (1, 400))
    steep = random_history(1, 400, 3)[1].rows(np.array([0]))
    history = History(("a",), None, steep.with_accepted((delay > 60) * 1.0).rows(np.array([0])))
    object.__setattr__(history.feedback, "delay", delay)
    found = Orchestrator.from_history(history, Settings(model="convex")).warnings()
    assert any("convex model fits badly" in text for text in found)


def test_one_answer_takes_as_long_after_a_long_history_as_after_a_short_one():
    def seconds(answers: int) -> float:
        rng = np.random.default_rng(0)
        delay = rng.uniform(1, 90, (1, answers))
        feedback = random_history(1, 100, 3)[1].rows(np.array([0]))
        history = History(("a",), None, type(feedback).of(delay, 0.5, (delay > 20) * 1.0))
        orchestrator = Orchestrator.from_history(history)
        orchestrator.observe([Answer("a", True, 30.0, 0.5)] * 500)
        taken = []
        for _ in range(20):
            start = time.process_time()
            orchestrator.observe(Answer("a", True, 30.0, 0.5))
            taken.append(time.process_time() - start)
        return float(np.median(taken))

    assert seconds(100_000) < 3 * seconds(500)


@pytest.mark.parametrize(
    "wrong",
    [{"flip": 0.5}, {"capacity": 0}, {"folds": 1}, {"half_life": 0}, {"fade": 1.0}, {"anchor_weight": -1}],
    ids=str,
)
def test_settings_are_checked(wrong):
    with pytest.raises(InputError):
        Settings(**wrong)


def test_unknown_model():
    with pytest.raises(InputError, match="risk model"):
        Orchestrator.from_history(History(NAMES, None, random_history(1, 30, 3)[1]), Settings(model="forest"))
