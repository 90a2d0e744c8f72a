# SPDX-License-Identifier: MIT
"""Answers: complete, bounded, for people and for programs, and nothing in them acts (I9, I12)."""

import re
import unicodedata
from html.parser import HTMLParser

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from tibet_nc_agent import reports
from tibet_nc_agent.airlock import Refused
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.content import (
    MESSAGE_BYTES,
    RESULT_KEY,
    Block,
    json_bytes,
    transaction,
    with_block,
)
from tibet_nc_agent.excerpt import Excerpt, excerpt, whole
from tibet_nc_agent.render import (
    OUTPUT_BUDGET,
    Answerer,
    Attached,
)
from tibet_nc_agent.reports import AgentFacts
from tibet_nc_agent.units import counted, duration, grouped
from tibet_nc_protocol.messages import (
    Announcement,
    Cage,
    ChainEntry,
    ChainReport,
    Denied,
    Finished,
    Job,
    JobsReport,
    Limits,
    SessionNotice,
    Started,
    StatusReport,
    TailReport,
)
from tibet_nc_protocol.terms import DenialCode, Reason, Stage

EVENT = "$RhQXZHa-OaO8i-zu7MNYiL3OlItg5NbTEMXU94j"
ANSWERER = Answerer("web1")
HIDDEN = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}

HOSTILE = st.one_of(
    st.text(max_size=400),
    st.sampled_from(
        ["<b>x</b>", "@room", "a\u202eb", "\x1b[31mx", "&lt;", "\u2028", "日" * 1024, "\r\n"]
    ),
)
TEXT = HOSTILE.map(lambda text: text[:1024])


def result(**changes: object) -> Finished:
    """Return the result of a command, with changes."""
    usual = Finished(
        request=1,
        run="0" * 32,
        number=42,
        outcome=43,
        head="9f3ac2d1" + "0" * 56,
        exit=0,
        signal=None,
        reason=Reason.EXITED,
        duration_ms=38,
        output_bytes=3,
        output_sha256="a" * 64,
        recorded_bytes=3,
        output=b"hi\n",
        leftover=0,
        token="tibet_1",
        notes=(),
        repeated=False,
    )
    return msgspec.structs.replace(usual, **changes)


def block(content: JsonObject) -> Block:
    """Return the machine-readable part of a message, read strictly."""
    return msgspec.convert(content[RESULT_KEY], Block, strict=True)


class Tags(HTMLParser):
    """Reads HTML as a client would: which tags, and which text."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag; ours have no attributes."""
        assert not attrs
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def check_harmless(content: JsonObject) -> None:
    """Assert what must hold of every message, whatever it was made of."""
    assert json_bytes(content) <= MESSAGE_BYTES
    assert content["msgtype"] == "m.notice"
    assert content["m.mentions"] == {}
    assert content["com.beeper.linkpreviews"] == []
    body, formatted = content["body"], content["formatted_body"]
    assert isinstance(body, str)
    assert isinstance(formatted, str)
    for text in (body, formatted):
        assert not [c for c in text if c not in "\n\t" and unicodedata.category(c) in HIDDEN]
    assert set(Tags(formatted).tags) <= {"p", "br", "pre", "code"}
    block(content)


# --- whatever comes -----------------------------------------------------------------------------


@given(st.binary(max_size=40_000), st.integers(0, 255), st.lists(TEXT, max_size=16), TEXT)
def test_any_output_is_harmless_and_fits(
    output: bytes, exit_status: int, notes: list[str], token: str
) -> None:
    """Any output, shown whole or cut, makes a message that fits and in which nothing acts (I9)."""
    finished = result(
        output=output[: 32 * 1024],
        output_bytes=len(output),
        recorded_bytes=len(output),
        exit=exit_status,
        notes=tuple(notes),
        token=token,
    )
    shown: str | Attached | None = whole(output, OUTPUT_BUDGET)
    if shown is None:
        lines = output.count(b"\n") + (not output.endswith(b"\n"))
        view = excerpt(
            output[:16384],
            output[-16384:],
            size=len(output),
            lines=lines,
            budget=OUTPUT_BUDGET,
        )
        shown = Attached(excerpt=view, name="web1-42.txt", problem=None)
    content = ANSWERER.finished(EVENT, finished, shown)
    check_harmless(content)
    assert isinstance(content["body"], str)
    assert f"exit {exit_status}" in content["body"].splitlines()[-1]


@given(TEXT, TEXT, TEXT, st.text(max_size=64 * 1024))
def test_any_refusal_is_harmless_and_fits(
    family: str, reason: str, next_step: str, command: str
) -> None:
    """Any refusal makes a message that fits and in which nothing acts (I9)."""
    refusal = Refused(
        stage=Stage.SAFETY,
        family=family[:64],
        reason=reason,
        next_step=next_step + command,
        command=None,
    )
    check_harmless(ANSWERER.refused(EVENT, refusal, number=1, head="0" * 64))


@given(st.sampled_from(list(DenialCode)), TEXT, st.none() | st.integers(0, 2**53 - 1))
def test_any_denial_is_harmless_and_says_what_next(
    code: DenialCode, reason: str, number: int | None
) -> None:
    """Every denial has a next step."""
    denial = Denied(request=1, code=code, reason=reason, number=number)
    content = ANSWERER.denied(EVENT, denial)
    check_harmless(content)
    assert "\nnext: " in str(content["body"])


