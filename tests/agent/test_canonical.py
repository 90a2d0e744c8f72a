# SPDX-License-Identifier: MIT
"""The canonical form of JSON (Matrix specification v1.16, appendix "Canonical JSON")."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.json_values import VALUES
from tibet_nc_agent.canonical import (
    REPLACEMENT,
    Json,
    NotCanonicalError,
    as_count,
    canonical,
    wholly,
)
from tibet_nc_agent.homeserver import parsed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        ({"one": 1, "two": "Two"}, '{"one":1,"two":"Two"}'),
        ({"b": "2", "a": "1"}, '{"a":"1","b":"2"}'),
        ({"本": 2, "日": 1}, '{"日":1,"本":2}'),
        ({"a": "日本語"}, '{"a":"日本語"}'),
        ({"a": "\u65e5"}, '{"a":"日"}'),
        ({"a": None}, '{"a":null}'),
        ({"a": -0, "b": 10**10}, '{"a":0,"b":10000000000}'),
        ([2**53 - 1, 1 - 2**53], "[9007199254740991,-9007199254740991]"),
        ({"a": '\n\x00"\\'}, '{"a":"\\n\\u0000\\"\\\\"}'),
    ],
)
def test_examples_of_the_specification(value: Json, text: str) -> None:
    """Values have the form that the specification's appendix gives."""
    assert canonical(value) == text.encode()


@pytest.mark.parametrize("value", [1.0, float("inf"), 2**53, -(2**53), "\ud800", {"a": [0.5]}])
def test_what_has_no_canonical_form(value: Json) -> None:
    """Numbers that aren't 53-bit integers and text that isn't Unicode have none."""
    with pytest.raises(NotCanonicalError):
        canonical(value)


@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (7, 7), (2**53 - 1, 2**53 - 1), (2**53, None), (-1, None), (True, None), (1.0, None)],
)
def test_a_count_is_a_whole_number_that_no_reader_rounds(value: Json, count: int | None) -> None:
    """What a homeserver counts is an integer from 0 to 2⁵³-1, and no truth value."""
    assert as_count(value) == count


def test_depth_is_limited() -> None:
    """Depth is an error of ours and not one of the interpreter's."""
    value: list[Json] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(NotCanonicalError, match="deep"):
        canonical(value)


@given(VALUES)
def test_form_is_unique(value: Json) -> None:
    """What has a canonical form keeps it when it is read back; all else raises our error."""
    with suppress(NotCanonicalError):
        form = canonical(value)
        assert canonical(json.loads(form)) == form


HALVES: st.SearchStrategy[Any] = st.recursive(
    st.text(st.characters(), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner),
)


@given(HALVES)
def test_an_answer_holds_no_half_character(value: Any) -> None:  # noqa: ANN401 - any JSON
    """Whatever a homeserver answers can be written as UTF-8, and whole characters stay."""
    read = parsed(json.dumps(value).encode())
    json.dumps(read, ensure_ascii=False).encode()
    if json.dumps(value, ensure_ascii=False).isprintable():
        assert read == value


def test_half_characters_are_replaced_wherever_they_are() -> None:
    """Names, texts and lists are gone through, however deep, and nothing else changes."""
    deep: Json = "\ud800"
    for _ in range(10_000):
        deep = [deep]
    found = wholly({"\udfff": [1, None, {"a": "x\ud800y"}], "deep": deep})
    assert isinstance(found, dict)
    assert found[REPLACEMENT] == [1, None, {"a": f"x{REPLACEMENT}y"}]
    inner = found["deep"]
    while isinstance(inner, list):
        (inner,) = inner
    assert inner == REPLACEMENT


def test_an_answer_is_utf_8() -> None:
    """What json would take by itself, UTF-16 and half characters as bytes, is no answer."""
    assert parsed('{"a": 1}'.encode("utf-16")) is None
    assert parsed(b'{"a": "\xed\xa0\x80"}') is None
