# SPDX-License-Identifier: MIT
"""The start of the service: patient with a homeserver that is away, and with nothing else."""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Final

from tibet_nc_agent.assembly import assembled, cross_sign, logged_in, operators_of
from tibet_nc_agent.config import Config, read_executor_key
from tibet_nc_agent.homeserver import LONGEST_WAIT_SECONDS, waits
from tibet_nc_agent.matrix import Matrix
from tibet_nc_agent.matrix_errors import (
    IdentityError,
    RateLimited,
    Refused,
    Unreachable,
)
from tibet_nc_agent.operators import Operators
from tibet_nc_agent.selftest import Breach
from tibet_nc_agent.service import Service
from tibet_nc_agent.supervision import Supervisor

log: Final = logging.getLogger(__name__)


async def serve(
    config: Config, breaches: tuple[Breach, ...], supervisor: Supervisor, stop: asyncio.Event
) -> None:
    """Log in, put everything together and serve until ``stop`` is set.

    ``breaches`` are those of the self-test that the settings accept: every status names them.
    Raises ConfigError, MatrixError and InboxError, and what :meth:`Service.run` raises.
    """
    for breach in breaches:
        log.warning("accepted by walls.accepted: %s", breach)
    read_executor_key(config)  # before the network is touched: a wrong setting is told at once
    operators = operators_of(config)
    async with AsyncExitStack() as stack:
        opening = asyncio.create_task(_open(config, operators, supervisor, stack))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([opening, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                return
            matrix = opening.result()
        finally:
            for task in (opening, stopping):
                task.cancel()
            await asyncio.wait([opening, stopping])
        parts = assembled(config, matrix, operators, breaches)
        desk = await stack.enter_async_context(parts)
        await Service(desk, supervisor, config.state).run(stop)


async def _open(
    config: Config, operators: Operators, supervisor: Supervisor, stack: AsyncExitStack
) -> Matrix:
    """Log in, as often as it takes for the homeserver to be there; raises MatrixError."""
    pauses = waits()
    matrix: Matrix | None = None
    while True:
        try:
            if matrix is None:
                matrix = await stack.enter_async_context(logged_in(config, operators))
            await _cross_sign(config, matrix)
        except Unreachable as error:
            pause, reason = next(pauses), str(error)
        except RateLimited as error:
            pause, reason = error.retry_after_s, str(error)
        else:
            return matrix
        log.warning("%s; trying again in %.1f s", reason, pause)
        supervisor.waiting(reason, seconds=pause + LONGEST_WAIT_SECONDS)
        await asyncio.sleep(pause)


async def _cross_sign(config: Config, matrix: Matrix) -> None:
    """Have our device signed; what the account or its homeserver objects to is only logged.

    Clients that are not that careful still work without it.
    """
    try:
        await cross_sign(config, matrix)
    except (IdentityError, Refused) as error:
        log.warning("this device is not cross-signed: %s", error)
