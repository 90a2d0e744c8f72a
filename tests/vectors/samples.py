# SPDX-License-Identifier: MIT
"""Fixed keys and values: one of every message and record, one whole connection, one chain.

SPEC.md shows the connection and the chain; the vectors and the tests are made from all of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tibet_nc_protocol import note
from tibet_nc_protocol.envelope import Opener, Sealer
from tibet_nc_protocol.framing import frame
from tibet_nc_protocol.merkle import leaf_hash, tree_root
from tibet_nc_protocol.messages import (
    REQUESTS,
    RESPONSES,
    Alert,
    Announcement,
    Cage,
    ChainEntry,
    ChainReport,
    ChainTail,
    Challenge,
    Chunk,
    CloseSession,
    Control,
    Denied,
    Done,
    Erase,
    Failure,
    Fetch,
    Finished,
    Hello,
    Input,
    Job,
    Jobs,
    JobsReport,
    Limits,
    Recorded,
    Refuse,
    Request,
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
from tibet_nc_protocol.records import (
    FIRST_PREV,
    FORMAT,
    RECORDS,
    Checkpoint,
    Genesis,
    Intent,
    Key,
    Outcome,
    Record,
    Remainder,
    actor,
    commitment,
    digest,
    sign,
)
from tibet_nc_protocol.signing import Identity, Purpose
from tibet_nc_protocol.terms import DenialCode, Reason, Signal, Stage, run_id


def _secret(name: str) -> bytes:
    """Return secret bytes that anyone can make: these keys must never be used for anything."""
    return hashlib.sha256(f"tibet-nc test key: {name}".encode()).digest()


AGENT: Final = Identity(_secret("agent"))
EXECUTOR: Final = Identity(_secret("executor"))
NEXT: Final = Identity(_secret("executor, after a change of its key"))
STRANGER: Final = Identity(_secret("stranger"))

VERSION: Final = "1.0.0"
HOST: Final = "web1"
ROOM: Final = "!ops:example.org"
EVENT: Final = "$C5ZkE0rgkGP0hKKl2yRZm8CVfzRxGdTkRZ7LxKzBcGo"
OTHER_EVENT: Final = "$2wMzFZ1pYdnYvL3kqS8nBtHrKc0uXjEoA4gT6iVsQxU"
THIRD_EVENT: Final = "$" + "T" * 43
SENDER: Final = "@ada:example.org"
OTHER_SENDER: Final = "@eve:example.org"
DEVICE: Final = "QBUAZIFURK"
CONNECTION: Final = "00112233445566778899aabbccddeeff"
COMMAND: Final = "uname"
OUTPUT: Final = b"Linux\n"
OUTPUT_SHA256: Final = hashlib.sha256(OUTPUT).hexdigest()
SALT: Final = bytes(range(16))
SESSION: Final = "0123456789abcdef"
SENT_MS: Final = 1795564799123
RUN: Final = run_id(ROOM, EVENT)
TOKEN: Final = f"tibet_{RUN}"


def ciphertext(event: str) -> str:
    """Return what stands for the digest of an event's Megolm sender key, session and index."""
    return hashlib.sha256(f"ciphertext of {event}".encode()).hexdigest()


def time(second: int) -> str:
    """Return a time of a record."""
    return f"2026-11-25T00:00:{second:02d}.000000Z"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A record, its line without the line end, and its digest."""

    record: Record
    line: bytes
    digest: str


def signed(record: Record, identity: Identity = EXECUTOR) -> Line:
    """Sign and encode a record."""
    record = sign(record, identity)
    line = RECORDS.encode(record)
    return Line(record=record, line=line, digest=digest(line))


def genesis(identity: Identity = EXECUTOR) -> Line:
    """Return the first record of an executor's chain."""
    return signed(
        Genesis(
            seq=0,
            prev=FIRST_PREV,
            time=time(0),
            format=FORMAT,
            host=HOST,
            executor=identity.id,
            key=identity.public_key.hex,
            agent=AGENT.id,
            agent_key=AGENT.public_key.hex,
            version=VERSION,
        ),
        identity,
    )


_HELLO: Final = Hello(protocol=1, version=VERSION, connection=CONNECTION)
RUN_REQUEST: Final = Run(
    request=1,
    room=ROOM,
    event=EVENT,
    sender=SENDER,
    device=DEVICE,
    ciphertext=ciphertext(EVENT),
    sent_ms=SENT_MS,
    command=COMMAND,
)


