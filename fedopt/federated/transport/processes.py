"""Operators in worker processes through joblib, on this machine or, by its backends, on a Dask or Ray
cluster.

A worker keeps nothing between rounds: an operator travels to it with its question and comes back with the
answer, so any worker may have it next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joblib import Parallel, delayed, effective_n_jobs, parallel_config

from fedopt.federated.messages import Answer, Message
from fedopt.federated.operator import Lost, Operator

__all__ = ["Processes"]

Asked = tuple[str, Operator, Message]


class Processes:
    """Operators asked at the same time, in as many processes as `jobs` says (as joblib counts; -1: one a
    core).

    `backend` is joblib's: "loky" (processes of this machine), "dask" (the cluster of the running
    `distributed.Client`) or "ray" (after `ray.util.joblib.register_ray()`). An operator that keeps a book of
    reservations cannot travel; its book stays with the agent.
    """

    def __init__(self, operators: Mapping[str, Operator], jobs: int = -1, backend: str = "loky") -> None:
        self.operators = dict(operators)
        self._jobs, self._backend = jobs, backend

    def broadcast(self, messages: Mapping[str, Message]) -> dict[str, Answer | Lost]:
        """Ask each operator its question. Raises MessageError where a question does not belong there."""
        asked = [(name, self.operators[name], message) for name, message in messages.items()]
        with parallel_config(backend=self._backend, n_jobs=self._jobs):
            workers = max(1, effective_n_jobs())
            shares = [asked[start::workers] for start in range(min(workers, len(asked)))]
            told = Parallel()(delayed(_answers)(share) for share in shares)
        answers: dict[str, Answer | Lost] = {}
        for share in told:
            for name, operator, answer in share:
                self.operators[name] = operator
                answers[name] = answer
        return {name: answers[name] for name in messages}


def _answers(share: Sequence[Asked]) -> list[tuple[str, Operator, Answer]]:
    return [(name, operator, operator.answer(message)) for name, operator, message in share]
