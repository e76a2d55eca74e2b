"""The same questions are answered the same in this process, in worker processes and on a Dask cluster."""

from __future__ import annotations

import pytest

from fedopt.federated.masking import decoded, generate_secret, revealed_sum
from fedopt.federated.messages import Keys, Opening, Proposal, Reveal
from fedopt.federated.operator import Operator
from fedopt.federated.public import by_operator
from fedopt.federated.transport.in_process import InProcess
from fedopt.federated.transport.processes import Processes
from fedopt.instance import loads
from tests.federated.transport.world import FEDERATION

SECRETS = {name: generate_secret() for name in ("opA", "opB", "opC")}


def operators():
    owned = by_operator(loads(FEDERATION))
    return {name: Operator(name, domains, secret=SECRETS[name]) for name, domains in owned.items()}


def conversation(transport):
    """A masked run of three rounds: everything that was answered, and the sum of costs in the last round."""
    names = list(operators())
    offers = {name: operator.offers for name, operator in operators().items()}
    told = [
        transport.broadcast(
            {
                name: Opening(
                    run="r", sequence=0, operator=name, instance="0" * 64, offers=offers[name], masked=True
                )
                for name in names
            }
        )
    ]
    keys = {name: told[0][name].key for name in names}
    told.append(transport.broadcast({name: Keys(run="r", sequence=1, keys=keys) for name in names}))
    for number in range(2, 5):
        asked = {
            name: Proposal(
                run="r", round=number, sequence=number, loads=(number + 0.5,), prices=(1.5,), penalties=(0.3,)
            )
            for name in names
        }
        told.append(transport.broadcast(asked))
    reveal = {
        name: Reveal(run="r", round=4, sequence=5, label="sums 4", survivors=tuple(names)) for name in names
    }
    told.append(transport.broadcast(reveal))
    masked = {name: [int(share, 16) for share in told[-2][name].sums.masked] for name in names}
    shares = {name: [int(share, 16) for share in told[-1][name].shares] for name in names}
    return told, decoded(revealed_sum(masked, shares)[1])


def test_processes_answer_as_this_process_does():
    here, total = conversation(InProcess(operators()))
    for jobs in (1, 2):
        there, same = conversation(Processes(operators(), jobs=jobs))
        assert there == here
        assert same == total
    plain = 0.0
    for name, operator in operators().items():
        operator.answer(
            Opening(run="s", sequence=0, operator=name, instance="0" * 64, offers=operator.offers)
        )
        asked = Proposal(run="s", round=1, sequence=1, loads=(4.5,), prices=(1.5,), penalties=(0.3,))
        plain += operator.answer(asked).sums.plain[1]
    assert total == pytest.approx(plain, rel=1e-11)


@pytest.mark.slow
def test_a_dask_cluster_answers_as_this_process_does():
    distributed = pytest.importorskip("distributed")
    here, _ = conversation(InProcess(operators()))
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        there, _ = conversation(Processes(operators(), backend="dask"))
    assert there == here
