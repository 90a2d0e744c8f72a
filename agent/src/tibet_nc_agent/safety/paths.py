# SPDX-License-Identifier: MIT
"""What a path names: how much of the system would be lost with it.

Facts:

* `//`, `.`, `..`, `/proc/self/root` and the current directory are resolved in the text alone;
  symbolic links are not seen.
* A relative path in an unknown directory is harmless unless it climbs out of it or means all of it.
"""

import itertools
import re
from functools import lru_cache

from msgspec import Struct

from tibet_nc_agent.safety.marks import (
    CLOSE,
    EACH,
    OPEN,
    STAR,
    UNKNOWN,
    is_glob,
    is_unknown,
    matching,
    plain,
    shown,
)
from tibet_nc_agent.safety.patterns import PatternSet, pattern_set
from tibet_nc_agent.safety.rules.model import Level, Paths
from tibet_nc_agent.safety.state import State

STANDARD_INPUT = frozenset(["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
STANDARD_OUTPUT = frozenset(["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
"""What programs call their input."""

_ROOT_LINK_DEPTH = 3  # /proc/<pid>/root
_CLIMBS_TO_ROOT = 4  # `..` so often that it is meant to reach the root directory
_BRACKETED = re.compile(f"{OPEN}.*?{CLOSE}")
_HARMLESS_DEVICE = re.compile(r"(?:shm|pts|fd|tcp|udp|mqueue|hugepages|tty|std|null|snd)")
_NAME_CHARACTER = re.compile(r"[A-Za-z0-9_]")


class Place(Struct, frozen=True):
    """A path and its level; `shown` is for people, `everything` means its contents (`/*`)."""

    level: Level
    path: str
    shown: str
    everything: bool = False


def resolve(text: str, state: State) -> str | None:
    """Return an absolute path, a relative one if the directory is unknown, None if hopeless."""
    if not text or text.startswith(UNKNOWN):
        return None
    absolute = text.startswith("/")
    if not absolute and state.cwd:
        text = f"{state.cwd}/{text}"
        absolute = True
    parts: list[str] = []
    for part in text.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if parts and parts[-1] != "..":
                parts.pop()
            elif not absolute:
                parts.append("..")
            continue
        parts.append(part)
        if absolute and len(parts) == _ROOT_LINK_DEPTH and _is_root_link(parts):
            parts = []
    path = "/".join(parts)
    return f"/{path}" if absolute else (path or ".")


def known_as(text: str, state: State) -> str:
    """Return a path under which the state keeps what is known of a file, "" if it is hopeless."""
    return plain(resolve(text, state) or "")


def is_in_download(text: str, state: State) -> bool:
    """Whether a path lies in a tree that was cloned or unpacked in the same command.

    Where programs are installed to, an absolute path is taken for the program that is meant.
    """
    path = known_as(text, state)
    if text.startswith(("/usr/", "/bin/", "/opt/")):
        return False
    if not text.startswith("/") and (state.cwd_downloaded or "." in state.downloaded):
        return True
    return any(path.startswith(f"{name}/") for name in state.downloaded if name)


def made(text: str, state: State) -> str:
    """Return the file of the same line that a path names or may name, else the path itself."""
    path = resolve(text, state)
    marked = text if path is None else path
    directory, _, name = marked.rpartition("/")
    found = marked.startswith(EACH)
    if name.strip(UNKNOWN) and (found or is_unknown(marked) or is_glob(marked)):
        somewhere = found or is_unknown(directory)
        for file in sorted({*state.files, *state.downloaded, *state.decoded}):
            if matching(*((name, [file.rpartition("/")[2]]) if somewhere else (marked, [file]))):
                return file
    return plain(path or "")


def _is_root_link(parts: list[str]) -> bool:
    return (
        parts[0] == "proc"
        and parts[2] == "root"
        and (parts[1] in ("self", "thread-self", UNKNOWN) or parts[1].isdigit())
    )


def means_everything(text: str) -> bool:
    """Whether the last component matches (nearly) every name: `*`, `.*`, `[a-z]*`."""
    last = text.rstrip("/").rpartition("/")[2]
    if STAR not in last:
        return False
    return not _NAME_CHARACTER.search(_BRACKETED.sub("", last))


class PathLevels:
    """Tells the level of a path by the rules."""

    def __init__(self, paths: Paths) -> None:
        self._system = pattern_set(paths.system)
        self._top = frozenset(name[1:] for name in paths.system if name.count("/") == 1)
        self._partial = pattern_set(paths.partial)
        self._below = paths.below
        self._not_below = paths.not_below
        self._named = (
            (Level.CRITICAL, pattern_set(paths.critical)),
            (Level.CONTROL, pattern_set(paths.control)),
            (Level.BOOT, pattern_set(paths.boot)),
            (Level.LOG, pattern_set(paths.log)),
            (Level.NETWORK, pattern_set(paths.network)),
        )
        self._harmless_devices = pattern_set(paths.harmless_devices)
        self._secret = pattern_set(paths.secret)
        self._secret_trees = pattern_set(paths.secret_trees)
        self._program = pattern_set(paths.program)
        self._cleared_freely = frozenset(paths.cleared_freely)

    def place(self, text: str, state: State) -> Place:
        """Return what a field names."""
        path = resolve(text, state)
        if text == "":
            return Place(Level.OTHER, "", "")
        if path is None:
            return Place(Level.UNKNOWN, "", "a path that is not in the command")
        everything = means_everything(path)
        if path.startswith("/"):
            level = self._absolute(path, state, everything=everything)
        else:
            level = self._relative(path, state)
        return Place(level, path, shown(path), everything)

    def is_device(self, path: str) -> bool:
        """Whether an absolute path is a device whose data can be lost."""
        if not path.startswith("/dev/"):
            return False
        return is_glob(path) or plain(path) not in self._harmless_devices

    def is_secret(self, text: str, state: State) -> bool:
        """Whether reading the file gives away a credential; relative names as if from the home."""
        return _may_be(text, state, self._secret)

    def is_secret_tree(self, text: str, state: State) -> bool:
        """Whether that is a directory of credentials; relative names as if from the home."""
        return _may_be(text.rstrip("/"), state, self._secret_trees)

    def _relative(self, path: str, state: State) -> Level:
        parts = path.split("/")
        climbs = parts.count("..")
        everything = means_everything(path)
        if climbs >= _CLIMBS_TO_ROOT:
            if len(parts) == climbs or (len(parts) == climbs + 1 and everything):
                return Level.ROOT
            level = self._absolute("/" + "/".join(parts[climbs:]), state, everything=everything)
            if level is not Level.OTHER:
                return level
        if parts[-1] == ".." or (climbs and everything and len(parts) == climbs + 1):
            return Level.PARENT
        if path == "." or (everything and len(parts) == 1):
            return Level.CURRENT
        return Level.OTHER

    def _absolute(self, path: str, state: State, *, everything: bool) -> Level:
        parts = [part for part in path.split("/") if part]
        if everything:
            parts = parts[:-1]
        if not parts:
            return Level.ROOT
        if is_unknown(parts[0]):
            return Level.UNKNOWN
        if is_unknown(path):
            return self._named_level(path) or self._partly_unknown(parts)
        whole = "/" + "/".join(parts)
        named = self._named_level(path if everything else whole)
        if named is not None:
            return named
        home = self._home_level(parts, whole, state)
        if home is not None:
            return home
        if self._system.may_contain(whole):
            return Level.SYSTEM
        if is_glob(parts[0]) and self._spans_system(parts):
            return Level.BELOW
        if self._partial.may_contain(whole):
            cleared = everything and whole in self._cleared_freely
            return Level.OTHER if cleared else Level.PARTIAL
        if parts[0] == "dev" and len(parts) > 1:
            return Level.DEVICE if self.is_device(whole) else Level.OTHER
        if plain(whole) in self._program:
            return Level.PROGRAM
        return Level.BELOW if self._is_below(parts) else Level.OTHER

    def _is_below(self, parts: list[str]) -> bool:
        """Whether a path is below a system directory; of two that hold it the deeper one counts."""
        path = f"/{'/'.join(parts)}/"
        below, not_below = (
            max((len(name) for name in names if path.startswith(name)), default=0)
            for names in (self._below, self._not_below)
        )
        return below > not_below

    def _partly_unknown(self, parts: list[str]) -> Level:
        """Return the level of the directory above, which is meant if the unknown piece is empty."""
        if parts[0] == "dev" and len(parts) > 1 and not _HARMLESS_DEVICE.match(parts[1]):
            return Level.DEVICE
        if parts[0] in ("home", "Users"):
            return Level.UNKNOWN if len(parts) == 2 else Level.OTHER
        known = list(itertools.takewhile(lambda part: not is_unknown(part), parts))
        if parts[0] in self._top or self._is_below(known):
            return Level.BELOW
        cleared = f"/{parts[0]}" in self._cleared_freely
        return Level.OTHER if cleared or f"/{parts[0]}" not in self._partial else Level.PARTIAL

    def _named_level(self, path: str) -> Level | None:
        for level, names in self._named:
            if plain(path) in names or (is_glob(path) and names.may_contain(path)):
                return level
        return None

    def _home_level(self, parts: list[str], whole: str, state: State) -> Level | None:
        if whole in ("/root", state.home):
            return Level.HOME
        if parts[0] not in ("home", "Users"):
            return (
                Level.HOMES
                if len(parts) == 1 and is_glob(parts[0]) and matching(parts[0], ["home"])
                else None
            )
        if len(parts) == 1:
            return Level.HOMES
        if len(parts) == 2:
            if parts[1] == STAR:
                return Level.HOMES
            return Level.HOME
        return None

    def _spans_system(self, parts: list[str]) -> bool:
        names_system = bool(matching(parts[0], self._top))
        return names_system and all(not is_glob(part) or STAR in part for part in parts[1:])


def _may_be(text: str, state: State, patterns: PatternSet) -> bool:
    path = resolve(text, state)
    if path is None:
        return False
    if not path.startswith("/"):
        return not is_glob(path) and f"{state.home}/{path}" in patterns
    return patterns.may_contain(path) or plain(path) in patterns


@lru_cache(maxsize=8)
def path_levels(paths: Paths) -> PathLevels:
    """Return the levels for the paths of the rules, compiled once."""
    return PathLevels(paths)
