"""Secure aggregation: sums are exact, single numbers are hidden, drop-outs and refusals."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cryptography")

from fedopt.federated.protocol.masking import (
    FRACTION_BITS,
    MODULUS,
    Masker,
    MaskingError,
    decoded,
    encoded,
    fewest_survivors,
    generate_secret,
    public_part,
    revealed_sum,
)


def maskers(count: int, run: str = "run", seed: int = 1) -> list[Masker]:
    source = random.Random(seed)
    secrets = {f"op{i}": source.randbytes(64) for i in range(count)}
    public = {name: public_part(secret) for name, secret in secrets.items()}
    return [Masker(run, name, secret, public) for name, secret in secrets.items()]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e15, 1e15), min_size=3, max_size=3), min_size=2, max_size=6),
    st.integers(0, 2**30),
)
def test_the_sum_over_the_survivors_is_exact_in_fixed_point(numbers, seed):
    group = maskers(len(numbers))
    fixed = [[encoded(value) for value in row] for row in numbers]
    masked = {m.operator: m.mask("3", row) for m, row in zip(group, fixed, strict=True)}
    order = random.Random(seed).sample(group, len(group))
    survivors = [
        m.operator for m in order[: random.Random(seed).randint(fewest_survivors(len(group)), len(group))]
    ]
    reveals = {m.operator: m.reveal("3", survivors) for m in group if m.operator in survivors}
    total = revealed_sum(masked, reveals)
    rows = [row for m, row in zip(group, fixed, strict=True) if m.operator in survivors]
    assert total == [sum(column) % MODULUS for column in zip(*rows, strict=True)]
    exact = [
        sum(Fraction(row[k]) for m, row in zip(group, numbers, strict=True) if m.operator in survivors)
        for k in range(3)
    ]
    for value, want in zip(total, exact, strict=True):
        # half a unit of fixed point per operator, and the rounding of the answer to a double
        assert (
            abs(Fraction(decoded(value)) - want)
            <= Fraction(len(rows), 2 << FRACTION_BITS) + abs(want) / 2**52
        )


@given(st.floats(-1e15, 1e15))
def test_rounding_is_on_the_side_that_certifies(value):
    down, up = decoded(encoded(value, "down")), decoded(encoded(value, "up"))
    assert down <= value <= up
    assert up - down <= max(2.0**-FRACTION_BITS, math.ulp(value))


def test_what_an_operator_sends_is_uniform_whatever_it_hides():
    # Bits of 2,000 masked zeros, and of 2,000 other masked numbers, are fair coins: the count of ones is
    # within 5 standard errors (112) of 1,000 but once in 1.7 million; 256 counts are looked at.
    first, *_ = maskers(3)
    for label, value in (("a", 0), ("b", encoded(123.456))):
        sent = first.mask(label, [value] * 2000)
        for bit in range(128):
            assert abs(sum(number >> bit & 1 for number in sent) - 1000) < 5 * math.sqrt(500)


def test_the_masked_sum_of_all_but_one_stays_hidden_without_a_reveal():
    group = maskers(3)
    masked = {m.operator: m.mask("r", [encoded(1.0)]) for m in group}
    total = sum(masked[m.operator][0] for m in group) % MODULUS
    assert abs(decoded(total)) > 2.0**40  # the streams of their own remain: chance 2^-46 of less


@pytest.mark.parametrize("lost", range(4))
def test_a_drop_out_before_the_reveal_costs_nobody_anything(lost):
    group = maskers(4)
    masked = {m.operator: m.mask("r", [encoded(float(i))]) for i, m in enumerate(group) if i != lost}
    reveals = {m.operator: m.reveal("r", sorted(masked)) for i, m in enumerate(group) if i != lost}
    assert decoded(revealed_sum(masked, reveals)[0]) == 6.0 - lost


def test_late_numbers_of_a_drop_out_open_nothing():
    """Its numbers arrive after the others revealed without it: its own stream still hides them."""
    group = maskers(4)
    masked = {m.operator: m.mask("r", [encoded(7.0)]) for m in group}
    survivors = [m.operator for m in group[1:]]
    reveals = {m.operator: m.reveal("r", survivors) for m in group[1:]}
    late = masked[group[0].operator][0]
    # what the broker can cancel with: the others' reveals (own stream, pair with the late one), their numbers
    known = [0, *(values[0] for values in reveals.values()), *(values[0] for values in masked.values())]
    for chosen in itertools.product((-1, 0, 1), repeat=len(known)):
        guess = decoded(late + sum(sign * value for sign, value in zip(chosen, known, strict=True)))
        assert guess != 7.0


def test_who_drops_out_between_the_steps_costs_one_aggregate():
    group = maskers(3)
    masked = {m.operator: m.mask("r", [1]) for m in group}
    everyone = sorted(masked)
    reveals = {m.operator: m.reveal("r", everyone) for m in group[:2]}
    total = revealed_sum(masked, reveals)[0]
    assert abs(decoded(total)) > 2.0**40
    with pytest.raises(MaskingError, match="another set"):
        group[0].reveal("r", everyone[:2])
    again = {m.operator: m.mask("r2", [encoded(2.0)]) for m in group}
    opened = {m.operator: m.reveal("r2", everyone) for m in group}
    assert decoded(revealed_sum(again, opened)[0]) == 6.0


def test_equal_questions_over_different_majorities_open_nobodys_numbers():
    """Four equal proposals, each opened over another three of four, would give every summand."""
    group = maskers(4)
    hidden = [3.0, 5.0, 7.0, 11.0]
    opened = []
    for left_out in range(4):
        label = f"sums {left_out}"
        masked = {m.operator: m.mask(label, [encoded(x)]) for m, x in zip(group, hidden, strict=True)}
        survivors = [m.operator for i, m in enumerate(group) if i != left_out]
        try:
            reveals = {m.operator: m.reveal(label, survivors) for m in group if m.operator in survivors}
        except MaskingError:
            continue
        opened.append(decoded(revealed_sum(masked, reveals)[0]))
    assert opened == [sum(hidden) - hidden[0]]  # one sum, and no other to take from it


def test_an_operator_can_ask_for_more_than_a_majority():
    secrets = {name: generate_secret() for name in "abcd"}
    public = {name: public_part(secret) for name, secret in secrets.items()}
    careful = Masker("run", "a", secrets["a"], public, fewest=4)
    careful.mask("r", [1])
    with pytest.raises(MaskingError, match="over 4 or more"):
        careful.reveal("r", ["a", "b", "c"])
    assert careful.reveal("r", list("abcd"))


def test_refusals():
    group = maskers(5)
    first = group[0]
    names = [m.operator for m in group]
    with pytest.raises(MaskingError, match="nothing was masked"):
        first.reveal("r", names)
    first.mask("r", [1, 2])
    assert first.mask("r", [1, 2]) == first.mask("r", [1, 2])
    with pytest.raises(MaskingError, match="other numbers"):
        first.mask("r", [1, 3])
    with pytest.raises(MaskingError, match="too few"):
        first.reveal("r", names[:2])
    with pytest.raises(MaskingError, match="include"):
        first.reveal("r", names[1:])
    with pytest.raises(MaskingError, match="operators of the run"):
        first.reveal("r", [*names, "stranger"])
    with pytest.raises(MaskingError, match="fixed-point"):
        encoded(math.inf)
    with pytest.raises(MaskingError, match="different lengths"):
        revealed_sum({"a": [1], "b": [1, 2]}, {"a": [1], "b": [1, 2]})
    with pytest.raises(MaskingError, match="no masked numbers of b"):
        revealed_sum({"a": [1]}, {"a": [1], "b": [1]})


def test_keys_that_cannot_be_right_are_refused():
    secret, other = generate_secret(), generate_secret()
    with pytest.raises(MaskingError, match="hold the key"):
        Masker("run", "a", secret, {"a": public_part(other), "b": public_part(other)})
    with pytest.raises(MaskingError, match="two operators at least"):
        Masker("run", "a", secret, {"a": public_part(secret)})
    with pytest.raises(MaskingError, match="same key"):
        Masker("run", "a", secret, {"a": public_part(secret), "b": public_part(secret)})
    with pytest.raises(MaskingError, match="X25519"):
        Masker("run", "a", secret, {"a": public_part(secret), "b": b"short"})


def test_streams_differ_between_runs_labels_and_pairs():
    streams = {
        (run, label, m.operator): tuple(m.mask(label, [0] * 4))
        for run in ("r1", "r2")
        for m in maskers(3, run)
        for label in ("1", "2")
    }
    assert len(set(streams.values())) == len(streams)
