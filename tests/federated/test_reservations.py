"""The book of reservations: never above capacity, whatever the order of steps; every step twice is once."""

from __future__ import annotations

import sqlite3

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fedopt.federated.reservations import ROOM, Reservations, steady_clock

CAPACITY = {"edge": 10.0, "metro": 4.0}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def book(clock: Clock | None = None) -> Reservations:
    return Reservations(CAPACITY, clock=clock or Clock())


def test_prepare_holds_and_commit_keeps():
    it = book()
    assert it.prepare("a", "broker", {"edge": 6.0}, 60).granted
    assert it.reserved() == {"edge": 6.0}
    full = it.prepare("b", "broker", {"edge": 5.0}, 60)
    assert (full.granted, full.domain) == (False, "edge")
    assert "5" not in full.reason
    assert "10" not in full.reason
    assert it.commit("a").granted
    assert it.state("a") == "committed"


def test_every_step_asked_again_is_answered_the_same():
    it = book()
    for _ in range(3):
        assert it.prepare("a", "broker", {"edge": 6.0}, 60).granted
    for _ in range(3):
        assert it.commit("a").granted
    assert it.prepare("a", "broker", {"edge": 6.0}, 60).granted
    assert it.reserved()["edge"] == 6.0
    assert not it.prepare("a", "broker", {"edge": 7.0}, 60).granted
    assert not it.abort("a").granted
    assert it.release("a").granted
    assert it.release("a").granted
    assert it.reserved().get("edge", 0.0) == 0.0
    assert not it.commit("a").granted


def test_a_prepare_that_arrives_after_the_abort_holds_nothing():
    it = book()
    assert it.abort("a").granted
    assert not it.prepare("a", "broker", {"edge": 1.0}, 60).granted
    assert it.reserved().get("edge", 0.0) == 0.0


def test_a_hold_past_its_term_is_committed_only_where_there_is_room():
    clock = Clock()
    it = book(clock)
    assert it.prepare("a", "broker", {"edge": 6.0}, 60).granted
    assert it.prepare("c", "broker", {"metro": 3.0}, 60).granted
    clock.now += 61
    assert it.prepare("b", "broker", {"edge": 6.0}, 60).granted
    late = it.commit("a")
    assert not late.granted
    assert late.domain == "edge"
    assert it.commit("c").granted


def test_a_run_takes_the_place_of_another_at_its_commit():
    it = book()
    it.prepare("old", "broker", {"edge": 8.0}, 60)
    it.commit("old")
    assert not it.prepare("new", "broker", {"edge": 9.0}, 60).granted
    assert it.prepare("new", "broker", {"edge": 9.0}, 60, replaces="old").granted
    assert it.state("old") == "committed"
    assert it.commit("new").granted
    assert it.state("old") == "replaced"
    assert it.reserved()["edge"] == 9.0


def test_only_a_brokers_own_run_is_replaced_and_a_rollback_brings_it_back():
    it = book()
    it.prepare("old", "broker", {"edge": 8.0}, 60)
    it.commit("old")
    foreign = it.prepare("new", "another", {"edge": 9.0}, 60, replaces="old")
    assert not foreign.granted
    assert "this broker" in foreign.reason
    assert it.prepare("new", "broker", {"edge": 9.0}, 60, replaces="old").granted
    assert it.commit("new").granted
    for _ in range(2):
        assert it.rollback("new").granted
        assert (it.state("new"), it.state("old")) == ("aborted", "committed")
        assert it.reserved() == {"edge": 8.0}
    assert not it.commit("new").granted


def test_a_rollback_says_where_what_was_replaced_no_longer_fits():
    it = book()
    it.prepare("old", "broker", {"edge": 8.0}, 60)
    it.commit("old")
    it.prepare("new", "broker", {"edge": 3.0}, 60, replaces="old")
    it.commit("new")
    it.prepare("other", "another", {"edge": 6.0}, 60)
    it.commit("other")
    done = it.rollback("new")
    assert not done.granted
    assert done.domain == "edge"
    assert it.reserved() == {"edge": 6.0}


def test_a_hold_is_no_longer_than_the_operator_allows():
    it = Reservations(CAPACITY, clock=Clock(), longest=3600.0)
    long = it.prepare("a", "broker", {"edge": 1.0}, 1e9)
    assert not long.granted
    assert "3600 s" in long.reason
    assert it.prepare("a", "broker", {"edge": 1.0}, 3600.0).granted


