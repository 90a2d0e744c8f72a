# SPDX-License-Identifier: MIT
"""Makes state directories as an executor leaves them: real records, signed, always the same."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tibet_nc_protocol import note
from tibet_nc_protocol.layout import (
    CHAIN,
    PAYLOADS,
    PAYLOADS_CODEC,
    RECORDINGS,
    TOKENS,
    Payload,
    recording_name,
    remainder_name,
    segment_name,
)
from tibet_nc_protocol.merkle import leaf_hash, tree_root
from tibet_nc_protocol.recording import CastWriter
from tibet_nc_protocol.records import (
    ERASED_BOTH,
    FIRST_PREV,
    FORMAT,
    RECORDS,
    Aborted,
    Checkpoint,
    Genesis,
    Intent,
    Key,
    Outcome,
    Record,
    Refusal,
    Remainder,
    Security,
    SecurityEvent,
    Session,
    SessionState,
    actor,
    commitment,
    digest,
    sign,
)
from tibet_nc_protocol.signing import Identity
from tibet_nc_protocol.terms import Reason, Stage, run_id

EXECUTOR = Identity(bytes(range(32)))
AGENT = Identity(bytes(range(32, 64)))
STRANGER = Identity(bytes(range(64, 96)))
LATER = Identity(bytes(range(96, 128)))
ROOM = "!diagnostics:example.org"
ALICE = "@alice:example.org"
BOB = "@bob:example.org"
BEGIN = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
CHUNK = 1000


@dataclass
class Chain:
    """A chain under a directory, written as it grows."""

    root: Path
    identity: Identity = EXECUTOR
    segment_records: int = 1_000_000
    length: int = 0
    head: str = FIRST_PREV
    origin: str = ""
    _segment: int = 0
    _commands: dict[int, Intent] = field(default_factory=dict)
    _left: dict[int, tuple[str, str]] = field(default_factory=dict)
    _token: str | None = None

    def __post_init__(self) -> None:
        """Make the directories and the genesis record."""
        for folder in (CHAIN, PAYLOADS, RECORDINGS):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        self.append(
            lambda seq, prev, time: Genesis(
                seq=seq,
                prev=prev,
                time=time,
                format=FORMAT,
                host="db1.example.org",
                executor=self.identity.id,
                key=self.identity.public_key.hex,
                agent=AGENT.id,
                agent_key=AGENT.public_key.hex,
                version="1.0.0",
            )
        )

    def append(self, make: Callable[[int, str, str], Record], text: str | None = None) -> int:
        """Append a record, and the text it commits to; return its number."""
        seq = self.length
        if seq and seq % self.segment_records == 0:
            self._segment = seq
        name = segment_name(self._segment)
        if text is not None:
            payload = Payload(seq=seq, salt=salt(seq).hex(), command=text)
            add(self.root / PAYLOADS / name, PAYLOADS_CODEC.encode(payload) + b"\n")
        line = RECORDS.encode(sign(make(seq, self.head, moment(seq)), self.identity))
        add(self.root / CHAIN / name, line + b"\n")
        self.head = digest(line)
        self.length += 1
        return seq

    def intent(self, text: str, *, sender: str = ALICE) -> int:
        """Begin a command."""
        event = f"$event{self.length}"

        def make(seq: int, prev: str, time: str) -> Intent:
            self._commands[seq] = Intent(
                seq=seq,
                prev=prev,
                time=time,
                run=run_id(ROOM, event),
                room=ROOM,
                event=event,
                sender=sender,
                actor=actor(sender),
                device="DEVICE",
                session="s1",
                ciphertext=sha256(event.encode()),
                command=commitment(salt(seq), text),
                request=sha256(b"request" + event.encode()),
            )
            return self._commands[seq]

        return self.append(make, text)

    def outcome(
        self,
        number: int,
        output: bytes = b"",
        *,
        status: int | None = 0,
        signal: int | None = None,
        reason: Reason = Reason.EXITED,
        cap: int | None = None,
        leftover: int = 0,
        token: Callable[[bytes], bytes] = lambda line: line,
        alter: Callable[[Outcome], Outcome] = lambda outcome: outcome,
    ) -> int:
        """End a command, with its recording and its token.

        ``token`` and ``alter`` let the executor itself be wrong: what they return is on record.
        """
        intent = self._commands.pop(number)
        self._left[number] = (intent.session, intent.run)
        kept = output if cap is None else output[:cap]
        recording = ""
        if output:
            recording = recording_name(number)
            (self.root / RECORDINGS / recording).write_bytes(cast(kept, str(status)))
        line = token(token_line(intent, status, self._token))
        self._token = f"tibet_{intent.run}"
        add(self.root / TOKENS, line + b"\n")
        return self.append(
            lambda seq, prev, time: alter(
                Outcome(
                    seq=seq,
                    prev=prev,
                    time=time,
                    intent=number,
                    run=intent.run,
                    session=intent.session,
                    reason=reason,
                    duration_ms=38,
                    output_bytes=len(output),
                    output_sha256=sha256(output),
                    recorded_bytes=len(kept),
                    recording=recording,
                    leftover=leftover,
                    token=f"tibet_{intent.run}",
                    token_sha256=sha256(line),
                    exit=status,
                    signal=signal,
                )
            )
        )

    def remainder(self, number: int, output: bytes = b"") -> int:
        """End what a command had left running, with its recording."""
        recording = ""
        if output:
            recording = remainder_name(number)
            (self.root / RECORDINGS / recording).write_bytes(cast(output, "0"))
        session, run = self._left.pop(number)
        return self.append(
            lambda seq, prev, time: Remainder(
                seq=seq,
                prev=prev,
                time=time,
                intent=number,
                run=run,
                session=session,
                reason=Reason.KILLED,
                duration_ms=5000,
                output_bytes=len(output),
                output_sha256=sha256(output),
                recorded_bytes=len(output),
                recording=recording,
                killed=1,
            )
        )

    def aborted(self, number: int) -> int:
        """Say that the executor ended while a command ran."""
        intent = self._commands.pop(number)
        return self.append(
            lambda seq, prev, time: Aborted(
                seq=seq,
                prev=prev,
                time=time,
                intent=number,
                run=intent.run,
                detail="the executor was stopped",
            )
        )

    def refusal(
        self, text: str | None, *, sender: str = BOB, detail: str = "stops the host"
    ) -> int:
        """Refuse a message."""

        def make(seq: int, prev: str, time: str) -> Refusal:
            return Refusal(
                seq=seq,
                prev=prev,
                time=time,
                room=ROOM,
                event=f"$refused{seq}",
                sender=sender,
                actor=actor(sender),
                stage=Stage.SAFETY,
                detail=detail,
                device="DEVICE",
                family="power",
                command=None if text is None else commitment(salt(seq), text),
            )

        return self.append(make, text)

    def security(self, detail: str = "a process of uid 1000 connected") -> int:
        """Record something that an auditor must know."""
        return self.append(
            lambda seq, prev, time: Security(
                seq=seq, prev=prev, time=time, what=SecurityEvent.PEER, detail=detail, uid=1000
            )
        )

    def session(self, state: SessionState = SessionState.OPENED) -> int:
        """Open or close a session."""
        return self.append(
            lambda seq, prev, time: Session(
                seq=seq,
                prev=prev,
                time=time,
                session="s1",
                state=state,
                room=ROOM,
                sender=ALICE,
                actor=actor(ALICE),
                detail="first command",
            )
        )

    def erased(self, number: int, what: str = ERASED_BOTH) -> int:
        """Record that something of a command was erased, without erasing it."""
        return self.append(
            lambda seq, prev, time: Security(
                seq=seq,
                prev=prev,
                time=time,
                what=SecurityEvent.ERASED,
                detail=f"{what} of #{number}: a password",
                number=number,
            )
        )

    def retention(self, number: int) -> int:
        """Record that recordings up to a command's are kept no longer, without deleting them."""
        return self.append(
            lambda seq, prev, time: Security(
                seq=seq,
                prev=prev,
                time=time,
                what=SecurityEvent.RETENTION,
                detail=f"recordings of 1 command up to #{number}",
                number=number,
            )
        )

    def unsent(self, first: int, detail: str) -> int:
        """Record that journald did not take entries, from this record's on."""
        return self.append(
            lambda seq, prev, time: Security(
                seq=seq,
                prev=prev,
                time=time,
                what=SecurityEvent.JOURNAL,
                detail=detail,
                number=first,
            )
        )

    def checkpoint(self, *, root: bytes | None = None) -> int:
        """Record a checkpoint, of another root if one is given."""
        root = root or tree_root([leaf_hash(line) for line in self.lines])
        origin = self.origin or self.identity.id
        text = note.Checkpoint(origin=origin, size=self.length, root=root).text()
        return self.append(
            lambda seq, prev, time: Checkpoint(
                seq=seq,
                prev=prev,
                time=time,
                size=seq,
                root=root.hex(),
                note=note.sign_note(text, origin, self.identity),
            )
        )

    def rotate(self, identity: Identity) -> int:
        """Go on with another key."""
        number = self.append(
            lambda seq, prev, time: Key(
                seq=seq,
                prev=prev,
                time=time,
                executor=identity.id,
                key=identity.public_key.hex,
            )
        )
        self.origin = self.origin or self.identity.id
        self.identity = identity
        return number

    def command(self, text: str, output: bytes = b"", *, status: int = 0) -> int:
        """Run a command from begin to end; return its number."""
        number = self.intent(text)
        self.outcome(number, output, status=status)
        return number

    @property
    def texts(self) -> Path:
        """The file to which the next record's text goes, unless that begins a segment."""
        return self.root / PAYLOADS / segment_name(self._segment)

    @property
    def lines(self) -> list[bytes]:
        """The lines of the chain."""
        return [line for path in self.segments for line in path.read_bytes().splitlines()]

    @property
    def segments(self) -> list[Path]:
        """The chain's files, in order."""
        return sorted((self.root / CHAIN).iterdir())


