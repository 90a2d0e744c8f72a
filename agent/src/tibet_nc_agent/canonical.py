# SPDX-License-Identifier: MIT
"""JSON values as Matrix uses them: narrowing what a stranger sent, and the canonical form.

Facts. Signatures cover the canonical form: keys sorted by code point, no white space, UTF-8, no
number but an integer of at most 53 bits (Matrix specification v1.16, appendix "Canonical JSON").
Whatever comes from the network may have any shape, so it is read with the ``as_…`` functions,
which give an empty value where the expected type is missing.
"""

import json
from typing import Final

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None
type JsonObject = dict[str, Json]

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

LARGEST_INTEGER: Final = 2**53 - 1

DEPTH: Final = 64
"""Deepest value that is made canonical; keys and signatures are four levels deep."""


def as_object(value: Json) -> JsonObject:
    """Return ``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Json) -> list[Json]:
    """Return ``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Json) -> str:
    """Return ``value`` if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def as_count(value: Json) -> int | None:
    """Return ``value`` if it is an integer from 0 to 2⁵³-1, else None."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_INTEGER:
        return value
    return None


def whole(text: str) -> str:
    """Return ``text`` with half characters replaced: JSON can say them, UTF-8 and a disk can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(REPLACEMENT if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def wholly(value: Json) -> Json:
    """Return ``value`` with half characters replaced in all its texts and names, however deep."""
    top: list[Json] = [value]
    open_lists: list[list[Json]] = [top]
    open_objects: list[JsonObject] = []
    while open_lists or open_objects:  # no recursion: a stranger chooses the depth
        if open_lists:
            items = open_lists.pop()
            for index, item in enumerate(items):
                items[index] = _noted(item, open_lists, open_objects)
        else:
            fields = open_objects.pop()
            renewed = {
                whole(name): _noted(item, open_lists, open_objects) for name, item in fields.items()
            }
            fields.clear()
            fields.update(renewed)
    return top[0]


def _noted(item: Json, lists: list[list[Json]], objects: list[JsonObject]) -> Json:
    """Return a text as it may be; remember what has parts to look at."""
    if isinstance(item, str):
        return whole(item)
    if isinstance(item, list):
        lists.append(item)
    elif isinstance(item, dict):
        objects.append(item)
    return item


class NotCanonicalError(ValueError):
    """A value has no canonical form."""


def canonical(value: Json) -> bytes:
    """Return the one canonical form of ``value``; raise :class:`NotCanonicalError` without one."""
    _require_canonical(value, DEPTH)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise NotCanonicalError("the text holds half a character") from error


def _require_canonical(value: Json, depth: int) -> None:
    if depth == 0:
        raise NotCanonicalError("the value is nested too deeply")
    match value:
        case None | bool() | str():
            return
        case int():
            if abs(value) > LARGEST_INTEGER:
                raise NotCanonicalError("the integer has more than 53 bits")
        case float():
            raise NotCanonicalError("the number is not an integer")
        case list():
            for item in value:
                _require_canonical(item, depth - 1)
        case dict():
            for item in value.values():
                _require_canonical(item, depth - 1)
