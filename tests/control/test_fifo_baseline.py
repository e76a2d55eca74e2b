"""One queue for all: alone it is the reserved server; with others it is a plain model written out."""

from __future__ import annotations

import numpy as np

from fedopt.control.fifo_baseline import share_queues
from fedopt.control.packets import BATCHES, impairment_of, listen
from fedopt.instance import ExponentialImpairment, Poisson
from fedopt.laws import build
from fedopt.simulate.slot_work import slot_work
from fedopt.simulate.slots import SlotPath

SLOTS = 3000


def _path(rate: float, size: float, hops: int) -> SlotPath:
    impairments = [ExponentialImpairment(mean=0.2 + 0.1 * d) for d in range(hops)]
    laws = tuple(slot_work(build(law, 1.0)) for law in impairments)
    return SlotPath(slot_work(build(Poisson(rate=rate, size=size), 1.0)), laws, np.full(hops, 1.2))


def test_alone_at_the_reserved_rate_it_is_the_reserved_server() -> None:
    path = _path(0.5, 1.0, 3)
    seed = np.random.SeedSequence(5)
    observed = listen(path, SLOTS, seed, np.full(3, np.inf))
    for allowed in (0, 2, 5):
        sent, late = share_queues(
            [path],
            np.array([[0, 1, 2]]),
            np.ones((1, 3)),
            np.full(3, 1.2),
            np.arange(3),
            np.array([allowed]),
            [seed],
            SLOTS,
        )
        expected = observed.late(allowed)
        assert sent[0].tolist() == expected[0].tolist()
        assert late[0].tolist() == expected[1].tolist()


def test_several_tenants_are_a_plain_model_written_out() -> None:
    paths = [_path(0.4, 1.0, 2), _path(0.3, 1.5, 2), _path(0.6, 0.5, 2)]
    seeds = [np.random.SeedSequence([6, u]) for u in range(3)]
    hops = np.array([[0, 1], [0, 2], [0, 1]])
    factors = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 1.5]])
    capacity = np.array([2.9, 2.4, 2.6])
    sent, late = share_queues(
        paths, hops, factors, capacity, np.array([0, 1, 1]), np.full(3, 4), seeds, SLOTS
    )
    assert 0 < late.sum() < sent.sum()
    expected = _plain(paths, seeds, hops, factors, capacity, 4)
    assert sent.sum(axis=1).tolist() == expected[0]
    assert late.sum(axis=1).tolist() == expected[1]
    assert sent.shape == (3, BATCHES)


def _plain(
    paths: list[SlotPath],
    seeds: list[np.random.SeedSequence],
    hops: np.ndarray,
    factors: np.ndarray,
    capacity: np.ndarray,
    allowed: int,
) -> tuple[list[float], list[float]]:
    """The model in lists and loops, on the same packets."""
    warmup, drain = SLOTS // 8, 4096
    length = warmup + SLOTS + drain
    tenants = range(len(paths))
    work = [_whole(path, -1, seed, length) for path, seed in zip(paths, seeds, strict=True)]
    lost = [
        [_whole(path, d, seed, length) for d in range(2)] for path, seed in zip(paths, seeds, strict=True)
    ]
    size = [float(path.arrivals.parameters[1]) for path in paths]
    queues: list[list[list[float]]] = [[] for _ in capacity]
    priority = [0.0] * len(capacity)
    left: dict[tuple[int, int], float] = {}
    sent, late = [0.0] * len(paths), [0.0] * len(paths)
    for clock in range(length):
        for i in tenants:
            u = (i + clock) % len(paths)
            for s in range(2):
                priority[hops[u, s]] += lost[u][s][clock] * factors[u, s]
            x = work[u][clock]
            if x > 0:
                queues[hops[u, 0]].append([u, clock, x])
                left[u, clock] = x
        for d in range(len(capacity)):
            free = capacity[d] - priority[d]
            priority[d] = max(-free, 0.0)
            while free > 0 and queues[d]:
                u, born, x = queues[d][0]
                s = 0 if d == 0 else 1
                part = min(x, free / factors[int(u), s])
                whole = x * factors[int(u), s] <= free
                free = free - x * factors[int(u), s] if whole else 0.0
                if whole:
                    queues[d].pop(0)
                else:
                    queues[d][0][2] -= part
                if s == 0:
                    queues[hops[int(u), 1]].append([u, born, part])
                else:
                    left[int(u), int(born)] -= part
                    if left[int(u), int(born)] <= 1e-9 and warmup <= born < warmup + SLOTS:
                        requests = round(work[int(u)][int(born)] / size[int(u)])
                        sent[int(u)] += requests
                        late[int(u)] += requests * (clock - born > allowed)
                        left[int(u), int(born)] = np.inf
    assert all(np.isinf(v) for (_, born), v in left.items() if warmup <= born < warmup + SLOTS)
    return sent, late


def _whole(path: SlotPath, place: int, seed: np.random.SeedSequence, length: int) -> list[float]:
    """The work of a source in every slot from the warm-up's first on; place −1 is the tenant's own."""
    law = path.arrivals if place < 0 else path.impairments[place]
    return _samples(law, seed, place + 2, length)


def _samples(law: object, seed: np.random.SeedSequence, number: int, length: int) -> list[float]:
    from fedopt.control.packets import OWN
    from fedopt.simulate.slot_work import sample
    from fedopt.simulate.streams import streams

    start, step = streams(seed, 1)[0]
    out, weights = np.empty(length), np.empty(length)
    _sampled(law, start, number, step, out, weights, OWN, sample)
    return out.tolist()


def _sampled(law, start, number, step, out, weights, own, sample) -> None:  # type: ignore[no-untyped-def]
    with np.errstate(over="ignore"):
        origin = _mixed(np.uint64(start) + own * np.uint64(number))
    sample(law.code, *law.parameters, law.work, law.requests, origin, step, out, weights)


def _mixed(word: np.uint64) -> np.uint64:
    from fedopt.simulate.streams import mix

    return np.uint64(mix(word))


def test_what_a_domain_reports_is_what_the_queue_met() -> None:
    path = _path(0.4, 1.0, 2)
    seed = np.random.SeedSequence(11)
    series = impairment_of(path, 1, SLOTS, seed)
    assert series.tolist() == _whole(path, 1, seed, SLOTS + SLOTS // 8)[SLOTS // 8 :]
