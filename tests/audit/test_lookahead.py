# SPDX-License-Identifier: MIT
"""Finding what records commit to in files that are nearly in their order."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tibet_nc_audit.lookahead import SEARCHES, WINDOW, DiffersError, Item, Lookahead, only
from tibet_nc_audit.reader import State


def _read(line: bytes) -> Item[bytes, bytes] | None:
    key, found, value = line.partition(b"=")
    return Item(key, value.decode(), line) if found else None


def _file(root: Path, lines: list[bytes]) -> None:
    (root / "file").write_bytes(b"".join(line + b"\n" for line in lines))


@given(
    order=st.permutations(range(30)),
    lost=st.sets(st.integers(0, 29)),
    orphans=st.lists(st.integers(0, 29), max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_any_order_within_the_window(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[int],
    lost: set[int],
    orphans: list[int],
) -> None:
    """Whatever stands within the window is found, wherever; the rest is what nobody wanted."""
    root = tmp_path_factory.mktemp("lookahead")
    lines = [b"%d=old" % number for number in orphans]
    lines += [b"%d=new" % number for number in order if number not in lost]
    _file(root, lines)
    with State(root) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, _read)
        left = list(orphans)
        for number in range(30):
            key = b"%d" % number
            if number not in lost:
                assert lookahead.take(key, "new") == key + b"=new"
            elif number in left:
                with pytest.raises(DiffersError) as differs:
                    lookahead.take(key, "new")
                assert differs.value.found == "old"
                left = [orphan for orphan in left if orphan != number]
            else:
                assert lookahead.take(key, "new") is None
        assert sorted(item.value for item in lookahead.rest()) == sorted(
            b"%d=old" % number for number in left
        )


@pytest.mark.parametrize("every", [1, 10, WINDOW - 1])
def test_any_number_of_lines_that_nobody_wants(tmp_path: Path, every: int) -> None:
    """However many lines nobody asks for in all, each one wanted is found, and all are counted."""
    wanted = range(0, 5 * WINDOW, every)
    lines: list[bytes] = []
    for number in range(5 * WINDOW):
        lines.append(b"orphan%d=old" % number)
        if number in wanted:
            lines.append(b"%d=new" % number)
    _file(tmp_path, lines)
    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, _read)
        for number in wanted:
            assert lookahead.take(b"%d" % number, "new") == b"%d=new" % number
            assert len(lookahead._starts) <= 2 * WINDOW
        assert sum(1 for _ in lookahead.rest()) + lookahead.forgotten == 5 * WINDOW


def test_any_row_of_lines_that_nobody_wants(tmp_path: Path) -> None:
    """Behind any row of lines that nobody wants, each wanted one is found, and all are counted."""
    orphans = [b"orphan%d=old" % number for number in range(3 * WINDOW)]
    wanted = [b"%d=new" % number for number in range(2 * WINDOW)]
    _file(tmp_path, [*wanted[:10], *orphans, b"10=old", *wanted[10:], *orphans])
    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, _read)
        for line in wanted:
            assert lookahead.take(line.partition(b"=")[0], "new") == line
            assert len(lookahead._starts) <= 2 * WINDOW
        assert not lookahead.gave_up
        # Each of them is the next line after the one before: the file was gone through once.
        assert lookahead._left > (SEARCHES - 1) * file.size
        unclaimed = sum(1 for _ in lookahead.rest()) + lookahead.forgotten - lookahead.distant
        assert unclaimed == 2 * len(orphans) + 1


def test_what_is_moved_far_away_moves_nothing_else(tmp_path: Path) -> None:
    """A line that somebody put at the end is found there, and those in their places are, too."""
    lines = [b"%d=new" % number for number in range(3 * WINDOW)]
    _file(tmp_path, [*lines[1:], lines[0]])
    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, _read)
        for line in lines:
            assert lookahead.take(line.partition(b"=")[0], "new") == line


def test_a_search_has_a_bound(tmp_path: Path) -> None:
    """However many lines are far from their places, the file is read a few times over at most."""
    lines = [b"%d=new" % number for number in range(4 * WINDOW)]
    _file(tmp_path, lines[::-1])
    read = 0

    def counting(line: bytes) -> Item[bytes, bytes] | None:
        nonlocal read
        read += 1
        return _read(line)

    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, counting)
        missed = sum(
            lookahead.take(line.partition(b"=")[0], "new") is None for line in lines[: 2 * WINDOW]
        )
        assert missed
        assert lookahead.gave_up
        assert read <= (SEARCHES + 1) * len(lines)


def test_what_was_claimed_moves_on(tmp_path: Path) -> None:
    """What nobody will ask for any more doesn't hold back where a later verification goes on."""
    lines = [b"orphan=old", *(b"%d=new" % number for number in range(2 * WINDOW))]
    _file(tmp_path, lines)
    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, _read)
        for number in range(2 * WINDOW):
            assert lookahead.take(b"%d" % number, "new") is not None
            assert lookahead.claimed == 0 or number + 1 >= WINDOW
        assert lookahead.claimed == sum(len(line) + 1 for line in lines)


