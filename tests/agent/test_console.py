# SPDX-License-Identifier: MIT
"""What root and the agent say to each other: nothing but what is meant, to nobody else."""

import os
import socket
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.json_values import OBJECTS
from tibet_nc_agent.console import (
    LINE_BYTES,
    Asked,
    ConsoleError,
    Decision,
    Failed,
    Proved,
    Said,
    Shown,
    Told,
    Verify,
    line,
    require_peer,
    said,
    told,
)


@pytest.mark.parametrize("value", [Verify(user="@op:example.org"), Decision(matches=True)])
def test_root_is_understood(value: Said) -> None:
    """Every line of root's comes back as what it was."""
    assert said(line(value)) == value


@pytest.mark.parametrize(
    "value",
    [
        Asked(room="!room:example.org", by_user=False),
        Shown(emoji=(0, 63, 1, 2, 3, 4, 5), decimals=(1000, 9191, 5000)),
        Proved(master_key="A" * 43),
        Failed(reason="cancelled"),
    ],
)
def test_the_agent_is_understood(value: Told) -> None:
    """Every line of the agent's comes back as what it was."""
    assert told(line(value)) == value


@given(data=st.one_of(st.binary(max_size=200), OBJECTS.map(lambda value: repr(value).encode())))
def test_any_line_is_understood_or_refused(data: bytes) -> None:
    """Whatever comes through the socket, there is one error at most."""
    for decode in (said, told):
        for ended in (data, data + b"\n"):
            with suppress(ConsoleError):
                decode(ended)


@pytest.mark.parametrize(
    "data",
    [
        line(Shown(emoji=(0,), decimals=(1000, 1000, 1000))).replace(b"[0]", b"[64]"),
        line(Shown(emoji=(0,), decimals=(1000, 1000, 1000))).replace(b"[0]", b'["\\u001b"]'),
        line(Shown(emoji=(0,), decimals=(1000, 1000, 1001))).replace(b"1001", b"99999"),
        line(Proved(master_key="A" * 43)).replace(b"AA", b"A"),
        line(Failed(reason="x")).replace(b"}", b',"more":1}'),
        line(Failed(reason="x" * 500)).replace(b"x", b"x" * 10),
        line(Failed(reason="x")).rstrip(),
        line(Verify(user="@op:example.org")),
        b"[" * LINE_BYTES + b"\n",
    ],
)
def test_what_the_agent_may_not_say_is_refused(data: bytes) -> None:
    """Root is shown numbers that have emoji, keys that are keys, and nothing else."""
    with pytest.raises(ConsoleError):
        told(data)


def test_a_process_of_another_user_is_turned_away() -> None:
    """The kernel says who is at the other end, and nobody else is spoken to."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        require_peer(ours, frozenset({os.geteuid()}))
        with pytest.raises(ConsoleError, match=f"uid {os.geteuid()}"):
            require_peer(ours, frozenset({os.geteuid() + 1}))
