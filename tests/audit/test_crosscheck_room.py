# SPDX-License-Identifier: MIT
"""The chain against a room that a client exported: what is missing, extra or different, named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audit.chains import ALICE, BEGIN, BOB, ROOM, Chain, sample
from tests.audit.program import Done, within
from tests.audit.verdicts import lines_of, put
from tibet_nc_audit.crosscheck import messages
from tibet_nc_audit.crosscheck.messages import read_room
from tibet_nc_audit.entries import Kind, Verdict, entries
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.reader import State
from tibet_nc_protocol.layout import PAYLOADS, segment_name
from tibet_nc_protocol.records import digest

AGENT = "@web1:example.org"
START_MS = int(BEGIN.timestamp() * 1000)
HOUR_MS = 3_600_000

type Event = dict[str, Any]
type Alter = Callable[[list[Event]], list[Event]]


def event(name: str, sender: str, at_ms: int, **content: object) -> Event:
    """Return an event as Element exports it."""
    return {
        "type": "m.room.message",
        "event_id": name,
        "sender": sender,
        "room_id": ROOM,
        "origin_server_ts": START_MS + at_ms,
        "content": {"msgtype": "m.text", **content},
    }


def room_of(chain: Chain) -> list[Event]:
    """Return the room in which a chain's commands were asked for and answered.

    It was quiet for an hour before and after.
    """
    lines = chain.lines
    quiet = [event("$hello", ALICE, -HOUR_MS, body="good morning")]
    events: list[Event] = []
    with State(chain.root) as state:
        for at, entry in enumerate(entries(state)):
            if entry.kind is Kind.CHECKPOINT:
                body = f"checkpoint · {entry.seq} records · root …\n{entry.note}"
                block = {"event_id": None, "final": False, "verdict": "info"}
                events.append(_answer(f"$said{at}", at, block, body))
                continue
            if entry.event is None or entry.operator is None:
                continue
            body = "$ " + (entry.command or "")
            events.append(event(entry.event, entry.operator, 1000 * at, body=body))
            if entry.verdict is Verdict.RUNNING:
                continue
            last = entry.seq if entry.outcome is None else entry.outcome
            names = (
                "verdict", "exit", "signal", "reason", "duration_ms", "output_bytes",
                "output_sha256", "token", "outcome", "stage", "family",
            )  # fmt: skip
            block = {name: getattr(entry, name) for name in names} | {
                "event_id": entry.event,
                "final": True,
                "number": entry.seq,
                "head": digest(lines[last]),
            }
            if entry.verdict is Verdict.REFUSED:
                block["reason"] = entry.detail
            events.append(_answer(f"$answer{at}", at, block, "output"))
    end = [event("$bye", ALICE, HOUR_MS, body="good night")]
    return quiet + events + end


def _answer(name: str, at: int, block: Event, body: str) -> Event:
    said = {"msgtype": "m.notice", "body": body, "nc.tibet.result": block}
    return event(name, AGENT, 1000 * at + 500, **said)


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Return a chain with a bit of everything."""
    return sample(tmp_path / "state")


def crosscheck(chain: Chain, room: list[Event], *more: str) -> Done:
    """Compare a chain with an exported room."""
    path = chain.root.parent / "room.json"
    path.write_text(json.dumps({"room_name": "ops", "messages": room}))
    return within("--state", chain.root, "crosscheck", "--room", path, *more)


def found_in(chain: Chain, room: list[Event]) -> list[tuple[str, int | None, str]]:
    """Return what a comparison finds: kind, record, reason."""
    (comparison,) = json.loads(crosscheck(chain, room, "--json").out)["comparisons"]
    return [(f["kind"], f["record"], f["reason"]) for f in comparison["discrepancies"]]


def test_a_room_that_agrees(chain: Chain) -> None:
    """A room in which everything was asked for and answered agrees with the chain."""
    done = crosscheck(chain, room_of(chain))
    assert (done.status, done.err) == (0, "")
    assert f"note         answers are those of {AGENT}" in done.out
    assert "compared     9 agree" in done.out
    assert done.out.splitlines()[-1] == "GOOD: nothing disagrees with the chain"


