# SPDX-License-Identifier: MIT
"""May this run? The executor's own answer, at each bound (I5)."""

from dataclasses import replace

import pytest

from tibet_nc_executor.policy import Allowed, Policy, Refused, admit, decide
from tibet_nc_protocol.messages import Run
from tibet_nc_protocol.terms import DenialCode

PINNED, COLLEAGUE, STRANGER = "@op:example.org", "@colleague:example.org", "@other:example.org"
ROOM, ELSEWHERE = "!room:example.org", "!else:example.org"
NOW_MS = 1_800_000_000_000
POLICY = Policy(
    pinned=frozenset({PINNED, COLLEAGUE}),
    only=frozenset(),
    rooms=frozenset({ROOM}),
    timebox_ms=30_000,
)


def request(*, sender: str = PINNED, room: str = ROOM, age_ms: int = 0) -> Run:
    """Return a request that was sent so long before now."""
    return Run(
        request=1,
        room=room,
        event="$event",
        sender=sender,
        device="DEVICE",
        ciphertext="0" * 64,
        sent_ms=NOW_MS - age_ms,
        command="true",
    )


@pytest.mark.parametrize("age_ms", [0, 1, -1, 30_000, -30_000])
def test_within_the_timebox_it_may_run(age_ms: int) -> None:
    """A message may be exactly as old as is permitted, and its clock as much ahead."""
    assert decide(request(age_ms=age_ms), POLICY, NOW_MS) == Allowed()


@pytest.mark.parametrize(("age_ms", "when"), [(30_001, "old"), (-30_001, "in the future")])
def test_beyond_the_timebox_it_may_not(age_ms: int, when: str) -> None:
    """A millisecond more is refused, and it is said which way."""
    refused = decide(request(age_ms=age_ms), POLICY, NOW_MS)
    assert isinstance(refused, Refused)
    assert refused.code is DenialCode.STALE
    assert refused.reason == f"the message is 30.0 s {when}; at most 30 s are permitted"


@pytest.mark.parametrize(
    ("sender", "room", "only", "problem", "code", "said"),
    [
        (STRANGER, ROOM, (), "", DenialCode.SENDER, "is not pinned"),
        (STRANGER, ROOM, (STRANGER,), "", DenialCode.SENDER, "is not pinned"),
        (COLLEAGUE, ROOM, (PINNED,), "", DenialCode.SENDER, "but not in policy.operators"),
        (PINNED, ELSEWHERE, (), "", DenialCode.ROOM, "is not a room of this host"),
        (STRANGER, ELSEWHERE, (), "", DenialCode.SENDER, "is not pinned"),
        (PINNED, ROOM, (), "torn", DenialCode.SENDER, "nobody may command this host: torn"),
    ],
)
def test_each_condition_alone_refuses(
    sender: str, room: str, only: tuple[str, ...], problem: str, code: DenialCode, said: str
) -> None:
    """Pin, list, room and a file that can't be used: each is enough, whoever asks for what."""
    policy = replace(POLICY, only=frozenset(only), problem=problem)
    for refused in (
        admit(sender, room, policy),
        decide(request(sender=sender, room=room), policy, NOW_MS),
    ):
        assert isinstance(refused, Refused)
        assert refused.code is code
        assert said in refused.reason


def test_who_is_pinned_and_listed_may() -> None:
    """A list names those of the pinned who may command; without one, all may."""
    for sender, only in ((PINNED, ()), (COLLEAGUE, ()), (PINNED, (PINNED,))):
        assert admit(sender, ROOM, replace(POLICY, only=frozenset(only))) == Allowed()
