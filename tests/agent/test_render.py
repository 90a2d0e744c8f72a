# SPDX-License-Identifier: MIT
"""Answers: complete, for people and for programs, and they say what they don't show (I12)."""

import msgspec
import pytest

from tests.agent.answers import ANSWERER, EVENT, block, check_harmless, result
from tibet_nc_agent import reports
from tibet_nc_agent.airlock import Refused
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.content import RESULT_KEY, with_block
from tibet_nc_agent.excerpt import EDGE_BYTES, Excerpt, excerpt, whole
from tibet_nc_agent.render import OUTPUT_BUDGET, Attached
from tibet_nc_agent.screen import USUAL
from tibet_nc_agent.units import grouped
from tibet_nc_protocol.messages import Denied, Started, TailReport
from tibet_nc_protocol.terms import DenialCode, Reason, Stage


def test_a_command_that_ran() -> None:
    """The output, its footer, HTML that says the same, and the block for programs."""
    content = ANSWERER.finished(EVENT, result(), "hi <you>")
    assert content["body"] == "hi <you>\nexit 0 · 38 ms · #42 · 9f3ac2d1 · tibet_1"
    assert content["formatted_body"] == (
        "<pre><code>hi &lt;you&gt;\n</code></pre><p>exit 0 · 38 ms · #42 · 9f3ac2d1 · tibet_1</p>"
    )
    assert content["m.relates_to"] == {"m.in_reply_to": {"event_id": EVENT}}
    assert content[RESULT_KEY] == {
        "version": 1,
        "event_id": EVENT,
        "final": True,
        "host": "web1",
        "verdict": "ran",
        "number": 42,
        "outcome": 43,
        "exit": 0,
        "signal": None,
        "reason": "exited",
        "duration_ms": 38,
        "output_bytes": 3,
        "output_sha256": "a" * 64,
        "head": "9f3ac2d1" + "0" * 56,
        "token": "tibet_1",
        "stage": None,
        "family": None,
        "repeated": False,
    }


@pytest.mark.parametrize(
    ("changes", "footer"),
    [
        ({"exit": 42}, "exit 42 · 38 ms · #42 · 9f3ac2d1 · tibet_1"),
        ({"exit": None, "signal": 9}, "signal 9 (SIGKILL) · 38 ms · #42 · 9f3ac2d1 · tibet_1"),
        ({"exit": None, "signal": 99}, "signal 99 · 38 ms · #42 · 9f3ac2d1 · tibet_1"),
        (
            {"exit": 130, "reason": Reason.CANCELLED},
            "exit 130 · cancelled by an operator · 38 ms · #42 · 9f3ac2d1 · tibet_1",
        ),
        (
            {"exit": None, "signal": 9, "reason": Reason.KILLED},  # perhaps by the executor's stop
            "signal 9 (SIGKILL) · killed · 38 ms · #42 · 9f3ac2d1 · tibet_1",
        ),
        (
            {"exit": None, "reason": Reason.ABORTED, "token": ""},
            "no exit status · the executor ended while it ran; what it did until then is not "
            "known · #42 · 9f3ac2d1",
        ),
    ],
)
def test_endings(changes: dict[str, object], footer: str) -> None:
    """Every way to end is told for what it is."""
    content = ANSWERER.finished(EVENT, result(**changes), "")
    assert content["body"] == footer


def test_notes() -> None:
    """A cap, leftovers, the restricted shell and a repeated answer are told."""
    output = b"tibet-nc: line 1: cd: restricted\n"
    finished = result(
        output=output,
        output_bytes=9999,
        recorded_bytes=len(output),
        leftover=2,
        notes=("n1", "n2", "n3", "n4", "n5"),
        repeated=True,
    )
    body = str(ANSWERER.finished(EVENT, finished, "x", wall="wall: a wall")["body"])
    assert "the host kept the first 33 of 9 999 bytes" in body
    assert "\nwall: a wall\n" in body
    assert "2 processes that it left run on until your session ends: !tail " in body
    assert "n4" in body
    assert "and 1 note more" in body
    assert "it was not run again" in body


