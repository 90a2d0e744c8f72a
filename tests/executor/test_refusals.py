# SPDX-License-Identifier: MIT
"""What was refused is on record once, unless it ran, and is not run later (I3)."""

from msgspec.structs import replace

from tests.executor.rig import OPERATOR, ROOM, Client, Connect, Executor, records, security
from tibet_nc_protocol.limits import TEXT_CHARACTERS
from tibet_nc_protocol.messages import (
    Alert,
    Denied,
    Finished,
    Recorded,
    Refuse,
    Started,
    Status,
    StatusReport,
)
from tibet_nc_protocol.records import Intent, Refusal, Security
from tibet_nc_protocol.terms import DenialCode, Stage


def refusal(number: int, event: str) -> Refuse:
    """Return the report that the airlock has refused an event."""
    return Refuse(
        request=number,
        room=ROOM,
        event=event,
        sender=OPERATOR,
        device="DEVICE",
        command="reboot",
        stage=Stage.SAFETY,
        family="power",
        reason="would restart the host",
    )


def alert(number: int, detail: str = "changed") -> Alert:
    """Return the report that an operator's identity is another one."""
    return Alert(request=number, what="identity", detail=detail, room=ROOM, event=None, sender=None)


async def refused_by_both(client: Client, by_airlock: str, by_us: str) -> tuple[Recorded, Denied]:
    """Have one event refused by the airlock, and one by the executor, which finds it too old."""
    await client.send(refusal(client.number(), by_airlock))
    recorded = await client.receive()
    assert isinstance(recorded, Recorded)
    await client.send(client.request("true", by_us, sent_ms=1_000_000))
    stale = await client.receive()
    assert isinstance(stale, Denied)
    return recorded, stale


async def test_a_refusal_is_recorded_once(executor: Executor, connect: Connect) -> None:
    """The airlock's refusal of one event is one record, however often it is reported."""
    client = await connect(executor)
    numbers: set[int] = set()
    for _ in range(2):
        await client.send(refusal(client.number(), "$refused"))
        recorded = await client.receive()
        assert isinstance(recorded, Recorded)
        numbers.add(recorded.number)
    (record,) = records(executor)[1:]
    assert isinstance(record, Refusal)
    assert numbers == {record.seq}
    assert (record.stage, record.family) == (Stage.SAFETY, "power")
    assert (record.room, record.event, record.sender) == (ROOM, "$refused", OPERATOR)
    assert (record.device, record.detail) == ("DEVICE", "would restart the host")


async def test_a_refusal_for_another_reason_is_told_the_recorded_one(
    executor: Executor, connect: Connect
) -> None:
    """What is on record stays the reason, also after a restart; else the room would hear another.

    So it is with what the executor itself has refused.
    """
    client = await connect(executor)
    first, stale = await refused_by_both(client, "$airlock", "$executor")
    known = (("$airlock", first.number, "would restart the host"), ("$executor", stale.number, ""))
    for restarted in (False, True):
        if restarted:
            executor.stop()
            executor.start()
            client = await connect(executor)
        for event, recorded, reason in known:
            again = replace(refusal(client.number(), event), family="edit", reason="an edit")
            await client.send(again)
            denied = await client.receive()
            assert isinstance(denied, Denied)
            assert (denied.code, denied.number) == (DenialCode.REFUSED, recorded)
            assert denied.reason == (reason or stale.reason)
        number = client.number()
        await client.send(refusal(number, "$airlock"))
        assert await client.receive() == replace(first, request=number)
    assert len([record for record in records(executor) if isinstance(record, Refusal)]) == 2


async def test_whatever_the_agent_reports_fits_a_record(
    executor: Executor, connect: Connect
) -> None:
    """The longest report that the protocol permits is recorded, and the chain verifies (I8)."""
    client = await connect(executor)
    longest = "x" * TEXT_CHARACTERS
    await client.send(alert(client.number(), longest))
    assert isinstance(await client.receive(), Recorded)
    await client.send(replace(refusal(client.number(), "$refused"), reason=longest))
    assert isinstance(await client.receive(), Recorded)
    alarm, refused = records(executor)[1:]
    assert isinstance(alarm, Security)
    assert alarm.detail == f"identity: {longest}"[:TEXT_CHARACTERS]
    assert isinstance(refused, Refusal)
    assert refused.detail == longest


async def test_whatever_is_wrong_with_the_pins_is_an_answer(
    executor: Executor, connect: Connect
) -> None:
    """Who commands is told that nobody may, on record, however long what is wrong there is."""
    client = await connect(executor)
    executor.pins.write_text(f"{'x' * 3000} = 1\n")
    denied = await client.run("true")
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.SENDER
    assert denied.reason.startswith("nobody may command this host: ")
    assert [record.seq for record in security(executor)] == [denied.number]
    await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
    report = await client.receive()
    assert isinstance(report, StatusReport)
    assert report.denial == denied.reason


async def test_what_runs_or_ran_is_not_refused(executor: Executor, connect: Connect) -> None:
    """An agent that has lost its memory is told so, and no record calls it refused (I3)."""
    client = await connect(executor)
    gate = executor.directory / "gate"
    waits = f"until [ -e {gate} ]; do sleep 0.1; done"
    await client.send(client.request(waits, event="$running"))
    assert isinstance(await client.receive(), Started)
    await client.send(client.request("true", event="$waiting"))
    for event in ("$running", "$waiting"):
        await client.send(refusal(client.number(), event))
        denied = await client.receive()
        assert isinstance(denied, Denied)
        assert denied.code is DenialCode.RAN
    gate.touch()
    ended = 0
    while ended < 2:
        ended += isinstance(await client.receive(), Finished)
    await client.send(refusal(client.number(), "$waiting"))
    denied = await client.receive()
    assert isinstance(denied, Denied)
    number = next(
        record.seq
        for record in records(executor)
        if isinstance(record, Intent) and record.event == "$waiting"
    )
    assert (denied.code, denied.number) == (DenialCode.RAN, number)
    assert not any(isinstance(record, Refusal) for record in records(executor))


async def test_what_was_refused_is_not_run_later(executor: Executor, connect: Connect) -> None:
    """Asked for again as if it were new, also after a restart, it gets the refusal's record (I3).

    So it is with what the airlock has refused, and with what the executor itself has.
    """
    client = await connect(executor)
    recorded, stale = await refused_by_both(client, "$airlock", "$stale")
    assert stale.code is DenialCode.STALE
    for restarted in (False, True):
        if restarted:
            executor.stop()
            executor.start()
            client = await connect(executor)
        for event, number in (("$airlock", recorded.number), ("$stale", stale.number)):
            denied = await client.run("true", event)
            assert isinstance(denied, Denied)
            assert (denied.code, denied.number) == (DenialCode.REFUSED, number)
        await client.send(client.request("true", "$stale", sent_ms=1_000_000))
        again = await client.receive()
        assert isinstance(again, Denied)
        assert (again.code, again.number) == (DenialCode.STALE, stale.number)
    assert not any(isinstance(record, Intent) for record in records(executor))