def test_a_chain_that_was_cut(chain: Chain) -> None:
    """Each result and checkpoint in the room that the chain lacks is named (I8)."""
    room = room_of(chain)
    put(chain.root, lines_of(chain.root)[:12])
    found = found_in(chain, room)
    assert {kind for kind, _, _ in found} == {"extra"}
    assert [record for _, record, _ in found if record is not None] == [14, 16, 18]


def test_a_chain_that_was_rolled_back_and_grew_on(chain: Chain, tmp_path: Path) -> None:
    """An older copy that grew on differs from what the room was told (I8)."""
    other = sample(tmp_path / "other")
    number = chain.command("rm -rf /srv/data")
    room = room_of(chain)
    other.command("true")
    assert ("differs", number, "the answer says another head") in found_in(other, room)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("exit", 1),
        ("signal", 9),
        ("reason", "killed"),
        ("duration_ms", 39),
        ("output_bytes", 1),
        ("output_sha256", "0" * 64),
        ("token", "tibet_other"),
        ("outcome", 5),
        ("head", "0" * 64),
        ("number", 4),
        ("verdict", "refused"),
    ],
)
def test_each_part_of_an_answer_is_compared(chain: Chain, field: str, value: object) -> None:
    """An answer that says something else than the record is named, with both."""
    room = room_of(chain)
    block = next(
        block
        for one in room
        if (block := one["content"].get("nc.tibet.result")) and block.get("number") == 2
    )
    block[field] = value
    assert ("differs", 2, f"the answer says another {field}") in found_in(chain, room)


@pytest.mark.parametrize("field", ["stage", "family", "verdict", "head"])
def test_each_part_of_a_refusal_is_compared(chain: Chain, field: str) -> None:
    """So is an answer that a message was refused."""
    number = chain.refusal("reboot", sender=ALICE)
    room = room_of(chain)
    assert found_in(chain, room) == []
    block = next(
        block
        for one in room
        if (block := one["content"].get("nc.tibet.result")) and block.get("number") == number
    )
    block[field] = "other"
    assert ("differs", number, f"the answer says another {field}") in found_in(chain, room)


def _without(name: str) -> Alter:
    return lambda room: [one for one in room if one["event_id"] != name]


def _altered(name: str, **content: object) -> Alter:
    def alter(room: list[Event]) -> list[Event]:
        for one in room:
            if one["event_id"] == name:
                one["content"] |= content
        return room

    return alter


def _not_final(room: list[Event]) -> list[Event]:
    (answer,) = [one for one in room if one["event_id"] == "$answer2"]
    answer["content"]["nc.tibet.result"]["final"] = False
    return room


ALTERED: list[tuple[Alter, tuple[str, int | None, str]]] = [
    (
        _altered("$event2", body="$ df -h /srv"),
        ("differs", 2, "what ran is not what was typed"),
    ),
    (
        lambda room: [*room[:3], room[2] | {"event_id": "$again"}, *room[3:]],
        ("differs", 2, "answered 2 times"),
    ),
    (
        lambda room: [one for one in room if one["event_id"] not in {"$event2", "$answer2"}],
        ("missing", 2, "what it came from is not in the room"),
    ),
    (_without("$answer2"), ("missing", 2, "it was never answered in the room")),
    (_not_final, ("missing", 2, "it was never answered in the room")),
    (
        lambda room: [*room[:5], event("$odd", ALICE, 60_000, body="$ id"), *room[5:]],
        ("extra", None, "a command that was neither recorded nor answered"),
    ),
]


@pytest.mark.parametrize(
    ("alter", "expected"),
    ALTERED,
    ids=["text", "answered twice", "gone", "not answered", "not finally", "not recorded"],
)
def test_what_was_asked_is_what_ran(
    chain: Chain, alter: Alter, expected: tuple[str, int | None, str]
) -> None:
    """Each command was asked for as it ran, and answered once, or it is named."""
    assert found_in(chain, alter(room_of(chain))) == [expected]


def test_somebody_else_asked(chain: Chain) -> None:
    """A command that the chain says another operator asked for is named."""
    room = room_of(chain)
    next(one for one in room if one["event_id"] == "$event2")["sender"] = BOB
    assert found_in(chain, room) == [("differs", 2, "asked for by somebody else")]


