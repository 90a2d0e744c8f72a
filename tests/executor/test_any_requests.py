# SPDX-License-Identifier: MIT
"""Whatever the agent asks, in whatever order: each request has one answer, and all goes on.

Requests are well formed and signed, and chosen at random in each run: commands that end, stop or
replace their shell, that leave something running or take its terminal away; about runs that are,
were and never were; for operators and rooms that are not this host's. Three connections at once.
"""

import asyncio
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest

from tests.executor.rig import (
    OPERATOR,
    OTHER_OPERATOR,
    ROOM,
    SECONDS,
    UNRESTRICTED,
    Client,
    Connect,
    Executor,
    whole_chain,
)
from tests.executor.shell.driver import commands_of
from tibet_nc_protocol.messages import (
    Alert,
    Announcement,
    ChainReport,
    ChainTail,
    Challenge,
    Chunk,
    CloseSession,
    Control,
    Denied,
    Done,
    Failure,
    Fetch,
    Finished,
    Input,
    Job,
    Jobs,
    JobsReport,
    Recorded,
    Refuse,
    Response,
    Run,
    SessionNotice,
    Started,
    Status,
    StatusReport,
    Stop,
    Tail,
    TailReport,
    Welcome,
)
from tibet_nc_protocol.records import Aborted, Intent, Outcome
from tibet_nc_protocol.terms import DenialCode, Signal, Stage

pytestmark = pytest.mark.executor(shell=UNRESTRICTED)

REQUESTS: Final = 120
"""Of each connection."""
COMMANDS: Final = (
    *(
        "true",
        "echo hi",
        "sleep 0.2",
        "cat",
        "read x; echo $x",
        "exit 3",
        "((((",
        "no-such-command",
    ),
    *("kill -9 $$", "kill -STOP $$", "kill $$", "kill -HUP $$", "kill -TSTP 0", "suspend"),
    *("exec sleep 0.1", "exec 1>&-", "exec 11>&-", "exec 63>&-", "exec </dev/null; cat"),
    *("sleep 1 & disown", "nohup setsid sleep 5 >/dev/null 2>&1 &", "(sleep 0.5; echo late) &"),
    *("set -e; false", "set -u; echo $none", "set -x; echo a", "trap 'echo bye' EXIT"),
    *("set -o posix; trap : DEBUG; echo x", "unset PATH; ls", "declare -r ro=1", "ro=2", "umask 0"),
    *("yes | head -c 300000", "printf '\\0\\1\\xff'; false", "stty raw; head -c 3", "tput reset"),
    "x=$(head -c 300000 /dev/zero | tr '\\0' a)",
    "bash -c 'trap \"\" TERM INT HUP; sleep 1'",
)
TYPED: Final = ("a\n", "\n", "", "x" * 3000 + "\n", "\x03", "\x04", "é" * 2000, "\x1a", "\x11\x13")


type Question = (
    Alert
    | ChainTail
    | CloseSession
    | Control
    | Fetch
    | Input
    | Jobs
    | Refuse
    | Run
    | Status
    | Stop
    | Tail
)
type Answer = (
    Chunk
    | ChainReport
    | Denied
    | Done
    | Finished
    | JobsReport
    | Recorded
    | StatusReport
    | TailReport
)


