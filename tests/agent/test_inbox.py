# SPDX-License-Identifier: MIT
"""The inbox: after a crash at any step nothing is forgotten and nothing is new twice (I3, I4)."""

import os
import secrets
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tibet_nc_agent.inbox import FILE_NAME, Inbox, InboxError, Item, Note

ROOM = "!room:example.org"
COMMAND = "rm --secret-of-the-operator"


@pytest.fixture
def open_inbox(tmp_path: Path) -> Iterator[Callable[[], Inbox]]:
    """Open the inbox of a test, as often as it likes; all are closed at its end."""
    opened: list[Inbox] = []

    def open_one() -> Inbox:
        opened.append(Inbox(tmp_path))
        return opened[-1]

    yield open_one
    for inbox in opened:
        inbox.close()


def item(event_id: str, *, provisional: bool = False, room_id: str = ROOM) -> Item:
    """Return an item of an event."""
    content = f"{COMMAND} {event_id}".encode()
    return Item(room_id=room_id, event_id=event_id, content=content, provisional=provisional)


def everything_on_disk(state: Path) -> bytes:
    """Return all bytes of all files of the inbox."""
    return b"".join(path.read_bytes() for path in state.glob(f"{FILE_NAME}*"))


def test_batch_and_token_are_one(open_inbox: Callable[[], Inbox]) -> None:
    """A batch is stored with its token, or neither is."""
    inbox = open_inbox()
    assert inbox.token is None
    assert inbox.accept("t1", [item("$a"), item("$b")]) == [item("$a"), item("$b")]
    inbox.secure()
    broken = Item(room_id=ROOM, event_id="$c", content=cast(bytes, None))
    with pytest.raises(InboxError):
        inbox.accept("t2", [item("$d"), broken])
    inbox.close()
    again = open_inbox()
    assert again.token == "t1"
    assert [waiting.item.event_id for waiting in again.pending()] == ["$a", "$b"]


def test_event_is_new_once(open_inbox: Callable[[], Inbox]) -> None:
    """An event that comes again is not new, whatever became of it and after any restart (I3)."""
    for step in range(4):
        inbox = open_inbox()
        assert inbox.accept(f"t{step}", [item("$a")]) == ([item("$a")] if step == 0 else [])
        if step == 1:
            inbox.forwarded(ROOM, "$a", "DEVICE")
        if step == 2:
            inbox.answered(ROOM, "$a")
        inbox.secure()
        inbox.close()
    assert open_inbox().pending() == []


def test_same_event_id_in_two_rooms(open_inbox: Callable[[], Inbox]) -> None:
    """Rooms don't share event ids: a homeserver can't hide a message behind another room's."""
    inbox = open_inbox()
    inbox.accept("t1", [item("$a")])
    other = item("$a", room_id="!other")
    assert inbox.accept("t2", [other]) == [other]


def test_forwarded_keeps_the_device(open_inbox: Callable[[], Inbox]) -> None:
    """After a restart it is known who was found to have sent what was forwarded."""
    inbox = open_inbox()
    inbox.accept("t1", [item("$a"), item("$b")])
    inbox.forwarded(ROOM, "$b", "DEVICE")
    inbox.secure()
    inbox.close()
    found = [(w.item.event_id, w.device) for w in open_inbox().pending()]
    assert found == [("$a", None), ("$b", "DEVICE")]


def test_answered_text_is_gone(open_inbox: Callable[[], Inbox], tmp_path: Path) -> None:
    """What a command said is on disk while it waits, and nowhere when all is answered."""
    inbox = open_inbox()
    inbox.accept("t1", [item("$a"), item("$b")])
    inbox.secure()
    assert COMMAND.encode() in everything_on_disk(tmp_path)
    inbox.forwarded(ROOM, "$a", "DEVICE")
    inbox.answered(ROOM, "$a")
    inbox.answered(ROOM, "$b")
    assert COMMAND.encode() not in everything_on_disk(tmp_path)


def test_key_that_comes_late_in_time(open_inbox: Callable[[], Inbox]) -> None:
    """A text takes the place of its unreadable message once, and then that can't be settled."""
    inbox = open_inbox()
    unreadable = Item(room_id=ROOM, event_id="$a", content=b"unreadable", provisional=True)
    text = item("$a")
    assert inbox.accept("t1", [unreadable]) == [unreadable]
    assert inbox.accept("t2", [unreadable]) == []
    assert [waiting.item for waiting in inbox.pending()] == [unreadable]
    assert inbox.provisional(ROOM, "$a")
    assert inbox.accept("t3", [text]) == [text]
    assert not inbox.provisional(ROOM, "$a")
    assert inbox.accept("t4", [text]) == []
    assert inbox.settle(ROOM, "$a") is False
    assert [waiting.item for waiting in inbox.pending()] == [text]


