"""Provider selection on 5 stages of 6 providers, learned online, against the exhaustive optimum."""

from __future__ import annotations

import numpy as np

from fedopt.learn.feedback import Array, Buffer, Feedback
from fedopt.learn.parametric import ConvexRisk
from fedopt.learn.providers import StageGraph, choose, exhaustive
from fedopt.papers.rade_experiment import ANCHOR, band
from fedopt.papers.rade_simulator import ALPHA, TrueAcceptance
from fedopt.papers.series import Series

STAGES, WIDTH = 5, 6
DELAY, THROUGHPUT = (40.0, 50.0), (0.4, 0.6)


def providers(trials: int = 20, seed: int = 0, quick: bool = False) -> list[Series]:
    """Acceptance of the requests so far with learned risks, and of exhaustive OPT, on random provider graphs.

    x: requests served. Every provider starts from 20 answers.
    """
    trials, requests = (2, 20) if quick else (min(trials, 20), 200)
    marks = np.linspace(requests // 8, requests, 8).astype(int)
    scores: dict[str, list[Array]] = {"learned": [], "OPT": []}
    for trial in range(trials):
        rng = np.random.default_rng(np.random.SeedSequence([seed, trial, 0x50524F56]))
        truth, graph = random_world(rng)
        history = first_answers(truth, rng)
        delay = rng.uniform(*DELAY, requests)
        throughput = rng.uniform(*THROUGHPUT, requests)
        coin = rng.random((requests, STAGES))
        best = [
            exhaustive(truth, graph, float(d), float(x)).log_probability[0]
            for d, x in zip(
                delay[:: max(requests // 6, 1)], throughput[:: max(requests // 6, 1)], strict=True
            )
        ]
        scores["OPT"].append(np.full(marks.size, float(np.exp(best).mean())))
        gained = serve(truth, graph, history, delay, throughput, coin)
        scores["learned"].append((np.cumsum(gained) / np.arange(1, requests + 1))[marks - 1])
    axes = ("requests served", "acceptance probability so far")
    return [band(name, marks.tolist(), np.array(values).T, axes) for name, values in scores.items()]


def random_world(rng: np.random.Generator) -> tuple[TrueAcceptance, StageGraph]:
    """Five stages of six providers with random capacities, service constants and loads; all links at 0."""
    number = STAGES * WIDTH
    truth = TrueAcceptance(
        rng.uniform(0.75, 2.0, number), rng.uniform(1.5, 8.0, number), rng.uniform(0.5, 1.3, number), ALPHA
    )
    return truth, StageGraph.complete([WIDTH] * STAGES)


def first_answers(truth: TrueAcceptance, rng: np.random.Generator, number: int = 20) -> Feedback:
    """Answers of every provider to random partial SLAs."""
    count = truth.load.size
    delay = rng.uniform(1.0, 30.0, (count, number))
    throughput = rng.uniform(*THROUGHPUT, (count, number))
    accepted = rng.random((count, number)) < np.exp(truth.log_probability(delay, throughput))
    return Feedback.of(delay, throughput, accepted.astype(float))


def serve(
    truth: TrueAcceptance,
    graph: StageGraph,
    history: Feedback,
    delay: Array,
    throughput: Array,
    coin: Array,
) -> Array:
    """Serve requests one by one, learning from the chosen providers alone; true acceptance of each, (R,)."""
    count = history.count
    model = ConvexRisk(models=count).fit(history)
    buffer = Buffer.empty(count, 100)
    anchor = history.with_weight(ANCHOR * history.weight)
    gained = np.empty(delay.size)
    for i in range(delay.size):
        chosen = choose(model, graph, delay[i : i + 1], throughput[i : i + 1], points=64)
        rows, split = chosen.rows[0], chosen.delay[0]
        log_p = truth.log_probability(split[:, None], np.full((rows.size, 1), throughput[i]), rows)[:, 0]
        gained[i] = np.exp(log_p.sum())
        buffer.push(rows, split, np.full(rows.size, throughput[i]), (coin[i] < np.exp(log_p)).astype(float))
        model = model.update(buffer.view(rows).beside(anchor.rows(rows)), rows)
    return gained
