# SPDX-License-Identifier: MIT
"""``login --reset-identity``: an account that a client has been used with becomes the agent's.

The account's other client here is an owner's: it has made the account's identity, as Element does
at the first login. Nothing but a person's word replaces it.
"""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.element import ElementOperator
from tests.harness.host import Host
from tests.harness.proxy import Proxy
from tests.integration.agent_program import AgentProgram
from tests.integration.devices import master_key, signed_devices
from tests.integration.test_login_faults import killed_when
from tests.integration.test_matrix_identity import shown_as, uploads
from tibet_nc_agent.fingerprint import spaced

RESET = ("login", "--reset-identity")


@pytest.fixture
async def owner(synapse: Synapse, bot: Account) -> AsyncIterator[Operator]:
    """Log a client in to the agent's account, which gives the account its identity."""
    async with await Operator.login(synapse.url, bot.user_id, bot.password) as client:
        yield client


@pytest.fixture
def program(tmp_path: Path, bot: Account, synapse: Synapse) -> AgentProgram:
    """Write the settings of an agent that has never logged in."""
    return AgentProgram(tmp_path, bot, synapse.url)


async def test_without_the_flag_the_command_is_named(
    synapse: Synapse, bot: Account, owner: Operator, program: AgentProgram
) -> None:
    """``login`` leaves the account's identity alone, shows it, and names what replaces it."""
    done = await program.run("login")
    assert (done.status, done.out) == (1, "")
    assert spaced(owner.master_key) in done.told
    assert done.told.endswith("tibet-nc-agent login --reset-identity")
    assert master_key(synapse, bot) == owner.master_key
    done = await program.run("doctor", "--json")
    (device,) = (check for check in json.loads(done.out) if check["name"] == "device")
    assert spaced(owner.master_key) in device["detail"]
    assert "tibet-nc-agent login --reset-identity" in device["fix"]


async def test_a_person_says_yes(
    synapse: Synapse, bot: Account, owner: Operator, program: AgentProgram
) -> None:
    """On a terminal the identity is shown, with who loses by it; only ``yes`` replaces it."""
    question = "Type 'yes'"
    status, shown = await program.typed(*RESET, answers={question: "y"})
    assert (status, "nothing was replaced" in shown) == (1, True)
    assert spaced(owner.master_key) in shown
    assert owner.device_id in shown
    assert master_key(synapse, bot) == owner.master_key
    status, shown = await program.typed(*RESET, answers={question: "yes"})
    assert status == 0, shown
    ours = (await program.run("login")).shown("cross-signing")
    assert spaced(ours) in shown
    assert master_key(synapse, bot) == ours


async def test_nobody_to_ask(
    synapse: Synapse, bot: Account, owner: Operator, program: AgentProgram
) -> None:
    """Without a terminal nothing is replaced, unless ``--yes`` says so; ``--yes`` alone is none."""
    done = await program.run(*RESET)
    assert (done.status, "--yes was not given" in done.told) == (1, True)
    assert master_key(synapse, bot) == owner.master_key
    done = await program.run("login", "--yes")
    assert (done.status, "--reset-identity" in done.err) == (2, True)
    done = await program.run(*RESET, "--yes")
    assert done.status == 0, done.err
    assert spaced(owner.master_key) in done.out
    ours = done.shown("cross-signing")
    assert signed_devices(synapse, bot, ours) == {done.shown("device")}


async def test_an_identity_that_is_the_agents_is_kept(
    synapse: Synapse, bot: Account, program: AgentProgram
) -> None:
    """Where the account has none, or the agent's own, nothing is asked and nothing replaced."""
    first = await program.run(*RESET)
    assert first.status == 0, first.err
    again = await program.run(*RESET)
    assert (again.status, again.out) == (0, first.out)
    assert "own now" not in first.out
    assert signed_devices(synapse, bot, first.shown("cross-signing")) == {first.shown("device")}


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("\x1b[2J\u202e", "43 characters of base64"),
        ("A" * 43, "small order"),
        ("B" * 44, "43 characters of base64"),
        (7, "no usable master key"),
    ],
)
async def test_what_the_homeserver_shows_must_be_a_key(
    synapse: Synapse, bot: Account, tmp_path: Path, key: object, said: str
) -> None:
    """What is no key is neither shown on the terminal nor given up for the agent's own."""
    async with Proxy(synapse.url) as proxy:
        proxy.rewrite("/keys/query", shown_as(bot.user_id, key))
        program = AgentProgram(tmp_path, bot, proxy.url)
        done = await program.run(*RESET, "--yes")
        assert (done.status, done.out, said in done.told) == (1, "", True), done.err
        assert "\x1b" not in done.err
        assert uploads(proxy) == 0