def test_key_that_comes_too_late(open_inbox: Callable[[], Inbox]) -> None:
    """Once it is settled that a message can't be read, its text is not new any more (I3, I4)."""
    inbox = open_inbox()
    inbox.accept("t1", [item("$a", provisional=True)])
    assert inbox.settle(ROOM, "$a") is True
    inbox.close()
    inbox = open_inbox()
    assert inbox.settle(ROOM, "$a") is False
    assert inbox.accept("t2", [item("$a")]) == []
    inbox.answered(ROOM, "$a")
    assert inbox.accept("t3", [item("$a")]) == []


def test_wrong_steps_are_errors(open_inbox: Callable[[], Inbox]) -> None:
    """What was never received, or was forwarded already, can't be forwarded."""
    inbox = open_inbox()
    with pytest.raises(InboxError, match="not where it should be"):
        inbox.forwarded(ROOM, "$a", "DEVICE")
    with pytest.raises(InboxError, match="not where it should be"):
        inbox.answered(ROOM, "$a")
    inbox.accept("t1", [item("$a")])
    inbox.forwarded(ROOM, "$a", "DEVICE")
    with pytest.raises(InboxError, match="not where it should be"):
        inbox.forwarded(ROOM, "$a", "DEVICE")


def test_a_batch_that_was_undone_is_not_gone_on_from(open_inbox: Callable[[], Inbox]) -> None:
    """A step that fails undoes the batch that it followed from: no later batch takes its place."""
    inbox = open_inbox()
    inbox.accept("first", [])
    inbox.secure()
    inbox.accept("second", [item("$undone")])
    with pytest.raises(InboxError, match=r"\$unknown is not where it should be") as first:
        inbox.forwarded(ROOM, "$unknown", "DEVICE")
    steps: list[Callable[[], object]] = [
        inbox.secure,
        inbox.pending,
        lambda: inbox.token,
        lambda: inbox.accept("third", [item("$later")]),
        lambda: inbox.answered(ROOM, "$undone"),
    ]
    for step in steps:
        with pytest.raises(InboxError) as again:
            step()
        assert str(again.value) == str(first.value)
    reopened = open_inbox()
    assert (reopened.token, reopened.pending()) == ("first", [])


def test_files_are_private(open_inbox: Callable[[], Inbox], tmp_path: Path) -> None:
    """Nobody but the owner can open any file of the inbox, whatever the umask (I10)."""
    old = os.umask(0)
    try:
        inbox = open_inbox()
        inbox.accept("t1", [item("$a")])
    finally:
        os.umask(old)
    files = list(tmp_path.glob(f"{FILE_NAME}*"))
    assert len(files) > 1
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    inbox.close()