class Asker:
    """One connection that asks at random, and what it was answered."""

    def __init__(self, client: Client, chance: random.Random) -> None:
        self._client = client
        self._chance = chance
        self._numbers = [0, 1, 2**53 - 1]
        self._runs = ["0" * 32]
        self._events = ["$never:example.org"]
        self._hearing: asyncio.Task[None]
        self.asked: list[int] = []
        self.answers: list[Answer] = []

    async def ask(self) -> None:
        """Ask everything, and take what is answered meanwhile."""
        self._hearing = asyncio.create_task(self._hear())
        for _ in range(REQUESTS):
            request = self._request()
            self.asked.append(request.request)
            await self._client.send(request)
            await asyncio.sleep(self._chance.choice((0, 0, 0.02, 0.1)))

    @property
    def is_answered(self) -> bool:
        """Whether there are as many answers as questions; raises when the executor has left."""
        if self._hearing.done():
            self._hearing.result()
        return len(self.answers) >= len(self.asked)

    async def _hear(self) -> None:
        while True:
            match await self._client.receive():
                case Started() as started:
                    self._numbers.append(started.number)
                    self._runs.append(started.run)
                case Announcement() | SessionNotice():
                    pass
                case Challenge() | Welcome() | Failure() as broken:
                    raise AssertionError(broken)
                case answer:
                    self.answers.append(answer)

    def close(self) -> None:
        """Take no more answers."""
        self._hearing.cancel()

    def _request(self) -> Question:
        chance = self._chance
        request = self._client.number()
        sender = chance.choice((OPERATOR, OPERATOR, OTHER_OPERATOR, "@eve:example.org"))
        room = chance.choice((ROOM, ROOM, ROOM, "!other:example.org"))
        number = chance.choice(self._numbers[-9:])
        event = f"${secrets.token_hex(6)}:example.org"
        if chance.random() < 0.1:
            event = chance.choice(self._events)
        self._events.append(event)
        questions: tuple[Callable[[], Question], ...] = (
            *[lambda: self._client.request(chance.choice(COMMANDS), event, sender=sender)] * 9,
            lambda: self._client.request("true", event, sender=sender, room=room),
            lambda: Refuse(
                request=request,
                room=room,
                event=event,
                sender=sender,
                device=None,
                command=None,
                stage=chance.choice([*Stage]),
                family=None,
                reason="why",
            ),
            lambda: Alert(
                request=request, what="w", detail="d", room=None, event=None, sender=None
            ),
            *[
                lambda: Control(
                    request=request,
                    room=room,
                    sender=sender,
                    number=number,
                    signal=chance.choice([*Signal]),
                )
            ]
            * 3,
            *[
                lambda: Input(
                    request=request,
                    room=room,
                    sender=sender,
                    number=number,
                    text=chance.choice(TYPED),
                    end=chance.random() < 0.3,
                )
            ]
            * 3,
            lambda: Tail(request=request, number=number),
            lambda: Fetch(
                request=request,
                run=chance.choice(self._runs),
                offset=chance.choice((0, 70_000, 2**40)),
            ),
            lambda: Status(request=request, room=room, sender=sender),
            lambda: ChainTail(request=request, limit=chance.randint(1, 32)),
            lambda: Jobs(request=request),
            lambda: CloseSession(request=request, room=room, sender=sender),
            lambda: Stop(request=request, room=room, sender=sender),
        )
        return chance.choice(questions)()


async def _ask(client: Client, question: Question) -> Response:
    """Return the answer to a question; nothing else may be asked meanwhile."""
    await client.send(question)
    while isinstance(answer := await client.receive(), Announcement | SessionNotice):
        pass
    return answer


async def _jobs(client: Client) -> tuple[Job, ...]:
    """Return what runs."""
    report = await _ask(client, Jobs(request=client.number()))
    assert isinstance(report, JobsReport)
    return report.jobs


async def test_each_request_has_one_answer_and_all_goes_on(
    executor: Executor, connect: Connect
) -> None:
    """Then nothing runs any more, each intent has its end, and the next command runs as ever."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    askers = [Asker(await connect(executor), chance) for _ in range(3)]
    await asyncio.gather(*(asker.ask() for asker in askers))
    last = await connect(executor)
    end = time.monotonic() + SECONDS
    while not all(asker.is_answered for asker in askers) or await _jobs(last):
        assert time.monotonic() < end
        stop = Stop(request=last.number(), room=ROOM, sender=OPERATOR)
        assert isinstance(await _ask(last, stop), Done)
        await asyncio.sleep(0.1)
    for asker in askers:
        asker.close()
        assert Counter(asker.asked) == Counter(answer.request for answer in asker.answers)
        denied = [answer for answer in asker.answers if isinstance(answer, Denied)]
        assert [denial for denial in denied if denial.code is DenialCode.UNRECORDED] == []
    # Else what one has left in the session counts, as `set -x`. There may be none to close.
    close = CloseSession(request=last.number(), room=ROOM, sender=OPERATOR)
    assert isinstance(await _ask(last, close), Recorded | Denied)
    alive = await last.run("echo alive")
    assert isinstance(alive, Finished)
    assert (alive.exit, alive.output) == (0, b"alive\n")
    assert len(commands_of(executor.uids.shell)) <= 1  # the one that waits for the next command
    chain = whole_chain(executor)
    begun = [record.seq for record in chain if isinstance(record, Intent)]
    ended = [record.intent for record in chain if isinstance(record, Outcome | Aborted)]
    assert sorted(ended) == begun
