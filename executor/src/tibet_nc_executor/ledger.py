# SPDX-License-Identifier: MIT
"""The only writer of the chain: nothing runs before its record is on disk (I1, I7).

The life of a record
--------------------
1. It is given its place: number, digest of the line before, time; then signed and encoded.
2. If it commits to a command, the text and its salt are written to the payload segment.
3. The line is written to the chain's last segment. If that fails both files are cut back to where
   they were, and the caller is told: nothing was recorded.
4. The payload segment is synced and whatever else the record speaks of, then the chain: by a
   thread, or here and now while the disk answers faster than a thread could be asked. All records
   written while a sync was under way share the next one.
5. Only then is the caller told.

A next segment is begun only while nothing waits for its sync: where a power cut takes the end of
the last segment, none comes after it, or records would be missing in the middle of the chain.

A crash before 3 leaves nothing, or a payload without a record, which is harmless, or a torn one,
which the next start cuts off. A crash in 3 leaves a torn line, which the next start cuts off and
records. A crash between 3 and 5 leaves a record whose caller was never told: an intent that did not
run, which the next start closes with an ``aborted`` record. When a sync fails, nobody can know what
is on disk (the kernel may have dropped the pages), so the ledger takes nothing more until it is
opened anew.

When the disk is full, what must be recorded gets the room that is kept for that (reserve).
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Self

from tibet_nc_executor import durable, segments
from tibet_nc_executor.durable import make_directory, open_append, sync_directory
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.reserve import Reserve
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.layout import (
    CHAIN,
    PAYLOADS,
    PAYLOADS_CODEC,
    SALT_BYTES,
    Payload,
    segment_name,
)
from tibet_nc_protocol.merkle import Frontier, leaf_hash
from tibet_nc_protocol.records import RECORDS, Record, commitment, digest, sign
from tibet_nc_protocol.signing import Identity

AT_ONCE_S: Final = 0.003
"""A disk that usually syncs faster than this isn't worth a thread, which costs 0.2 ms each time
and up to a millisecond on a busy machine. One that has become slow holds everything else up for
one record, and then has its thread."""

type _Waiting = tuple[Record, str, asyncio.Future[None]]


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a record must know of the chain it is appended to."""

    seq: int
    prev: str
    time: str
    tree: Frontier
    """The tree over all lines before this one."""


@dataclass(frozen=True, kw_only=True)
class Salted:
    """The text of a command and the salt with which a record commits to it."""

    salt: bytes
    command: str

    @classmethod
    def of(cls, command: str) -> Self:
        """Return a command with a salt of its own."""
        return cls(salt=os.urandom(SALT_BYTES), command=command)

    @property
    def commitment(self) -> str:
        """What the record holds."""
        return commitment(self.salt, self.command)