def test_a_file_that_others_could_read_is_private_again(
    open_inbox: Callable[[], Inbox], tmp_path: Path
) -> None:
    """An inbox that was put back from a copy with another mode is closed to others (I10)."""
    open_inbox().close()
    (tmp_path / FILE_NAME).chmod(0o644)
    inbox = open_inbox()
    inbox.accept("t1", [item("$a")])
    files = list(tmp_path.glob(f"{FILE_NAME}*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    inbox.close()


@pytest.mark.parametrize("data", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_damaged_file_is_our_error(
    open_inbox: Callable[[], Inbox], data: bytes, tmp_path: Path
) -> None:
    """A file that is no inbox is told as such, and left as it is."""
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(InboxError, match=FILE_NAME):
        open_inbox()
    assert (tmp_path / FILE_NAME).read_bytes() == data


def test_other_format_is_refused(open_inbox: Callable[[], Inbox], tmp_path: Path) -> None:
    """An inbox of another version is not guessed at, and the line says what to do with it."""
    open_inbox().close()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(InboxError, match=r"format 99, and this version knows 1; .*move it away"):
        open_inbox()


def test_an_inbox_of_before_keeps_what_it_has(
    open_inbox: Callable[[], Inbox], tmp_path: Path
) -> None:
    """One made before news were kept goes on with its events, and keeps news from then on."""
    inbox = open_inbox()
    inbox.accept("t1", [item("$a")])
    inbox.secure()
    inbox.close()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute("DROP TABLE news")
    database.close()
    inbox = open_inbox()
    assert [w.item for w in inbox.pending()] == [item("$a")]
    note = Note(key="1", content=b"gap")
    inbox.accept("t2", [], [note])
    assert inbox.news() == [note]


CRASH = """
import os, signal, sys
from pathlib import Path
from tibet_nc_agent.inbox import Inbox, Item
inbox = Inbox(Path(sys.argv[1]))
item = Item(room_id="!room:example.org", event_id="$a", content=b"x")
steps = [
    lambda: inbox.accept("t1", [item]),
    lambda: inbox.secure(),
    lambda: inbox.forwarded("!room:example.org", "$a", "DEVICE"),
    lambda: inbox.secure(),
    lambda: inbox.answered("!room:example.org", "$a"),
]
for step in steps[: int(sys.argv[2])]:
    step()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        (0, []),
        (1, []),
        (2, [("$a", False)]),
        (3, [("$a", False)]),
        (4, [("$a", True)]),
        (5, []),
    ],
)
def test_killed_after_each_step(steps: int, state: list[tuple[str, bool]], tmp_path: Path) -> None:
    """A process killed after any step finds exactly that step done (I3, I4).

    A batch that was not secured is as if it had not come, with its token, and what was forwarded
    as if it had not been: the executor is asked again, and says what it knows.
    """
    ended = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path), str(steps)], check=False, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL
    inbox = Inbox(tmp_path)
    assert [(w.item.event_id, w.device is not None) for w in inbox.pending()] == state
    assert inbox.token == (None if steps < 2 else "t1")
    inbox.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
def test_each_step_that_counts_is_synced(tmp_path: Path) -> None:
    """What is secured, and that it was answered, outlives a power cut (I3, I4)."""

    def syncs(steps: int) -> int:
        state, trace = tmp_path / str(steps), tmp_path / f"{steps}.trace"
        state.mkdir()
        program = [sys.executable, "-c", CRASH, str(state), str(steps)]
        strace = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
        subprocess.run([*strace, *program], check=False, timeout=60)
        return trace.read_text().count(f"{FILE_NAME}-wal>")

    opened, accepted, secured, forwarded, _, answered = (syncs(steps) for steps in range(6))
    assert opened == accepted < secured == forwarded < answered


class Life(RuleBasedStateMachine):
    """Any order of steps, with a crash between any two: the inbox agrees with a simple model."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.state = directory / secrets.token_hex(8)
        self.state.mkdir()
        self.inbox = Inbox(self.state)
        self.model: dict[str, str] = {}
        self.token: str | None = None
        self.news: list[Note] = []
        self.safe: tuple[dict[str, str], str | None, list[Note]] = ({}, None, [])

    @rule(
        events=st.lists(st.sampled_from(["$a", "$b", "$c", "$d"]), unique=True),
        token=st.text(),
        news=st.integers(0, 2),
    )
    def accept(self, events: list[str], token: str, news: int) -> None:
        """Take a batch; only what the model doesn't know is new."""
        notes = [Note(key=secrets.token_hex(8), content=b"gap") for _ in range(news)]
        new = self.inbox.accept(token, [item(event) for event in events], notes)
        self.news += notes
        assert [i.event_id for i in new] == [event for event in events if event not in self.model]
        self.model |= {i.event_id: "received" for i in new}
        self.token = token

    @rule()
    def secure(self) -> None:
        """Put the last batch on disk."""
        self.inbox.secure()
        self._is_safe()

    def _is_safe(self) -> None:
        self.safe = (self.model.copy(), self.token, self.news.copy())

    @rule()
    def note(self) -> None:
        """Keep a piece of news that came by itself."""
        self.news.append(Note(key=secrets.token_hex(8), content=b"verification"))
        self.inbox.note(self.news[-1])
        self._is_safe()

    @precondition(lambda self: self.news)
    @rule(data=st.data())
    def record(self, data: st.DataObject) -> None:
        """Forget a piece of news."""
        note = data.draw(st.sampled_from(self.news))
        self.inbox.recorded(note)
        self.news.remove(note)
        self._is_safe()

    @precondition(lambda self: "received" in self.model.values())
    @rule(data=st.data())
    def forward(self, data: st.DataObject) -> None:
        """Forward an event that was received."""
        choices = sorted(event for event, state in self.model.items() if state == "received")
        event = data.draw(st.sampled_from(choices))
        self.inbox.forwarded(ROOM, event, "DEVICE")
        self.model[event] = "forwarded"

    @precondition(lambda self: bool(set(self.model.values()) - {"answered"}))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """Answer an event that has no answer."""
        choices = sorted(event for event, state in self.model.items() if state != "answered")
        event = data.draw(st.sampled_from(choices))
        self.inbox.answered(ROOM, event)
        self.model[event] = "answered"
        self._is_safe()

    @rule()
    def crash(self) -> None:
        """Go on with a copy of the files as they are now, as after the machine lost power."""
        copy = self.state.with_name(secrets.token_hex(8))
        shutil.copytree(self.state, copy)
        self.inbox.close()
        self.state, self.inbox = copy, Inbox(copy)
        self.model, self.token = self.safe[0].copy(), self.safe[1]
        self.news = self.safe[2].copy()

    @invariant()
    def agrees(self) -> None:
        """Compare the inbox with the model."""
        pending = {w.item.event_id: w.device is not None for w in self.inbox.pending()}
        expected = {
            event: state == "forwarded"
            for event, state in self.model.items()
            if state != "answered"
        }
        assert pending == expected
        assert self.inbox.token == self.token
        assert self.inbox.news() == self.news

    def teardown(self) -> None:
        """Close the file."""
        self.inbox.close()


def test_any_life(tmp_path: Path) -> None:
    """Whatever happens in whatever order, with crashes, the inbox agrees with a model (I3, I4)."""
    run_state_machine_as_test(
        cast(type[Life], lambda: Life(tmp_path)),  # any callable will do
        settings=settings(max_examples=25, stateful_step_count=20, deadline=None),
    )
