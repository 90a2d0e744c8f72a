# SPDX-License-Identifier: MIT
"""Whether a sequence of lines is one unbroken chain (SPEC §7; I8).

The verifier is fed one line after the other and keeps only where it is, so its memory doesn't
grow with the chain but for the commands that are open at once or have left something running.
"""

from collections.abc import Callable

from tibet_nc_protocol import note
from tibet_nc_protocol.errors import DecodeError, NoteError, RecordError, SignatureError
from tibet_nc_protocol.merkle import Frontier, leaf_hash
from tibet_nc_protocol.records import (
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
    Remainder,
    digest,
    verify_signature,
)
from tibet_nc_protocol.signing import PublicKey


class ChainVerifier:
    """Check each line against those before it.

    With ``key`` the chain must be of that executor; without it, the key is taken from the genesis
    record, which proves only that the chain agrees with itself. ``verify`` is called with each
    record and its key, and raises SignatureError; whoever gives another than verify_signature
    answers for the signatures that it passes over. The checkpoints' notes are always verified.
    """

    def __init__(
        self,
        key: PublicKey | None = None,
        *,
        verify: Callable[[Record, PublicKey], object] = verify_signature,
    ) -> None:
        self.key = key
        self.length = 0
        self.head = FIRST_PREV
        self.open: dict[int, str] = {}
        """Intents without an outcome so far: record number to run id."""
        self.left: dict[int, str] = {}
        """Intents whose outcome left something running, and without a remainder so far."""
        self.frontier = Frontier()
        """The tree over the lines so far; only with ``roots``."""
        self.roots = True
        """Whether checkpoints are compared with the tree; without, it is let go."""
        self.origin = ""
        """The name of the chain in its checkpoints, from the genesis record."""
        self._verify = verify

    def feed(self, line: bytes) -> Record:
        """Return the record in a line, given without its line end; raises RecordError.

        The numbers are the steps of SPEC §7. After an error the verifier is as it was before.
        """
        place = self.length
        try:
            record = RECORDS.decode(line)  # 1, 2
        except DecodeError as error:
            raise RecordError(place, f"not a record ({error})") from None
        if record.seq != place:  # 3: a record was dropped, inserted, doubled or moved
            raise RecordError(place, "wrong number", expected=str(place), found=str(record.seq))
        if record.prev != self.head:  # 4: the record before this one was altered or replaced
            raise RecordError(
                place, "not linked to the record before", expected=self.head, found=record.prev
            )
        key = self._key_for(record)  # 5
        try:
            self._verify(record, key)  # 6: altered, or written by another
        except SignatureError as error:
            raise RecordError(place, str(error)) from None
        self._follow(record)  # 7
        if isinstance(record, Checkpoint):
            self._check(record, key)  # 8
        if isinstance(record, Genesis):
            self.origin = record.executor
        self.key = self._next_key(record, key)
        if self.roots:
            self.frontier.append(leaf_hash(line))
        self.head = digest(line)
        self.length += 1
        return record

    def _key_for(self, record: Record) -> PublicKey:
        """Step 5: exactly the first record is the genesis, and it names the key we expect."""
        if isinstance(record, Genesis) != (record.seq == 0):
            raise RecordError(record.seq, "the genesis is the first record, and only that")
        if not isinstance(record, Genesis):
            if self.key is None:
                raise RecordError(record.seq, "no key to check this record with")
            return self.key
        if record.format != FORMAT:
            raise RecordError(0, "another format", expected=str(FORMAT), found=str(record.format))
        try:
            key = PublicKey.from_hex(record.key)
        except SignatureError as error:
            raise RecordError(0, str(error)) from None
        if self.key is not None and key != self.key:
            raise RecordError(0, "another executor's chain", expected=self.key.hex, found=key.hex)
        return key

    @staticmethod
    def _next_key(record: Record, key: PublicKey) -> PublicKey:
        """Return the key of the next record; a key record, signed with the old one, names it."""
        if not isinstance(record, Key):
            return key
        try:
            return PublicKey.from_hex(record.key)
        except SignatureError as error:
            raise RecordError(record.seq, f"the new key: {error}") from None

    def _follow(self, record: Record) -> None:
        """Step 7: a command ends once, and only one that began; so does what it left running."""
        match record:
            case Intent():
                self.open[record.seq] = record.run
            case Outcome() | Aborted():
                self._end(self.open, record, "ends a command that is not open")
                if isinstance(record, Outcome) and record.leftover:
                    self.left[record.intent] = record.run
            case Remainder():
                self._end(self.left, record, "ends what no command has left running")
            case _:
                pass

    @staticmethod
    def _end(going: dict[int, str], record: Outcome | Aborted | Remainder, unknown: str) -> None:
        run = going.get(record.intent)
        if run is None:
            raise RecordError(record.seq, unknown, found=str(record.intent))
        if run != record.run:
            raise RecordError(record.seq, "ends another run", expected=run, found=record.run)
        del going[record.intent]

    def _check(self, record: Checkpoint, key: PublicKey) -> None:
        """Step 8: a checkpoint is of the lines before it, and its note says the same."""
        if record.size != record.seq:
            raise RecordError(
                record.seq,
                "a checkpoint of another size",
                expected=str(record.seq),
                found=str(record.size),
            )
        if self.roots and record.root != (root := self.frontier.root().hex()):
            raise RecordError(
                record.seq, "a checkpoint of another root", expected=root, found=record.root
            )
        try:
            noted = note.open_checkpoint(record.note, note.Verifier(name=self.origin, key=key))
        except NoteError as error:
            raise RecordError(record.seq, f"the checkpoint's note: {error}") from None
        said = (noted.origin, noted.size, noted.root.hex())
        if said != (self.origin, record.size, record.root):
            raise RecordError(record.seq, "the checkpoint's note says something else")