def test_a_drawing_says_that_it_is_one() -> None:
    """Where a terminal would have overwritten output, the answer says where all of it is (I12)."""
    output = b"one\ntwo\n\x1b[2Athree\n"
    finished = result(output=output, output_bytes=len(output), recorded_bytes=len(output))
    text = whole(output, OUTPUT_BUDGET, USUAL)
    assert text == "three\ntwo"
    lines = str(ANSWERER.finished(EVENT, finished, text)["body"]).splitlines()
    assert lines[2] == (
        "shown as a terminal would have left it; every byte: tibet-nc-audit replay 42"
    )


def test_big_output_names_what_is_not_shown() -> None:
    """A cut output says how much is missing, where all of it is, and its hash (I12)."""
    view = Excerpt(head="first", tail="last", hidden_lines=1234, hidden_bytes=56789)
    attached = Attached(excerpt=view, name=ANSWERER.file_names(42, 1), problem=None)
    body = str(ANSWERER.finished(EVENT, result(), attached)["body"])
    assert body.splitlines()[:4] == [
        "first",
        "… 1 234 lines (56 789 bytes) not shown; all of it is attached as web1-42.txt",
        "SHA-256 of the output: " + "a" * 64,
        "last",
    ]
    uncounted = msgspec.structs.replace(view, hidden_lines=None)
    lost = Attached(excerpt=uncounted, name="x", problem="the file has 9 bytes too many")
    body = str(ANSWERER.finished(EVENT, result(), lost)["body"])
    assert "… 56 789 bytes not shown; " in body
    assert "it could not be attached (the file has 9 bytes too many); on the host: " in body
    assert "tibet-nc-audit replay 42" in body


def test_attachment_is_not_the_answer() -> None:
    """The file before the answer names the command and isn't final."""
    file: JsonObject = {"msgtype": "m.file", "body": "web1-42.txt", "file": {"url": "mxc://x/y"}}
    content = with_block(ANSWERER.attachment_block(EVENT, result()), file)
    assert (block(content).final, block(content).number) == (False, 42)
    assert content["file"] == {"url": "mxc://x/y"}
    assert content["m.mentions"] == {}


def test_refusal_and_denial() -> None:
    """A refusal names stage, family, reason, next step and record; a denial its code."""
    refusal = Refused(
        stage=Stage.SAFETY, family="power", reason="it reboots", next_step="don't", command="reboot"
    )
    content = ANSWERER.refused(EVENT, refusal, number=7, head="9f3ac2d1" + "0" * 56)
    assert content["body"] == "refused at safety (power): it reboots\nnext: don't\n#7 · 9f3ac2d1"
    found = block(content)
    assert (found.verdict, found.stage, found.family) == ("refused", "safety", "power")
    denial = Denied(request=1, code=DenialCode.BUSY, reason="64 commands run or wait", number=None)
    content = ANSWERER.denied(EVENT, denial)
    said = "denied by the executor (busy): 64 commands run or wait\nnext: "
    assert str(content["body"]).startswith(said)
    assert (block(content).verdict, block(content).family) == ("denied", "busy")


def test_a_refusal_shows_the_part_and_still_the_reason() -> None:
    """However long the part of a command is that was objected to, the reason can be read."""
    refusal = Refused(
        stage=Stage.SAFETY,
        family="power",
        reason="it reboots",
        next_step="don't",
        command="c",
        part="echo <b>; " * 100 + "reboot",
    )
    content = ANSWERER.refused(EVENT, refusal, number=7, head=None)
    first = str(content["body"]).splitlines()[0]
    assert first.startswith("refused at safety (power): `echo <b>; ")
    assert first.endswith("…`: it reboots")
    assert str(block(content).reason).endswith("…`: it reboots")


@pytest.mark.parametrize(
    ("part", "seen"),
    [
        ("\r", "⟨U+000D⟩"),
        ("rm -rf /\recho", "rm -rf /⟨U+000D⟩echo"),
        ("a\b\b", "a⟨U+0008⟩⟨U+0008⟩"),
        ("\x1b[2Jid", "⟨U+001B⟩[2Jid"),
        ("a\nb\tc", "a⏎b c"),
    ],
)
def test_what_was_typed_is_shown_as_it_was_typed(part: str, seen: str) -> None:
    """A part of a command is no output: what would move or erase in a terminal is named (I9)."""
    refusal = Refused(
        stage=Stage.SAFETY, family="text", reason="r", next_step="n", command="c", part=part
    )
    content = ANSWERER.refused(EVENT, refusal, number=7, head=None)
    assert str(content["body"]).splitlines()[0] == f"refused at safety (text): `{seen}`: r"


