# SPDX-License-Identifier: MIT
"""Values of any message or record type, derived from the type itself, so that none is forgotten."""

import re
from typing import cast

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from tibet_nc_protocol.codec import MessageCodec
from tibet_nc_protocol.messages import REQUESTS, RESPONSES, Request, Response
from tibet_nc_protocol.records import Record

REQUEST_TYPES: tuple[type[Request], ...] = Request.__value__.__args__
RESPONSE_TYPES: tuple[type[Response], ...] = Response.__value__.__args__
RECORD_TYPES: tuple[type[Record], ...] = Record.__value__.__args__

# For tests that do the same with both directions.
REQUEST_CODEC = cast("MessageCodec[object]", REQUESTS)
RESPONSE_CODEC = cast("MessageCodec[object]", RESPONSES)

IDENTIFIER_ALPHABET = st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp"))
"""All but white space and control characters."""

WIDEST = "\U0010ffff"
"""Four bytes in UTF-8, and no pattern of ours refuses it."""

CONTROL = "\x01"
"""Six bytes in JSON."""


def struct_of[S: msgspec.Struct](
    cls: type[S], **fixed: st.SearchStrategy[object]
) -> st.SearchStrategy[S]:
    """Return a strategy for every value of a struct type, but for the fields given."""
    return cast("st.SearchStrategy[S]", _struct(inspect.type_info(cls), fixed))


def largest[S: msgspec.Struct](cls: type[S], *, text: str) -> S:
    """Return a value of which every part is as long as its type permits, texts of one character."""
    value = _largest(inspect.type_info(cls), text)
    assert isinstance(value, cls)
    return value


def _struct(
    info: inspect.Type, fixed: dict[str, st.SearchStrategy[object]]
) -> st.SearchStrategy[object]:
    assert isinstance(info, inspect.StructType)
    fields = {field.name: fixed.get(field.name, of_type(field.type)) for field in info.fields}
    return st.builds(info.cls, **fields)


def of_type(info: inspect.Type) -> st.SearchStrategy[object]:
    """Return a strategy for every value of a type that our structs use."""
    match info:
        case inspect.IntType():
            return st.integers(info.ge, info.le)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.EnumType():
            return st.sampled_from(info.cls)
        case inspect.StrType(pattern=None):
            return st.text(min_size=info.min_length or 0, max_size=min(40, info.max_length or 40))
        case inspect.StrType():
            return _matching(info.pattern or "")
        case inspect.BytesType():
            return st.binary(min_size=info.min_length or 0, max_size=min(70, info.max_length or 70))
        case inspect.VarTupleType():
            most = min(4, info.max_length or 4)
            return st.lists(of_type(info.item_type), max_size=most).map(tuple)
        case inspect.UnionType():
            return st.one_of(*(of_type(item) for item in info.types))
        case inspect.StructType():
            return _struct(info, {})
        case _:
            raise NotImplementedError(info)


def _matching(pattern: str) -> st.SearchStrategy[str]:
    """Return a strategy for texts that match; Hypothesis's own is slow for what we use most."""
    if digits := re.fullmatch(r"\\A\[0-9a-f\]\{(\d+)\}\\Z", pattern):
        size = int(digits[1]) // 2
        return st.binary(min_size=size, max_size=size).map(bytes.hex)
    if identifier := re.fullmatch(r"\\A(.*)\[\^.*\]\+\\Z", pattern):
        prefix = identifier[1].replace("\\", "")
        return st.text(IDENTIFIER_ALPHABET, min_size=1, max_size=12).map(prefix.__add__)
    if pattern.startswith(r"\A[0-9]{4}-"):
        return st.datetimes().map(lambda time: time.isoformat(timespec="microseconds") + "Z")
    return st.from_regex(pattern)


def _largest(info: inspect.Type, text: str) -> object:
    match info:
        case inspect.IntType():
            return info.le
        case inspect.BoolType():
            return False
        case inspect.EnumType():
            return max(info.cls, key=lambda member: len(str(member)))
        case inspect.StrType(pattern=None):
            return text * (info.max_length or 0)
        case inspect.StrType():
            return _largest_match(info)
        case inspect.BytesType():
            return b"\xff" * (info.max_length or 0)
        case inspect.VarTupleType():
            return (_largest(info.item_type, text),) * (info.max_length or 0)
        case inspect.UnionType():
            return _largest(
                next(t for t in info.types if not isinstance(t, inspect.NoneType)), text
            )
        case inspect.StructType():
            return info.cls(**{field.name: _largest(field.type, text) for field in info.fields})
        case _:
            raise NotImplementedError(info)


def _largest_match(info: inspect.StrType) -> str:
    """Return the longest text for a pattern: of fixed length, or a prefix and any characters."""
    pattern = info.pattern or ""
    for fixed in ("f" * 128, "f" * 64, "f" * 32, "2026-11-25T00:00:00.000000Z"):
        if re.search(pattern, fixed):
            return fixed
    for prefix in ("@", "!", "$", "jis:matrix:@", ""):
        text = prefix + WIDEST * ((info.max_length or 0) - len(prefix))
        if re.search(pattern, text):
            return text
    raise NotImplementedError(pattern)