def test_a_checkpoint_of_another_tree(chain: Chain, tmp_path: Path) -> None:
    """A checkpoint in the room whose root isn't the chain's is named, if it is the agent's (I8)."""
    other = Chain(tmp_path / "other")
    while other.length < 18:
        other.security()
    other.checkpoint()
    checkpoint = next(one for one in room_of(other) if "checkpoint" in one["content"]["body"])
    room = room_of(chain)
    done = crosscheck(chain, [*room[:-1], checkpoint, room[-1]])
    assert done.status == 1
    assert "differs record 18: a checkpoint with another root" in done.out
    checkpoint["sender"] = BOB
    done = crosscheck(chain, [*room[:-1], checkpoint, room[-1]], "--agent", AGENT)
    assert done.status == 0


def test_a_reply_is_compared_without_its_quotation(chain: Chain) -> None:
    """What an older client puts before a reply is not what was asked for; without one, it is."""
    number = chain.command("echo first")
    body = f"> <{AGENT}> up 3 days\n> \n> load average\n\n$ echo first"
    reply = {"m.in_reply_to": {"event_id": "$answer"}}
    room = _altered(f"$event{number}", body=body, **{"m.relates_to": reply})(room_of(chain))
    assert found_in(chain, room) == []
    room = _altered(f"$event{number}", body=body)(room_of(chain))
    assert found_in(chain, room) == [("differs", number, "what ran is not what was typed")]


def test_an_answer_that_names_no_record_is_counted(chain: Chain) -> None:
    """An answer without a number is held against nobody, and said to have been there."""
    room = room_of(chain)
    answers = [each["content"]["nc.tibet.result"] for each in room if each["sender"] == AGENT]
    next(block for block in answers if block["final"])["number"] = None
    done = crosscheck(chain, room)
    assert done.status == 0
    assert "answers that name no record: 1" in done.out


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (18, "the record is of something else"),
        (19, "the chain does not have this record: it was cut, or replaced"),
    ],
)
def test_a_command_that_only_the_room_knows(chain: Chain, number: int, reason: str) -> None:
    """Its answer is told once, with whether the chain has a record of that number (I8)."""
    block = {"event_id": "$lost", "final": True, "verdict": "ran", "head": "0" * 64}
    room = [
        *room_of(chain),
        event("$lost", ALICE, 30_000, body="$ id"),
        _answer("$told", 30, block | {"number": number}, "uid=0"),
    ]
    assert found_in(chain, room) == [("extra", number, reason)]


