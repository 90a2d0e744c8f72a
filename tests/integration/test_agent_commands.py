# SPDX-License-Identifier: MIT
"""What an operator asks of the agent beside commands, and the sysadmin's verbs, on real parts."""

import asyncio
import json
import os
import stat
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Seen, Synapse
from tests.harness.host import Host, HostError

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


@pytest.fixture
async def colleague(
    new_operator: Callable[..., Awaitable[Operator]], operator: Operator, room: str
) -> Operator:
    """Log a second operator in, who is in the room, too."""
    other = await new_operator()
    await operator.invite(room, other.user_id)
    await other.join(room)
    return other


@pytest.fixture
async def host(
    synapse: Synapse,
    bot: Account,
    operator: Operator,
    colleague: Operator,
    room: str,
    directory: Path,
) -> AsyncIterator[Host]:
    """Start a host whose bot is in the room with two operators."""
    with Host(
        directory / "host",
        homeserver=synapse.url,
        bot=bot,
        operators={each.user_id: each.master_key for each in (operator, colleague)},
        rooms=[room],
        executor_settings="[audit]\ncheckpoint_records = 10\n",
    ) as made:
        await asyncio.to_thread(made.start)
        for somebody in (operator, colleague):
            await somebody.wait_member(room, bot.user_id)
        yield made


async def asked(operator: Operator, room: str, body: str) -> Seen:
    """Send a message and return its final answer."""
    return await operator.answer_to(await operator.send_text(room, body), 40)


async def started(operator: Operator, event: str) -> int:
    """Wait for the notice that a command has started, and return the command's number."""
    notice = await operator.wait(
        lambda seen: (
            seen.result.get("event_id") == event
            and seen.result.get("final") is False
            and seen.body.startswith("started")
        )
    )
    return int(notice.result["number"])


async def test_a_long_command_is_told_typed_into_looked_at_and_ended(
    host: Host, operator: Operator, colleague: Operator, room: str
) -> None:
    """A long command says that it started; it can be typed into, looked at, listed and ended."""
    assert host.agent.running
    event = await operator.send_text(room, "$ while read line; do echo got $line; done; echo end")
    number = await started(operator, event)
    assert (await asked(operator, room, f"!in {number} first")).result["verdict"] == "info"
    for _ in range(100):
        if "got first" in (await asked(colleague, room, f"!tail {number}")).body:
            break
    else:
        pytest.fail("what was typed never came back")
    entered = await asked(operator, room, f"!in {number}")
    assert entered.body.startswith(f"just Enter was typed into #{number}")
    assert f"#{number} " in (await asked(colleague, room, "!jobs")).body
    assert (await asked(colleague, room, "$ echo meanwhile")).body.startswith("meanwhile\n")
    assert operator.answers_to(event) == []
    await asked(operator, room, f"!eof {number}")
    answer = await operator.answer_to(event)
    typed = f"7 bytes of input by {operator.user_id}"
    assert answer.body.splitlines()[-4:-1] == ["got", "end", typed]
    assert answer.result["exit"] == 0


async def test_a_line_that_a_terminal_would_cut_is_not_typed(
    host: Host, operator: Operator, room: str
) -> None:
    """Whoever types too long a line is told so, and to type less, which waiting doesn't replace."""
    assert host.agent.running
    event = await operator.send_text(room, "$ cat")
    number = await started(operator, event)
    refused = await asked(operator, room, f"!in {number} {'é' * 2500}")
    assert "nothing was typed: a line would have 5000 bytes" in refused.body
    assert "next: type less at once" in refused.body
    await asked(operator, room, f"!eof {number}")
    assert (await operator.answer_to(event)).result["output_bytes"] == 0


async def test_what_waits_behind_a_command_is_listed(
    host: Host, operator: Operator, colleague: Operator, room: str
) -> None:
    """Whoever asks what runs is told what waits for that, too, until it doesn't."""
    assert host.agent.running
    long = await operator.send_text(room, "$ sleep 4772")
    number = await started(operator, long)
    short = await operator.send_text(room, "$ echo later")
    await operator.wait(lambda seen: seen.body.startswith("waits until"))
    lines = (await asked(colleague, room, "!jobs")).body.splitlines()
    assert lines[0].startswith(f"#{number} ")
    assert lines[1] == f"waits for #{number} · {operator.user_id} · echo later"
    await asked(operator, room, f"!kill {number}")
    for event in (long, short):
        await operator.answer_to(event)
    assert (await asked(colleague, room, "!jobs")).body == "nothing is running"


