# SPDX-License-Identifier: MIT
"""What somebody holds of a chain is read exactly, and a file that was damaged is refused (I8)."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.audit.chains import EXECUTOR, Chain, sample
from tests.audit.verdicts import report, saved_head
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.heads import SHORTEST_DIGITS, SavedHead, held, load, save
from tibet_nc_protocol.note import Checkpoint, sign_note
from tibet_nc_protocol.records import digest


def test_as_many_digits_as_the_room_shows() -> None:
    """A head counts from eight digits on, which is what the room shows; fewer are refused."""
    digits = "9f3ac2d1"
    assert len(digits) == SHORTEST_DIGITS
    assert held(f"42:{digits}").what == f"record 42 with head {digits}"
    assert held(f"#42:{digits.upper()}").what == f"the end of #42 with head {digits}"
    for written in ("42:", "#42:"):
        with pytest.raises(AuditError, match="at least 8 digits"):
            held(written + digits[1:])


def test_the_digits_are_the_first_ones(tmp_path: Path) -> None:
    """Eight digits hold a record only if its digest begins with them (I8)."""
    chain = sample(tmp_path)
    digits = digest(chain.lines[7])
    for begin in range(len(digits) - SHORTEST_DIGITS):
        given = held(f"7:{digits[begin : begin + SHORTEST_DIGITS]}")
        assert report(tmp_path, heads=[given]).good == (begin == 0)


@pytest.fixture
def head(tmp_path: Path) -> SavedHead:
    """Return the head of a chain with a bit of everything."""
    sample(tmp_path / "state")
    return saved_head(tmp_path / "state")


SMALL_ORDER = "01" + "00" * 31


def _replace(**fields: object) -> Callable[[SavedHead], bytes]:
    def damaged(head: SavedHead) -> bytes:
        return msgspec.json.encode(msgspec.structs.asdict(head) | fields)

    return damaged


def _without(field: str) -> Callable[[SavedHead], bytes]:
    def damaged(head: SavedHead) -> bytes:
        whole = msgspec.structs.asdict(head)
        del whole[field]
        return msgspec.json.encode(whole)

    return damaged


HEAD_FAULTS: dict[str, Callable[[SavedHead], bytes]] = {
    "nothing": lambda _: b"",
    "no JSON": lambda _: b"{",
    "not text": lambda head: msgspec.json.encode(head).replace(b"db1", b"\xff"),
    "deep": lambda _: b'{"open":' * 100_000,
    "a second one": lambda head: msgspec.json.encode(head) * 2,
    "a field too much": _replace(more=1),
    "a number below 0": _replace(record=-1),
    "an inexact number": _replace(record=2**53),
    "a head of no digits": _replace(head="g" * 64),
    "a short head": _replace(head="9f3ac2d1"),
    "a key that verifies anything": _replace(key=SMALL_ORDER),
    "a depth that is none": _replace(depth="all"),
    "no depth": _without("depth"),
    "no tree": _without("tree"),
}

RESUME_FAULTS: dict[str, Callable[[SavedHead], bytes]] = {
    "a later key that verifies anything": _replace(last_key=SMALL_ORDER),
    "a tree of another size": lambda head: _replace(tree=head.tree[:-1])(head),
    "a tree of one more": lambda head: _replace(tree=[*head.tree, "0" * 64])(head),
    "another number than the tree's": lambda head: _replace(record=head.record + 1)(head),
}


@pytest.mark.parametrize("fault", [*HEAD_FAULTS, *RESUME_FAULTS])
def test_a_damaged_head_file_is_no_start(tmp_path: Path, head: SavedHead, fault: str) -> None:
    """Nothing is gone on from a file in which anything needed for that is wrong: one error."""
    path = tmp_path / "head"
    save(path, head)
    assert load(path) == head
    path.write_bytes((HEAD_FAULTS | RESUME_FAULTS)[fault](head))
    with pytest.raises(AuditError, match="not a head file as --save-head writes them"):
        load(path)


@pytest.mark.parametrize("fault", HEAD_FAULTS)
def test_a_damaged_head_file_holds_nothing(tmp_path: Path, head: SavedHead, fault: str) -> None:
    """Nothing is compared with a file in which anything is wrong that would be: one error."""
    path = tmp_path / "head"
    save(path, head)
    assert held(str(path)).head == head.head
    path.write_bytes(HEAD_FAULTS[fault](head))
    with pytest.raises(AuditError, match="neither SEQ:HEAD, nor a head file, nor a checkpoint"):
        held(str(path))


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    """A head file that isn't there, or is none, is one error that says so."""
    readers: list[Callable[[Path], object]] = [load, lambda path: held(str(path))]
    for name, said in (("nowhere", "No such file"), (".", "Is a directory")):
        for read in readers:
            with pytest.raises(AuditError, match=said):
                read(tmp_path / name)


def test_a_checkpoint_of_an_other_size_than_its_root(tmp_path: Path) -> None:
    """A checkpoint holds the chain at its size: with the same root and another it is none (I8)."""
    chain = Chain(tmp_path / "state")
    chain.checkpoint()
    chain.security()
    chain.checkpoint()
    root = bytes.fromhex(msgspec.json.decode(chain.lines[1])["root"])
    note = tmp_path / "note"
    for size in range(1, 5):
        text = Checkpoint(origin=EXECUTOR.id, size=size, root=root).text()
        note.write_text(sign_note(text, EXECUTOR.id, EXECUTOR))
        assert report(chain.root, heads=[held(str(note))]).good == (size == 1)


@pytest.mark.parametrize(
    "text",
    ["17", "17:", "17:abc", "x:" + "a" * 64, ":" + "a" * 64, "17:" + "g" * 64, "17:" + "a" * 65],
)
def test_what_is_no_head(text: str) -> None:
    """What is neither SEQ:HEAD nor a head file is refused, never ignored."""
    with pytest.raises(AuditError):
        held(text)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 10_000, b'{"record":1}'])
def test_what_is_no_head_file(tmp_path: Path, content: bytes) -> None:
    """A file that is no head file is refused with one error."""
    path = tmp_path / "head"
    path.write_bytes(content)
    with pytest.raises(AuditError, match="neither"):
        held(str(path))
