"""When the service says that it takes jobs: as soon as a worker speaks, long before it is warm."""

import asyncio
from pathlib import Path

import pytest

from fedopt.service import workers
from fedopt.service.observability import Log, Metrics
from fedopt.service.settings import Settings
from fedopt.service.workers import Runner, WorkerEnded


class Slow:
    """A worker process that starts at once and is warm when told."""

    warmed: asyncio.Future[None]

    def __init__(self, *_: object) -> None:
        self.alive = False

    async def begin(self) -> None:
        pass

    async def warm(self) -> None:
        await self.warmed

    async def end(self) -> None:
        pass


class Empty:
    """A repository without jobs."""

    async def do(self, work: object) -> None:
        return None


@pytest.mark.parametrize("fails", [False, True])
def test_jobs_are_taken_while_workers_warm_up_but_not_once_they_fail(monkeypatch, fails):
    async def scenario() -> None:
        Slow.warmed = asyncio.get_running_loop().create_future()
        runner = Runner(Settings(state=Path(), workers=1), Empty(), Log(quiet=True), Metrics())
        runner.begin()
        assert not runner.ready
        while not runner.started:
            await asyncio.sleep(0)
        assert runner.ready
        assert runner.warm == 0
        if fails:
            Slow.warmed.set_exception(WorkerEnded("signal 9"))
            while not runner.failed:
                await asyncio.sleep(0)
            assert not runner.ready
        else:
            Slow.warmed.set_result(None)
            await asyncio.sleep(0)
            assert runner.ready
        await runner.end()

    monkeypatch.setattr(workers, "WorkerProcess", Slow)
    asyncio.run(asyncio.wait_for(scenario(), 30))
