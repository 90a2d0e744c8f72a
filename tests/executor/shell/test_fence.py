# SPDX-License-Identifier: MIT
"""The fence: pure, and exact however the bytes are cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tibet_nc_executor.fence import TOKEN_BYTES, FenceScanner, framed

TOKENS = st.binary(min_size=TOKEN_BYTES, max_size=TOKEN_BYTES)


@st.composite
def near_misses(draw: st.DrawFn, token: bytes) -> bytes:
    """Output that is full of beginnings of the fence."""
    fence = framed(token)
    parts = st.one_of(
        st.binary(max_size=8),
        st.integers(min_value=1, max_value=len(fence) - 1).map(lambda size: fence[:size]),
    )
    return b"".join(draw(st.lists(parts, max_size=12)))


@given(st.data(), TOKENS)
def test_output_is_separated_from_the_fence_however_it_is_cut(
    data: st.DataObject, token: bytes
) -> None:
    """Whatever comes before the fence is output, byte for byte, and nothing after it is."""
    output = data.draw(near_misses(token).filter(lambda made: framed(token) not in made))
    stream = output + framed(token) + data.draw(st.binary(max_size=20))
    # The fence begins where it first appears, also if output and fence make one earlier.
    expected = stream[: stream.index(framed(token))]
    scanner = FenceScanner(token)
    cuts = sorted(data.draw(st.sets(st.integers(min_value=0, max_value=len(stream)))))
    edges = [0, *cuts, len(stream)]
    got = b"".join(scanner.feed(stream[begin:end]) for begin, end in pairwise(edges))
    assert got == expected
    assert scanner.found


@given(st.data(), TOKENS)
def test_without_a_fence_nothing_is_lost(data: st.DataObject, token: bytes) -> None:
    """If the fence never comes, what was held back is still there."""
    output = data.draw(near_misses(token).filter(lambda made: framed(token) not in made))
    scanner = FenceScanner(token)
    got = b"".join(scanner.feed(output[at : at + 1]) for at in range(len(output)))
    assert got + scanner.rest() == output
    assert not scanner.found


def test_only_a_beginning_of_the_fence_is_held_back() -> None:
    """Output is passed on at once unless it could be the fence."""
    scanner = FenceScanner(bytes(TOKEN_BYTES))
    assert scanner.feed(b"hello\0") == b"hello"
    assert scanner.feed(b"0") == b""
    assert scanner.feed(b"x") == b"\x000x"