def test_lines_that_are_nothing(tmp_path: Path) -> None:
    """Lines that can't be read are passed over and named."""
    _file(tmp_path, [b"garbage", b"a=new", b"", b"b=new"])
    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, _read)
        assert lookahead.take(b"b", "new") == b"b=new"
        assert lookahead.unreadable == [1, 3]


def test_lines_that_are_nothing_have_a_bound(tmp_path: Path) -> None:
    """Only the first of them are named, however many there are."""
    _file(tmp_path, [*[b"garbage"] * (2 * WINDOW), b"a=new"])
    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, _read)
        assert lookahead.take(b"a", "new") == b"a=new"
        assert lookahead.unreadable == list(range(1, WINDOW + 1))


def test_a_search_passes_over_what_is_nothing(tmp_path: Path) -> None:
    """What can't be read in a row that nobody wants doesn't end the search behind it."""
    orphans = [b"orphan%d=old" % number for number in range(WINDOW)]
    _file(tmp_path, [*orphans, *[b"garbage"] * 3, *orphans, b"a=new"])
    with State(tmp_path) as state, state.open("file", 100) as file:
        assert Lookahead(file, _read).take(b"a", "new") == b"a=new"


def test_another_is_told_though_all_was_looked_through(tmp_path: Path) -> None:
    """Something else in a wanted one's place is named, also if the search went past the window."""
    orphans = [b"orphan%d=old" % number for number in range(2 * WINDOW)]
    _file(tmp_path, [b"a=old", *orphans])
    with State(tmp_path) as state, state.open("file", 100) as file:
        with pytest.raises(DiffersError) as differs:
            Lookahead(file, _read).take(b"a", "new")
        assert differs.value.found == "old"


def test_the_window_never_moves_back(tmp_path: Path) -> None:
    """A line within the window of the furthest one needs no search, whatever was asked before."""
    lines = [b"%d=new" % number for number in range(2 * WINDOW)]
    _file(tmp_path, lines)
    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, _read)
        for number in (WINDOW - 1, 5, 2 * WINDOW - 2):
            assert lookahead.take(b"%d" % number, "new") == lines[number]
        assert lookahead.distant == 0


def test_what_nobody_will_ask_for_is_not_held(tmp_path: Path) -> None:
    """Lines of keys that were claimed earlier are neither found nor left over."""
    _file(tmp_path, [b"a=new", b"b=new", b"c=new"])
    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, _read, skip=lambda key: key == b"a")
        assert lookahead.take(b"b", "new") == b"b=new"
        assert [item.key for item in lookahead.rest()] == [b"c"]


def test_what_is_written_meanwhile_is_found(tmp_path: Path) -> None:
    """A file that grows is read on from where it ended."""
    _file(tmp_path, [b"a=new"])
    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, _read)
        assert lookahead.take(b"b", "new") is None
        with (tmp_path / "file").open("ab") as more:
            more.write(b"b=new\n")
        assert lookahead.take(b"b", "new") == b"b=new"
        assert lookahead.take(b"a", "new") == b"a=new"


def test_one_alone_is_looked_for(tmp_path: Path) -> None:
    """To look for one key, any number of others before it costs no memory and no window."""
    others = [b"other%d=new" % number for number in range(2 * WINDOW)]
    _file(tmp_path, [*others, b"garbage", b"a=old", b"a=new"])
    with State(tmp_path) as state, state.open("file", 100) as file:
        lookahead = Lookahead(file, only(_read, b"a"))
        assert lookahead.take(b"a", "new") == b"a=new"
        assert lookahead.distant == 0
        assert [item.value for item in lookahead.rest()] == [b"a=old"]


def test_no_file(tmp_path: Path) -> None:
    """Of a file that isn't there, nothing is found."""
    with State(tmp_path) as state, state.open_if_there("file", 100) as file:
        lookahead = Lookahead(file, _read)
        assert lookahead.take(b"a", "new") is None
        assert list(lookahead.rest()) == []