@given(TEXT, st.lists(TEXT, max_size=32), st.lists(TEXT, max_size=16), st.integers(0, 2**53 - 1))
@settings(deadline=None)  # what is slow here is this machine, at times
def test_any_report_is_harmless_and_fits(
    name: str, texts: list[str], walls: list[str], number: int
) -> None:
    """Reports are made of what others say, and nothing in them acts (I9)."""
    agent = AgentFacts(
        version=name,
        device=name,
        uptime_ms=number,
        timebox_ms=1,
        skew_ms=None,
        waiting=number,
        given_up=(),
    )
    status = StatusReport(
        request=1,
        host=name,
        version=name,
        uptime_s=number // 1000,
        records=number,
        head="0" * 64,
        runs=number,
        refusals=number,
        running=number,
        session=name,
        session_commands=number,
        directory=name,
        denial=name,
        journal=name,
        cage=Cage(
            separated=False,
            restricted=False,
            network=False,
            network_view=False,
            read_only=False,
            walls=tuple(walls),
        ),
        limits=Limits(
            idle_s=1,
            total_s=1,
            session_idle_s=3600,
            session_total_s=86400,
            processes=number,
            memory_bytes=number,
            address_space_bytes=number,
            file_bytes=number,
            open_files=number,
            recording_bytes=number,
            home_bytes=number,
        ),
    )
    chain = ChainReport(
        request=1,
        records=number,
        head="0" * 64,
        executor=name,
        key="0" * 64,
        entries=tuple(
            ChainEntry(number=number, kind=text, time=text, digest="0" * 64, summary=text)
            for text in texts
        ),
    )
    jobs = JobsReport(
        request=1,
        jobs=tuple(
            Job(
                number=number,
                sender="@" + "x" * 254,
                seconds=number // 1000,
                output_bytes=number,
                command=text,
                left=number,
            )
            for text in texts
        ),
    )
    for parts in (
        reports.status(agent, status),
        reports.status(agent, name),
        reports.chain(chain),
        reports.jobs(jobs),
        reports.session(
            SessionNotice(
                room="!room:example.org",
                sender="@" + "x" * 254,
                session=name,
                seconds=number // 1000,
                reason=name,
            )
        ),
        reports.tail(
            TailReport(
                request=1, number=number, output_bytes=number, data="".join(texts).encode()[-8192:]
            )
        ),
        reports.checkpoint(Announcement(size=number, root="0" * 64, note=name)),
        reports.help_text(dedicated=True),
    ):
        check_harmless(ANSWERER.told(EVENT, *parts))


# --- what it looks like -------------------------------------------------------------------------


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


def test_every_reason_has_words() -> None:
    """No reason for an end is left without an answer."""
    for reason in Reason:
        check_harmless(ANSWERER.finished(EVENT, result(reason=reason), ""))


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
    text = whole(output, OUTPUT_BUDGET)
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
    denial = Denied(request=1, code=DenialCode.BUSY, reason="64 commands run", number=None)
    content = ANSWERER.denied(EVENT, denial)
    assert str(content["body"]).startswith("denied by the executor (busy): 64 commands run\nnext: ")
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


def test_tail() -> None:
    """The newest output is shown, with how much there is in all."""
    report = TailReport(request=1, number=42, output_bytes=10_000, data=b"a\nb\n")
    content = ANSWERER.told(EVENT, *reports.tail(report))
    assert content["body"] == ("a\nb\n#42 has printed 10 000 bytes so far; these are the last 4")
    nothing = TailReport(request=1, number=42, output_bytes=0, data=b"")
    content = ANSWERER.told(EVENT, *reports.tail(nothing))
    assert content["body"] == "#42 has printed 0 bytes so far"


def test_started_is_not_final() -> None:
    """The notice of a start is no answer yet."""
    started = Started(request=1, run="0" * 32, number=42, head="0" * 64)
    content = ANSWERER.started(EVENT, started)
    assert content["body"] == "started · #42 · !cancel 42 interrupts it"
    assert (block(content).final, block(content).number) == (False, 42)


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1.0 s"),
        (59_999, "59.9 s"),
        (60_000, "1 min"),
        (61_000, "1 min 1 s"),
        (3_599_999, "59 min 59 s"),
        (3_600_000, "1 h"),
        (172_800_000, "2 d"),
    ],
)
def test_durations(milliseconds: int, words: str) -> None:
    """Durations are told as people say them."""
    assert duration(milliseconds) == words


def test_counts() -> None:
    """Counts have their thousands apart and their nouns in the right number."""
    assert [grouped(1234567), counted(1, "line"), counted(0, "line")] == [
        "1 234 567",
        "1 line",
        "0 lines",
    ]


NAMES = st.text(alphabet=st.characters(exclude_categories=["C", "Z"]))  # as identifiers have it


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_transactions(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Each message about an event has a transaction id of its own, always the same one (I4)."""
    ids = {transaction(*one, "final"), transaction(*other, "final"), transaction(*one, "started")}
    assert len(ids) == (2 if one == other else 3)
    assert transaction(*one, "final") == transaction(*one, "final")
    assert all(re.fullmatch("[0-9a-f]{64}", made) for made in ids)
