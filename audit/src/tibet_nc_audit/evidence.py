# SPDX-License-Identifier: MIT
"""What records speak of, checked in step with the chain: texts, recordings, tokens.

A text that isn't there is not an error: it was erased, or never kept. A text that is there and
isn't the one is. Tokens must be there, and recordings unless a later record says that they were
erased or are kept no longer; so a missing recording is held against the chain only at its end.
What can't be read is noted once, and the rest goes on without it.

Texts and tokens are on disk before the record that speaks of them, and the executor may write their
files' first lines while we read; so a file is opened when the first such record was read.
"""

from bisect import bisect_right
from contextlib import ExitStack
from itertools import accumulate
from operator import itemgetter
from typing import Final, Self

import msgspec

from tibet_nc_audit import payloads, tokens
from tibet_nc_audit.errors import DisagreementError, MissingError, UnreadableError
from tibet_nc_audit.findings import Finding, Findings, What
from tibet_nc_audit.locate import erased_recordings, retentions
from tibet_nc_audit.lookahead import DiffersError, Lookahead
from tibet_nc_audit.reader import State
from tibet_nc_audit.recordings import Checked, Printed, check_recording, missing_recording
from tibet_nc_protocol.layout import PAYLOADS, RECORDINGS, TOKENS, segment_name
from tibet_nc_protocol.records import (
    Intent,
    Outcome,
    Record,
    Refusal,
    Remainder,
    Security,
    SecurityEvent,
)
from tibet_nc_protocol.signing import PublicKey

_REMEMBERED: Final = 1024
"""Erased texts of one segment that are remembered, to find a text under a wrong number."""

_ABSENT: Final = 100_000
"""Recordings that may turn out to have been erased, about 20 MB; more than anybody erases."""


class Counts(msgspec.Struct):
    """How much was checked. The unclaimed is what no record speaks of: a crash leaves that."""

    kinds: dict[str, int] = {}
    texts: int = 0
    missing_texts: int = 0
    erasures: int = 0
    undone_erasures: int = 0
    unclaimed_texts: int = 0
    recordings: int = 0
    erased_recordings: int = 0
    expired_recordings: int = 0
    capped: int = 0
    silent: int = 0
    tokens: int = 0
    unclaimed_tokens: int = 0