def timestamp(seconds: float) -> str:
    """Return a time since 1970 as records write it: UTC with microseconds (RFC 3339)."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
    return f"{text.removesuffix('+00:00')}Z"


class Ledger:
    """The chain of one executor, open for appending; one at a time, which a lock sees to."""

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        *,
        clock: Callable[[], float],
        segment_bytes: int,
        after: Callable[[Record, str], None],
    ) -> None:
        """Open or make the chain under a state directory; raises LedgerError.

        ``after`` is called with each record and its digest when it is on disk, in order, before
        the one who appended it is told.
        """
        self._chain = directory / CHAIN
        self._payloads = directory / PAYLOADS
        self.reserve: Final = Reserve(directory / "reserve")
        """For whoever writes what a record speaks of."""
        self._identity = identity
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._after = after
        self._failure: str | None = None
        self._unsynced: list[int] = []
        self._usual_s = 0.0
        self._chain_file: int
        self._chain_end: int
        self._payload_file: int
        self._payload_end: int
        self._waiting: list[_Waiting] = []
        self._syncing: asyncio.Task[None] | None = None
        self._opened = ExitStack()
        """The lock, and the directories in which names are made."""
        try:
            with ExitStack() as failed:
                failed.callback(self._opened.close)
                self._lock(directory)
                tail = segments.recover(self._chain, identity.public_key)
                self.torn: Final = tail.torn
                self.length = tail.length
                self.head = tail.head
                self.tree = Frontier()
                """The tree over the lines; whoever opens a chain that has some must set it."""
                self.reserve.make()
                first = tail.length if tail.first is None else tail.first
                with suppress(FileNotFoundError):
                    segments.mend(self._payloads / segment_name(first))
                self._open_segment(first)
                failed.pop_all()
        except OSError as error:
            where = "" if error.filename is None else f"{error.filename}: "
            raise LedgerError(f"the chain can't be opened: {where}{error.strerror}") from None

    def _lock(self, directory: Path) -> None:
        make_directory(self._chain)
        make_directory(self._payloads)
        sync_directory(directory)  # one that was killed may have made what is there
        self._folders: list[int] = []
        for folder in (self._chain, self._payloads):
            self._folders.append(durable.open_directory(folder))
            self._opened.callback(os.close, self._folders[-1])
        lock = open_append(directory / "lock")
        self._opened.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerError(f"{directory}: another executor is using this chain") from None

    async def append[R: Record](
        self,
        make: Callable[[Place], R],
        *,
        text: Salted | None = None,
        before: Sequence[int] = (),
        critical: bool = True,
    ) -> tuple[R, str]:
        """Append what ``make`` returns for its place; return it and its digest once on disk.

        ``text`` is the command that the record commits to. ``before`` are descriptors of files
        that the record speaks of, synced before it. A record that is not ``critical`` is refused
        when the disk is so full that the reserve had to be given up. Raises LedgerError: then
        nothing was recorded, or nobody can know.
        """
        if self._failure is not None:
            raise LedgerError(self._failure)
        if not critical:
            try:
                self.reserve.make()
            except OSError as error:
                reason = f"no room to record a command: {error.strerror}"
                raise LedgerError(reason) from None
        place = Place(
            seq=self.length, prev=self.head, time=timestamp(self._clock()), tree=self.tree
        )
        record = sign(make(place), self._identity)
        line = RECORDS.encode(record)
        write = partial(self._write, place.seq, line, text)
        try:
            if critical:
                self.reserve.spend(write)
            else:
                write()
        except OSError as error:
            raise LedgerError(f"the record can't be written: {error.strerror}") from None
        self.head = digest(line)
        self.length += 1
        self.tree.append(leaf_hash(line))
        head = self.head
        await self._durable(record, head, before if text is None else (*before, self._payload_file))
        return record, head

    def has_text(self, number: int) -> bool:
        """Return whether the text that a record commits to is kept; raises LedgerError."""
        try:
            lines = self._payload_path(number).read_bytes().splitlines()
        except OSError as error:
            raise LedgerError(f"the texts can't be read: {error.strerror}") from None
        return any(_is_of(line, number) for line in lines)

    def erase_text(self, number: int) -> None:
        """Remove the text that a record commits to; raises OSError, and then it may be there."""
        durable.cut(self._payload_file, self._payload_end)  # what is left of a failure is no text
        path = self._payload_path(number)
        current = os.fstat(self._payload_file).st_ino == path.stat().st_ino
        kept = (line for line in path.read_bytes().splitlines() if not _is_of(line, number))
        draft = durable.write_draft(path, b"".join(line + b"\n" for line in kept))
        with ExitStack() as failed:
            file = open_append(draft)
            failed.callback(os.close, file)
            with self._stopped_by_failure():  # nobody knows which of the two has the name
                draft.replace(path)
                self._sync_names()
            failed.pop_all()
        if current:  # what has lost its name is written to no more
            self._payload_file, file = file, self._payload_file
            self._payload_end = os.fstat(self._payload_file).st_size
        os.close(file)

    def _payload_path(self, number: int) -> Path:
        firsts = segments.firsts(self._payloads)
        first = max((first for first in firsts if first <= number), default=0)
        return self._payloads / segment_name(first)

    async def close(self) -> None:
        """Wait until all is on disk and give the chain free."""
        if self._syncing is not None:
            await self._syncing
        for descriptor in (self._chain_file, self._payload_file):
            os.close(descriptor)
        self._opened.close()

    # --- files ------------------------------------------------------------------------------------

    def _open_segment(self, first: int) -> None:
        """Open or make a segment's two files, or raise OSError and leave things as they were."""
        name = segment_name(first)
        with ExitStack() as failed:
            chain_file = open_append(self._chain / name)
            failed.callback(os.close, chain_file)
            payload_file = open_append(self._payloads / name)
            failed.callback(os.close, payload_file)
            with self._stopped_by_failure():
                self._sync_names()
            failed.pop_all()
        self._chain_file, self._chain_end = chain_file, os.fstat(chain_file).st_size
        self._payload_file, self._payload_end = payload_file, os.fstat(payload_file).st_size

    def _sync_names(self) -> None:
        for folder in self._folders:
            os.fsync(folder)

    def _next_segment(self) -> None:
        # Rare (once in thousands of records), so the syncs may hold up the loop.
        old = (self._payload_file, self._chain_file)
        self._open_segment(self.length)
        for descriptor in old:
            os.close(descriptor)

    def _write(self, number: int, line: bytes, text: Salted | None) -> None:
        """Write a record; raises OSError and leaves the files as they were."""
        if self._chain_end >= self._segment_bytes and self._syncing is None:
            self._next_segment()
        payload = b"" if text is None else _payload(number, text)
        payload_end = durable.append(self._payload_file, self._payload_end, payload)
        try:
            self._chain_end = durable.append(self._chain_file, self._chain_end, line + b"\n")
        except OSError:
            with suppress(OSError):  # the next record's text takes its place, then
                durable.cut(self._payload_file, self._payload_end)
            raise
        self._payload_end = payload_end

    # --- durability -------------------------------------------------------------------------------

    @contextmanager
    def _stopped_by_failure(self) -> Generator[None]:
        """Take nothing more if a sync fails here: the kernel tells of a failure only once."""
        try:
            yield
        except OSError as error:
            self._synced(error)
            raise

    async def _durable(self, record: Record, head: str, before: Sequence[int]) -> None:
        files = (*before, self._chain_file)
        if self._syncing is None and self._usual_s < AT_ONCE_S:
            self._synced(_sync_files(files))
            if self._failure is not None:
                raise LedgerError(self._failure)
            self._after(record, head)
            return
        try:
            self._unsynced += _duplicates(files)
        except OSError:  # out of descriptors: here and now, then
            self._synced(_sync_files(files))
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((record, head, done))
        if self._syncing is None:
            self._syncing = asyncio.create_task(self._sync())
        await asyncio.shield(done)

    async def _sync(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            files, self._unsynced = self._unsynced, []
            self._synced(await asyncio.to_thread(_sync_and_close, files))
            for record, head, done in waiting:
                if self._failure is None:
                    self._after(record, head)
                    done.set_result(None)
                else:
                    done.set_exception(LedgerError(self._failure))
        self._syncing = None

    def _synced(self, result: float | OSError) -> None:
        if isinstance(result, OSError):
            self._failure = (
                f"the chain could not be synced: {result.strerror}; nothing is recorded until"
                " tibet-nc-executor is restarted, on a disk that works"
            )
        else:
            self._usual_s = min((self._usual_s + result) / 2, 2 * AT_ONCE_S)


def _payload(number: int, text: Salted) -> bytes:
    payload = Payload(seq=number, salt=text.salt.hex(), command=text.command)
    return PAYLOADS_CODEC.encode(payload) + b"\n"


def _is_of(line: bytes, number: int) -> bool:
    """Return whether a payload is a record's; one that can't be read is nobody's."""
    try:
        return PAYLOADS_CODEC.decode(line).seq == number
    except DecodeError:
        return False


def _duplicates(descriptors: Sequence[int]) -> list[int]:
    """Return duplicates, so that whoever gave them may close theirs; raises OSError."""
    with ExitStack() as failed:
        found: list[int] = []
        for descriptor in descriptors:
            found.append(os.dup(descriptor))
            failed.callback(os.close, found[-1])
        failed.pop_all()
    return found


def _sync_files(descriptors: Sequence[int]) -> float | OSError:
    """Sync files in their order; return how long it took, in seconds, or what went wrong."""
    begin = time.monotonic()
    try:
        for descriptor in descriptors:
            os.fdatasync(descriptor)
    except OSError as error:
        return error
    return time.monotonic() - begin


def _sync_and_close(descriptors: Sequence[int]) -> float | OSError:
    """Sync files in the order in which they were last named, each once, and close them all.

    So the chain comes after all that its records speak of, however many share the sync.
    """
    try:
        with ExitStack() as opened:
            for descriptor in descriptors:
                opened.callback(os.close, descriptor)
            once: dict[tuple[int, int], int] = {}
            for descriptor in reversed(descriptors):
                found = os.fstat(descriptor)
                once.setdefault((found.st_dev, found.st_ino), descriptor)
            return _sync_files(list(reversed(once.values())))
    except OSError as error:  # of a sync, or of a close, which may be one that comes late
        return error