def test_a_capacity_that_was_lowered_is_noticed_at_the_commit(tmp_path):
    file = tmp_path / "book.sqlite"
    first = Reservations(CAPACITY, sqlite3.connect(file, isolation_level=None))
    assert first.prepare("a", "broker", {"edge": 6.0}, 60).granted
    assert first.prepare("b", "broker", {"metro": 3.0}, 60).granted
    lower = Reservations({**CAPACITY, "edge": 5.0}, sqlite3.connect(file, isolation_level=None))
    late = lower.commit("a")
    assert not late.granted
    assert "lowered" in late.reason
    assert lower.commit("b").granted  # another domain is another matter
    assert first.commit("a").granted
    assert lower.overbooked() == "edge"
    assert first.overbooked() is None


def test_the_clock_never_runs_backwards(tmp_path, monkeypatch):
    file = tmp_path / "book.sqlite"
    connection = sqlite3.connect(file, isolation_level=None)
    it = Reservations(CAPACITY, connection)
    assert it.prepare("a", "broker", {"edge": 6.0}, 60).granted
    (until,) = connection.execute("SELECT until FROM reservations").fetchone()
    monkeypatch.setattr("time.time", lambda: until - 1e6)  # somebody set the machine's clock back
    assert steady_clock(connection)() >= until - 61
    late = Reservations(CAPACITY, sqlite3.connect(file, isolation_level=None))
    assert not late.prepare("b", "broker", {"edge": 6.0}, 60).granted


def test_what_is_no_load_of_this_operator_is_refused():
    it = book()
    assert it.prepare("a", "broker", {"core": 1.0}, 60).domain == "core"
    for load in (-1.0, float("nan"), float("inf")):
        assert not it.prepare("a", "broker", {"edge": load}, 60).granted
    assert not it.commit("a").granted


def test_the_book_outlives_its_process(tmp_path):
    file = tmp_path / "book.sqlite"
    first = Reservations(CAPACITY, sqlite3.connect(file, isolation_level=None))
    first.prepare("a", "broker", {"edge": 6.0}, 1e9)
    second = Reservations(CAPACITY, sqlite3.connect(file, isolation_level=None))
    assert not second.prepare("b", "broker", {"edge": 6.0}, 60).granted
    assert second.commit("a").granted


RUNS = st.sampled_from(["r1", "r2", "r3", "r4"])
LOADS = st.dictionaries(st.sampled_from(sorted(CAPACITY)), st.floats(0.5, 9.0), min_size=1)


BROKERS = {"r1": "one", "r2": "one", "r3": "two", "r4": "two"}


class AnyOrder(RuleBasedStateMachine):
    """Steps of several brokers in any order, with holds running out between them."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.book = book(self.clock)
        self.committed: dict[str, dict[str, float]] = {}
        self.asked: dict[str, dict[str, float]] = {}
        self.replaces: dict[str, str | None] = {}

    @rule(run=RUNS, loads=LOADS, replaces=st.none() | RUNS)
    def prepare(self, run, loads, replaces):
        if run != replaces and self.book.prepare(run, BROKERS[run], loads, 60.0, replaces).granted:
            self.asked[run], self.replaces[run] = loads, replaces

    @rule(run=RUNS)
    def commit(self, run):
        if self.book.commit(run).granted and run not in self.committed:
            self.committed[run] = self.asked[run]
            self.committed.pop(self.replaces[run] or "", None)

    @rule(run=RUNS)
    def abort(self, run):
        assert self.book.abort(run).granted == (run not in self.committed)

    @rule(run=RUNS)
    def release(self, run):
        if self.book.release(run).granted:
            self.committed.pop(run, None)

    @rule(run=RUNS)
    def rollback(self, run):
        was = run in self.committed
        granted = self.book.rollback(run).granted
        self.committed.pop(run, None)
        before = self.replaces.get(run)
        if was and granted and before is not None and self.book.state(before) == "committed":
            self.committed[before] = self.asked[before]

    @rule(seconds=st.floats(1.0, 100.0))
    def wait(self, seconds):
        self.clock.now += seconds

    @invariant()
    def never_above_capacity(self):
        for name, capacity in CAPACITY.items():
            total = sum(loads.get(name, 0.0) for loads in self.committed.values())
            assert total <= capacity * (1 + ROOM)

    @invariant()
    def the_book_agrees(self):
        states = {run for run in ("r1", "r2", "r3", "r4") if self.book.state(run) == "committed"}
        assert states == set(self.committed)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