def new_key(seq: int, prev: str) -> Key:
    """Return the record with which the chain goes on with the next key, unsigned."""
    return Key(seq=seq, prev=prev, time=time(seq), executor=NEXT.id, key=NEXT.public_key.hex)


def checkpoint(lines: Sequence[bytes], identity: Identity = EXECUTOR) -> Checkpoint:
    """Return the checkpoint over these lines, unsigned but for its note."""
    root = tree_root([leaf_hash(line) for line in lines])
    noted = note.Checkpoint(origin=EXECUTOR.id, size=len(lines), root=root)
    return Checkpoint(
        seq=len(lines),
        prev=digest(lines[-1]),
        time=time(len(lines)),
        size=len(lines),
        root=root.hex(),
        note=note.sign_note(noted.text(), EXECUTOR.id, identity),
    )


def _run_envelope() -> bytes:
    """Return the signed request that the intents say they follow from."""
    sealer = request_sealer()
    sealer.seal(_HELLO)
    return sealer.seal(RUN_REQUEST)


def intent(seq: int, prev: str, *, event: str = EVENT) -> Intent:
    """Return the record of a command that is about to run, unsigned."""
    return Intent(
        seq=seq,
        prev=prev,
        time=time(seq),
        run=run_id(ROOM, event),
        room=ROOM,
        event=event,
        sender=SENDER,
        actor=actor(SENDER),
        device=DEVICE,
        session=SESSION,
        ciphertext=ciphertext(event),
        command=commitment(SALT, COMMAND),
        request=hashlib.sha256(_run_envelope()).hexdigest(),
    )


def outcome(seq: int, prev: str, *, of: int, event: str = EVENT, leftover: int = 0) -> Outcome:
    """Return the record of a command that exited with 0, unsigned."""
    return Outcome(
        seq=seq,
        prev=prev,
        time=time(seq),
        intent=of,
        run=run_id(ROOM, event),
        session=SESSION,
        reason=Reason.EXITED,
        duration_ms=38,
        output_bytes=len(OUTPUT),
        output_sha256=OUTPUT_SHA256,
        recorded_bytes=len(OUTPUT),
        recording=f"{of:012d}.cast",
        leftover=leftover,
        token=TOKEN,
        token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(),
        exit=0,
    )


def remainder(seq: int, prev: str, *, of: int, run: str = "") -> Remainder:
    """Return the record of what a command left running and that printed nothing, unsigned."""
    return Remainder(
        seq=seq,
        prev=prev,
        time=time(seq),
        intent=of,
        run=run or run_id(ROOM, EVENT),
        session=SESSION,
        reason=Reason.EXITED,
        duration_ms=9000,
        output_bytes=0,
        output_sha256=hashlib.sha256().hexdigest(),
        recorded_bytes=0,
        recording="",
        killed=0,
    )


def three_records() -> tuple[Line, Line, Line]:
    """Return the chain of SPEC.md: a genesis, and one command."""
    first = genesis()
    second = signed(intent(1, first.digest))
    third = signed(outcome(2, second.digest, of=1))
    return first, second, third


def requests() -> dict[str, Request]:
    """Return one message of each type from the agent, by its tag."""
    messages: list[Request] = [
        _HELLO,
        RUN_REQUEST,
        Refuse(
            request=2,
            room=ROOM,
            event=OTHER_EVENT,
            sender=SENDER,
            device=None,
            command="rm -rf /",
            stage=Stage.SAFETY,
            family="destruction",
            reason="removes the root directory",
        ),
        Alert(
            request=3,
            what="device",
            detail="a device that its owner did not sign sent a message",
            room=ROOM,
            event=None,
            sender=SENDER,
        ),
        Control(request=4, room=ROOM, sender=SENDER, number=1, signal=Signal.INTERRUPT),
        Input(request=10, room=ROOM, sender=SENDER, number=1, text="yes\n", end=False),
        Tail(request=11, number=1),
        Stop(request=12, room=ROOM, sender=SENDER),
        Fetch(request=5, run=RUN, offset=65536),
        Status(request=6, room=ROOM, sender=SENDER),
        ChainTail(request=7, limit=3),
        Jobs(request=8),
        CloseSession(request=9, room=ROOM, sender=SENDER),
        Erase(request=1, number=1, recording=True, reason="a password was typed"),
    ]
    return {_tag(message): message for message in messages}


