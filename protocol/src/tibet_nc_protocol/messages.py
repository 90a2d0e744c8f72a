# SPDX-License-Identifier: MIT
"""The messages on the socket (SPEC §5): what the agent may ask and what the executor may say."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tibet_nc_protocol.codec import MessageCodec
from tibet_nc_protocol.limits import (
    BACKGROUND_RUNS,
    CHAIN_TAIL,
    CHUNK_BYTES,
    FRAME_BYTES,
    INLINE_BYTES,
    INPUT_CHARACTERS,
    OPEN_RUNS,
    TAIL_BYTES,
)
from tibet_nc_protocol.terms import (
    Cells,
    CommandText,
    ConnectionId,
    Count,
    DenialCode,
    DeviceId,
    Digest,
    EventId,
    Notes,
    Reason,
    RoomId,
    RunId,
    Signal,
    Stage,
    Text,
    UserId,
)


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What all messages have in common: the tag comes first, and nothing unknown is accepted."""


# --- from the agent to the executor ---------------------------------------------------------------


class Hello(_Message, frozen=True, kw_only=True, tag="hello"):
    """The agent's answer to the challenge; ``connection`` is the challenge's."""

    protocol: Count
    version: Text
    connection: ConnectionId


class Run(_Message, frozen=True, kw_only=True, tag="run"):
    """Run a command that passed the airlock, or give the result if this event ran before.

    ``sent_ms`` is the event's ``origin_server_ts``, in milliseconds since 1970; ``ciphertext`` is
    the SHA-256 over the Megolm sender key, session id and message index.
    """

    request: Count
    room: RoomId
    event: EventId
    sender: UserId
    device: DeviceId
    ciphertext: Digest
    sent_ms: Count
    command: CommandText


class Refuse(_Message, frozen=True, kw_only=True, tag="refuse"):
    """Record that the airlock refused a message."""

    request: Count
    room: RoomId
    event: EventId
    sender: UserId
    device: DeviceId | None
    command: CommandText | None
    stage: Stage
    family: Text | None
    reason: Text


class Alert(_Message, frozen=True, kw_only=True, tag="alert"):
    """Record something that the agent saw and that an auditor must know."""

    request: Count
    what: Text
    detail: Text
    room: RoomId | None
    event: EventId | None
    sender: UserId | None


class Control(_Message, frozen=True, kw_only=True, tag="control"):
    """Signal a running command, named by the number that the room was shown."""

    request: Count
    room: RoomId
    sender: UserId
    number: Count
    signal: Signal


class Input(_Message, frozen=True, kw_only=True, tag="input"):
    """Type something into a running command, and then the end of input if asked."""

    request: Count
    room: RoomId
    sender: UserId
    number: Count
    text: Annotated[str, Meta(max_length=INPUT_CHARACTERS)]
    end: bool


class Tail(_Message, frozen=True, kw_only=True, tag="tail"):
    """Ask for the newest output of a running command."""

    request: Count
    number: Count


class Stop(_Message, frozen=True, kw_only=True, tag="stop"):
    """Kill everything that runs, whoever started it."""

    request: Count
    room: RoomId
    sender: UserId


class Fetch(_Message, frozen=True, kw_only=True, tag="fetch"):
    """Ask for recorded output of a finished run, from an offset in bytes."""

    request: Count
    run: RunId
    offset: Count


class Status(_Message, frozen=True, kw_only=True, tag="status"):
    """Ask how the executor is, and for the session of one operator in one room."""

    request: Count
    room: RoomId
    sender: UserId


class ChainTail(_Message, frozen=True, kw_only=True, tag="chain"):
    """Ask for the newest records of the chain."""

    request: Count
    limit: Annotated[int, Meta(ge=1, le=CHAIN_TAIL)]


class Jobs(_Message, frozen=True, kw_only=True, tag="jobs"):
    """Ask what runs."""

    request: Count


class CloseSession(_Message, frozen=True, kw_only=True, tag="close-session"):
    """End an operator's session in a room: its variables and settings are forgotten."""

    request: Count
    room: RoomId
    sender: UserId


# --- from the administrator of the host to the executor -------------------------------------------


class Erase(_Message, frozen=True, kw_only=True, tag="erase"):
    """Erase the text of a command, and its recording if asked, and record that.

    ``number`` is the intent's or refusal's; ``reason`` is kept in the chain.
    """

    request: Count
    number: Count
    recording: bool
    reason: Text


type Request = (
    Hello
    | Run
    | Refuse
    | Alert
    | Control
    | Input
    | Tail
    | Stop
    | Fetch
    | Status
    | ChainTail
    | Jobs
    | CloseSession
    | Erase
)

# --- from the executor to the agent ---------------------------------------------------------------


class Challenge(_Message, frozen=True, kw_only=True, tag="challenge"):
    """The first message of a connection, before which the agent says nothing."""

    protocol: Count
    version: Text
    connection: ConnectionId


class Welcome(_Message, frozen=True, kw_only=True, tag="welcome"):
    """The hello was good; requests may follow. ``records`` is the length of the chain.

    ``rows`` and ``columns`` are the size of the commands' terminals.
    """

    host: Text
    records: Count
    head: Digest
    rows: Cells
    columns: Cells


class Started(_Message, frozen=True, kw_only=True, tag="started"):
    """The intent is on disk and the command is being run; ``number`` is the intent's."""

    request: Count
    run: RunId
    number: Count
    head: Digest


