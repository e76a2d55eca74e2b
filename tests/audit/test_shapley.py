import math
from itertools import permutations

import numpy as np
import pytest

from fedopt.audit.sharing import shapley


def brute_force(players, value):
    total = np.zeros(players)
    for order in permutations(range(players)):
        for k, player in enumerate(order):
            total[player] += value(frozenset(order[: k + 1])) - value(frozenset(order[:k]))
    return total / math.factorial(players)


def random_game(seed, players):
    rng = np.random.default_rng(seed)
    table = {}

    def value(coalition):
        if coalition not in table:
            table[coalition] = float(rng.normal()) if coalition else 0.0
        return table[coalition]

    return value


@pytest.mark.parametrize("players", [1, 2, 3, 5, 6])
def test_exact_value_equals_all_orders(players):
    game = random_game(players, players)
    found = shapley(players, game)
    assert found.exact
    assert found.values == pytest.approx(brute_force(players, game))


def test_dummy_gets_nothing_and_equals_get_the_same():
    found = shapley(4, lambda s: float(len(s - {3}) ** 2))
    assert found.values == pytest.approx([3.0, 3.0, 3.0, 0.0])


def test_sampled_value_adds_up_and_lies_within_its_errors():
    weights = np.arange(1.0, 13.0)

    def value(coalition):
        return math.sqrt(sum(weights[list(coalition)]))

    found = shapley(12, value, permutations=600, seed=1)
    assert not found.exact
    assert found.values.sum() == pytest.approx(value(frozenset(range(12))))
    again = shapley(12, value, permutations=6000, seed=2)
    assert np.all(np.abs(found.values - again.values) < 5 * np.hypot(found.errors, again.errors))


def test_a_game_without_a_value_is_refused():
    with pytest.raises(ValueError, match="no finite value"):
        shapley(2, lambda s: math.inf if s else 0.0)


def test_marginal_shares_mislead_where_two_degradations_mask_each_other():
    """Either fault alone breaks everything: marginally each caused all, or by the last one in, nothing."""
    found = shapley(3, lambda s: 1.0 if s & {0, 1} else 0.0)
    assert found.values == pytest.approx([0.5, 0.5, 0.0])