def responses() -> dict[str, Response]:
    """Return one message of each type from the executor, by its tag."""
    first, second, third = three_records()
    noted = checkpoint([first.line, second.line, third.line])
    messages: list[Response] = [
        Challenge(protocol=1, version=VERSION, connection=CONNECTION),
        Welcome(host=HOST, records=1, head=first.digest, rows=24, columns=80),
        Started(request=1, run=RUN, number=1, head=second.digest),
        Finished(
            request=1,
            run=RUN,
            number=1,
            outcome=2,
            head=third.digest,
            exit=0,
            signal=None,
            reason=Reason.EXITED,
            duration_ms=38,
            output_bytes=len(OUTPUT),
            output_sha256=OUTPUT_SHA256,
            recorded_bytes=len(OUTPUT),
            output=OUTPUT,
            leftover=0,
            token=TOKEN,
            notes=(),
            repeated=False,
        ),
        Recorded(request=2, number=4, head=third.digest),
        Denied(request=3, code=DenialCode.STALE, reason="the event is 45 s old", number=None),
        Chunk(request=5, offset=65536, data=b"\x00\xff", last=True),
        StatusReport(
            request=6,
            host=HOST,
            version=VERSION,
            uptime_s=3600,
            records=3,
            head=third.digest,
            runs=1,
            refusals=0,
            running=0,
            session=None,
            session_commands=0,
            directory="/home/shell",
            denial=None,
            journal=None,
            cage=Cage(
                separated=True,
                restricted=True,
                network=False,
                network_view=False,
                read_only=True,
                walls=("no network",),
            ),
            limits=Limits(
                idle_s=600,
                total_s=3600,
                session_idle_s=3600,
                session_total_s=86400,
                processes=256,
                memory_bytes=2**31,
                address_space_bytes=2**31,
                file_bytes=2**28,
                open_files=256,
                recording_bytes=2**26,
                home_bytes=2**29,
            ),
        ),
        ChainReport(
            request=7,
            records=3,
            head=third.digest,
            executor=EXECUTOR.id,
            key=EXECUTOR.public_key.hex,
            entries=(
                ChainEntry(
                    number=2, kind="outcome", time=time(2), digest=third.digest, summary="exit 0"
                ),
            ),
        ),
        JobsReport(
            request=8,
            jobs=(
                Job(number=1, sender=SENDER, seconds=5, output_bytes=0, command="sleep 9", left=0),
            ),
        ),
        TailReport(request=11, number=1, output_bytes=9000, data=b"newest\n"),
        Done(request=12, count=1),
        Announcement(size=3, root=noted.root, note=noted.note),
        SessionNotice(
            room=ROOM,
            sender=SENDER,
            session=SESSION,
            seconds=60,
            reason="no command for 60 minutes",
        ),
        Failure(reason="a request that this state does not permit"),
    ]
    return {_tag(message): message for message in messages}


def _tag(message: Request | Response) -> str:
    tag = message.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def request_sealer(identity: Identity = AGENT, connection: str = CONNECTION) -> Sealer[Request]:
    """Return the agent's end of the direction in which requests go."""
    sealer = Sealer(identity, Purpose.REQUEST, REQUESTS)
    sealer.connection = connection
    return sealer


def request_opener(connection: str = CONNECTION) -> Opener[Request]:
    """Return the executor's end of the direction in which requests go."""
    opener = Opener(AGENT.public_key, Purpose.REQUEST, REQUESTS)
    opener.connection = connection
    return opener


def response_sealer() -> Sealer[Response]:
    """Return the executor's end of the other direction; the connection is set after message 0."""
    return Sealer(EXECUTOR, Purpose.RESPONSE, RESPONSES)


def response_opener() -> Opener[Response]:
    """Return the agent's end of the other direction; the connection is set after message 0."""
    return Opener(EXECUTOR.public_key, Purpose.RESPONSE, RESPONSES)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One frame of the connection of SPEC.md."""

    tag: str
    from_agent: bool
    frame: bytes


def connection() -> list[Sent]:
    """Return the connection of SPEC.md: the frames of both directions, as they are sent."""
    agent, executor = request_sealer(), response_sealer()
    asked, answered = requests(), responses()
    sent: list[Sent] = []
    for tag in ("challenge", "hello", "welcome", "run", "started", "finished"):
        from_agent = tag in asked
        envelope = agent.seal(asked[tag]) if from_agent else executor.seal(answered[tag])
        sent.append(Sent(tag=tag, from_agent=from_agent, frame=frame(envelope)))
        executor.connection = CONNECTION
    return sent
