"""A broker in a process of its own that dies at a given message: `python -m … FOLDER STATE DIES_AT`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import httpx

from fedopt.contracts.signing import load_key
from fedopt.federated.transport.broker import broker
from fedopt.federated.transport.broker_journal import BrokerJournal
from fedopt.federated.transport.config import BrokerConfig
from fedopt.federated.transport.https import Connections
from fedopt.instance import load
from tests.federated.transport.talk import planner
from tests.federated.transport.world import QUICK


class _Dying(httpx.AsyncBaseTransport):
    """Kills its process at a message of the broker: before it is sent, or once it has been answered."""

    count = 0

    def __init__(self, inner: httpx.AsyncBaseTransport, at: int, after: bool) -> None:
        self.inner, self.at, self.after = inner, at, after

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        _Dying.count += 1
        mine = _Dying.count
        if mine == self.at and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        response = await self.inner.handle_async_request(request)
        if mine == self.at:
            await response.aread()
            os.kill(os.getpid(), signal.SIGKILL)
        return response

    async def aclose(self) -> None:
        await self.inner.aclose()


def main(agents: str, state: str, at: int, after: bool) -> None:
    config = BrokerConfig.load(agents)
    journal = BrokerJournal(state)
    with Connections(
        config.links(),
        load_key(config.file(config.key)),
        config.file(config.tls.certificate),
        config.file(config.tls.key),
        QUICK,
        wrap=lambda _, inner: _Dying(inner, at, after),
    ) as connections:
        public = load(Path(agents).with_name("public.yaml"))
        done = broker(public, connections, config.public_keys(), journal, planner, options={})
    result = {
        "run": done.run,
        "cost": done.plan.cost,
        "settled": vars(done.settled),
        "messages": _Dying.count,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "after")
