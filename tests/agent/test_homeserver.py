# SPDX-License-Identifier: MIT
"""How the homeserver's clock is measured, and how long to wait between attempts."""

from email.utils import formatdate
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tibet_nc_agent.homeserver import LONGEST_WAIT_SECONDS, ClockSkew, waits

NOW = 1_800_000_000.0


@given(
    skew=st.floats(-1e6, 1e6),
    requests=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 60)), min_size=1, max_size=50),
)
def test_skew_is_within_the_uncertainty(skew: float, requests: list[tuple[float, float]]) -> None:
    """The measured skew is never further off than half of the least uncertain answer."""
    clock, sent = ClockSkew(), NOW
    for pause, duration in requests:
        sent += pause
        received = sent + duration
        date = formatdate(int(received + skew), usegmt=True)
        clock.observe(date, took_s=duration, received_s=received)
        sent = received
    least = min(duration for _, duration in requests) + 1.0
    assert clock.milliseconds is not None
    assert abs(clock.milliseconds / 1000 - skew) <= least / 2 + 0.002


def test_skew_gets_exact() -> None:
    """Many answers at different parts of a second leave an uncertainty of a few milliseconds."""
    clock = ClockSkew()
    for step in range(300):
        sent = NOW + step * 1.013
        date = formatdate(int(sent + 0.5 + 0.005), usegmt=True)
        clock.observe(date, took_s=0.01, received_s=sent + 0.01)
    assert clock.milliseconds is not None
    assert abs(clock.milliseconds - 500) <= 20


@pytest.mark.parametrize("set_s", [3_600, -3_600])
def test_clock_that_was_set_starts_anew(set_s: int) -> None:
    """When a clock was set, forwards or back, the old answers don't count any more."""
    clock = ClockSkew()
    for skew in (0, set_s):
        for step in range(3):
            date = formatdate(NOW + step + skew, usegmt=True)
            clock.observe(date, took_s=0, received_s=NOW + step)
    assert clock.milliseconds is not None
    assert abs(clock.milliseconds - set_s * 1_000) <= 1_000


@given(st.text())
def test_any_date(text: str) -> None:
    """A date that is none is passed over."""
    ClockSkew().observe(text, took_s=0, received_s=NOW)


def test_waits_grow_to_the_longest() -> None:
    """Waits double from at most one second up to the longest, with jitter of one half."""
    for attempt, wait in enumerate(islice(waits(), 12)):
        longest = min(2.0**attempt, LONGEST_WAIT_SECONDS)
        assert longest / 2 <= wait <= longest
