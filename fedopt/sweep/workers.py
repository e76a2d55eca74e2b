"""Where the solves of a sweep run: processes of this machine, a Dask or a Ray cluster, all through joblib."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fedopt.errors import FedoptError
from fedopt.sweep.cases import SweepError

__all__ = ["BACKENDS", "WorkerLost", "Workers"]

BACKENDS = ("loky", "dask", "ray")

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerLost(FedoptError, RuntimeError):
    """A worker ended before its task; what had finished was handed over."""

    exit_code = 4


@dataclass(frozen=True)
class Workers:
    """`jobs` workers of a backend; −1: as many as there are cores, or as the cluster has.

    `address` is the scheduler of a cluster, such as tcp://10.0.0.1:8786, and `patience` the seconds that a
    Dask scheduler is given to answer; without an address Ray finds its cluster itself. Raises SweepError for
    a backend that does not exist and for Dask without an address.
    """

    backend: str = "loky"
    jobs: int = -1
    address: str | None = None
    patience: float = 10.0

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise SweepError(f"there is no backend {self.backend!r}; there are {', '.join(BACKENDS)}")
        if self.jobs == 0 or self.jobs < -1:
            raise SweepError(f"the number of jobs is 1 or more, or -1 for all cores, not {self.jobs}")
        if self.backend == "dask" and self.address is None:
            raise SweepError("a Dask cluster needs the address of its scheduler: --address tcp://HOST:8786")
        if self.backend == "loky" and self.address is not None:
            raise SweepError(
                "loky runs on this machine; for a cluster at an address give --backend dask or ray"
            )

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """(index, function(task)) of every task, as they finish.

        On a cluster the workers need the same version of fedopt, and the files that a task names. Raises
        SweepError where a cluster cannot be reached or a library is missing, WorkerLost where a worker dies.
        """
        import joblib
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        if not tasks:
            return
        if self.backend == "loky" and (self.jobs == 1 or len(tasks) == 1):
            for index, task in enumerate(tasks):
                yield index, function(task)
            return
        calls = [joblib.delayed(_numbered)(function, index, task) for index, task in enumerate(tasks)]
        with contextlib.ExitStack() as stack:
            streams = self._enter(stack)
            how = "generator_unordered" if streams else "list"
            try:
                yield from joblib.Parallel(n_jobs=self.jobs, return_as=how, batch_size=1)(calls)
            except (TerminatedWorkerError, pickle.PicklingError) as error:
                reason = (
                    "a task cannot be sent to another process"
                    if isinstance(error, pickle.PicklingError)
                    else "a worker process ended before its task (killed for want of memory?)"
                )
                raise WorkerLost(f"{reason}: {error}") from error

    def _enter(self, stack: contextlib.ExitStack) -> bool:
        """Make the backend joblib's for a while; whether it hands results over as they come."""
        import joblib

        if self.backend == "loky":
            # a solver's own threads would only get in each other's way
            stack.enter_context(joblib.parallel_config("loky", inner_max_num_threads=1))
        elif self.backend == "dask":
            stack.enter_context(joblib.parallel_config("dask", client=stack.enter_context(self._dask())))
        else:
            self._ray()
            stack.enter_context(joblib.parallel_config("ray"))
        from joblib.parallel import get_active_backend

        return bool(get_active_backend()[0].supports_return_generator)

    def _dask(self) -> Any:
        try:
            from distributed import Client
        except ImportError as error:
            raise SweepError("--backend dask needs distributed: pip install 'fedopt[cluster]'") from error
        try:
            return Client(self.address, timeout=self.patience, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SweepError(f"no Dask scheduler answers at {self.address}: {error}") from error

    def _ray(self) -> None:
        try:
            import ray
            from ray.util.joblib import register_ray
        except ImportError as error:
            raise SweepError("--backend ray needs Ray: pip install 'ray[default]'") from error
        try:
            ray.init(address=self.address, ignore_reinit_error=True, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            raise SweepError(f"no Ray cluster answers at {self.address}: {error}") from error
        register_ray()


def _numbered(function: Callable[[Task], Result], index: int, task: Task) -> tuple[int, Result]:
    return index, function(task)
