# SPDX-License-Identifier: MIT
"""The demo: the whole system on this machine, driven through its examples and then audited.

    python -m tests.harness.demo DIRECTORY [--interactive]

Starts a throwaway homeserver, an executor and an agent, sends commands as an operator in an
encrypted room, prints the room as the operator sees it, and lets the auditor's tool check what the
executor wrote. The exit status is 1 if anything differs from what it should be.
"""

import argparse
import asyncio
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.harness.host import Host, HostError, remove
from tests.harness.operator import Operator, OperatorError, Seen
from tests.harness.synapse import Synapse
from tibet_nc_agent.canonical import as_object

ANSWER_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.1
"""How often it is looked for something new in the room."""

type Result = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing the operator types, and what is wrong with an answer (None: nothing)."""

    command: str
    fault: Callable[[str, Result], str | None]


def ran(exit_status: int | None, text: str | None = None) -> Callable[[str, Result], str | None]:
    """Expect a command that ran, with this exit status (None: any) and this in its output."""

    def fault(body: str, result: Result) -> str | None:
        if result.get("verdict") != "ran":
            return f"it should have run, but the verdict is {result.get('verdict')!r}"
        if exit_status is not None and result.get("exit") != exit_status:
            return f"the exit status should be {exit_status}, but is {result.get('exit')!r}"
        if text is not None and text not in body:
            return f"the answer should contain {text!r}"
        return None

    return fault


def refused(family: str) -> Callable[[str, Result], str | None]:
    """Expect a refusal by the safety stage for this family."""

    def fault(_: str, result: Result) -> str | None:
        found = (result.get("verdict"), result.get("stage"), result.get("family"))
        return None if found == ("refused", "safety", family) else f"it was not refused: {found}"

    return fault


def told(*texts: str) -> Callable[[str, Result], str | None]:
    """Expect an answer by the agent itself that contains these texts."""

    def fault(body: str, result: Result) -> str | None:
        if result.get("verdict") != "info":
            return f"an answer was expected, but the verdict is {result.get('verdict')!r}"
        missing = [text for text in texts if text not in body]
        return f"the answer should contain {missing}" if missing else None

    return fault


def complete(lines: int) -> Callable[[str, Result], str | None]:
    """Expect the output of ``seq 1 N``, complete by its length and hash."""
    whole = "".join(f"{number}\n" for number in range(1, lines + 1)).encode()

    def fault(body: str, result: Result) -> str | None:
        if result.get("output_bytes") != len(whole):
            return f"{len(whole)} bytes should have been recorded: {result.get('output_bytes')}"
        return ran(0, str(lines))(body, result)

    return fault


STEPS: Final = (
    Step(command="$ status", fault=told("demo-host")),
    Step(command="$ df -h", fault=ran(0, "Filesystem")),
    Step(command="$ uptime", fault=ran(0, "load average")),
    Step(command="$ journalctl --user -n 50", fault=ran(None)),
    Step(command="$ seq 1 2000", fault=complete(2000)),
    Step(command="$ sleep 2; echo done", fault=ran(0, "done")),
    Step(command="$ sh -c 'exit 42'", fault=ran(42)),
    Step(command="$ reboot", fault=refused("power")),
    Step(command="$ chain", fault=told("records · head", "refusal")),
)


class Show:
    """Prints the room and what goes on around it."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty()
        self.faults = 0

    def step(self, text: str) -> None:
        """Say what happens next."""
        print(self._paint("2", f"·· {text}"), flush=True)

    def typed(self, who: str, text: str) -> None:
        """Show what the operator typed."""
        print(f"\n{self._paint('1;36', who)}  {text}", flush=True)

    def answer(self, who: str, body: str) -> None:
        """Show what came back."""
        print(f"{self._paint('1;32', who)}")
        print(textwrap.indent(body.rstrip("\n"), "  "), flush=True)

    def fault(self, text: str) -> None:
        """Show that something is not as it should be."""
        self.faults += 1
        print(self._paint("1;31", f"✗ {text}"), flush=True)

    def good(self, text: str) -> None:
        """Show that something is as it should be."""
        print(self._paint("32", f"✓ {text}"), flush=True)

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text