def test_a_corrected_line_is_whole_or_not_there() -> None:
    """The line to send stands alone, as code, to the last character; a cut one is never shown."""

    def shown(line: str) -> JsonObject:
        refusal = Refused(
            stage=Stage.SAFETY, family="f", reason="r", next_step="n", command="c", meant=line
        )
        return ANSWERER.refused(EVENT, refusal, number=None, head=None)

    line = "$ echo " + '"<b>" ' * 500
    assert str(shown(line)["body"]).splitlines()[2] == line
    assert "<pre><code>$ echo &quot;" not in str(shown(line)["formatted_body"])
    assert "too long" in str(shown("$ " + "x" * 60_000)["body"])
    assert "can't be seen" in str(shown("$ a\u200bb")["body"])
    check_harmless(shown("$ " + "x" * 60_000))


def test_what_of_a_drawn_output_is_shown() -> None:
    """A terminal's screen is told to be its end; no line or byte between is made up (I12)."""
    data = b"".join(b"\r\x1b[K%d of 3000 done" % left for left in range(3000, 0, -1)) + b"\n"
    view = excerpt(
        data[:EDGE_BYTES], data[-EDGE_BYTES:], USUAL, size=len(data), lines=1, budget=OUTPUT_BUDGET
    )
    shown = Attached(excerpt=view, name="host-42.txt", problem=None)
    body = str(ANSWERER.finished(EVENT, result(), shown)["body"])
    assert body.splitlines()[0] == (
        "below is the end of what a terminal would show; all of it is attached as host-42.txt"
    )
    assert body.splitlines()[2] == "1 of 3000 done"


def test_a_long_line_has_no_lines_hidden() -> None:
    """What is left out of one long line is counted in bytes alone."""
    data = b"x" * 100_000
    view = excerpt(
        data[:EDGE_BYTES], data[-EDGE_BYTES:], USUAL, size=len(data), lines=1, budget=OUTPUT_BUDGET
    )
    shown = Attached(excerpt=view, name="host-42.txt", problem=None)
    body = str(ANSWERER.finished(EVENT, result(), shown)["body"])
    assert f"\n… {grouped(view.hidden_bytes)} bytes not shown; all of it is attached" in body


def test_the_newest_screen_is_whole() -> None:
    """``!tail`` of a full-screen program shows all of its screen."""
    data = b"\x1b[H\x1b[2J" + b"".join(b"row %d\n" % row for row in range(23))
    report = TailReport(request=1, number=42, output_bytes=len(data), data=data)
    body = str(ANSWERER.told(EVENT, *reports.tail(report, USUAL))["body"])
    assert body.splitlines()[:-1] == [f"row {row}" for row in range(23)]


def test_tail() -> None:
    """The newest output is shown, with how much there is in all."""
    report = TailReport(request=1, number=42, output_bytes=10_000, data=b"a\nb\n")
    content = ANSWERER.told(EVENT, *reports.tail(report, USUAL))
    assert content["body"] == ("a\nb\n#42 has printed 10 000 bytes so far; these are the last 4")
    nothing = TailReport(request=1, number=42, output_bytes=0, data=b"")
    content = ANSWERER.told(EVENT, *reports.tail(nothing, USUAL))
    assert content["body"] == "#42 has printed 0 bytes so far"


def test_started_is_not_final() -> None:
    """The notice of a start is no answer yet."""
    started = Started(request=1, run="0" * 32, number=42, head="0" * 64)
    content = ANSWERER.started(EVENT, started)
    assert content["body"] == (
        "started · #42 · !cancel 42 interrupts it, !in 42 text types into it"
    )
    assert (block(content).final, block(content).number) == (False, 42)


@pytest.mark.parametrize(
    ("skew_ms", "told"), [(-37_000, "-37.0 s"), (400, "+0.4 s"), (None, "unknown")]
)
def test_status_tells_how_the_clocks_differ(skew_ms: int | None, told: str) -> None:
    """How far the homeserver's clock is from ours is told also while there is no executor."""
    agent = reports.AgentFacts(
        version="1",
        device="DEVICE",
        uptime_ms=1,
        timebox_ms=30_000,
        skew_ms=skew_ms,
        waiting=0,
        given_up=(),
    )
    first, *_ = reports.status(agent, "it does not answer")
    assert first.text.endswith(f" · homeserver's clock {told}")
