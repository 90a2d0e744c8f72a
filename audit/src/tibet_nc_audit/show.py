# SPDX-License-Identifier: MIT
"""A dossier as lines for people."""

from collections.abc import Iterator

import msgspec

from tibet_nc_audit.dossier import Dossier, Result
from tibet_nc_audit.entries import Entry
from tibet_nc_audit.table import command_text, duration, ending
from tibet_nc_audit.visible import visible
from tibet_nc_protocol.layout import RECORDINGS

_MARK = {Result.AGREES: "ok ", Result.BAD: "BAD", Result.NOTHING: " - ", Result.UNREADABLE: " ? "}

_NAMED_BEFORE = frozenset({"seq", "kind", "verdict", "command", "text", "exit", "signal"})
"""What stands in the first lines, put together."""


def lines(dossier: Dossier) -> Iterator[str]:
    """Yield the lines, safe for a terminal."""
    entry = dossier.entry
    yield f"#{entry.seq}  {entry.kind}" + (f", {entry.verdict}" if entry.verdict else "")
    if entry.text is not None:
        yield _line("command", command_text(entry))
    if entry.exit is not None or entry.signal is not None:
        yield _line("exit", ending(entry))
    for name in msgspec.structs.fields(Entry):
        value = getattr(entry, name.name)
        if name.name not in _NAMED_BEFORE and value not in {None, "", ()}:
            yield _line(name.name, _value(name.name, value))
    yield ""
    for check in dossier.checks:
        detail = f": {visible(check.detail)}" if check.detail else ""
        yield f"{_MARK[check.result]}  {check.what}{detail}"


def _value(name: str, value: str | int | tuple[str, ...]) -> str:
    match name, value:
        case "duration_ms", int():
            return duration(value)
        case "recording", str():
            return f"{RECORDINGS}/{visible(value)}"
        case "notes", tuple():
            return "; ".join(visible(note) for note in value)
        case _:
            return visible(str(value))


def _line(name: str, value: str) -> str:
    return f"  {name.removesuffix('_ms'):16} {value}"
