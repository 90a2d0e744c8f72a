# SPDX-License-Identifier: MIT
"""``trust --emoji``: root at the host's console, and an operator with Element's own client."""

import asyncio
import os
import pty
import secrets
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import pytest
import pytest_asyncio
from pexpect import EOF
from pexpect.fdpexpect import fdspawn
from vodozemac import Sas

from tests.directories import reachable_directory
from tests.harness import Account, Synapse
from tests.harness.element import ElementOperator
from tests.harness.host import Host
from tests.harness.operator import OperatorError, new_identity
from tests.harness.proxy import Change, Proxy
from tests.separation import FOREIGN_UID, as_agent
from tibet_nc_agent.console import Verify, line, socket_of
from tibet_nc_agent.pinfile import PinFile
from tibet_nc_protocol.layout import CHAIN

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids"),
    pytest.mark.asyncio(loop_scope="module"),
]

QUESTION: Final = "Type 'yes' if it is the same"


class Console:
    """The terminal on which root has typed ``trust --emoji``."""

    def __init__(self, host: Host, user: str) -> None:
        self._ours, theirs = pty.openpty()
        # ^C must reach it also where the tests run in the background of a script, which ignores it.
        heard = ("/usr/bin/env", "--default-signal=INT")
        self.process: Final = subprocess.Popen(
            [*heard, *host.program("agent"), "trust", user, "--emoji"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd="/",
        )
        os.close(theirs)
        self._terminal: fdspawn[str] = fdspawn(
            self._ours, timeout=120, encoding="utf-8", use_poll=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._terminal.close()

    async def until(self, text: str) -> str:
        """Wait until a text is shown; return what was shown before it."""
        await asyncio.to_thread(self._terminal.expect_exact, text)
        return str(self._terminal.before)

    async def type(self, text: str) -> None:
        """Type a line."""
        await asyncio.to_thread(self._terminal.sendline, text)

    async def ended(self) -> tuple[int, str]:
        """Wait until it ends; return its exit status and the rest of what it showed."""
        await asyncio.to_thread(self._terminal.expect, EOF)
        return await asyncio.to_thread(self.process.wait), str(self._terminal.before)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A host on which nobody is pinned, and somebody in the room who is to be.

    ``homeserver`` is what the host takes for its homeserver; it may lie.
    """

    homeserver: Proxy
    host: Host
    bot: Account
    operator: ElementOperator
    room: str

    def console(self) -> Console:
        """Type ``trust --emoji`` for the operator."""
        return Console(self.host, self.operator.user_id)

    async def ask(self) -> None:
        """Have Element ask the agent to verify, in the room."""
        await self.operator.ask("requestVerification", user_id=self.bot.user_id, room_id=self.room)

    def wait_record(self, text: bytes) -> None:
        """Wait until a text is in the chain."""
        end = time.monotonic() + 20
        while not any(text in path.read_bytes() for path in (self.host.state / CHAIN).iterdir()):
            assert time.monotonic() < end
            time.sleep(0.05)

    def pinned(self) -> dict[str, str]:
        """Return the pinned users and how they were pinned."""
        pins = PinFile(self.host.pins).pins()
        return {user: f"{pin.master_key} {pin.how}" for user, pin in pins.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(synapse: Synapse) -> AsyncIterator[Scene]:
    """Start a host whose bot is invited to a room, but by nobody whom it knows."""
    bot, account = (synapse.register(f"{role}-{secrets.token_hex(6)}") for role in ("bot", "op"))
    async with await ElementOperator.login(
        synapse.url, account.user_id, account.password
    ) as operator:
        await operator.cross_sign()
        room = await operator.create_room(invite=[bot.user_id])
        with reachable_directory() as path:
            async with Proxy(synapse.url) as proxy:
                with Host(
                    path / "host",
                    homeserver=proxy.url,
                    bot=bot,
                    operators={},
                    rooms=[room],
                ) as host:
                    await asyncio.to_thread(host.start)
                    yield Scene(homeserver=proxy, host=host, bot=bot, operator=operator, room=room)


@pytest.fixture
def scene(stage: Scene) -> Scene:
    """Unpin everybody, and let the homeserver be honest."""
    stage.host.pin({})
    stage.homeserver.pass_all()
    return stage


def same(shown: dict[str, Any], console: str) -> bool:
    """Whether Element and the console have shown the same emoji and numbers, in the same order."""
    emoji = "   ".join(f"{symbol} {name}" for symbol, name in shown["emoji"])
    numbers = "  ".join(map(str, shown["decimal"]))
    return emoji in console and numbers in console


async def test_from_nobody_to_an_operator_by_emoji(scene: Scene) -> None:
    """The agent joins who is to be verified, both compare, root pins, and a command is answered.

    The identity that is pinned is the one that Element has, and Element has verified the agent's.
    """
    operator = scene.operator
    with scene.console() as console:
        await console.until("was asked")
        await operator.ask("acceptVerification")
        shown = await operator.ask("compareEmoji", start=False)
        assert same(shown, await console.until(QUESTION))
        await console.type("yes")
        await operator.ask("confirmEmoji")
        status, rest = await console.ended()
    assert status == 0, rest
    assert scene.pinned() == {operator.user_id: f"{operator.master_key} emoji"}
    assert (await operator.ask("isVerified", user_id=scene.bot.user_id))["verified"]
    answer = await operator.answer_to(await operator.send_text(scene.room, "$ echo at last"))
    assert answer.body.startswith("at last\n")
    assert answer.shield == "NONE"


async def test_element_may_ask_and_start(scene: Scene) -> None:
    """A request that Element has made gets no answer until root names the user who made it."""
    operator = scene.operator
    await scene.ask()
    await asyncio.to_thread(scene.host.wait_log, f"{operator.user_id} asks to be verified")
    with scene.console() as console:
        await console.until("has asked")
        shown = await operator.ask("compareEmoji", start=True)
        assert same(shown, await console.until(QUESTION))
        await asyncio.gather(console.type("yes"), operator.ask("confirmEmoji"))
        status, rest = await console.ended()
    assert status == 0, rest
    assert scene.pinned() == {operator.user_id: f"{operator.master_key} emoji"}


async def test_root_sees_other_emoji(scene: Scene) -> None:
    """When root says that they differ, Element is told so, and nobody is pinned."""
    operator = scene.operator
    with scene.console() as console:
        await console.until("was asked")
        await operator.ask("acceptVerification")
        await operator.ask("compareEmoji", start=False)
        await console.until(QUESTION)
        await console.type("no")
        status, rest = await console.ended()
        cancelled = await operator.ask("verificationCancelled")
    assert status == 1, rest
    assert cancelled["code"] == "m.mismatched_sas"
    assert scene.pinned() == {}
    await asyncio.to_thread(scene.wait_record, b"verification: cancelled by here")


async def test_the_operator_sees_other_emoji(scene: Scene) -> None:
    """When the operator says that they differ, root is told so at once, and nobody is pinned."""
    operator = scene.operator
    with scene.console() as console:
        await console.until("was asked")
        await operator.ask("acceptVerification")
        await operator.ask("compareEmoji", start=False)
        await console.until(QUESTION)
        assert (await operator.ask("denyEmoji"))["code"] == "m.mismatched_sas"
        status, rest = await console.ended()
    assert status == 1, rest
    assert "m.mismatched_sas" in rest
    assert scene.pinned() == {}
    await asyncio.to_thread(scene.wait_record, b"verification: cancelled by")


async def test_root_goes_away(scene: Scene) -> None:
    """A console that is left ends the verification in the room, too."""
    operator = scene.operator
    with scene.console() as console:
        await console.until("was asked")
        await operator.ask("acceptVerification")
        await operator.ask("compareEmoji", start=False)
        console.process.send_signal(signal.SIGINT)
        assert (await operator.ask("verificationCancelled"))["code"] == "m.user"
    assert scene.pinned() == {}


async def test_a_second_console_is_told_to_wait(scene: Scene) -> None:
    """One verification at a time."""
    with scene.console() as first:
        await first.until("was asked")
        with scene.console() as second:
            status, rest = await second.ended()
    assert status == 1
    assert "is being verified just now" in rest


async def test_nobody_else_is_answered(scene: Scene, synapse: Synapse) -> None:
    """While root waits for one user, another one's request gets no answer and changes nothing."""
    operator, other = scene.operator, synapse.register(f"other-{secrets.token_hex(6)}")
    await operator.ask("invite", room_id=scene.room, user_id=other.user_id)
    rooms = f"/_matrix/client/v3/rooms/{urllib.parse.quote(scene.room)}"
    joined = synapse.request("POST", f"{rooms}/join", {}, other.access_token)
    assert joined.status == 200
    with scene.console() as console:
        await console.until("was asked")
        asked = synapse.request(
            "PUT",
            f"{rooms}/send/m.room.message/1",
            {
                "msgtype": "m.key.verification.request",
                "body": "verify me",
                "from_device": other.device_id,
                "methods": ["m.sas.v1"],
                "to": scene.bot.user_id,
            },
            other.access_token,
        )
        await asyncio.to_thread(scene.host.wait_log, f"{other.user_id} asks to be verified")
        await operator.ask("acceptVerification")
        await operator.ask("compareEmoji", start=False)
        await console.until(QUESTION)
        await asyncio.gather(console.type("yes"), operator.ask("confirmEmoji"))
        status, rest = await console.ended()
    assert status == 0, rest
    assert list(scene.pinned()) == [operator.user_id]
    answers = [
        seen
        for seen in operator.events
        if seen.content.get("m.relates_to", {}).get("event_id") == asked.body["event_id"]
    ]
    assert answers == []


# --- a homeserver that lies -----------------------------------------------------------------------


def on_keys(change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Change:
    """Return what replaces each event that holds a key of the verification by other events."""

    def changed(answer: dict[str, Any]) -> dict[str, Any]:
        for room in answer.get("rooms", {}).get("join", {}).values():
            room["timeline"]["events"] = [
                new
                for event in room["timeline"]["events"]
                for new in (change(event) if event["type"] == "m.key.verification.key" else [event])
            ]
        return answer

    return changed


CHANGES: list[tuple[Callable[[dict[str, Any]], list[dict[str, Any]]], str]] = [
    (
        lambda event: [
            event | {"content": event["content"] | {"key": Sas().public_key.to_base64()}}
        ],
        "m.mismatched_commitment",
    ),
    (lambda event: [event, event | {"event_id": "$again"}], "m.unexpected_message"),
]


@pytest.mark.parametrize(
    ("change", "code"),
    CHANGES,
    ids=["another key", "a repeated key"],
)
async def test_a_homeserver_that_changes_events_reaches_nothing(
    scene: Scene, change: Callable[[dict[str, Any]], list[dict[str, Any]]], code: str
) -> None:
    """A key of the homeserver's own, or an event that comes twice: cancelled, and no pin."""
    scene.homeserver.rewrite("/sync", on_keys(change))
    with scene.console() as console:
        await console.until("was asked")
        await scene.operator.ask("acceptVerification")
        comparing = asyncio.create_task(scene.operator.ask("compareEmoji", start=False))
        status, rest = await console.ended()
        await asyncio.gather(
            comparing, return_exceptions=True
        )  # it may or may not have come as far as the emoji
        assert (await scene.operator.ask("verificationCancelled"))["code"] == code
    assert status == 1
    assert code in rest
    assert scene.pinned() == {}
    if code == "m.mismatched_commitment":
        await asyncio.to_thread(scene.wait_record, code.encode())


async def test_an_identity_that_the_homeserver_made_up_is_not_pinned(scene: Scene) -> None:
    """The homeserver shows the agent another identity of the operator, complete and well signed.

    The emoji match, since nobody is in between; the operator's client proves another key.
    """
    operator, keys = scene.operator, new_identity()
    made_up = {str(use): value for use, value in keys.key_objects(operator.user_id).items()}

    def lie(answer: dict[str, Any]) -> dict[str, Any]:
        if operator.user_id in answer.get("master_keys", {}):
            answer["master_keys"][operator.user_id] = made_up["master"]
            answer["self_signing_keys"][operator.user_id] = made_up["self_signing"]
        return answer

    scene.homeserver.rewrite("/keys/query", lie)
    with scene.console() as console:
        await console.until("was asked")
        await operator.ask("acceptVerification")
        await operator.ask("compareEmoji", start=False)
        await console.until(QUESTION)
        await console.type("yes")
        confirming = asyncio.create_task(operator.ask("confirmEmoji"))
        status, rest = await console.ended()
        with pytest.raises(OperatorError, match=r"m\.key_mismatch"):
            await confirming
    assert status == 1
    assert "m.key_mismatch" in rest
    assert scene.pinned() == {}
    await asyncio.to_thread(scene.wait_record, b"m.key_mismatch")


# --- others of the host ---------------------------------------------------------------------------


async def test_others_cant_reach_the_consoles_socket(scene: Scene) -> None:
    """Another user of the host can't connect to where root is listened to.

    Three walls say so, and each holds without those before it: the directory's mode, the socket's,
    and the kernel's word on who is at the other end.
    """
    path = socket_of(scene.host.directory / "agent")
    script = (
        "import socket, sys\n"
        "endpoint = socket.socket(socket.AF_UNIX)\n"
        "endpoint.connect(sys.argv[1])\n"
        "try:\n"
        "    endpoint.sendall(sys.argv[2].encode())\n"
        "    print('told', endpoint.recv(1))\n"
        "except (BrokenPipeError, ConnectionResetError) as error:\n"
        "    print('told nothing')\n"
    )
    asked = line(Verify(user=scene.operator.user_id)).decode()
    other = replace(scene.host.uids, agent=FOREIGN_UID)

    async def tried() -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            [*as_agent(other), sys.executable, "-c", script, str(path), asked],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )

    assert path.is_socket()
    try:
        assert "PermissionError" in (await tried()).stderr
        path.parent.chmod(0o755)
        assert "PermissionError" in (await tried()).stderr
        path.chmod(0o666)
        assert (await tried()).stdout in {"told b''\n", "told nothing\n"}
    finally:
        path.parent.chmod(0o700)
        path.chmod(0o600)
    said = f"the console is not listened to: a process of uid {FOREIGN_UID} is at the other end"
    await asyncio.to_thread(scene.host.wait_log, said)