async def test_the_password_can_be_typed(
    synapse: Synapse, bot: Account, owner: Operator, program: AgentProgram
) -> None:
    """Where no password is configured it is asked for, and shown nowhere (I10)."""
    program.use(program.homeserver, by_password=False)
    status, shown = await program.typed("login", answers={"Password of": "wrong"})
    assert (status, "login of" in shown) == (1, True), shown
    answers = {"Password of": bot.password, "Type 'yes'": "yes"}
    status, shown = await program.typed(*RESET, answers=answers)
    assert status == 0, shown
    assert bot.password not in shown
    assert master_key(synapse, bot) != owner.master_key
    await owner.reset_identity()  # the login is there now, so that the password is for this alone
    status, shown = await program.typed(*RESET, answers={**answers, "Password of": "wrong"})
    assert (status, "does not accept the password" in shown) == (1, True), shown
    assert master_key(synapse, bot) == owner.master_key
    done = await program.run(*RESET, "--yes")
    assert (done.status, "no terminal to type the password on" in done.told) == (1, True)


async def test_a_configured_password_that_is_wrong(
    synapse: Synapse, bot: Account, owner: Operator, program: AgentProgram
) -> None:
    """Where a password is configured, no other is asked for: it is told that it isn't taken."""
    assert (await program.run("login")).status == 1
    program.password.write_text("wrong\n")
    done = await program.run(*RESET, "--yes")
    assert (done.status, "does not accept the password" in done.told) == (1, True), done.err
    assert "terminal" not in done.told
    status, shown = await program.typed(*RESET, "--yes", answers={})
    assert (status, "Password of" in shown) == (1, False), shown
    assert master_key(synapse, bot) == owner.master_key


@pytest.mark.usefixtures("owner")
async def test_killed_at_every_step(synapse: Synapse, bot: Account, tmp_path: Path) -> None:
    """Killed at any request that was heard, the same command again ends it, with the same keys."""
    async with Proxy(synapse.url) as proxy:
        program = AgentProgram(tmp_path, bot, proxy.url)
        keys = program.state / "cross-signing.json"
        assert (await program.run("login")).status == 1
        steps = 0
        while True:
            keys.unlink()  # the account's is another one than what comes in its place
            killing = proxy.hang(steps + 1, heard=True)
            if not await killed_when(program, killing, *RESET, "--yes"):
                break
            steps += 1
            made = keys.read_bytes() if keys.exists() else None
            done = await program.run(*RESET, "--yes")
            assert done.status == 0, done.err
            assert made in {None, keys.read_bytes()}
            ours = done.shown("cross-signing")
            assert signed_devices(synapse, bot, ours) == {done.shown("device")}
    assert steps >= 8  # twice whoami, own keys and identity, the upload twice, the signature


async def test_an_identity_of_the_past(
    synapse: Synapse, bot: Account, owner: Operator, program: AgentProgram
) -> None:
    """Where the homeserver takes no identity back that it had before, it is said what helps."""
    first = await program.run(*RESET, "--yes")
    await owner.reset_identity()
    done = await program.run(*RESET, "--yes")
    assert (done.status, "move cross-signing.json away" in done.told) == (1, True), done.err
    assert master_key(synapse, bot) == owner.master_key
    (program.state / "cross-signing.json").unlink()
    done = await program.run(*RESET, "--yes")
    assert done.status == 0, done.err
    assert first.shown("cross-signing") != done.shown("cross-signing") == master_key(synapse, bot)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")
async def test_from_an_account_of_element_to_an_answer(synapse: Synapse, directory: Path) -> None:
    """The agent on an account that Element was used with commands a host, and Element trusts it."""
    bot, person = (synapse.register(f"{role}-{secrets.token_hex(6)}") for role in ("bot", "op"))
    async with (
        await ElementOperator.login(synapse.url, bot.user_id, bot.password) as browser,
        await ElementOperator.login(synapse.url, person.user_id, person.password) as operator,
    ):
        theirs = await browser.cross_sign()
        pins = {person.user_id: await operator.cross_sign()}
        room = await operator.create_room(invite=[bot.user_id])
        with Host(
            directory / "host", homeserver=synapse.url, bot=bot, operators=pins, rooms=[room]
        ) as host:
            host.log_in_by_password()
            done = await asyncio.to_thread(host.root, *RESET, "--yes")
            assert done.returncode == 0, done.stderr
            assert spaced(theirs) in done.stdout
            await asyncio.to_thread(host.start)
            assert "not cross-signed" not in host.agent.log.read_text()
            await operator.wait_member(room, bot.user_id)
            answer = await operator.answer_to(await operator.send_text(room, "$ echo mine"))
            assert answer.body.startswith("mine\n")
            assert answer.shield == "NONE"
