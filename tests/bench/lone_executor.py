# SPDX-License-Identifier: MIT
"""An executor without an agent, contained as under systemd, and a client that asks in parallel."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.bench.accounts import new_uids
from tests.executor.rig import OPERATOR, ROOM, Client, Executor
from tests.harness.host import ROOT
from tests.separation import Uids, as_executor, delegate_cgroup, remove_cgroup
from tibet_nc_protocol.messages import Denied, Finished

RUN_SECONDS = 60.0


def operators(n: int) -> list[str]:
    """Return the ids of ``n`` operators, the usual one first."""
    return [OPERATOR, *(f"@op{number}:example.org" for number in range(1, n))]


class LoneExecutor(Executor):
    """An executor that many operators may command, with a cgroup where there can be one."""

    def __init__(
        self, directory: Path, *, operators: list[str] | None = None, settings: str = ""
    ) -> None:
        self._cgroup: Path | None = None
        super().__init__(directory, settings=settings)
        if operators is not None:
            self.pin(*operators)
        if self.uids.separated:
            name = f"tibet-nc-bench-{os.getpid()}-{id(self)}"
            self._cgroup = delegate_cgroup(name, self.uids.executor)

    def _make(self, settings: str, shell: str) -> None:
        own = new_uids()
        self.uids = Uids(
            agent=self.uids.agent,  # the benchmark is the agent
            executor=own.executor,
            shell=own.shell,
            separated=own.separated,
        )
        super()._make(settings, shell)

    def argv(self) -> list[str]:
        """Return the start of its command line, in its control group."""
        # As installed: the developers' environment holds more, which would be measured too.
        installed = str(ROOT / ".venv/executor/bin/python")
        plain = [installed if word == sys.executable else word for word in super().argv()]
        return [*as_executor(self.uids, self._cgroup), *plain[len(as_executor(self.uids, None)) :]]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if error is not None:
            self.show_log()
        if self._cgroup is not None:
            remove_cgroup(self._cgroup)


class DeniedError(Exception):
    """The executor refused a command of the benchmark."""


class ParallelClient:
    """Many commands at once over one connection, as the agent asks; use as a context manager."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: dict[int, asyncio.Future[Finished]] = {}
        self._reader: asyncio.Task[None]

    async def __aenter__(self) -> "ParallelClient":
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.cancel()
        with suppress(asyncio.CancelledError):
            await self._reader
        await self._client.close()

    async def run(self, command: str, *, sender: str = OPERATOR, room: str = ROOM) -> Finished:
        """Run a command of an operator; raises DeniedError."""
        request = self._client.request(command, sender=sender, room=room)
        future = asyncio.get_running_loop().create_future()
        self._waiting[request.request] = future
        try:
            await self._client.send(request)
            return await asyncio.wait_for(future, RUN_SECONDS)
        finally:
            del self._waiting[request.request]

    async def _read(self) -> None:
        while True:
            try:
                response = await self._client.receive()
            except TimeoutError:
                continue  # nothing was asked for a while
            if isinstance(response, Finished | Denied):
                future = self._waiting.get(response.request)
                if future is None or future.done():
                    continue
                if isinstance(response, Denied):
                    future.set_exception(DeniedError(response.reason))
                else:
                    future.set_result(response)