async def test_what_a_command_leaves_running(host: Host, operator: Operator, room: str) -> None:
    """The room is told that it goes on, and lists, looks at and ends it by the command's number."""
    assert host.agent.running
    answer = await asked(operator, room, "$ (sleep 1; echo late; sleep 4771) & echo up")
    number = answer.result["number"]
    assert answer.body.startswith("up\n")
    assert f"run on until your session ends: !tail {number}" in answer.body.replace(
        "process that it left runs on", "processes that it left run on"
    )
    assert (await asked(operator, room, "$ echo exact")).body.startswith("exact\n")
    assert f"#{number} " in (jobs := (await asked(operator, room, "!jobs")).body)
    assert "left running" in jobs
    for _ in range(100):
        if "late" in (await asked(operator, room, f"!tail {number}")).body:
            break
    else:
        pytest.fail("what was left running never said anything")
    await asked(operator, room, f"!cancel {number}")
    for _ in range(100):
        if f"#{number} " not in (jobs := (await asked(operator, room, "!jobs")).body):
            break
    assert f"#{number} " not in jobs


async def test_the_room_is_told_before_a_session_ends(
    synapse: Synapse, bot: Account, operator: Operator, room: str, directory: Path
) -> None:
    """An idle session is announced to end, ends, and the next answer says that it is a new one."""
    with Host(
        directory / "host",
        homeserver=synapse.url,
        bot=bot,
        operators={operator.user_id: operator.master_key},
        rooms=[room],
    ) as host:
        settings = host.etc / "executor.toml"
        limits = "[shell]\nsession_idle_s = 6\nsession_warning_s = 3\n"
        settings.write_text(settings.read_text().replace("[shell]\n", limits))
        await asyncio.to_thread(host.start)
        await operator.wait_member(room, bot.user_id)
        assert (await asked(operator, room, "$ a=1; echo up")).body.startswith("up\n")
        await operator.wait(
            lambda seen: f"the session of {operator.user_id} ends in 3" in seen.body, 40
        )
        await operator.wait(
            lambda seen: f"the session of {operator.user_id} has ended" in seen.body, 40
        )
        answer = await asked(operator, room, "$ echo [$a]")
        assert answer.body.startswith("[]\n")
        assert "this is a new session: the last one has ended (no command for 6 s)" in answer.body


@pytest.mark.parametrize(("control", "reason"), [("cancel", "cancelled"), ("kill", "killed")])
async def test_cancel_and_kill(
    control: str, reason: str, host: Host, operator: Operator, room: str
) -> None:
    """A running command is interrupted or killed by its number, and its answer says so."""
    assert host.agent.running
    event = await operator.send_text(room, "$ sleep 60")
    number = await started(operator, event)
    done = await asked(operator, room, f"!{control} {number}")
    assert f"#{number}" in done.body
    answer = await operator.answer_to(event)
    assert answer.result["reason"] == reason
    assert (await asked(operator, room, f"!{control} {number}")).result["verdict"] == "denied"


async def test_stop_ends_everything(
    host: Host, operator: Operator, colleague: Operator, room: str
) -> None:
    """One word ends what runs, whoever started it; each command still has its one answer (I4)."""
    assert host.agent.running
    events = [
        (somebody, await somebody.send_text(room, "$ sleep 60"))
        for somebody in (operator, colleague)
    ]
    for somebody, event in events:
        await started(somebody, event)
    assert "2 commands" in (await asked(operator, room, "!stop")).body
    for somebody, event in events:
        assert (await somebody.answer_to(event)).result["reason"] == "killed"
        assert len(somebody.answers_to(event)) == 1


async def test_exit_ends_the_session_after_the_commands_before(
    host: Host, operator: Operator, room: str
) -> None:
    """The session's end waits for its commands, and what they set is gone afterwards."""
    assert host.agent.running
    first = await operator.send_text(room, "$ kept=yes; sleep 1; echo $kept")
    farewell = await operator.send_text(room, "exit")
    assert (await operator.answer_to(first)).body.startswith("yes\n")
    assert "ended" in (await operator.answer_to(farewell)).body
    assert (await asked(operator, room, "$ echo kept=$kept")).body.startswith("kept=\n")
    assert "you have no session" not in (await asked(operator, room, "bye")).body
    assert "you have no session" in (await asked(operator, room, "bye")).body


