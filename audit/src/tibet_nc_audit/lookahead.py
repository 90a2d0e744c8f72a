# SPDX-License-Identifier: MIT
"""Finding what records commit to in a file that was written in nearly their order.

Payloads and tokens are on disk before their record, so a crash can leave some of which there is
no record; and commands that run side by side may end in another order than their tokens were
written. Both move a line by a few places. So the file is read in step with the chain, and what
isn't wanted yet is held, up to WINDOW lines: enough for any crash, and a bound on memory.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Final

from tibet_nc_audit.reader import LineFile

WINDOW: Final = 1024
"""Most lines held: sixteen times the commands that can run at once (protocol, OPEN_RUNS)."""


@dataclass(frozen=True, slots=True)
class Item[K: Hashable, V]:
    """A line: whose it says it is, the digest that a record would commit to it by, and the rest."""

    key: K
    digest: str
    value: V


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
        self._row = 0
        self._begin = self._end = 0 if file is None else file.position
        self._held: dict[K, list[Item[K, V]]] = {}
        self._starts: dict[int, int] = {}
        """Where each line begins that is held, by its item's identity."""
        self._count = 0

    @property
    def torn(self) -> int:
        """Bytes after the file's last line end, once ``rest`` was used up."""
        return 0 if self._file is None else self._file.torn

    @property
    def claimed(self) -> int:
        """Bytes of the file before the first line that nobody has asked for yet."""
        return min(self._starts.values(), default=self._end)

    def take(self, key: K, digest: str) -> V | None:
        """Return what a record commits to, None if it isn't there.

        Raises DiffersError when only something else is there.
        """
        candidates = self._held.get(key, [])
        while True:
            for item in candidates:
                if item.digest == digest:
                    self._drop(item)
                    return item.value
            found = self._advance(key)
            if found is None:
                break
            candidates = [found]
        others = self._held.pop(key, [])
        self._count -= len(others)
        for other in others:
            del self._starts[id(other)]
        if others:
            raise DiffersError(others[-1].digest)
        return None

    def rest(self) -> Iterator[Item[K, V]]:
        """Yield what no record asked for, to the end of the file."""
        held, self._held, self._count, self._starts = self._held, {}, 0, {}
        for items in held.values():
            yield from items
        while (item := self._next()) is not None:
            yield item

    def _advance(self, key: K) -> Item[K, V] | None:
        """Read on to the next item of a key, as far as the window permits."""
        while self._count < WINDOW:
            item = self._next()
            if item is None:
                return None
            self._held.setdefault(item.key, []).append(item)
            self._starts[id(item)] = self._begin
            self._count += 1
            if item.key == key:
                return item
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

    def _drop(self, item: Item[K, V]) -> None:
        items = self._held[item.key]
        items.remove(item)
        del self._starts[id(item)]
        if not items:
            del self._held[item.key]
        self._count -= 1
