# SPDX-License-Identifier: MIT
"""Excerpts: within their budget, of whole lines and characters, and counted exactly (I12)."""

import hypothesis.strategies as st
from hypothesis import given

from tibet_nc_agent.content import cost
from tibet_nc_agent.excerpt import (
    EDGE_BYTES,
    EDGE_LINES,
    SCREEN_BYTES,
    Excerpt,
    excerpt,
    lines_of,
    newest,
    whole,
)
from tibet_nc_agent.screen import USUAL, Size

LINES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                b"",
                b"x" * 500,
                "日本".encode() * 200,
                b"\x1b[31mred\x1b[0m",
                b"\x00" * 90,
                b"12 of 90\r\x1b[K9 of 9",
                b"\x1b[2J\x1b[H",
            ]
        ),
    ),
    max_size=200,
)
OUTPUT = st.tuples(LINES, st.booleans()).map(
    lambda drawn: b"\n".join(drawn[0]) + b"\n" * (drawn[1] and bool(drawn[0]))
)
BUDGET = st.integers(min_value=64, max_value=12_288)


def cut(data: bytes, budget: int) -> Excerpt:
    """Return the excerpt of a whole output."""
    return excerpt(
        data[:EDGE_BYTES],
        data[-EDGE_BYTES:],
        USUAL,
        size=len(data),
        lines=lines_of(data),
        budget=budget,
    )


@given(OUTPUT, BUDGET)
def test_within_budget(data: bytes, budget: int) -> None:
    """An excerpt never takes more than its budget, nor does a whole output."""
    view = cut(data, budget)
    assert cost(view.head) + cost(view.tail) <= budget + 128
    text = whole(data, budget, USUAL)
    assert text is None or cost(text) <= budget


@given(st.lists(st.text(alphabet="abc日", max_size=40), max_size=300), BUDGET)
def test_counts_are_exact(lines: list[str], budget: int) -> None:
    """Shown and hidden lines and bytes are together those of the output (I12)."""
    data = "".join(line + "\n" for line in lines).encode()
    view = cut(data, budget)
    shown = [part.encode() + b"\n" for part in (view.head, view.tail) if part]
    blank = data.count(b"\n\n") + data.startswith(b"\n")
    shown_bytes = sum(map(len, shown))
    assert abs(view.hidden_bytes + shown_bytes - len(data)) <= 2 + blank
    assert view.hidden_lines in range(len(lines) + 1)


def test_whole_lines_of_both_ends() -> None:
    """The first and the last lines are shown, the rest is counted."""
    data = b"".join(b"line %d\n" % number for number in range(1000))
    view = cut(data, 12_288)
    assert view.head.splitlines() == [f"line {number}" for number in range(EDGE_LINES)]
    assert view.tail.splitlines() == [f"line {number}" for number in range(1000 - EDGE_LINES, 1000)]
    assert view.hidden_lines == 1000 - 2 * EDGE_LINES
    assert view.hidden_bytes == len(data) - len(view.head) - len(view.tail) - 2


def test_ends_do_not_overlap() -> None:
    """An output of few long lines is not shown twice."""
    data = b"a" * 3000 + b"\n" + b"b" * 3000 + b"\n"
    view = cut(data, 4096)
    assert set(view.head) == {"a"}
    assert set(view.tail) == {"b"}
    assert view.hidden_bytes + len(view.head) + len(view.tail) in {len(data), len(data) - 1}


def test_characters_are_not_cut() -> None:
    """A line that has to be cut is cut between two characters."""
    view = cut("日本語".encode() * 5000, 4096)
    assert "\ufffd" not in view.head + view.tail


def test_what_is_drawn_is_shown_as_it_ends() -> None:
    """Of a long output that moves a cursor the end is shown as on a terminal, with no other line.

    So it is wherever in the output the cursor is moved.
    """
    bar = b"".join(b"\r\x1b[K%d of 3000 done" % left for left in range(3000, 0, -1))
    screens = b"".join(b"\x1b[H\x1b[2J%d\nload %d\n" % (2 * at, at) for at in range(2000))
    log = b"".join(b"line %d\n" % number for number in range(2000))
    last = [f"line {number}" for number in range(2000)][-EDGE_LINES:]
    for data, shown in (
        (bar + b"\nended\n", ["1 of 3000 done", "ended"]),
        (screens, ["3998", "load 1999"]),
        (bar + b"\n" + log, last),
    ):
        view = cut(data, 12_288)
        assert (view.drawn, view.head, view.tail.splitlines()) == (True, "", shown)
        assert view.hidden_bytes == len(data) - EDGE_BYTES


def test_a_sequence_over_many_lines() -> None:
    """Terminal strings that span lines don't break the budget when they are cut."""
    begin, end, lines = b"\x1bP", b"\x1b\\", b"query\n" * 30
    for data in (begin + lines + end + b"x" * 9000, b"x" * 9000 + begin + lines + end):
        view = cut(data, 300)
        assert cost(view.head) + cost(view.tail) <= 300 + 128


def test_nothing() -> None:
    """No output has an empty excerpt."""
    assert cut(b"", 1024) == Excerpt(head="", tail="", hidden_lines=0, hidden_bytes=0)
    assert whole(b"", 1024, USUAL) == ""


def test_only_the_beginning_is_at_hand() -> None:
    """Without the end of an output, its beginning is shown and the rest counted in bytes."""
    view = excerpt(b"a\n" * 8192, b"", USUAL, size=1_000_000, lines=None, budget=4096)
    assert view.head == "\n".join("a" * EDGE_LINES)
    assert (view.tail, view.hidden_lines, view.hidden_bytes) == (
        "",
        None,
        1_000_000 - 2 * EDGE_LINES,
    )


def test_of_a_larger_screen_less_is_drawn() -> None:
    """An emulator's time grows with its screen: it gets less, and the rest is counted."""
    large = Size(rows=USUAL.rows * 2, columns=USUAL.columns * 4)
    drawn = SCREEN_BYTES // 8
    data = b"older" + b"\x1b[9Hold\r" * (drawn // 2) + b"\x1b[2Knew"
    assert newest(data, USUAL, whole=True).splitlines()[::8] == ["older", "new"]
    assert newest(data, large, whole=True).splitlines()[::8] == ["", "new"]
    view = excerpt(
        data[:EDGE_BYTES], data[-EDGE_BYTES:], large, size=len(data), lines=None, budget=4096
    )
    assert view.hidden_bytes == len(data) - drawn
    moving = b"\x1b[2J" * (drawn // 4)
    assert whole(moving, 4096, large) == ""
    assert whole(moving + b"\n", 4096, large) is None
    assert whole(moving + b"\n", 4096, USUAL) == ""