def _starting(text: str, start: str) -> list[str]:
    """Return the lines of a text that start so."""
    return [line for line in text.splitlines() if line.startswith(start)]


@pytest.mark.parametrize(
    ("pasted", "family"),
    [
        ("```\npwd\n```", "markup"),
        ("operator@laptop:~$ pwd", "prompt"),
        ("$ true\n$ pwd", "prompt"),
        ("# pwd", "prompt"),
    ],
)
async def test_what_was_pasted_is_given_back_as_it_was_meant(
    pasted: str, family: str, host: Host, operator: Operator, room: str
) -> None:
    """Code marks and prompts run nothing of a message; the line in the answer does, sent as is."""
    assert host.agent.running
    refusal = await asked(operator, room, pasted)
    assert (refusal.result["verdict"], refusal.result["family"]) == ("refused", family)
    _, _, *meant, _ = refusal.body.split("\n")
    answer = await asked(operator, room, "\n".join(meant))
    assert answer.result["verdict"] == "ran"
    assert answer.body.startswith("/")


@pytest.mark.parametrize("name", ["identities.json", "matrix/lock", "cross-signing.json"])
async def test_a_file_of_somebody_else_is_named(
    name: str, host: Host, operator: Operator, room: str
) -> None:
    """What the agent may not open, as after a restore, ends it with its name and the reason."""
    await asked(operator, room, "$ true")
    await asyncio.to_thread(host.agent.stop)
    path = host.directory / "agent" / name
    path.touch()
    os.chown(path, 0, 0)
    path.chmod(0o600)
    with pytest.raises(HostError) as failure:
        await asyncio.to_thread(host.start_agent)
    assert str(failure.value).endswith(f"tibet-nc-agent: {path}: Permission denied")


async def test_explain_runs_nothing(host: Host, operator: Operator, room: str) -> None:
    """``? cmd`` says every stage's verdict, place and limits; the chain doesn't grow by it."""
    assert host.agent.running
    before = (await asked(operator, room, "status")).body
    answer = await asked(operator, room, "? reboot")
    assert answer.body.startswith("would be refused at safety (nothing was run)\n")
    assert answer.result["verdict"] == "info"
    answer = await asked(operator, room, "? kept=1; df -h | sort")
    assert answer.body.startswith("would run (nothing was run)\n")
    assert f"device {operator.device_id}\n" in answer.body
    assert "\ndf -h\nsort\n" in answer.body
    assert "\nwhere: demo-host · a new session · in its home · restricted shell" in answer.body
    assert "\nlimits: 2 min without output · 1 h in all · " in answer.body
    after = (await asked(operator, room, "status")).body
    for start in ("chain ", "session "):
        assert _starting(before, start) == _starting(after, start) != []
    await asked(operator, room, "$ true")
    answer = await asked(operator, room, "? true")
    assert " (1 command so far) · in /" in answer.body


async def test_the_room_holds_checkpoints(host: Host, operator: Operator, room: str) -> None:
    """Checkpoints of the chain are put into the room, where the host can't take them back (I8)."""
    assert host.agent.running
    for _ in range(6):
        await asked(operator, room, "$ true")
    notice = await operator.wait(lambda seen: seen.body.startswith("checkpoint · "))
    assert notice.result["final"] is False
    size = int(notice.body.split()[2])
    lines = notice.body.splitlines()
    assert size >= 10
    assert str(size) in lines


async def test_doctor_finds_what_is_wrong(host: Host, operator: Operator, room: str) -> None:
    """The doctor passes on a good host, also while it runs, and names each fault with its fix."""
    await asked(operator, room, "$ true")
    good = await asyncio.to_thread(host.admin, "agent", "doctor", "--json")
    checks = {check["name"]: check for check in json.loads(good.stdout)}
    assert good.returncode == 0, good.stdout
    people = [name for name in checks if name.startswith("operator @")]
    assert list(checks) == [
        *("state", "disk", "walls", "store", "homeserver", "clock", "login", "device", "keys"),
        *people,
        f"room {room}",
        "executor",
    ]
    assert len(people) == 2
    assert "unchanged, 1 device signed" in checks[f"operator {operator.user_id}"]["detail"]
    assert "accepted: shell: /bin/sh can be run" in checks["walls"]["detail"]
    host.executor.stop()
    bad = await asyncio.to_thread(host.admin, "agent", "doctor")
    assert bad.returncode == 1
    (line,) = [line for line in bad.stdout.splitlines() if line.startswith("FAIL")]
    assert line.startswith("FAIL  executor: the executor's socket ")
    assert line.endswith("; fix: systemctl status tibet-nc-executor")


