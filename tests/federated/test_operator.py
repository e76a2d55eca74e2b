"""The operator as a state machine, the documents that cross, and what the public view lacks."""

from __future__ import annotations

import numpy as np
import pytest

from fedopt.federated.dual import answered_prices
from fedopt.federated.operator import Operator
from fedopt.federated.protocol.messages import (
    SUMMED,
    Keys,
    MessageError,
    Opening,
    Prepare,
    Proposal,
    Reservation,
    Response,
    Reveal,
    Settle,
    Sums,
    answer_schema,
    message_schema,
    numbers_in,
    parse_answer,
    parse_message,
    to_bytes,
)
from fedopt.federated.public import UNDISCLOSED, by_operator, public_view
from fedopt.instance.generating import generate

SHA = "0" * 64


@pytest.fixture(scope="module")
def instance():
    return generate(6, 3, 3, seed=1)


def opened(instance, name, **options):
    domains = by_operator(instance)[name]
    operator = Operator(name, domains, **options)
    opening = Opening(
        run="r", sequence=0, operator=name, instance=SHA, offers=operator.offers, masked="secret" in options
    )
    return operator, operator.answer(opening)


def proposal(operator, sequence=1, load=3.0, price=1.0):
    n = len(operator.offers)
    return Proposal(
        run="r", round=1, sequence=sequence, loads=(load,) * n, prices=(price,) * n, penalties=(0.5,) * n
    )


def test_the_public_view_holds_no_cost_curve_and_no_capacity(instance):
    view = public_view(instance)
    for domain in view.domains:
        assert domain.capacity == UNDISCLOSED
        assert all(offer.cost.marginal(1.0) == 0.0 for offer in domain.offers)
    assert [d.id for d in view.domains] == [d.id for d in instance.domains]
    assert view.tenants == instance.tenants
    assert view.sha256 != instance.sha256
    # the same public view whatever the private numbers are
    other = instance
    for domain in instance.domains:
        other = other.with_({f"domains.{domain.id}.capacity": 2.0 * domain.capacity})
    assert public_view(other).sha256 == view.sha256


def test_answers_are_the_same_when_asked_again_and_after_a_restart(instance):
    name = next(iter(by_operator(instance)))
    for options in ({}, {"noise": 0.1, "seed": 4}):
        first, quotes = opened(instance, name, **options)
        answers = [first.answer(proposal(first, k, 2.0 + k)) for k in range(1, 4)]
        again, same_quotes = opened(instance, name, **options)
        assert same_quotes == quotes
        for k in (3, 1, 2, 1):
            assert again.answer(proposal(again, k, 2.0 + k)) == answers[k - 1]


def test_sums_certify_also_under_noise(instance):
    name = next(iter(by_operator(instance)))
    quiet, _ = opened(instance, name)
    loud, _ = opened(instance, name, noise=0.3)
    x, p, rho = (np.full(len(quiet.offers), v) for v in (3.0, 1.0, 0.5))
    for operator in (quiet, loud):
        answer = operator.answer(proposal(operator))
        z = np.array(answer.loads)
        support, cost, _, _ = answer.sums.plain
        assert len(SUMMED) == 4
        prices = answered_prices(x, p, rho, z)
        assert support <= cost - prices @ z + 1e-9
        if operator is quiet:
            assert support == pytest.approx(cost - prices @ z)


