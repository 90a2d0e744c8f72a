# SPDX-License-Identifier: MIT
"""The pace of edits: never sooner than 3 s, never more than fifty, and the rate limit first."""

import itertools

import hypothesis.strategies as st
from hypothesis import given

from tibet_nc_agent.content import RESULT_KEY, Part, edit_of
from tibet_nc_agent.excerpt import NEWEST_LINES, newest
from tibet_nc_agent.progress import EDITS, FIRST_PAUSE_SECONDS, SPACING_SECONDS, Pace, Progress
from tibet_nc_agent.render import Answerer
from tibet_nc_agent.screen import USUAL

STEPS = st.lists(st.tuples(st.floats(0, 500), st.booleans(), st.integers(0, 3)), max_size=400)


@given(STEPS)
def test_edits_are_few_and_far_between(steps: list[tuple[float, bool, int]]) -> None:
    """However a command prints and an edit fails, edits keep their distance and their number.

    Nor is the executor asked sooner for what there is to tell.
    """
    now, printed = 0.0, 0
    progress = Progress(now)
    taken = [now]
    for late, accepted, output in steps:
        if progress.due is None:
            break
        assert progress.due >= now + FIRST_PAUSE_SECONDS - 1e-6
        now = max(now, progress.due) + late
        printed += output
        if progress.news(printed) and accepted:
            progress.edited(now, printed)
            taken.append(now)
            assert not progress.news(printed)
        else:
            progress.looked(now)
    gaps = [after - before for before, after in itertools.pairwise(taken)]
    assert all(gap >= FIRST_PAUSE_SECONDS - 1e-6 for gap in gaps)
    assert len(gaps) == progress.edits < EDITS


def test_fifty_edits_span_an_hour() -> None:
    """A command that prints all the time is told of until it reaches its hour."""
    progress = Progress(0.0)
    printed = 0
    now = 0.0
    for _ in range(2 * EDITS):
        if progress.due is not None:
            now, printed = progress.due, printed + 1
            progress.edited(now, printed)
    assert progress.edits == EDITS - 1
    assert 45 * 60 < now < 60 * 60


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=50))
def test_commands_share_a_pace(wanted: list[float]) -> None:
    """No two edits of the agent are closer than the pace, in whatever order they are wanted."""
    pace = Pace()
    times = [pace.reserve(at) for at in wanted]
    assert all(
        after - before >= SPACING_SECONDS - 1e-9 for before, after in itertools.pairwise(times)
    )
    assert all(at >= want for at, want in zip(times, wanted, strict=True))


def test_the_rate_limit_is_honoured_by_all() -> None:
    """After a refusal every command's edit waits, longer than the homeserver asked for."""
    pace = Pace()
    pace.limited(100.0, 5.0)
    assert pace.reserve(101.0) == 110.0
    pace.limited(0.0, 1.0)  # an older word doesn't shorten it
    assert pace.reserve(101.0) == 111.0


def test_an_edit_is_one_for_all_clients() -> None:
    """An edit has the new text for clients that know edits and for those that don't."""
    first = Answerer("web1").told("$command", Part("one <b>"), final=False)
    content = edit_of("$notice", first)
    new = content["m.new_content"]
    assert isinstance(new, dict)
    assert (content["body"], new["body"]) == ("* one <b>", "one <b>")
    assert new["formatted_body"] == "<p>one &lt;b&gt;</p>"
    assert content["m.relates_to"] == {"rel_type": "m.replace", "event_id": "$notice"}
    assert "m.relates_to" not in new
    assert content["m.mentions"] == new["m.mentions"] == {}
    assert content[RESULT_KEY] == new[RESULT_KEY]


@given(st.binary(max_size=8192), st.booleans())
def test_the_newest_output_is_short(data: bytes, whole: bool) -> None:
    """Whatever was printed, cut wherever, a few lines are shown."""
    assert newest(data, USUAL, whole=whole).count("\n") < NEWEST_LINES


def test_a_cut_output_begins_cleanly() -> None:
    """What is left of a line, a character or a sequence at the cut is not shown."""
    assert newest(b"0;31mrest\nnext\nlast", USUAL, whole=False) == "next\nlast"
    assert newest("日本語".encode()[1:], USUAL, whole=False) == "本語"
    assert newest(b"50%\r60%\r70%", USUAL, whole=False) == "70%"
    assert newest(b"1\n2\n\x1b[2A\x1b[J3\n4\n", USUAL, whole=True) == "3\n4"