def sample(root: Path, *, segment_records: int = 1_000_000) -> Chain:
    """Make a chain with a bit of everything, 19 records long; the last command still runs."""
    chain = Chain(root, segment_records=segment_records)
    chain.session()
    chain.command("df -h", b"Filesystem      Size  Used Avail Use% Mounted on\n/dev/sda1 20G\n")
    chain.command("sh -c 'exit 42'", status=42)
    slow = chain.intent("sleep 2; printf '\\xff\\xfe'")
    chain.command("uptime", "10:00 up 3 days, größer\n".encode())
    chain.outcome(slow, b"\xff\xfe done \xe2\x82")
    chain.refusal("reboot")
    chain.refusal(None, detail="not an operator of this host")
    chain.security()
    capped = chain.intent("yes")
    chain.outcome(capped, b"y\n" * 500, status=None, signal=9, reason=Reason.KILLED, cap=100)
    chain.aborted(chain.intent("make world"))
    chain.intent("tail -f /var/log/syslog", sender=BOB)
    chain.checkpoint()
    return chain


def salt(seq: int) -> bytes:
    """Return the salt of a record's text."""
    return hashlib.sha256(b"salt%d" % seq).digest()[:16]


def moment(seq: int) -> str:
    """Return the time of a record: one each second."""
    return (BEGIN + timedelta(seconds=seq)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def sha256(data: bytes) -> str:
    """Return the SHA-256 as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def add(path: Path, data: bytes) -> None:
    """Append to a file."""
    with path.open("ab") as file:
        file.write(data)


def cast(output: bytes, status: str) -> bytes:
    """Return a recording of some output, which came in chunks, half a second apart."""
    writer = CastWriter()
    lines = [writer.header(columns=80, rows=24, timestamp=1_795_600_800, title="a command")]
    lines.extend(
        writer.output(output[index : index + CHUNK], index / CHUNK / 2)
        for index in range(0, len(output), CHUNK)
    )
    lines.append(writer.finish(len(output) / CHUNK / 2, status))
    return b"".join(lines)


def token_line(intent: Intent, status: int | None, parent: str | None) -> bytes:
    """Return the TIBET token of a command, as tibet-core writes it."""
    content: dict[str, object] = {
        "token_id": f"tibet_{intent.run}",
        "action": "nc.command.execute",
        "timestamp": intent.time.replace("Z", "+00:00"),
        "actor": intent.actor,
        "erin": {"command": intent.command, "exit": status},
        "eraan": [intent.event],
        "eromheen": {"host": "db1.example.org", "größe": 1.5},
        "erachter": "an operator asked for it in a Matrix room",
        "parent_id": parent,
        "state": "resolved",
    }
    found = sha256(json.dumps(content, sort_keys=True).encode())
    return json.dumps(content | {"content_hash": found, "signature": ""}).encode()
