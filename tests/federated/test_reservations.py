"""The book of reservations: never above capacity, whatever the order of steps; every step twice is once."""

from __future__ import annotations

import sqlite3

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fedopt.federated.reservations import ROOM, Book

CAPACITY = {"edge": 10.0, "metro": 4.0}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def book(clock: Clock | None = None) -> Book:
    return Book(CAPACITY, clock=clock or Clock())


def test_prepare_holds_and_commit_keeps():
    it = book()
    assert it.prepare("a", {"edge": 6.0}, 60).granted
    assert it.reserved() == {"edge": 6.0, "metro": 0.0}
    full = it.prepare("b", {"edge": 5.0}, 60)
    assert (full.granted, full.domain) == (False, "edge")
    assert "5" not in full.reason
    assert "10" not in full.reason
    assert it.commit("a").granted
    assert it.state("a") == "committed"


def test_every_step_asked_again_is_answered_the_same():
    it = book()
    for _ in range(3):
        assert it.prepare("a", {"edge": 6.0}, 60).granted
    for _ in range(3):
        assert it.commit("a").granted
    assert it.prepare("a", {"edge": 6.0}, 60).granted
    assert it.reserved()["edge"] == 6.0
    assert not it.prepare("a", {"edge": 7.0}, 60).granted
    assert not it.abort("a").granted
    assert it.release("a").granted
    assert it.release("a").granted
    assert it.reserved()["edge"] == 0.0
    assert not it.commit("a").granted


def test_a_prepare_that_arrives_after_the_abort_holds_nothing():
    it = book()
    assert it.abort("a").granted
    assert not it.prepare("a", {"edge": 1.0}, 60).granted
    assert it.reserved()["edge"] == 0.0


def test_a_hold_past_its_term_is_committed_only_where_there_is_room():
    clock = Clock()
    it = book(clock)
    assert it.prepare("a", {"edge": 6.0}, 60).granted
    assert it.prepare("c", {"metro": 3.0}, 60).granted
    clock.now += 61
    assert it.prepare("b", {"edge": 6.0}, 60).granted
    late = it.commit("a")
    assert not late.granted
    assert late.domain == "edge"
    assert it.commit("c").granted


def test_a_run_takes_the_place_of_another_at_its_commit():
    it = book()
    it.prepare("old", {"edge": 8.0}, 60)
    it.commit("old")
    assert not it.prepare("new", {"edge": 9.0}, 60).granted
    assert it.prepare("new", {"edge": 9.0}, 60, replaces="old").granted
    assert it.state("old") == "committed"
    assert it.commit("new").granted
    assert it.state("old") == "released"
    assert it.reserved()["edge"] == 9.0


def test_what_is_no_load_of_this_operator_is_refused():
    it = book()
    assert it.prepare("a", {"core": 1.0}, 60).domain == "core"
    for load in (-1.0, float("nan"), float("inf")):
        assert not it.prepare("a", {"edge": load}, 60).granted
    assert not it.commit("a").granted


def test_the_book_outlives_its_process(tmp_path):
    file = tmp_path / "book.sqlite"
    first = Book(CAPACITY, sqlite3.connect(file, isolation_level=None))
    first.prepare("a", {"edge": 6.0}, 1e9)
    second = Book(CAPACITY, sqlite3.connect(file, isolation_level=None))
    assert not second.prepare("b", {"edge": 6.0}, 60).granted
    assert second.commit("a").granted


RUNS = st.sampled_from(["r1", "r2", "r3", "r4"])
LOADS = st.dictionaries(st.sampled_from(sorted(CAPACITY)), st.floats(0.5, 9.0), min_size=1)


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
        if run != replaces and self.book.prepare(run, loads, 60.0, replaces).granted:
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
