# SPDX-License-Identifier: MIT
"""Many commands at once, each exact."""

import asyncio

from tests.executor.shell.driver import Done, begin, run
from tibet_nc_executor.shell import Shell


async def test_twenty_sessions_at_once(shell: Shell) -> None:
    """Each gets its own output, status, state and end, whatever the others do."""
    sessions = [shell.new_session() for _ in range(20)]

    async def work(number: int) -> tuple[Done, Done]:
        session = sessions[number]
        begin, end = number * 1000, number * 1000 + 999
        text = f"n={number}; seq {begin} {end}; setsid sleep 100 & exit {number}"
        return await run(shell, text, session), await run(shell, "echo $n", session)

    results = await asyncio.gather(*(work(number) for number in range(20)))
    for number, (first, second) in enumerate(results):
        lines = range(number * 1000, number * 1000 + 1000)
        assert first.output == b"".join(b"%d\n" % line for line in lines)
        assert first.ending.exit == number
        assert second.output == b"%d\n" % number


async def test_a_flood_does_not_starve_others(shell: Shell) -> None:
    """While one command prints without end others start, answer and end."""
    flood = await begin(shell, "yes")
    await flood.printed(b"y\n" * 1000)
    for _ in range(5):
        assert (await run(shell, "echo a")).output == b"a\n"
    flood.command.kill()
    assert set((await flood.done()).output) == set(b"y\n")