async def demonstrate(directory: Path, show: Show, *, interactive: bool) -> None:
    """Set everything up, go through the steps, audit."""
    show.step("starting a throwaway Matrix homeserver (Synapse, SQLite, loopback)")
    with Synapse(directory / "synapse") as synapse:
        bot = synapse.register("tibet-bot")
        person = synapse.register("operator")
        async with await Operator.login(synapse.url, person.user_id, person.password) as operator:
            room = await operator.create_room(invite=[bot.user_id])
            show.step(f"{person.user_id} made the encrypted room {room}")
            with Host(
                directory / "host",
                homeserver=synapse.url,
                bot=bot,
                operators={operator.user_id: operator.master_key},
                rooms=[room],
            ) as host:
                _say_uids(host, show)
                host.start()
                await operator.wait_member(room, bot.user_id)
                show.step(
                    f"executor (pid {host.executor.pid}) and agent (pid {host.agent.pid}) run"
                )
                for step in STEPS:
                    await _take(step, operator, room, show)
                if interactive:
                    await _converse(operator, room, show)
            _audit(host, show)


def _say_uids(host: Host, show: Show) -> None:
    uids = host.uids
    if uids.separated:
        show.step(
            f"three uids: agent {uids.agent}, executor {uids.executor} without a network, "
            f"shell {uids.shell}"
        )
    else:
        show.step(f"NOT separated, everything runs as uid {uids.executor}: {uids.why_not}")


async def _take(step: Step, operator: Operator, room: str, show: Show) -> None:
    show.typed(operator.user_id, step.command)
    event = await operator.send_text(room, step.command)
    answer = await operator.answer_to(event, ANSWER_SECONDS)
    show.answer(answer.sender, answer.body)
    if fault := step.fault(answer.body, answer.result):
        show.fault(f"{step.command}: {fault}")
    count = len(operator.answers_to(event))
    if count != 1:
        show.fault(f"{step.command}: {count} final answers instead of one")


async def _converse(operator: Operator, room: str, show: Show) -> None:
    print("\nType commands, also while one runs; an empty line or ^D ends.\n", flush=True)
    watching = asyncio.create_task(_watch(operator, show))
    waiting: list[str] = []
    try:
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            try:
                waiting.append(await operator.send_text(room, line))
            except OperatorError as error:  # longer than a homeserver takes, for one
                show.step(f"not sent: {error}")
        for event in waiting:  # what a script types ends before its last command does
            await operator.answer_to(event, ANSWER_SECONDS)
        await asyncio.sleep(2 * LOOK_SECONDS)
    except TimeoutError:
        show.step("a command still runs; it ends with the demo")
    finally:
        watching.cancel()


async def _watch(operator: Operator, show: Show) -> None:
    """Show what the others say from now on, as it comes."""
    shown = len(operator.events)
    while True:
        news = operator.events[shown:]
        shown += len(news)
        for seen in news:
            if seen.sender != operator.user_id and seen.type == "m.room.message":
                show.answer(seen.sender, _told(seen))
        await asyncio.sleep(LOOK_SECONDS)


def _told(seen: Seen) -> str:
    """Return what a client would show of a message."""
    new = as_object(seen.content.get("m.new_content"))
    if new:
        return f"{new.get('body', '')} (edited)"
    return f"[file] {seen.body}" if seen.content.get("msgtype") == "m.file" else seen.body


def _audit(host: Host, show: Show) -> None:
    print()
    show.step("the auditor's tool, from files and the executor's public key alone:")
    for arguments in (("verify", "--key", host.executor_key), ("log",)):
        print(f"\n$ tibet-nc-audit {arguments[0]} …", flush=True)
        done = host.audit(*arguments)
        print(textwrap.indent(done.stdout + done.stderr, "  "), flush=True)
        if done.returncode != 0:
            show.fault(f"tibet-nc-audit {arguments[0]} ended with {done.returncode}")


def main() -> None:
    """Run the demo; exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="tibet-nc, shown on this machine")
    parser.add_argument("directory", type=Path, help="where everything is kept afterwards")
    parser.add_argument("--interactive", action="store_true", help="stay open for typing")
    arguments = parser.parse_args()
    directory: Path = arguments.directory.resolve()
    remove(directory)
    directory.mkdir(parents=True)
    show = Show()
    try:
        asyncio.run(demonstrate(directory, show, interactive=arguments.interactive))
    except HostError as error:
        show.fault(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    if show.faults:
        show.fault(f"not all is as it should be; see {directory}")
        sys.exit(1)
    show.good(f"all as it should be; everything is in {directory}")


if __name__ == "__main__":
    main()
