"""A day with a domain that publishes no contract: what is learned holds, and promises on it are kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import fedopt
from fedopt.control import Store, identity_of, operate
from fedopt.control.environment import Timeline, environment
from fedopt.control.hidden import Ask, HiddenServer, delays_in
from fedopt.control.kinds import Kind, Remembered, useful, worth_publishing
from fedopt.control.learning import Learner
from fedopt.control.scenario import Scenario, load_scenario, scenario_for
from fedopt.control.sessions import sessions
from fedopt.control.summary import summarize
from fedopt.instance import Ask as Learned
from fedopt.instance import Instance, InstanceError, LearnedImpairment, loads
from fedopt.plan import Plan
from fedopt.plan.paths import Paths
from fedopt.simulate.paths import slot_path

HIDDEN = Path(__file__).parents[2] / "instances" / "scenarios" / "hidden-cloud.yaml"


@pytest.fixture(scope="module")
def given() -> tuple[Scenario, Instance]:
    return load_scenario(HIDDEN)


@pytest.fixture(scope="module")
def ran(given: tuple[Scenario, Instance], tmp_path_factory: pytest.TempPathFactory) -> Store:
    scenario, instance = given
    store = Store.open(tmp_path_factory.mktemp("hidden") / "s.db", identity_of(scenario, instance, 0))
    operate(scenario, instance, store, policies=["fedopt", "minplus"], threads=1)
    return store


def _tables(store: Store) -> list[tuple[int, str, str, list[Learned]]]:
    return [
        (row["period"], row["subject"], row["like"], [Learned.model_validate(ask) for ask in row["asks"]])
        for row in store.select("learned", run="fedopt")
    ]


def _truth(scenario: Scenario, instance: Instance, like: str, ask: Learned, store: Store) -> np.ndarray:
    """The risk of every delay of a table in a long run of its traffic at its throughput, on the path of the
    plans: what the learner never sees.
    """
    first = min(part.from_ for part in scenario.degradations)
    rows = [row for row in store.select("plans", run="fedopt") if row["period"] < first]
    entry = next(
        e
        for row in reversed(rows)
        for e in Plan.model_validate(row["plan"]).tenants
        if e.learned and e.id.startswith(like)
    )
    (hidden,) = scenario.hidden
    server = HiddenServer.of(hidden.rate, hidden.latency, hidden.impairment, instance.slot)
    tenant = instance.tenants[0].model_copy(update={"id": entry.id, "arrivals": ask.arrivals})
    rates = {**entry.reservations, "cloud": ask.throughput}
    paths = Paths(instance.with_(tenants=(tenant,)))
    path = slot_path(paths.entry(entry), paths.rates(entry.model_copy(update={"reservations": rates})))
    slots = 2_000_000
    delay = delays_in(path, {1: server}, slots, np.random.SeedSequence([99]))[1]
    sent = delay[delay >= 0] * instance.slot
    return np.array([(sent > least).mean() for least in ask.delay])


def test_what_is_published_holds(given: tuple[Scenario, Instance], ran: Store) -> None:
    """Every table that was published before the domain changed bounds the true risks."""
    scenario, instance = given
    first = min(part.from_ for part in scenario.degradations)
    tables = [row for row in _tables(ran) if row[0] < first]
    assert {like for _, _, like, _ in tables} == {"chat", "scan"}
    latest = {like: asks for _, _, like, asks in tables}
    for like, asks in latest.items():
        for ask in asks:
            truth = _truth(scenario, instance, like, ask, ran)
            assert np.all(np.array(ask.risk) >= truth), (ask.risk, truth)
    # and it is of use: some delay is promised at what thousands of batches without an outage allow
    best = min(ask.risk[-1] for asks in latest.values() for ask in asks)
    assert best < 2e-3


def test_the_risk_model_converges(given: tuple[Scenario, Instance], ran: Store) -> None:
    scenario, instance = given
    first = min(part.from_ for part in scenario.degradations)
    for like in ("chat", "scan"):
        asks = [
            ask for period, _, name, rows in _tables(ran) if name == like and period < first for ask in rows
        ]
        few, many = min(asks, key=lambda ask: ask.answers), max(asks, key=lambda ask: ask.answers)
        errors = []
        for ask in (few, many):
            assert ask.estimate is not None
            truth = _truth(scenario, instance, like, ask, ran)
            # near what is asked for: how much is rejected of what nobody asks for, no answer tells
            errors.append(float(np.abs(np.array(ask.estimate) - truth)[truth < 0.01].max()))
        assert errors[1] <= errors[0]
        assert errors[1] < 5e-3


def test_promises_on_it_are_kept_and_cost_less(ran: Store) -> None:
    fedopt_row, minplus = summarize(ran)
    assert (fedopt_row.run, minplus.run) == ("fedopt", "minplus")
    assert fedopt_row.broken == 0
    assert fedopt_row.learned > 5
    assert minplus.learned == 0
    assert fedopt_row.cost < 0.7 * minplus.cost
    learned = [stay for stay in sessions(ran, "fedopt") if stay.learned]
    assert len(learned) == fedopt_row.learned
    for stay in learned:  # a stay of a few periods may meet a cluster of late requests
        assert stay.verdict != "broken", stay
    assert sum(stay.share > stay.epsilon for stay in learned) <= 0.2 * len(learned)


def test_plans_say_what_is_a_theorem_and_what_is_learned(ran: Store) -> None:
    seen = 0
    for row in ran.select("plans", run="fedopt"):
        plan, instance = Plan.model_validate(row["plan"]), loads(json.dumps(row["instance"]))
        report = fedopt.check(plan, instance)
        assert report.ok, report.text()
        assert plan.lower_bound <= plan.cost
        assert plan.catalogue_gap <= 5e-3
        for entry in plan.tenants:
            if entry.learned:
                seen += 1
                epsilon = instance.tenant(entry.id).slo.epsilon
                risk = sum(promise.risk for promise in entry.learned.values())
                assert entry.log_bound is not None
                assert risk < math.exp(entry.log_bound) <= epsilon * (1 + 1e-6)
                assert any("without a contract" in note for note in plan.notes)
                assert "without a contract" in report.text()
    assert seen > 10


def test_it_notices_that_the_domain_has_changed(given: tuple[Scenario, Instance], ran: Store) -> None:
    scenario, _ = given
    (degradation,) = scenario.degradations
    events = ran.select("events", run="fedopt")
    refuted = [row["period"] for row in events if row["kind"] == "learned" and "refuted" in row["detail"]]
    assert refuted
    assert min(refuted) in range(degradation.from_, degradation.from_ + 2)
    assert {row["kind"] for row in ran.select("events", run="minplus")}.isdisjoint({"learned"})


def test_answers_are_all_that_is_disclosed(ran: Store, given: tuple[Scenario, Instance]) -> None:
    contracts = ran.select("contracts", run="fedopt")
    assert {row["subject"] for row in contracts} == {"metro/lane", "edge/llm"}
    rows = ran.select("answers", run="fedopt", limit=100_000)
    assert {row["test"] for row in rows} == {0, 1}
    assert all(0 <= row["rejected"] <= row["asked"] for row in rows)
    # tests are no tenants: they are in nobody's tally
    senders = {row["sender"] for row in rows if row["test"]}
    assert senders.isdisjoint({row["tenant"] for row in ran.rows("tallies", "fedopt")})
    assert ran.select("answers", run="minplus") == []


def test_an_interrupted_run_goes_on_learning_as_if_it_had_not_been(
    given: tuple[Scenario, Instance], ran: Store, tmp_path: Path
) -> None:
    scenario, instance = given
    identity = identity_of(scenario, instance, 0)
    for stop in (1, 7, 12):

        def watch(run: str, period: int, periods: int, row: object, stop: int = stop) -> bool:
            return period >= stop

        with Store.open(tmp_path / "s.db", identity) as store:
            operate(scenario, instance, store, policies=["fedopt"], threads=2, watch=watch)
    with Store.read(tmp_path / "s.db") as store:
        for table in ("periods", "tallies", "plans", "answers", "learned", "events", "settlements"):
            expected = [row for row in ran.rows(table, "fedopt") if row["period"] < 12]
            assert store.rows(table, "fedopt") == expected, table


def test_a_learner_without_answers_promises_nothing(given: tuple[Scenario, Instance]) -> None:
    scenario, instance = given
    learner = Learner(scenario, instance)
    assert learner.applied(instance) is instance
    offer = instance.offer("cloud/llm")[1]
    assert offer.impairment == LearnedImpairment()
    # once there are answers, what the file said counts no more
    stated = instance.with_(
        {"domains.cloud.offers.llm.impairment": LearnedImpairment(asks=(_ask(1.0, 1e-3),))}
    )
    kind = learner._kind("cloud/llm", "chat")
    assert learner.applied(stated) is stated
    kind.memory.append(Remembered(0, 1.0, 1.0, True, [(5.0, 10.0, 0.0)]))
    assert learner.applied(stated).offer("cloud/llm")[1].impairment == LearnedImpairment()


def _ask(throughput: float, risk: float) -> Learned:
    return Learned(
        arrivals=fedopt.instance.Poisson(rate=0.5),
        throughput=throughput,
        delay=(5.0, 9.0),
        risk=(10 * risk, risk),
    )


def test_what_isworth_publishing() -> None:
    old = [(1.0, _ask(1.0, 1e-3))]
    assert not worth_publishing(old, old)
    assert not worth_publishing(old, [(1.0, _ask(1.0, 0.8e-3))])
    assert worth_publishing(old, [(1.0, _ask(1.0, 0.4e-3))])
    assert worth_publishing(old, [(1.0, _ask(1.0, 1.1e-3))])
    assert worth_publishing(old, [(1.0, _ask(0.9, 1e-3))])  # it may be asked for less throughput alone
    assert worth_publishing(old, [(0.9, _ask(1.0, 1e-3))])
    assert worth_publishing(old, [])
    assert not worth_publishing([], [])
    assert worth_publishing([], old)
    assert useful([*old, (0.9, _ask(0.9, 1e-3)), (0.9, _ask(0.9, 1e-4))]) == [old[0], (0.9, _ask(0.9, 1e-4))]


def test_every_eighth_batch_asks_for_more(given: tuple[Scenario, Instance], ran: Store) -> None:
    scenario, instance = given
    learner = Learner(scenario, instance)
    row = next(
        row for row in ran.select("plans", run="fedopt")
        if any(e["learned"] for e in row["plan"]["tenants"] if "learned" in e)
    )  # fmt: skip
    plan, moment = Plan.model_validate(row["plan"]), Timeline(scenario, instance, 0).at(row["period"])
    now = environment(instance, {}, moment, plan.tenants.ids(), (), scenario.hidden)
    senders = learner.senders(moment, now.truth, plan)
    asks = learner.asks(senders, moment.period)
    assert set(asks) == {entry.id for entry in plan.tenants if entry.learned}
    ask = next(iter(asks[senders[0].entry.id].values()))
    assert isinstance(ask, Ask)
    assert (ask.delay < ask.promised).sum() == len(ask.delay) // 8
    assert np.all(ask.delay <= ask.promised)


def test_a_grid_is_refined_where_answers_change_at_once() -> None:
    kind = Kind("c/m", "chat", (2.0, 4.0, 8.0, 16.0))
    late = [(2.0, 500.0, 500.0), (4.0, 500.0, 500.0), (8.0, 500.0, 0.0), (16.0, 500.0, 0.0)] * 4
    kind.memory.append(Remembered(0, 1.0, 1.0, True, late))
    kind.refine(kind.batches(1.0, 1.0), 10)
    assert len(kind.delay) == 7
    assert kind.delay[:2] == (2.0, 4.0)
    assert all(4.0 < delay < 8.0 for delay in kind.delay[2:5])
    kind.refine(kind.batches(1.0, 1.0), 10)  # what was put in between has not been asked for yet
    assert len(kind.delay) == 7
    known = [(delay, 500.0, 500.0 if delay < 5 else 0.0) for delay in kind.delay]
    kind.memory.append(Remembered(1, 1.0, 1.0, True, known))
    kind.refine(kind.batches(1.0, 1.0), 9)
    assert len(kind.delay) == 7  # no room for more
    kind.refine(kind.batches(1.0, 1.0), 10)
    assert len(kind.delay) == 10
    telling = Kind("c/m", "chat", (2.0, 4.0))
    rows = [(2.0, 500.0, 500.0)] * 9 + [(4.0, 500.0, 10.0 + k) for k in range(9)]
    telling.memory.append(Remembered(0, 1.0, 1.0, True, rows))
    telling.refine(telling.batches(1.0, 1.0), 10)
    assert telling.delay == (2.0, 4.0)  # clusters are known


def test_an_answer_counts_at_the_delay_that_it_was_asked_for_or_more() -> None:
    kind = Kind("c/m", "chat", (2.0, 4.0))
    rows = [(1.5, 10.0, 3.0), (2.0, 10.0, 2.0), (3.0, 10.0, 1.0), (5.0, 10.0, 0.0)]
    kind.memory.append(Remembered(3, 1.0, 2.0, True, rows))
    found = kind.batches(1.0, 2.0)
    assert list(zip(found.place, found.rejected, strict=True)) == [(0, 3.0), (0, 2.0), (1, 1.0)]
    assert kind.batches(1.1, 2.0).asked.size == 0  # heavier traffic was not asked about
    assert kind.batches(1.0, 2.1).asked.size == 0  # nor more throughput
    assert kind.batches(1.0, 2.0, period=4).asked.size == 0
    assert [kind.place(delay) for delay in (1.0, 2.0, 2.1, 9.0)] == [0, 0, 1, 1]


def test_a_path_may_cross_several_domains_without_a_contract(tmp_path: Path) -> None:
    """Nothing else leads to the end: who comes first is refused, tests teach, who comes later is served."""
    instance = loads(
        """
        stages: [access, transport, compute]
        domains:
          - {id: metro, stage: access, capacity: 30, offers: [{id: lane, latency: 2, latency_kind: delay,
             impairment: {model: exponential, mean: 0.2}}]}
          - {id: wan, stage: transport, capacity: 30, offers: [{id: pipe, impairment: {model: learned}}]}
          - {id: cloud, stage: compute, capacity: 30, offers: [{id: llm, impairment: {model: learned}}]}
        tenants:
          - {id: chat room, arrivals: {model: poisson, rate: 0.5}, slo: {deadline: 60, epsilon: 0.01}}
        """
    )
    law = {"model": "exponential", "mean": 0.3}
    scenario = Scenario.model_validate(
        {
            "instance": "x",
            "periods": 16,
            "period": 20000,
            "slots": 20000,
            "intents": [
                {"id": "early", "like": "chat room"},
                {"id": "late one", "like": "chat room", "arrives": 12},
            ],
            "hidden": [
                {"domain": "cloud", "offer": "llm", "rate": 1.6, "latency": 4, "impairment": law},
                {"domain": "wan", "offer": "pipe", "rate": 1.8, "latency": 6, "impairment": law},
            ],
            "failures": [{"domain": "cloud", "from": 15, "until": 16}],
        }
    )
    with Store.open(tmp_path / "s.db", identity_of(scenario, instance, 0)) as store:
        operate(scenario, instance, store, policies=["fedopt", "mean-rate"], threads=1)
        events = {(row["kind"], row["subject"]): row for row in store.select("events", run="fedopt")}
        assert events["refused", "early"]["detail"] == "no way keeps its promise"
        assert events["suspended", "late one"]["period"] == 15
        plan = next(
            Plan.model_validate(row["plan"])
            for row in store.select("plans", run="fedopt")
            if row["period"] == 12
        )
        assert set(plan.tenants["late one"].learned) == {"wan", "cloud"}
        assert all(row.admitted == 0 for row in summarize(store) if row.run == "mean-rate")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden": []}, "nothing says what it truly is"),
        ({"hidden": [{"domain": "edge", "offer": "llm", "rate": 1}]}, "has a contract"),
        ({"hidden": [{"domain": "clod", "offer": "llm", "rate": 1}]}, "did you mean 'cloud'"),
        ({"reissues": [{"period": 1, "domain": "cloud", "offer": "llm", "latency": 1}]}, "there is none"),
        ({"learning": {"confidence": 1.0}}, "confidence"),
        ({"learning": {"model": "oracle"}}, "logistic"),
    ],
)
def test_bad_scenarios_are_named(
    given: tuple[Scenario, Instance], change: dict[str, object], words: str
) -> None:
    scenario, instance = given
    with pytest.raises(InstanceError, match=words):
        scenario_for(Scenario.model_validate(scenario.to_dict() | change), instance)


def test_tests_of_a_hopeless_offer_end(given: tuple[Scenario, Instance], tmp_path: Path) -> None:
    """A cloud that keeps up with nobody: one period of tests says so, and contracts alone serve everybody."""
    scenario, instance = given
    (hidden,) = scenario.hidden
    slow = hidden.model_copy(update={"rate": 0.7})
    scenario = scenario.model_copy(update={"hidden": (slow,), "periods": 6, "degradations": ()})
    with Store.open(tmp_path / "s.db", identity_of(scenario, instance, 0)) as store:
        operate(scenario, instance, store, policies=["fedopt"], threads=1)
        rows = store.select("answers", run="fedopt", limit=100_000)
        assert {row["period"] for row in rows if row["test"]} == {0}
        (row,) = summarize(store)
        assert (row.learned, row.broken) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_other_seeds_keep_their_promises(given: tuple[Scenario, Instance], seed: int, tmp_path: Path) -> None:
    scenario, instance = given
    with Store.open(tmp_path / "s.db", identity_of(scenario, instance, seed)) as store:
        operate(scenario, instance, store, policies=["fedopt"], seed=seed, threads=1)
        (row,) = summarize(store)
        assert row.broken == 0
        assert row.learned > 5