class Evidence:
    """Checks each record's evidence; what is wrong goes to the findings, the rest is counted."""

    def __init__(
        self,
        state: State,
        findings: Findings,
        key: PublicKey | None,
        *,
        first: int = 0,
        tokens_from: int = 0,
    ) -> None:
        """Check from the record ``first`` on, and from so many bytes of the tokens.

        ``key`` is the chain's first one; without it, the one that the genesis record names is.
        """
        self.counts = Counts()
        self._first = first
        self._tokens_from = tokens_from
        self._state = state
        self._findings = findings
        self._key = key
        self._files = ExitStack()
        self._segment = ExitStack()
        self._name = ""
        self._texts: Lookahead[int, str] | None = None
        self._texts_unread = False
        """Whether the segment's texts can't be read, so that none is missing."""
        self._tokens: Lookahead[str, bytes] | None = None
        self._tokens_unread = False
        self._erased: dict[str, tuple[int, int]] = {}
        self._last = (0, 0)
        self._erasures: set[int] = set()
        self._absent: dict[str, tuple[int, int, int]] = {}
        """Recordings that aren't there: the command's number, and where that was found."""
        self._retentions: list[tuple[int, int]] | None = None
        """Records of recordings kept no longer: (their number, up to which by them and later)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._segment.close()
        self._files.close()

    def begin(self, first: int) -> None:
        """Enter the segment that begins with a record."""
        self._name = segment_name(first)
        self._texts = None
        self._texts_unread = False
        self._erased = {}

    @property
    def claimed_tokens(self) -> int:
        """Bytes of the tokens before the first that no record has named yet."""
        return self._tokens_from if self._tokens is None else self._tokens.claimed

    def check(self, record: Record, place: int) -> None:
        """Check what one record speaks of; ``place`` is how many lines stand before it."""
        kind = type(record).__name__.lower()
        self.counts.kinds[kind] = self.counts.kinds.get(kind, 0) + 1
        self._last = (record.seq, place)
        match record:
            case Intent() | Refusal():
                if record.command is not None and not self._texts_unread:
                    self._check_text(record.seq, record.command, place)
            case Outcome():
                self._check_recording(record, place)
                if not self._tokens_unread:
                    self._check_token(record, place)
            case Remainder():
                self._check_recording(record, place)
            case Security() if record.what is SecurityEvent.ERASED and record.number is not None:
                self._erasures.add(record.number)
            case _:
                pass

    def end(self) -> None:
        """Leave a segment: what is in its payload file and nobody asked for."""
        try:
            self._look_at_the_rest()
        except UnreadableError as error:
            self._findings.lose(str(error))
        self._segment.close()

    def _look_at_the_rest(self) -> None:
        texts = self._open_texts()
        for item in texts.rest():
            moved = self._erased.get(item.digest)
            if moved is None:
                self.counts.unclaimed_texts += 1
                continue
            reason = "this record's text stands under another number"
            wrong = DisagreementError(
                self._shown, reason, expected=str(moved[0]), found=str(item.key)
            )
            self._find(What.PAYLOAD, moved, wrong)
        self.counts.unclaimed_texts += texts.forgotten - texts.distant
        # What can't be read is most likely the text of the first record that has none.
        likely = next(iter(self._erased.values()), self._last)
        for row in texts.unreadable:
            wrong = DisagreementError(self._shown, "a line that is no payload")
            self._find(What.PAYLOAD, likely, wrong, line=row)
        if texts.torn:
            wrong = DisagreementError(self._shown, "the last line is incomplete")
            self._find(What.PAYLOAD, likely, wrong)

    def finish(self, *, whole: bool) -> None:
        """Leave the chain: what is missing without a reason, and what nobody asked for.

        Unless the ``whole`` chain was read, the reason may be in the rest of it.
        """
        # The chain may have grown since it was looked through, and by new files since it was read.
        self._retentions = None
        erased = frozenset(erased_recordings(self._state, self._key) if self._absent else ())
        for name, (number, *where) in self._absent.items():
            if number in erased:
                self.counts.erased_recordings += 1
            elif self._expired(where[0], number):
                self.counts.expired_recordings += 1
            elif whole:
                self._find(What.RECORDING, (where[0], where[1]), missing_recording(name))
            else:
                self._findings.lose(
                    f"{RECORDINGS}/{name}: not there, and why may be in what can't be read"
                )
        self.counts.erasures = len(self._erasures)
        try:
            self.counts.undone_erasures = self._count_undone()
            store = self._open_tokens()
            unclaimed = sum(1 for _ in store.rest()) + len(store.unreadable)
        except UnreadableError as error:
            self._findings.lose(str(error))
            return
        if whole:
            self.counts.unclaimed_tokens = unclaimed + store.forgotten - store.distant

    @property
    def _shown(self) -> str:
        """The name of the segment's payload file."""
        return f"{PAYLOADS}/{self._name}"

    def _open_texts(self) -> Lookahead[int, str]:
        if self._texts is None:
            file = self._segment.enter_context(
                self._state.open_if_there(self._name, payloads.LINE_BYTES, PAYLOADS)
            )
            self._texts = Lookahead(file, payloads.read_payload, skip=lambda seq: seq < self._first)
        return self._texts

    def _open_tokens(self) -> Lookahead[str, bytes]:
        if self._tokens is None:
            file = self._files.enter_context(self._state.open_if_there(TOKENS, tokens.LINE_BYTES))
            if file is not None:
                file.skip(self._tokens_from)
            self._tokens = Lookahead(file, tokens.read_token)
        return self._tokens

    def _check_text(self, seq: int, digest: str, place: int) -> None:
        try:
            text = self._open_texts().take(seq, digest)
        except DiffersError as differs:
            reason = "not the text that the record commits to"
            wrong = DisagreementError(self._shown, reason, expected=digest, found=differs.found)
            self._find(What.PAYLOAD, (seq, place), wrong)
            return
        except UnreadableError as error:
            self._findings.lose(str(error))
            self._texts_unread = True
            return
        if text is not None:
            self.counts.texts += 1
            return
        self.counts.missing_texts += 1
        if len(self._erased) < _REMEMBERED:
            self._erased[digest] = (seq, place)

    def _check_recording(self, outcome: Outcome | Remainder, place: int) -> None:
        printed = Printed.of(outcome)
        try:
            checked = check_recording(self._state, printed)
        except MissingError as wrong:
            if self._expired(outcome.seq, outcome.intent):
                self.counts.expired_recordings += 1
            elif len(self._absent) < _ABSENT:
                self._absent[printed.name] = (outcome.intent, outcome.seq, place)
            else:
                self._find(What.RECORDING, (outcome.seq, place), wrong)
            return
        except DisagreementError as wrong:
            self._find(What.RECORDING, (outcome.seq, place), wrong)
            return
        except UnreadableError as error:
            self._findings.lose(str(error))
            return
        match checked:
            case Checked.AGREES:
                self.counts.recordings += 1
            case Checked.CAPPED:
                self.counts.capped += 1
            case Checked.NONE:
                self.counts.silent += 1

    def _expired(self, recorded: int, number: int) -> bool:
        """Tell whether a record after this one says that a recording is kept no longer.

        The chain is looked through ahead, once: a thousand recordings may be gone for one record.
        """
        if self._retentions is None:
            said = retentions(self._state, self._key, pass_over=True)
            # By their own numbers: a copy of one in another place is of no later time.
            found = sorted((record.seq, record.number or 0) for record in said)
            furthest = accumulate((upto for _, upto in reversed(found)), max)
            self._retentions = list(zip((seq for seq, _ in found), [*furthest][::-1], strict=True))
        at = bisect_right(self._retentions, recorded, key=itemgetter(0))
        return at < len(self._retentions) and self._retentions[at][1] >= number

    def _count_undone(self) -> int:
        """Count the texts that a record says were erased, and that are there all the same."""
        undone: set[int] = set()
        segments = self._state.segments()
        for first in {segments[max(bisect_right(segments, n) - 1, 0)] for n in self._erasures}:
            name = segment_name(first)
            with self._state.open_if_there(name, payloads.LINE_BYTES, PAYLOADS) as file:
                for item in map(payloads.read_payload, file or ()):
                    if item is not None and item.key in self._erasures:
                        undone.add(item.key)
        return len(undone)

    def _check_token(self, outcome: Outcome, place: int) -> None:
        try:
            tokens.check_token(tokens.take_token(self._open_tokens(), outcome))
        except DisagreementError as wrong:
            self._find(What.TOKEN, (outcome.seq, place), wrong)
        except UnreadableError as error:
            self._findings.lose(str(error))
            self._tokens_unread = True
        else:
            self.counts.tokens += 1

    def _find(
        self,
        what: What,
        where: tuple[int, int],
        wrong: DisagreementError,
        *,
        line: int | None = None,
    ) -> None:
        record, place = where
        self._findings.add(
            Finding(
                record=record,
                what=what,
                file=wrong.file,
                reason=wrong.reason,
                line=line,
                expected=wrong.expected,
                found=wrong.found,
            ),
            place,
        )
