"""Streaming quantiles against sorting everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedopt.simulate import estimates as q


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=300),
    st.floats(0, 1),
)
@settings(deadline=None, max_examples=200, derandomize=True)
def test_top_k_gives_the_sample_quantile(values, probability):
    x = np.array(values)
    k = q.top_size(x.size, probability)
    heap = np.full(k, -1.0)
    for value in x:
        if value > heap[0]:
            q.push(heap, value)
    heap.sort()
    assert q.from_top(heap, x.size, probability) == pytest.approx(
        np.quantile(x, probability), rel=1e-9, abs=1e-9
    )


def test_sketch_is_within_a_thousandth():
    rng = np.random.default_rng(4)
    for x in (rng.exponential(7.0, 200_000), rng.pareto(1.5, 200_000) + 1e-3, rng.uniform(0, 1e-3, 200_000)):
        sketch = q.Sketch().add(x[:50_000]).merged(q.Sketch().add(x[50_000:]))
        assert sketch.total == x.size
        for p in (0.01, 0.5, 0.9, 0.999):
            lower, upper = np.quantile(x, [p - 2 / x.size, p + 2 / x.size])
            assert lower * (1 - 1.01e-3) <= sketch.quantile(p) <= upper * (1 + 1.01e-3)
            assert sketch.tail(np.quantile(x, p)) == pytest.approx(1 - p, rel=0.02, abs=1e-4)


def test_compiled_cell_agrees_with_the_edges():
    bounds = q.edges()
    for value in (0.0, 1e-12, 2.0**-24, 0.3, 1.0, 1.5, 777.7, 2.0**36, 1e300):
        place = int(q.cell(value))
        assert bounds[place] <= value
        assert value < bounds[place + 1] or np.isinf(bounds[place + 1])


def test_empty_and_impossible():
    assert np.isnan(q.Sketch().quantile(0.5))
    with pytest.raises(ValueError, match="probability"):
        q.top_size(10, 1.5)
    with pytest.raises(ValueError, match="too few"):
        q.from_top(np.arange(3.0), 100, 0.5)
