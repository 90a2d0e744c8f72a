# SPDX-License-Identifier: MIT
"""The tables of SPEC.md as the code has them, so that the two can't drift apart."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from tibet_nc_protocol import envelope, messages, records, terms

SPECIFICATION: Final = Path(__file__).parents[2] / "protocol" / "SPEC.md"

NAMED: Final[Mapping[str, object]] = {
    name: getattr(module, name)
    for module, names in (
        (
            terms,
            (
                "Count",
                "UserId",
                "RoomId",
                "EventId",
                "DeviceId",
                "Digest",
                "Cells",
                "Text",
                "CommandText",
                "Notes",
            ),
        ),
        (records, ("Time", "Actor", "SignatureHex")),
        (envelope, ("KeyId",)),
    )
    for name in names
} | {"Id": terms.RunId}
"""The types that have a name in SPEC §4."""

_WORDS: Final = {int: "integer", str: "text", bytes: "bytes", bool: "bool"}


def rows(section: str) -> dict[str, list[list[str]]]:
    """Return the tables under each heading of the specification, cells without their marks."""
    tables: dict[str, list[list[str]]] = {}
    heading = ""
    for line in section.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip("`")
        elif line.startswith("|") and not line.startswith("| ---"):
            cells = [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
            tables.setdefault(heading, []).append(cells)
    return {name: table[1:] for name, table in tables.items()}


def fields(cls: type[msgspec.Struct]) -> list[list[str]]:
    """Return name and type of each field as the specification writes them, in order."""
    hints = get_type_hints(cls, include_extras=True)
    return [
        [field.encode_name, _of_field(hints[field.name], field)]
        for field in msgspec.structs.fields(cls)
    ]


def _of_field(hint: object, field: msgspec.structs.FieldInfo) -> str:
    # The signature is absent only while it is being made (SPEC §6).
    if field.required or field.name == "sig":
        return written(hint)
    return written(hint).removesuffix(" or nil") + ", optional"


def written(hint: object) -> str:
    """Return a type as the specification writes it."""
    for name, named in NAMED.items():
        if hint == named:
            return name
    if get_origin(hint) in {UnionType, Union}:
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        return " or ".join([*map(written, kinds), *["nil"][: len(get_args(hint)) - len(kinds)]])
    if isinstance(hint, type):
        return _WORDS.get(hint) or hint.__name__
    return form(hint)


def form(hint: object) -> str:
    """Return the definition of a type: what it is made of and its limits."""
    assert get_origin(hint) is Annotated, hint
    base, meta = get_args(hint)
    assert isinstance(meta, msgspec.Meta)
    if get_origin(base) is tuple:
        return f"array of {written(get_args(base)[0])}, at most {meta.max_length}"
    parts = [_WORDS[base]]
    if meta.ge is not None:
        parts.append(f"{meta.ge} to {meta.le}")
    if meta.max_length is not None:
        unit = "bytes" if base is bytes else "characters"
        if meta.min_length == meta.max_length:
            parts.append(f"{meta.max_length} {unit}")
        elif meta.min_length is not None:
            parts.append(f"{meta.min_length} to {meta.max_length} {unit}")
        else:
            parts.append(f"at most {meta.max_length} {unit}")
    if meta.pattern is not None:
        parts.append(f"`{meta.pattern}`")
    return ", ".join(parts)


def enumerations() -> Iterator[type[StrEnum]]:
    """Yield every enumeration that a message or record has."""
    for module in (terms, messages, records):
        for value in vars(module).values():
            kind = value if isinstance(value, type) and issubclass(value, StrEnum) else None
            if kind is not None and kind.__module__ == module.__name__:
                yield kind


def limits(module: ModuleType) -> dict[str, int]:
    """Return the name and value of every limit."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int)
    }
