# SPDX-License-Identifier: MIT
"""What a command left running, from its outcome to its remainder.

    outcome on disk, with how many processes there are → what they print is recorded as it comes
    → the last is gone → remainder on disk

It is known by its command's number. Whatever fails on the way, the outcome gets its remainder.
"""

import time
from typing import Final

from tibet_nc_executor.archive import Archive
from tibet_nc_executor.background import Background, Rest
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.ledger import Place
from tibet_nc_executor.recording import Recorder
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.limits import NOTES
from tibet_nc_protocol.messages import Run
from tibet_nc_protocol.records import Remainder
from tibet_nc_protocol.terms import Reason, Signal

NOTE_CHARACTERS: Final = 200
_ENDINGS: Final = {Reason.EXITED: "by itself", Reason.CANCELLED: "when asked to"}


class Leftover:
    """What one command left running."""

    def __init__(
        self,
        request: Run,
        *,
        number: int,
        run: str,
        session: str,
        background: Background,
        recorder: Recorder,
    ) -> None:
        self.request: Final = request
        self.number: Final = number
        self._run: Final = run
        self._session: Final = session
        self._background: Final = background
        self._recorder: Final = recorder
        self.since: Final = time.monotonic()
        self._notes: list[str] = []

    @property
    def output_bytes(self) -> int:
        """How much was printed since the command's end."""
        return self._recorder.bytes

    @property
    def newest(self) -> bytes:
        """The last of that."""
        return bytes(self._recorder.newest)

    @property
    def left(self) -> int:
        """How many processes there are; one at least until it is recorded that there are none."""
        return max(1, self._background.count)

    def signal(self, signal: Signal, sender: str) -> None:
        """Ask it to end, or kill it, for an operator."""
        self._notes.append(f"{signal} by {sender}"[:NOTE_CHARACTERS])
        if signal is Signal.INTERRUPT:
            self._background.interrupt()
        else:
            self._background.kill()

    def cancel(self, why: str) -> None:
        """Kill it; may be called again."""
        if why[:NOTE_CHARACTERS] not in self._notes:
            self._notes.append(why[:NOTE_CHARACTERS])
        self._background.kill()

    async def perform(self, archive: Archive) -> tuple[str, ...]:
        """Wait for its end, record it, and return the notes on it for the session.

        Raises LedgerError if it can't be recorded.
        """
        try:
            rest = await self._background.wait()
            self._recorder.finish(rest.reason)
            await self._record(archive, rest)
        finally:
            self._recorder.close()
        how = _ENDINGS.get(rest.reason, "by SIGKILL")
        after = f"after {rest.duration_ms / 1000:.1f} s and {counted(self.output_bytes, 'byte')}"
        what = f"what #{self.number} left running has ended"
        ended = f"{what} {how}, {after}" if rest.memory is None else f"{what}, {after}"
        details = (rest.memory, self._recorder.failure)
        return ended, *(f"#{self.number}: {detail}" for detail in details if detail is not None)

    async def _record(self, archive: Archive, rest: Rest) -> None:
        recorder = self._recorder
        try:
            await recorder.settle()
        except OSError as error:
            raise LedgerError(f"the recording can't be synced: {error.strerror}") from None
        notes = [*self._notes, *rest.notes]
        if rest.memory is not None:
            notes.append(f"limit: {rest.memory}")
        if recorder.failure is not None:
            notes.append(recorder.failure)
        await archive.append(
            lambda place: self._remainder(place, rest, notes),
            before=() if recorder.descriptor is None else (recorder.descriptor,),
        )

    def _remainder(self, place: Place, rest: Rest, notes: list[str]) -> Remainder:
        recorder = self._recorder
        return Remainder(
            seq=place.seq,
            prev=place.prev,
            time=place.time,
            intent=self.number,
            run=self._run,
            session=self._session,
            reason=rest.reason,
            duration_ms=rest.duration_ms,
            output_bytes=recorder.bytes,
            output_sha256=recorder.sha256,
            recorded_bytes=recorder.recorded,
            recording=recorder.name,
            killed=rest.killed,
            notes=tuple(note[:NOTE_CHARACTERS] for note in notes[:NOTES]),
        )
