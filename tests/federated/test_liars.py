"""One bad answer never wedges a run and never certifies: whose it is, is said."""

from __future__ import annotations

import pytest

from fedopt.federated import negotiate
from fedopt.federated.operator import InProcess
from fedopt.federated.protocol.messages import Response, Revealed, Sums
from fedopt.federated.public import public_view
from fedopt.federated.session import BadAnswer
from fedopt.federated.settings import Settings
from fedopt.federated.solver import operators_of
from fedopt.instance import loads
from tests.federated.transport.world import FEDERATION

MASKED = pytest.param("admm", True, id="masked")
PLAIN = pytest.param("admm", False, id="in the clear")
BUNDLE = pytest.param("bundle", False, id="bundle")


class Liar(InProcess):
    """opB's answers to proposals from the third on are changed."""

    def __init__(self, operators, change, masked):
        super().__init__(operators)
        self.change, self.seen = change, 0
        if masked:  # lies before its numbers are masked
            own = operators["opB"]
            summed = own._summed

            def lying(sums, sequence):
                self.seen += 1
                return summed(change(*sums) if self.seen >= 3 else sums, sequence)

            own._summed = lying
            self.change = None

    def broadcast(self, messages):
        answers = super().broadcast(messages)
        answer = answers.get("opB")
        if isinstance(answer, Response) and self.change is not None:
            self.seen += 1
            if self.seen >= 3:
                plain = Sums(plain=self.change(*answer.sums.plain))
                answers["opB"] = answer.model_copy(update={"sums": plain})
        return answers


def asked(change, method, masked, transport=Liar):
    if masked:
        pytest.importorskip("cryptography")
    whole = loads(FEDERATION)
    settings = Settings(masked=masked)
    liar = transport(operators_of(whole, settings), change, masked)
    return negotiate(public_view(whole), liar, method=method, settings=settings).plan


@pytest.mark.parametrize(("method", "masked"), [MASKED, PLAIN, BUNDLE])
@pytest.mark.parametrize(
    "change",
    [
        lambda support, cost, proposed, refused: (support + 1000.0, cost, proposed, refused),
        lambda support, cost, proposed, refused: (support + 1e-3, cost, proposed, refused),
        lambda support, cost, proposed, refused: (support, cost - 5.0, proposed, refused),
        lambda support, cost, proposed, refused: (support, cost, proposed - 5.0, refused),
    ],
    ids=["support + 1000", "support + 0.001", "cost - 5", "proposed cost - 5"],
)
def test_who_contradicts_itself_is_named(method, masked, change):
    with pytest.raises(BadAnswer, match="contradicts") as found:
        asked(change, method, masked)
    assert "opB" in found.value.operators
    assert len(found.value.operators) == (3 if masked else 1)
    assert found.value.exit_code == 5


@pytest.mark.parametrize(("method", "masked"), [MASKED, PLAIN, BUNDLE])
def test_honest_answers_never_contradict_each_other(method, masked):
    plan = asked(lambda *sums: sums, method, masked)
    assert plan.status == "optimal"


class Changing(InProcess):
    """opB's documents are replaced as they are sent."""

    def __init__(self, operators, change, masked):
        super().__init__(operators)
        self.change = change

    def broadcast(self, messages):
        answers = super().broadcast(messages)
        answers["opB"] = self.change(answers["opB"])
        return answers


def garbled_sums(answer):
    if not isinstance(answer, Response) or answer.sums is None or answer.round < 2:
        return answer
    return answer.model_copy(update={"sums": Sums(masked=("7", "8", "9", "a"), label=answer.sums.label)})


def garbled_reveal(answer):
    if not isinstance(answer, Revealed) or answer.round < 2:
        return answer
    return answer.model_copy(update={"shares": ("1", "2", "3", "4")})


def short_reveal(answer):
    return answer.model_copy(update={"shares": ("1",)}) if isinstance(answer, Revealed) else answer


def another_label(answer):
    if not isinstance(answer, Response) or answer.sums is None:
        return answer
    return answer.model_copy(update={"sums": answer.sums.model_copy(update={"label": "sums 0"})})


def in_the_clear(answer):
    if not isinstance(answer, Response):
        return answer
    return answer.model_copy(update={"sums": Sums(plain=(0.0, 0.0, 0.0, 0.0))})


def more_loads(answer):
    if not isinstance(answer, Response):
        return answer
    return answer.model_copy(update={"loads": (*answer.loads, 1.0)})


def a_response_to_nothing(answer):
    return Revealed(run=answer.run, sequence=answer.sequence, label="x", shares=("1",))


@pytest.mark.parametrize(
    ("change", "alone"),
    [
        (garbled_sums, False),
        (garbled_reveal, False),
        (short_reveal, True),
        (another_label, True),
        (in_the_clear, True),
        (more_loads, True),
        (a_response_to_nothing, True),
    ],
)
def test_answers_that_cannot_be_used_end_the_run_by_name(change, alone):
    with pytest.raises(BadAnswer) as found:
        asked(change, "admm", True, Changing)
    assert "opB" in found.value.operators
    assert (found.value.operators == ("opB",)) == alone
