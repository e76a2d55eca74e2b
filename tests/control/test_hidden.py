"""Hidden servers: the compiled kernel against parcels in plain Python, and what lateness there means."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from fedopt.control.hidden import BATCHES, Ask, HiddenServer, answered, delays_in
from fedopt.control.packets import _impairment, listen
from fedopt.laws import ExponentialWork, NoImpairment, Poisson
from fedopt.simulate.slot_work import SlotWork, slot_work
from fedopt.simulate.slots import SlotPath
from fedopt.simulate.streams import streams

SLOTS = 4000
SEED = np.random.SeedSequence([7])
NOTHING = slot_work(NoImpairment())


def _series(law: SlotWork, number: int, slots: int = SLOTS) -> np.ndarray:
    """The work per slot that the kernels draw for a source, warm-up included; number: 1 for arrivals."""
    start, step = streams(SEED, 1)[0]
    out = np.empty(slots // 8 + slots)
    _impairment(law.code, *law.parameters, law.work, law.requests, start, number, step, 0, out)
    return out


class Server:
    """First in, first out, in parcels (born, entered, work); priority work first, and what is left carries
    over.
    """

    def __init__(self, rate: float, priority: np.ndarray) -> None:
        self.rate, self.priority, self.backlog = rate, priority, 0.0
        self.queue: deque[list[float]] = deque()

    def serve(self, t: int) -> list[tuple[int, int, float]]:
        """The parcels, or parts of them, that leave in a slot."""
        self.backlog += self.priority[t]
        free = max(self.rate - self.backlog, 0.0)
        self.backlog = max(self.backlog - self.rate, 0.0)
        gone = []
        while self.queue and free > 1e-12:
            born, entered, work = self.queue[0]
            part = min(work, free)
            free -= part
            gone.append((int(born), int(entered), part))
            if work - part > 1e-9:
                self.queue[0][2] = work - part
            else:
                self.queue.popleft()
        return gone


def _worst(series: list[np.ndarray], rates: list[float]) -> np.ndarray:
    """Longest delay of any part of a slot's work in the last server, by slot after the warm-up."""
    arrivals, *impairments = series
    servers = [Server(rate, work) for rate, work in zip(rates, impairments, strict=True)]
    worst = np.full(len(arrivals), -1.0)
    for t, work in enumerate(arrivals):
        if work > 0:
            servers[0].queue.append([t, t, work])
        for server, following in zip(servers, [*servers[1:], None], strict=True):
            for born, entered, part in server.serve(t):
                if following is None:
                    worst[born] = max(worst[born], t - entered)
                else:
                    following.queue.append([born, t, part])
    return worst[SLOTS // 8 :]


@pytest.mark.parametrize("place", [0, 1])
def test_the_kernel_is_the_parcels(place: int) -> None:
    arrivals = slot_work(Poisson(0.35, 1.0, True))
    before = slot_work(ExponentialWork(0.2))
    law = slot_work(ExponentialWork(0.3))
    laws, rates = [before, NOTHING, before], [1.1, 0.9, 1.2]
    if place == 0:
        laws, rates = [NOTHING, before, before], [0.9, 1.1, 1.2]
    path = SlotPath(arrivals, tuple(laws), np.array(rates))
    server = HiddenServer(1.0, 2.5, law)
    found = delays_in(path, {place: server}, SLOTS, SEED)[place]
    series = [_series(arrivals, 1), *[_series(laws[i], i + 2) for i in range(place + 1)]]
    expected = _worst([*series, _series(law, len(laws) + 2 + place)], [*rates[: place + 1], server.rate])
    done = SLOTS - 400  # the plain one ends with the period
    sent = expected[:done] >= 0
    assert sent.sum() > 800
    assert np.array_equal(found[:done][sent], expected[:done][sent] + server.latency)
    assert np.array_equal(found[:done] >= 0, sent)
    assert expected[:done].max() > 5


def test_it_is_behind_the_same_packets() -> None:
    arrivals = slot_work(Poisson(0.4, 1.0, False))
    path = SlotPath(arrivals, (NOTHING, NOTHING), np.array([0.8, 0.9]))
    delays = delays_in(
        path, {0: HiddenServer(0.7, 0, NOTHING), 1: HiddenServer(5.0, 3, NOTHING)}, SLOTS, SEED
    )
    observed = listen(path, SLOTS, SEED, np.full(2, np.inf))
    for delay in delays.values():
        assert np.array_equal(delay >= 0, observed.weight > 0)
    assert np.all(delays[1][observed.weight > 0] == 3)  # fast enough never to delay anything
    assert delays[0].max() > 0


def test_what_never_leaves_is_infinitely_late() -> None:
    path = SlotPath(slot_work(Poisson(0.4, 1.0, False)), (NOTHING,), np.array([1.0]))
    delay = delays_in(path, {0: HiddenServer(0.0, 1, NOTHING)}, SLOTS, SEED)[0]
    assert np.all(np.isinf(delay[delay >= 0]))
    stopped = SlotPath(path.arrivals, (NOTHING,), np.array([0.0]))
    delay = delays_in(stopped, {0: HiddenServer(9.0, 1, NOTHING)}, SLOTS, SEED)[0]
    assert np.all(np.isinf(delay[delay >= 0]))


def test_answers_by_batch() -> None:
    weight = np.ones(BATCHES * 10)
    delay = np.tile(np.arange(10.0), BATCHES)
    place = np.arange(BATCHES) % 3
    ask = Ask("c/m", "chat", 1.0, 1.0, 4.0, 2.0 * np.array([3.0, 5.0, 8.0])[place])
    answers = answered("chat-1", ask, delay, weight, slot=2.0)
    assert np.all(answers.asked == 10)
    assert np.array_equal(answers.rejected, np.array([6.0, 4.0, 1.0])[place])
    assert answers.rows()[1] == (10.0, 10.0, 4.0)


def test_late_altogether_only_if_late_in_the_ideal_or_in_the_hidden_server() -> None:
    """The system as it is: what is late in the hidden server is dropped, all else is held until the delay
    asked for is over and goes on. Nobody is later than where everything takes exactly that delay.
    """
    asked, allowed = 6, 7
    arrivals, before, law, behind = (
        slot_work(model)
        for model in (
            Poisson(0.3, 1.0, True),
            ExponentialWork(0.2),
            ExponentialWork(0.35),
            ExponentialWork(0.25),
        )
    )
    series = [_series(each, n + 1) for n, each in enumerate((arrivals, before, NOTHING, law, behind))]
    rates = [0.9, 0.8, 0.85, 0.9]
    path = SlotPath(arrivals, (before, NOTHING, behind), np.array([rates[0], rates[1], rates[3]]))

    worst = _worst(series[:4], rates[:3])
    hidden_late = worst > asked
    ideal_late = _end_to_end(series, rates, asked, drop=False) > allowed + asked
    truly = _end_to_end(series, rates, asked, drop=True)
    truly_late = truly > allowed + asked
    sent = worst >= 0
    assert hidden_late.sum() > 20
    assert (ideal_late & ~hidden_late).sum() > 20
    assert not np.any((truly_late & sent) & ~(ideal_late | hidden_late))
    # and the ideal system is the one that `listen` runs, where the hidden server is a shaper and a delay
    observed = listen(path, SLOTS, SEED, np.full(3, np.inf))
    assert observed.delay[observed.weight > 0].size == sent.sum()


def _end_to_end(series: list[np.ndarray], rates: list[float], asked: int, drop: bool) -> np.ndarray:
    """Delay of the last part of each slot's work through all servers; infinite for what was dropped.

    drop: the third server is real and what is late there is dropped; otherwise it takes `asked` slots of
    everything.
    """
    arrivals, *impairments = series
    first, shaper, hidden, last = (Server(rate, work) for rate, work in zip(rates, impairments, strict=True))
    delay = np.full(len(arrivals), -1.0)
    dropped: set[int] = set()
    held: deque[tuple[int, int, float]] = deque()  # (released, born, work) in order
    for t, work in enumerate(arrivals):
        if work > 0:
            first.queue.append([t, t, work])
        for born, _, part in first.serve(t):
            shaper.queue.append([born, t, part])
        for born, _, part in shaper.serve(t):
            if drop:
                hidden.queue.append([born, t, part])
            else:
                held.append((t + asked, born, part))
        for born, entered, part in hidden.serve(t):
            if t - entered > asked:
                dropped.add(born)
            else:
                held.append((entered + asked, born, part))
        while held and held[0][0] <= t:
            _, born, part = held.popleft()
            if born not in dropped:
                last.queue.append([born, t, part])
        for born, _, _ in last.serve(t):
            delay[born] = t - born
    for born in dropped:
        delay[born] = np.inf
    return delay[SLOTS // 8 :]