def test_masked_sums_cancel(instance):
    from fedopt.federated.protocol.masking import decoded, generate_secret, revealed_sum

    names = list(by_operator(instance))
    sides = {name: opened(instance, name, secret=generate_secret()) for name in names}
    keys = Keys(run="r", sequence=1, keys={name: answer.key for name, (_, answer) in sides.items()})
    label, masked, plain = None, {}, np.zeros(4)
    for name, (operator, _) in sides.items():
        operator.answer(keys)
        answer = operator.answer(proposal(operator, 2))
        label = answer.sums.label
        masked[name] = [int(v, 16) for v in answer.sums.masked]
        clear, _ = opened(instance, name)
        plain += np.array(clear.answer(proposal(clear, 2)).sums.plain)
    reveal = Reveal(run="r", sequence=3, label=label, survivors=tuple(names))
    reveals = {n: [int(v, 16) for v in op.answer(reveal).shares] for n, (op, _) in sides.items()}
    total = [decoded(value) for value in revealed_sum(masked, reveals)]
    assert total == pytest.approx(plain.tolist(), abs=1e-10)
    assert total[0] <= plain[0] + 1e-12  # the support is rounded down


def test_reservations_go_to_the_book(instance):
    from fedopt.federated.reservations import Reservations

    name = next(iter(by_operator(instance)))
    domains = by_operator(instance)[name]
    book = Reservations({domain.id: domain.capacity for domain in domains})
    operator, _ = opened(instance, name, reservations=book)
    rate = domains[0].capacity * 0.6
    held = Reservation(tenant="t", offer=operator.offers[0], count=1, rate=rate)
    asked = Prepare(run="r", sequence=5, reservations=(held,))
    assert operator.answer(asked).granted
    assert operator.answer(asked).granted  # again: the same
    assert operator.answer(Settle(run="r", sequence=6, decision="commit")).granted
    foreign = Prepare(run="r", sequence=7, reservations=(held.model_copy(update={"offer": "x/y"}),))
    assert not operator.answer(foreign).granted
    double = Prepare(run="r", sequence=8, reservations=(held.model_copy(update={"count": 2}),))
    assert not operator.answer(double).granted
    without, _ = opened(instance, name)
    assert "takes no reservations" in without.answer(asked).reason


def test_questions_that_do_not_belong_are_refused(instance):
    name = next(iter(by_operator(instance)))
    operator, _ = opened(instance, name)
    with pytest.raises(MessageError, match="not opened"):
        operator.answer(proposal(operator).model_copy(update={"run": "other"}))
    with pytest.raises(MessageError, match="loads are due"):
        operator.answer(proposal(operator).model_copy(update={"loads": (1.0,) * 99}))
    with pytest.raises(MessageError, match="has no secret"):
        operator.answer(
            Opening(run="r", sequence=0, operator=name, instance=SHA, offers=operator.offers, masked=True)
        )
    with pytest.raises(MessageError, match="offers named"):
        operator.answer(Opening(run="r", sequence=0, operator=name, instance=SHA, offers=("x/y",)))


def test_documents_survive_the_wire_and_junk_does_not(instance):
    name = next(iter(by_operator(instance)))
    operator, answer = opened(instance, name)
    asked = proposal(operator)
    assert parse_message(to_bytes(asked)) == asked
    said = operator.answer(asked)
    assert parse_answer(to_bytes(said)) == said
    assert parse_answer(to_bytes(answer)) == answer
    assert numbers_in(asked) == dict.fromkeys(("loads", "prices", "penalties"), len(operator.offers))
    assert numbers_in(said)["costs"] == len(SUMMED)
    for body in (
        b"",
        b"[]",
        b'{"kind":"proposal"}',
        to_bytes(asked)[:-5],
        to_bytes(asked).replace(b'"loads":[3.0', b'"loads":[-3.0'),
        to_bytes(asked).replace(b'"round":1', b'"round":1,"more":2'),
        to_bytes(asked).replace(b'"prices":[1.0', b'"prices":["1"'),
    ):
        with pytest.raises(MessageError):
            parse_message(body)
    for fields in ({}, {"plain": (1.0,)}, {"plain": (0.0,) * 4, "masked": ("0",) * 4}):
        with pytest.raises(ValueError, match=r"are due|one of the two"):
            Sums(**fields)
    assert isinstance(said, Response)
    assert "proposal" in str(message_schema())
    assert "response" in str(answer_schema())
