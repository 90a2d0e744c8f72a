# SPDX-License-Identifier: MIT
"""What the walk computes with: words after expansion, and byte streams."""

import re
from enum import Enum, auto

from msgspec import Struct

from tibet_nc_agent.safety.marks import FOUND, STAR, UNKNOWN, is_glob, plain

Value = str | tuple[str, ...] | None
"""A variable: text, an array, or None if it cannot be known."""

COUNTED = "seq"
"""The producer of numbers that are counted, whatever counts them."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")  # behind a 0 it would be octal


class Source(Enum):
    """Where a stream comes from, which decides what running it would mean."""

    TERMINAL = auto()
    FILE = auto()
    TEXT = auto()
    COMMAND = auto()


class Choice(Enum):
    """Which of the files below a directory are found; the value is a name that stands for one."""

    ALL = "*"
    SOME = "some"  # by age, size, owner or the like, which may fit every file
    NAMED = "named"


class Root(Struct, frozen=True):
    """A path that a command upstream prints, or below which it prints what it finds."""

    path: str
    below: bool
    choice: Choice = Choice.ALL

    @property
    def found(self) -> list[str]:
        """Paths that stand for what is printed; what is inside of a directory comes last."""
        if UNKNOWN in self.path:
            return [UNKNOWN]
        if not self.below:
            return [self.path]
        inside = self.path.rstrip("/")
        if self.choice is Choice.ALL:
            return [self.path, f"{inside}/{STAR}"]
        return [f"{inside}/{FOUND}/{self.choice.value}"]


class Stream(Struct, frozen=True):
    """Bytes that flow into or out of a command; `text` is None if they cannot be known."""

    text: str | None = None
    source: Source = Source.COMMAND
    downloaded: bool = False
    decoded: bool = False
    roots: tuple[Root, ...] = ()
    producer: str = ""  # the command that wrote it
    endless: bool = False
    kept: bool = False  # from an open descriptor, of which something may have been read before

    @property
    def known(self) -> str | None:
        """The text if all of it is known."""
        return self.text if self.text is not None and UNKNOWN not in self.text else None

    @property
    def found(self) -> list[str]:
        """Paths that stand for what it says of a search."""
        return [path for root in self.roots for path in root.found]


TERMINAL = Stream(source=Source.TERMINAL)
FILE = Stream(source=Source.FILE)
COMMAND = Stream()
EMPTY = Stream("", Source.TEXT)


def text_stream(text: str, *, downloaded: bool = False, decoded: bool = False) -> Stream:
    """Return a stream of text that may contain unknown pieces."""
    return Stream(text, Source.TEXT, downloaded, decoded)


def through(stream: Stream | None) -> Stream:
    """Return what an unknown filter makes of its input: unknown text, but the same taint."""
    if stream is None or not (stream.downloaded or stream.decoded):
        return COMMAND
    return Stream(downloaded=stream.downloaded, decoded=stream.decoded)


def joined(streams: list[Stream]) -> Stream:
    """Return the streams one after the other."""
    if len(streams) == 1:
        return streams[0]
    downloaded = any(stream.downloaded for stream in streams)
    decoded = any(stream.decoded for stream in streams)
    texts = [UNKNOWN if stream.text is None else stream.text for stream in streams]
    if all(text == UNKNOWN for text in texts):
        return Stream(downloaded=downloaded, decoded=decoded)
    return Stream("".join(texts), Source.TEXT, downloaded, decoded)


def either(streams: list[Stream]) -> Stream:
    """Return what is known of one of the streams, whichever it is."""
    return Stream(
        downloaded=any(stream.downloaded for stream in streams),
        decoded=any(stream.decoded for stream in streams),
    )


class Field(Struct, frozen=True):
    """One word after expansion, with marks for what is unknown or a glob."""

    text: str
    start: int
    end: int
    quoted: bool = False
    downloaded: bool = False
    decoded: bool = False
    uncertain: bool = False  # a default that only holds if a variable is unset
    stream: Stream | None = None  # behind /dev/fd/63 of a process substitution
    producer: str = ""  # the command whose output this is
    elements: "tuple[str, ...] | None" = None  # of an array that stands behind a name and `=`

    @property
    def unknown(self) -> bool:
        """Whether a piece of the word is not known."""
        return UNKNOWN in self.text

    @property
    def glob(self) -> bool:
        """Whether the word is a pattern for file names."""
        return is_glob(self.text)

    @property
    def plain(self) -> str:
        """The text with globs as their characters."""
        return plain(self.text)

    def with_text(self, text: str) -> "Field":
        """Return the same word with another text."""
        return Field(
            text, self.start, self.end, self.quoted, self.downloaded, self.decoded, self.uncertain
        )


def positional(arguments: list[Field], first: int = 1) -> dict[str, str | None]:
    """Return the parameters of a script or a function with these arguments."""
    return {
        str(number): None if field.unknown else field.text
        for number, field in enumerate(arguments, start=first)
    }


def integer(value: Value) -> int | None:
    """Return the number that a value is, None if it is none that is known."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    return None