async def test_walls_that_are_accepted_are_told(host: Host, operator: Operator, room: str) -> None:
    """I2: every status names each wall that the agent lacks, also when the executor is away."""
    there = await asked(operator, room, "status")
    host.executor.stop()
    away = await asked(operator, room, "status")
    lacking = ("files", "privilege", "shell")
    for answer in (there, away):
        assert [wall for wall in lacking if f"NO {wall} wall: accepted" not in answer.body] == []
    assert "executor's walls: " in there.body


@pytest.mark.parametrize("wall", ["privilege", "shell"])
async def test_walls_that_are_not_accepted_stop_it(host: Host, wall: str) -> None:
    """I2: without a wall that no setting gives up, neither run nor doctor is content."""
    settings = host.etc / "agent.toml"
    text = settings.read_text()
    assert f'"{wall}"' in text
    settings.write_text(text.replace(f', "{wall}"', ""))
    refused = await asyncio.to_thread(host.admin, "agent", "run")
    looked = await asyncio.to_thread(host.admin, "agent", "doctor")
    assert refused.returncode == 2
    assert f'accept this: [walls] accepted = ["{wall}"]' in refused.stderr
    (line,) = [line for line in looked.stdout.splitlines() if line.startswith("FAIL  walls")]
    assert f"{wall}: " in line


async def test_login_shows_what_to_compare_and_keeps_its_secrets(
    synapse: Synapse,
    new_account: Callable[[str], Account],
    operator: Operator,
    room: str,
    directory: Path,
) -> None:
    """A login by password shows device and fingerprints, the same ones each time (I10)."""
    account = new_account("bot")
    host = Host(
        directory / "host",
        homeserver=synapse.url,
        bot=account,
        operators={operator.user_id: operator.master_key},
        rooms=[room],
    )
    with host:
        state = directory / "host" / "agent"
        (state / "password").write_text(account.password + "\n")
        (state / "password").chmod(0o600)
        os.chown(state / "password", host.uids.agent, host.uids.agent)
        settings = host.etc / "agent.toml"
        text = settings.read_text()
        settings.write_text(
            text.replace("access_token_file", "password_file").replace("access-token", "password")
        )
        first = await asyncio.to_thread(host.admin, "agent", "login")
        second = await asyncio.to_thread(host.admin, "agent", "login")
        assert first.returncode == 0, first.stderr
        assert first.stdout == second.stdout
        assert account.user_id in first.stdout
        assert (host.etc / "agent.pub").read_text().strip() in first.stdout
        assert account.password not in first.stdout + first.stderr
        unsafe = [
            path
            for path in state.rglob("*")
            if stat.S_IMODE(path.stat().st_mode) & 0o077 and not path.is_dir()
        ]
        assert unsafe == []


async def test_a_lost_agent_key_is_replaced_as_it_is_told(
    host: Host, operator: Operator, room: str
) -> None:
    """Without its key the agent makes another; what journal and verb say to type has it served."""
    host.agent.stop()
    (host.directory / "agent" / "agent.key").unlink()
    starting = asyncio.create_task(asyncio.to_thread(host.start_agent))
    await asyncio.to_thread(host.wait_log, "is this agent enrolled? tibet-nc-executor enrol-agent ")
    key = host.admin("agent", "identity").stdout.split()[-1]
    assert f"enrol-agent {key}\n" in host.agent.log.read_text()
    enrol = [*host.program("executor"), "enrol-agent", key]
    done = await asyncio.to_thread(subprocess.run, enrol, capture_output=True, text=True)
    assert done.stdout.endswith("takes it with: systemctl restart tibet-nc-executor\n")
    host.executor.stop()
    await asyncio.to_thread(host.start_executor)
    await starting
    assert (await asked(operator, room, "$ echo again")).body.startswith("again\n")