def test_an_export_has_a_greatest_length(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file over the bound is refused in one line, and one of that length isn't."""
    room = room_of(chain)
    assert crosscheck(chain, room).status == 0
    length = (chain.root.parent / "room.json").stat().st_size
    monkeypatch.setattr(messages, "ROOM_BYTES", length)
    assert crosscheck(chain, room).status == 0
    monkeypatch.setattr(messages, "ROOM_BYTES", length - 1)
    done = crosscheck(chain, room)
    assert (done.status, done.out) == (2, "")
    assert f"room.json: over {length - 1} bytes; export a shorter range" in done.err


def test_an_edit_is_told_apart(chain: Chain) -> None:
    """A client shows the text of an edit; if the chain refused that edit, nothing is wrong."""
    number = chain.command("echo first")
    chain.refusal("echo second", sender=ALICE)
    room = _altered(f"$event{number}", body="$ echo second")(room_of(chain))
    done = crosscheck(chain, room)
    assert done.status == 0
    assert "commands edited after they ran, and the edit refused: 1" in done.out


def test_an_edit_by_somebody_else_is_none(chain: Chain) -> None:
    """That another operator was refused the text in the room doesn't explain what ran instead."""
    number = chain.command("echo first")
    chain.refusal("echo second", sender=BOB)
    room = _altered(f"$event{number}", body="$ echo second")(room_of(chain))
    assert found_in(chain, room) == [("differs", number, "what ran is not what was typed")]


def test_what_ran_under_another_message_is_no_edit(chain: Chain) -> None:
    """That the operator ran the text in the room elsewhere doesn't explain what ran here."""
    number = chain.command("echo first")
    chain.command("echo second")
    room = _altered(f"$event{number}", body="$ echo second")(room_of(chain))
    assert found_in(chain, room) == [("differs", number, "what ran is not what was typed")]


def test_an_answer_to_what_is_not_in_the_export(chain: Chain) -> None:
    """It is compared with its record, and that nobody sees the message is said."""
    room = _without("$event2")(room_of(chain))
    done = crosscheck(chain, room)
    assert done.status == 0
    assert "answered, and the message itself not in the export: 1" in done.out
    (answer,) = [one for one in room if one["event_id"] == "$answer2"]
    answer["content"]["nc.tibet.result"]["exit"] = 1
    assert found_in(chain, room) == [("differs", 2, "the answer says another exit")]


def test_what_was_asked_last_need_not_be_answered_yet(chain: Chain) -> None:
    """An export that ends right after a command lacks no answer to that."""
    number = chain.command("sleep 60")
    *room, answer, bye = room_of(chain)
    assert answer["content"]["nc.tibet.result"]["number"] == number
    assert found_in(chain, room) == []
    missing = ("missing", number, "it was never answered in the room")
    assert found_in(chain, [*room, bye]) == [missing]


def test_what_need_not_be_on_record(chain: Chain) -> None:
    """Nobody misses what is from before the agent or from just now, an edit, a picture, or chat."""
    edit = {"m.relates_to": {"rel_type": "m.replace", "event_id": "$event2"}}
    room = [
        *room_of(chain),
        event("$early", ALICE, -1_000_000, body="$ id"),
        event("$late", ALICE, HOUR_MS - 1000, body="$ id"),
        event("$edit", ALICE, 60_000, body="$ id", **edit),
        event("$picture", ALICE, 60_000, body="$ id", msgtype="m.image"),
        event("$chat", ALICE, 60_000, body="good evening"),
        event("$own", AGENT, 60_000, body="$ id"),
    ]
    assert found_in(chain, room) == []


def test_what_was_not_exported(chain: Chain) -> None:
    """Records from before and after the exported time are counted and held against nobody."""
    room = [one for one in room_of(chain) if one["origin_server_ts"] > START_MS + 5000]
    done = crosscheck(chain, room)
    assert done.status == 0
    assert "commands and refusals outside what was exported: " in done.out


def test_another_room_is_not_compared(chain: Chain) -> None:
    """Only records of the rooms that are in the file are compared."""
    room = [one | {"room_id": "!other:example.org"} for one in room_of(chain)]
    assert {kind for kind, _, _ in found_in(chain, room)} == {"extra"}


def test_who_the_agent_is(chain: Chain) -> None:
    """Results by several users are nobody's until the agent is named; others' prove nothing."""
    room = room_of(chain)
    block = {"event_id": "$event2", "final": True, "number": 99, "verdict": "ran"}
    forged = event("$forged", BOB, 100_000, body="x", **{"nc.tibet.result": block})
    done = crosscheck(chain, [*room[:-1], forged, room[-1]])
    assert (done.status, done.out) == (2, "")
    assert "--agent says who the agent is" in done.err
    assert crosscheck(chain, [*room[:-1], forged, room[-1]], "--agent", AGENT).status == 0


def test_erased_texts(chain: Chain) -> None:
    """Where the text is gone the rest is compared all the same."""
    room = _altered("$event2", body="$ something else")(room_of(chain))
    (chain.root / PAYLOADS / segment_name(0)).unlink()
    assert found_in(chain, room) == []


# --- reading rooms --------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=8,
)


@given(messages=st.lists(st.dictionaries(st.sampled_from(
    ["type", "event_id", "sender", "room_id", "origin_server_ts", "content", "decrypted"]
), PLAIN), max_size=4))  # fmt: skip
@settings(max_examples=200)
def test_any_events_are_read_or_passed_over(
    tmp_path_factory: pytest.TempPathFactory, messages: list[dict[str, object]]
) -> None:
    """Reading an export is total: an event of another form is passed over."""
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps({"messages": messages}))
    read_room(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 10_000, b'{"messages":1}'])
def test_what_is_no_export(tmp_path: Path, content: bytes) -> None:
    """A file that no client wrote is one clear error."""
    path = tmp_path / "room.json"
    path.write_bytes(content)
    with pytest.raises(AuditError, match="not a room"):
        read_room(path)


def test_decrypted_and_encrypted_side_by_side(tmp_path: Path) -> None:
    """An event with both its forms, as the SDK writes them, counts as it was decrypted."""
    inner = event("$a", ALICE, 0, body="hello")
    path = tmp_path / "room.json"
    path.write_text(json.dumps({"messages": [{"decrypted": inner, "encrypted": {}}]}))
    (message,) = read_room(path)
    assert message.text == "hello"