class Finished(_Message, frozen=True, kw_only=True, tag="finished"):
    """The outcome is on disk. The same answer is given however often the event is asked about.

    ``output_bytes`` and ``output_sha256`` are of everything the command printed;
    ``recorded_bytes`` of it were kept, and up to INLINE_BYTES of them are in ``output``.
    One of ``exit`` (0 to 255) and ``signal`` is set, neither if it isn't known how the run ended.
    ``head`` is the digest of the outcome's record.
    """

    request: Count
    run: RunId
    number: Count
    outcome: Count
    head: Digest
    exit: Count | None
    signal: Count | None
    reason: Reason
    duration_ms: Count
    output_bytes: Count
    output_sha256: Digest
    recorded_bytes: Count
    output: Annotated[bytes, Meta(max_length=INLINE_BYTES)]
    leftover: Count
    token: Text
    notes: Notes
    repeated: bool


class Recorded(_Message, frozen=True, kw_only=True, tag="recorded"):
    """What was asked to be recorded is on disk."""

    request: Count
    number: Count
    head: Digest


class Denied(_Message, frozen=True, kw_only=True, tag="denied"):
    """The executor refuses a request; ``number`` is the record of that, if one could be made."""

    request: Count
    code: DenialCode
    reason: Text
    number: Count | None


class Chunk(_Message, frozen=True, kw_only=True, tag="chunk"):
    """Recorded output from an offset; ``last`` when nothing follows."""

    request: Count
    offset: Count
    data: Annotated[bytes, Meta(max_length=CHUNK_BYTES)]
    last: bool


class TailReport(_Message, frozen=True, kw_only=True, tag="tail-report"):
    """The newest output of a running command; ``output_bytes`` is how much there is in all."""

    request: Count
    number: Count
    output_bytes: Count
    data: Annotated[bytes, Meta(max_length=TAIL_BYTES)]


class Done(_Message, frozen=True, kw_only=True, tag="done"):
    """What was asked was done to ``count`` commands."""

    request: Count
    count: Count


class Announcement(_Message, frozen=True, kw_only=True, tag="announcement"):
    """A checkpoint that was made; nobody asked. The room is to hold it, so that a cut is noticed.

    ``note`` is a signed note (C2SP tlog-checkpoint) over the first ``size`` records.
    """

    size: Count
    root: Digest
    note: Text


class Cage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds a command in: the facts that a program needs, and all of them for people.

    ``network`` says that commands can open network sockets, ``network_view`` that they can look at
    the network (netlink), ``read_only`` that the system's directories are mounted read-only.
    """

    separated: bool
    restricted: bool
    network: bool
    network_view: bool
    read_only: bool
    walls: Annotated[tuple[Text, ...], Meta(max_length=16)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one command may take, how much of its output is kept, and how long a session lasts."""

    idle_s: Count
    total_s: Count
    session_idle_s: Count
    session_total_s: Count
    processes: Count
    memory_bytes: Count
    address_space_bytes: Count
    file_bytes: Count
    open_files: Count
    recording_bytes: Count
    home_bytes: Count


class SessionNotice(_Message, frozen=True, kw_only=True, tag="session-notice"):
    """A session ends soon, or has ended; nobody asked. The agent tells the room.

    ``seconds`` is how long it has left: 0 when it has ended.
    """

    room: RoomId
    sender: UserId
    session: Text
    seconds: Count
    reason: Text


class StatusReport(_Message, frozen=True, kw_only=True, tag="status-report"):
    """How the executor is. ``session`` is None when the operator has none yet in that room.

    ``directory`` is where the session's next command starts, as the session's own shell told it;
    ``denial`` is why a command of that operator in that room would be denied now, ``journal`` what
    the system's journal lacks of the chain.
    """

    request: Count
    host: Text
    version: Text
    uptime_s: Count
    records: Count
    head: Digest
    runs: Count
    refusals: Count
    running: Count
    session: Text | None
    session_commands: Count
    directory: Text | None
    denial: Text | None
    journal: Text | None
    cage: Cage
    limits: Limits


class ChainEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record, as a line of a report."""

    number: Count
    kind: Text
    time: Text
    digest: Digest
    summary: Text


class ChainReport(_Message, frozen=True, kw_only=True, tag="chain-report"):
    """The newest records, oldest first, and the key with which to check them."""

    request: Count
    records: Count
    head: Digest
    executor: Text
    key: Digest
    entries: Annotated[tuple[ChainEntry, ...], Meta(max_length=CHAIN_TAIL)]


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One command that runs, or has ended and left ``left`` processes running.

    Of the latter ``seconds`` and ``output_bytes`` count from the end of the command on.
    """

    number: Count
    sender: UserId
    seconds: Count
    output_bytes: Count
    command: Text
    left: Count


class JobsReport(_Message, frozen=True, kw_only=True, tag="jobs-report"):
    """What runs, oldest first."""

    request: Count
    jobs: Annotated[tuple[Job, ...], Meta(max_length=OPEN_RUNS + BACKGROUND_RUNS)]


class Failure(_Message, frozen=True, kw_only=True, tag="failure"):
    """The peer broke the rules; the connection closes after this."""

    reason: Text


type Response = (
    Challenge
    | Welcome
    | Started
    | Finished
    | Recorded
    | Denied
    | Chunk
    | StatusReport
    | ChainReport
    | JobsReport
    | TailReport
    | Done
    | Announcement
    | SessionNotice
    | Failure
)

REQUESTS: Final[MessageCodec[Request]] = MessageCodec(Request.__value__, max_bytes=FRAME_BYTES)
RESPONSES: Final[MessageCodec[Response]] = MessageCodec(Response.__value__, max_bytes=FRAME_BYTES)
