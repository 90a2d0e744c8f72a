# SPDX-License-Identifier: MIT
"""Finding what records commit to in a file that was written in nearly their order.

Payloads and tokens are on disk before their record, so a crash can leave some of which there is
no record; and commands that run side by side may end in another order than their tokens were
written. Both move a line by a few places. So the file is read in step with the chain: up to
WINDOW lines beyond the furthest one that a record has asked for, and what isn't wanted yet is held
until that is WINDOW lines past it. So memory has a bound, and any number of lines may be there that
no record ever asks for.

What isn't within that window stands behind a longer row of such lines, where only a hand puts it,
or isn't there. Then the rest of the file is looked through for it alone, holding nothing, beginning
where the last one was found that way: after a row of any length that is the next line. All of it
together is SEARCHES times the file at most, so that nobody who writes it sets the time.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Final

from tibet_nc_audit.reader import LineFile

WINDOW: Final = 1024
"""How far a line may be from its place: sixteen times the commands that can run at once (protocol,
OPEN_RUNS)."""


SEARCHES: Final = 4
"""How many times over the file may be looked through for what isn't within the window."""


@dataclass(frozen=True, slots=True)
class Item[K: Hashable, V]:
    """A line: whose it says it is, the digest that a record would commit to it by, and the rest."""

    key: K
    digest: str
    value: V


@dataclass(frozen=True, slots=True, eq=False)
class _Held[K: Hashable, V]:
    """An item that no record has asked for yet: its place among all, and where its line begins."""

    item: Item[K, V]
    place: int
    begin: int


type Read[K: Hashable, V] = Callable[[bytes], Item[K, V] | None]
"""Makes an item of a line, or None of one that is none."""


def only[K: Hashable, V](read: Read[K, V], key: K) -> Read[K, V]:
    """Read the items of one key, as if there were no others: to look for one alone."""

    def read_only(line: bytes) -> Item[K, V] | None:
        item = read(line)
        return item if item is not None and item.key == key else None

    return read_only


class DiffersError(Exception):
    """There is something of that key, but it isn't what the record commits to."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(found)


class Lookahead[K: Hashable, V]:
    """One such file, or none."""

    def __init__(
        self,
        file: LineFile | None,
        read: Read[K, V],
        *,
        skip: Callable[[K], bool] = lambda _key: False,
    ) -> None:
        """``skip`` tells which keys nobody will ask for, since they were claimed earlier."""
        self.unreadable: list[int] = []
        """Which lines are none of ours, counted from 1; the first few."""
        self._file = file
        self._lines: Iterator[bytes] = iter(file or ())
        self._read = read
        self._skip = skip
        self.forgotten = 0
        """Lines that no record asked for, besides those that ``rest`` yields."""
        self._row = 0
        self._begin = self._end = 0 if file is None else file.position
        self._held: dict[K, list[_Held[K, V]]] = {}
        self._starts: dict[int, _Held[K, V]] = {}
        """The same by their places, in the order of the file."""
        self._stray: deque[Item[K, V]] = deque()
        """The last of those that are too far back for any record to ask for them still."""
        self._place = 0
        self._reached = 0
        """The furthest place that a record has asked for."""
        self.distant = 0
        """Lines found beyond the window, which ``rest`` or ``forgotten`` count all the same."""
        self.gave_up = False
        """Whether something wasn't looked for to the end of the file, which others used up."""
        self._far = 0
        """Where the line begins after the last one that was found beyond the window."""
        self._left = 0 if file is None else SEARCHES * file.size
        """Bytes that may still be looked through."""

    @property
    def torn(self) -> int:
        """Bytes after the file's last line end, once ``rest`` was used up."""
        return 0 if self._file is None else self._file.torn

    @property
    def claimed(self) -> int:
        """Bytes of the file before the first line that nobody has asked for yet."""
        return next((held.begin for held in self._starts.values()), self._end)

    def take(self, key: K, digest: str) -> V | None:
        """Return what a record commits to, None if it isn't there.

        Raises DiffersError when only something else is there.
        """
        candidates = self._held.get(key, [])
        while True:
            for held in candidates:
                if held.item.digest == digest:
                    self._claim(held)
                    return held.item.value
            found = self._advance(key)
            if found is None:
                break
            candidates = [found]
        exhausted = self._place >= self._reached + WINDOW
        if exhausted and (value := self._search(key, digest)) is not None:
            return value
        others = list(self._held.get(key, []))
        for held in others:
            self._claim(held)
        if others:
            raise DiffersError(others[-1].item.digest)
        return None

    def rest(self) -> Iterator[Item[K, V]]:
        """Yield what no record asked for, to the end of the file."""
        held, self._starts, self._held = self._starts, {}, {}
        stray, self._stray = self._stray, deque()
        yield from stray
        for one in held.values():
            yield one.item
        while (item := self._next()) is not None:
            yield item

    def _advance(self, key: K) -> _Held[K, V] | None:
        """Read on to the next item of a key, as far as the window permits."""
        while self._place < self._reached + WINDOW:
            item = self._next()
            if item is None:
                return None
            self._place += 1
            held = _Held(item=item, place=self._place, begin=self._begin)
            self._held.setdefault(item.key, []).append(held)
            self._starts[self._place] = held
            if item.key == key:
                return held
        return None

    def _search(self, key: K, digest: str) -> V | None:
        """Look for one item beyond the window, to the end of the file or of what is permitted."""
        if self._file is None:
            return None
        far = max(self._far, self._end)
        for begin, end in ((far, None), (self._end, far)):
            for following, line in self._file.ahead(begin, end):
                self._left -= len(line) + 1
                if self._left < 0:
                    self.gave_up = True
                    return None
                item = self._read(line)
                if item is not None and item.key == key and item.digest == digest:
                    self._far = following
                    self.distant += 1
                    return item.value
        return None

    def _next(self) -> Item[K, V] | None:
        while True:
            line = next(self._lines, None)
            if line is None:
                # The executor may have written more by the time of the next question.
                self._lines = iter(self._file or ())
                return None
            self._row += 1
            self._begin, self._end = self._end, self._end + len(line) + 1
            item = self._read(line)
            if item is not None and self._skip(item.key):
                continue
            if item is not None:
                return item
            if len(self.unreadable) < WINDOW:
                self.unreadable.append(self._row)

    def _claim(self, held: _Held[K, V]) -> None:
        """Let go of what a record has asked for, and of what none will ask for any more."""
        self._drop(held)
        self._reached = max(self._reached, held.place)
        while self._starts:
            oldest = next(iter(self._starts.values()))
            if oldest.place + WINDOW > self._reached:
                break
            self._drop(oldest)
            self._stray.append(oldest.item)
            if len(self._stray) > WINDOW:
                self._stray.popleft()
                self.forgotten += 1

    def _drop(self, held: _Held[K, V]) -> None:
        del self._starts[held.place]
        of_key = self._held[held.item.key]
        of_key.remove(held)
        if not of_key:
            del self._held[held.item.key]
