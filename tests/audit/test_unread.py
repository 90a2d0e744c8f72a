# SPDX-License-Identifier: MIT
"""What can't be read hides nothing: the rest is judged, and what is missing is said (I8)."""

import copy
import json
import os
import subprocess
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acting import NOBODY, acting_as
from tests.audit.chains import EXECUTOR, LATER, Chain, sample
from tests.audit.program import KEY, process, within
from tests.audit.test_crosscheck_journal import as_export, journal_of
from tests.audit.test_crosscheck_room import room_of
from tests.audit.verdicts import ALL, EACH, report, saved_head
from tests.directories import reachable_directory
from tests.mounts import private_mounts
from tibet_nc_audit.findings import What
from tibet_nc_audit.heads import Depth, held
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, RECORDINGS, TOKENS, segment_name

MIDDLE = f"{CHAIN}/{segment_name(5)}"
"""The second of four files of the chain."""

BESIDE = (TOKENS, PAYLOADS, f"{PAYLOADS}/{segment_name(5)}")
"""What records speak of, of which a whole archive has to have every part."""


@pytest.fixture
def root() -> Iterator[Path]:
    """Make a good state directory, with a chain of four files, that anybody may read."""
    with reachable_directory() as place:
        root = place / "state"
        sample(root, segment_records=5)
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        yield root


@contextmanager
def _unread(path: Path, how: str) -> Generator[None]:
    """Have something be there that isn't read: of another kind, or not for who asks."""
    if how == "closed":
        path.chmod(0)
        with acting_as(NOBODY):
            yield
        return
    aside = path.rename(path.parent.parent / "aside")
    match how:
        case "link":
            path.symlink_to(aside)
        case "pipe":
            os.mkfifo(path)
        case _ if path.suffix:
            path.mkdir()
        case _:
            path.touch()
    yield


HOW = pytest.mark.parametrize("how", ["closed", "link", "pipe", "other"])


def _alter(root: Path, name: str, old: bytes, new: bytes) -> None:
    path = root / name
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


@HOW
@pytest.mark.parametrize("name", BESIDE)
def test_what_records_speak_of(root: Path, name: str, how: str) -> None:
    """Unreadable texts or tokens are named and no fault; a bad record beside them is one (I8)."""
    with _unread(root / name, how):
        found = report(root)
        done = within("--state", root, "verify")
    assert not found.good
    assert [found.findings, found.unread_total] == [[], 1]
    assert found.unread[0].startswith(f"{name}: ")
    assert done.status == 2
    assert (
        f"UNREADABLE, so that nobody can judge it: 1; what could be read is good\n  {name}: "
        in (done.out)
    )
    assert "GOOD" not in done.out


@HOW
@pytest.mark.parametrize("name", BESIDE)
def test_a_bad_record_beside_it(root: Path, name: str, how: str) -> None:
    """Whatever can't be read, a bad record beside it is found, and the status says so (I8)."""
    _alter(root, f"{CHAIN}/{segment_name(15)}", b'"kind":"aborted"', b'"kind":"aborteD"')
    with _unread(root / name, how):
        done = within("--state", root, "verify", "--key", KEY)
    assert done.status == 1
    assert "first bad record 16" in done.out
    assert f"UNREADABLE, so that nobody can judge it: 1\n  {name}: " in done.out


def test_texts_of_other_files(root: Path) -> None:
    """A file of texts that can't be read keeps no other file's from being checked (I8)."""
    _alter(root, f"{PAYLOADS}/{segment_name(10)}", b'"command":"yes"', b'"command":"yeS"')
    with _unread(root / PAYLOADS / segment_name(5), "other"):
        found = report(root)
    assert [(f.what, f.record) for f in found.findings] == [(What.PAYLOAD, 13)]
    assert found.unread_total == 1


def test_texts_that_no_record_asks_for(tmp_path: Path) -> None:
    """A file of texts that can't be read is named also where no record speaks of a text."""
    chain = Chain(tmp_path)
    chain.session()
    (tmp_path / PAYLOADS / segment_name(0)).mkdir()
    found = report(tmp_path)
    assert (found.good, found.findings) == (False, [])
    assert found.unread == [f"{PAYLOADS}/{segment_name(0)}: not a regular file"]


@EACH
@HOW
def test_a_file_of_the_chain(root: Path, depth: Depth, how: str) -> None:
    """An unreadable file of the chain accuses no record, nor a head that is held of it (I8)."""
    heads = [held(f"7:{'0' * 64}")]
    with _unread(root / MIDDLE, how):
        found = report(root, depth=depth, pinned=True, heads=heads)
    assert [found.findings, found.unread_total, found.good] == [[], 1, False]
    assert found.unread[0].startswith(f"{MIDDLE}: ")
    assert found.length == 19


@EACH
@HOW
@pytest.mark.parametrize(("first", "bad"), [(0, 2), (10, 12), (15, 18)])
def test_bad_records_around_it(root: Path, depth: Depth, how: str, first: int, bad: int) -> None:
    """A record that was altered before or after an unreadable file of the chain is found (I8)."""
    _alter(root, f"{CHAIN}/{segment_name(first)}", b'"seq":%d,"' % bad, b'"seq":%d ,"' % bad)
    with _unread(root / MIDDLE, how):
        found = report(root, depth=depth, pinned=True)
    assert found.first_bad is not None
    assert found.first_bad.record == bad
    assert found.unread_total == 1


@EACH
@pytest.mark.parametrize("first", [0, 15])
def test_the_first_or_the_last_file(root: Path, depth: Depth, first: int) -> None:
    """Without the first file of the chain, or the last, the others are judged (I8)."""
    heads = [held(f"18:{'0' * 64}")] if first else []
    with _unread(root / CHAIN / segment_name(first), "other"):
        assert not report(root, depth=depth, heads=heads).findings
        assert not report(root, depth=depth, pinned=True).findings
        _alter(root, f"{CHAIN}/{segment_name(10)}", b'"seq":12,', b'"seq":13,')
        assert report(root, depth=depth).findings
        assert report(root, depth=depth, pinned=True).findings


@EACH
def test_the_key_changed_meanwhile(tmp_path: Path, depth: Depth) -> None:
    """Where a key may have changed in what can't be read, nobody is accused of another (I8)."""
    chain = Chain(tmp_path, segment_records=5)
    for number in range(20):
        if number == 3:
            chain.rotate(LATER)
        chain.command(f"echo {number}", b"output\n")
    chain.checkpoint()
    with _unread(tmp_path / MIDDLE, "other"):
        found = report(tmp_path, depth=depth, pinned=True)
        heads = [held(f"{number}:{'0' * 64}") for number in (7, 12)]
        compared = report(tmp_path, depth=depth, pinned=True, heads=heads)
        later = within("--state", tmp_path, "verify", "--key", LATER.public_key.hex)
    assert not found.findings
    assert found.executor == EXECUTOR.id
    assert [(f.what, f.record, f.file) for f in compared.findings] == [
        (What.HEAD, 12, f"{CHAIN}/{segment_name(10)}")
    ]
    assert [line.partition(":")[0] for line in found.unread] == [MIDDLE, "records from 10 on"]
    assert later.status == 2
    assert "nobody can tell whether the chain is of the key given" in later.out
    _alter(tmp_path, f"{CHAIN}/{segment_name(20)}", b'"seq":22,', b'"seq":22 ,')
    with _unread(tmp_path / CHAIN / segment_name(10), "other"):
        assert report(tmp_path, depth=depth, pinned=True).findings


def test_why_a_recording_is_gone(root: Path) -> None:
    """A recording that isn't there is held against nobody while the reason may be unreadable."""
    (root / RECORDINGS / "000000000002.cast").unlink()
    assert [finding.what for finding in report(root).findings] == [What.RECORDING]
    with _unread(root / MIDDLE, "other"):
        found = report(root)
    assert not found.findings
    assert found.unread[-1] == (
        "recordings/000000000002.cast: not there, and why may be in what can't be read"
    )


def test_recordings(root: Path) -> None:
    """Recordings that may not be read are named, each, and are no faults."""
    path = root / RECORDINGS / "000000000002.cast"
    with _unread(path, "closed"):
        found = report(root)
    assert not found.findings
    assert found.unread == ["recordings/000000000002.cast: Permission denied"]
    path.chmod(0o644)
    with _unread(root / RECORDINGS, "closed"):
        assert report(root).unread == ["recordings: Permission denied"]


def test_a_disk_that_fails(root: Path) -> None:
    """A file that opens, and whose bytes can't be read, hides no bad record beside it (I8)."""
    _alter(root, f"{CHAIN}/{segment_name(15)}", b'"seq":18,', b'"seq":19,')
    for name in (MIDDLE, TOKENS, f"{PAYLOADS}/{segment_name(0)}"):
        with private_mounts():
            # A file whose first page is never there.
            subprocess.run(["mount", "--bind", "/proc/self/mem", root / name], check=True)
            done = process("--state", root, "verify", "--key", KEY)
        assert done.status == 1
        assert "first bad record 18" in done.out
        assert f"UNREADABLE, so that nobody can judge it: 1\n  {name}: " in done.out


def test_no_head_is_saved(root: Path, tmp_path: Path) -> None:
    """What can't all be read is no ground for the next verification, nor one to go on from."""
    head = tmp_path / "head"
    with _unread(root / TOKENS, "other"):
        done = within("--state", root, "verify", "--save-head", head)
    assert (done.status, head.exists()) == (2, False)
    assert within("--state", root, "verify", "--save-head", head).status == 2


def test_going_on_from_a_head(tmp_path: Path) -> None:
    """What isn't read again may be unreadable; not what the head's own record stands in."""
    chain = Chain(tmp_path, segment_records=5)
    for number in range(4):
        chain.command(f"echo {number}")
    saved = saved_head(tmp_path)
    chain.command("more")
    with _unread(chain.segments[0], "other"):
        assert report(tmp_path, resume=saved).good
    with _unread(chain.segments[1], "other"):
        done = report(tmp_path, depth=ALL, resume=None)
        assert not done.good


# --- the other verbs ------------------------------------------------------------------------------


@HOW
@pytest.mark.parametrize("name", BESIDE)
def test_log_without_texts(root: Path, name: str, how: str) -> None:
    """Log and export go on without texts that can't be read, and say so; damage is told first."""
    verbs = (["log"], ["log", "--json"], ["export", "--format", "csv"])
    with _unread(root / name, how):
        done = [within("--state", root, *verb) for verb in verbs]
    unread = name != TOKENS  # which neither looks at
    for one in done:
        assert one.status == (2 if unread else 0)
        assert one.out.count("\n") >= 13
        assert (f"{name}: " in one.out) == unread
    _alter(root, f"{CHAIN}/{segment_name(15)}", b'"seq":18,', b'"seq":19,')
    assert {within("--state", root, *verb).status for verb in verbs} == {1}


@HOW
def test_log_without_a_file_of_the_chain(root: Path, how: str) -> None:
    """Log and export go on after a file of the chain that can't be read, and accuse nobody."""
    whole = within("--state", root, "log").out.splitlines()
    with _unread(root / MIDDLE, how):
        done = within("--state", root, "log")
        exported = within("--state", root, "export", "--format", "jsonl")
        chosen = within("--state", root, "log", "--exit", "nonzero")
    assert (done.status, exported.status, chosen.status) == (2, 2, 2)
    assert done.err == (
        "tibet-nc-audit: not all of it can be read: tibet-nc-audit verify says where and how\n"
    )
    assert "DAMAGED" not in done.out
    assert f"[{MIDDLE}: " in done.out
    assert f"[{MIDDLE}: " in chosen.out
    assert set(whole[-4:]) < set(done.out.splitlines())
    assert exported.out.count("\n") == done.out.count("\n") - 1
    _alter(root, f"{CHAIN}/{segment_name(15)}", b'"seq":18,', b'"seq":19,')
    assert within("--state", root, "log").status == 1


@pytest.mark.parametrize("name", [TOKENS, PAYLOADS, RECORDINGS, f"{CHAIN}/{segment_name(0)}"])
def test_show_without_a_part(root: Path, name: str) -> None:
    """Show says which part of a command it can't read, and what is bad in the others."""
    number = "7" if name.startswith(CHAIN) else "2"
    with _unread(root / name, "closed"):
        done = within("--state", root, "show", number)
    assert done.status == 2
    assert done.out.count("\n ?   ") >= 1
    assert "\nBAD" not in done.out
    _alter(root, RECORDINGS + "/000000000007.cast", b"up 3 days", b"up 2 days")
    _alter(root, RECORDINGS + "/000000000002.cast", b"20G", b"30G")
    if name != RECORDINGS:
        assert within("--state", root, "show", number).status == 1


def test_why_a_text_is_gone_is_unread(root: Path) -> None:
    """Whether a text was erased may be in what can't be read; the rest of its command is shown."""
    for path in (root / PAYLOADS).iterdir():
        path.unlink()
    with _unread(root / CHAIN / segment_name(15), "other"):
        done = within("--state", root, "show", "2")
    assert done.status == 2
    assert f" ?   command text: {CHAIN}/{segment_name(15)}: not a regular file\n" in done.out
    assert "ok   recording: all " in done.out


def test_where_a_command_ends_is_unread(root: Path) -> None:
    """Of a command whose end can't be read, nobody says that it runs, nor that nothing is there."""
    (root / MIDDLE).rename(root.parent / "aside")
    (root / MIDDLE).mkdir()
    shown = within("--state", root, "show", "4")
    assert shown.status == 2
    assert f" ?   its end: {MIDDLE}: not a regular file\n" in shown.out
    held_of_it = within("--state", root, "verify", "--against", "#4:00000000")
    assert held_of_it.status == 2
    assert "the end of command 4 that is held" in held_of_it.out
    cast = within("--state", root, "export", "--format", "cast", "4")
    assert (cast.status, cast.out) == (2, "")
    assert f"{MIDDLE}: not a regular file" in cast.err


def test_what_is_bad_is_told_though_no_tokens_can_be_exported(root: Path) -> None:
    """What stops an export doesn't change that something else was bad."""
    _alter(root, f"{CHAIN}/{segment_name(0)}", b'"kind":"session"', b'"kind":"sessioN"')
    (root / MIDDLE).unlink()
    (root / MIDDLE).mkdir()
    done = within("--state", root, "export", "--format", "tibet")
    assert done.status == 1
    assert f"not exported: {MIDDLE}: not a regular file" in done.err


def test_a_page_without_a_recording(root: Path) -> None:
    """A page is made without a recording that may not be read, and that is said."""
    name = f"{RECORDINGS}/000000000002.cast"
    # Before, for Python imports what a page needs only now, and nobody may not read that.
    whole = within("--state", root, "export", "--format", "html")
    with _unread(root / name, "closed"):
        done = within("--state", root, "export", "--format", "html")
    assert (done.status, done.err) == (2, f"tibet-nc-audit: record 3: {name}: Permission denied\n")
    assert whole.out.count('data-name="') - done.out.count('data-name="') == 1


# --- against what others kept ---------------------------------------------------------------------


def _keep(root: Path, kept: Sequence[dict[str, Any]]) -> Path:
    """Write a journal or a room beside a chain."""
    path = root.parent / ("room" if "event_id" in kept[0] else "journal")
    if path.name == "room":
        path.write_text(json.dumps({"messages": kept}))
    else:
        path.write_bytes(as_export(kept))
    path.chmod(0o644)
    return path


def _compared(root: Path, path: Path) -> list[Any]:
    """Compare a chain with what is kept; return the status and what is said of that."""
    uid = () if path.name == "room" else ("--uid", "991")
    done = within("--state", root, "crosscheck", f"--{path.name}", path, *uid, "--json")
    assert done.err == ""
    (comparison,) = json.loads(done.out)["comparisons"]
    found = [(one["kind"], one["record"], one.get("last")) for one in comparison["discrepancies"]]
    return [done.status, found, comparison["unread"]]


@pytest.mark.parametrize("kind", ["journal", "room"])
@pytest.mark.parametrize("first", [0, 5, 10, 15])
@HOW
def test_crosscheck_without_a_file_of_the_chain(
    tmp_path: Path, root: Path, how: str, first: int, kind: str
) -> None:
    """Around a file of the chain that can't be read everything is compared, and nobody accused."""
    chain = sample(tmp_path / "same", segment_records=5)
    path = _keep(root, journal_of(chain) if kind == "journal" else room_of(chain))
    name = f"{CHAIN}/{segment_name(first)}"
    with _unread(root / name, how):
        status, found, unread = _compared(root, path)
    assert (status, found) == (2, [])
    assert any(f"{name}: " in text for text in unread)


def test_a_journal_around_an_unreadable_file(root: Path, tmp_path: Path) -> None:
    """What a journal lacks or has too much is named, unless the reason may be unreadable (I8)."""
    journal = journal_of(sample(tmp_path / "same", segment_records=5))
    lies = [*journal[:16], journal[16] | {"TIBET_NC_HEAD": "0" * 64}, *journal[17:]]
    extra = journal[-1] | {"TIBET_NC_SEQ": "19"}
    with _unread(root / MIDDLE, "other"):
        assert _compared(root, _keep(root, lies))[:2] == [1, [("differs", 16, None)]]
        assert _compared(root, _keep(root, [*journal, extra]))[:2] == [1, [("extra", 19, None)]]
        without = [*journal[:3], *journal[4:8], *journal[12:]]
        status, found, unread = _compared(root, _keep(root, without))
        assert (status, found) == (1, [("missing", 10, 11)])
        assert unread == [
            f"{MIDDLE}: not a regular file",
            "record 3: not in the journal, and why may be in what can't be read",
        ]
        status, found, _ = _compared(root, _keep(root, journal[5:10]))
        assert (status, found) == (2, [])
    with _unread(root / CHAIN / segment_name(15), "other"):
        assert _compared(root, _keep(root, [*journal, extra]))[:2] == [2, []]


def test_a_room_around_an_unreadable_file(root: Path, tmp_path: Path) -> None:
    """What a room says otherwise is named, unless it is of what can't be read (I8)."""
    room = room_of(sample(tmp_path / "same", segment_records=5))

    def lie(number: int) -> list[dict[str, Any]]:
        lying = copy.deepcopy(room)
        for message in lying:
            result = message["content"].get("nc.tibet.result", {})
            if number in {result.get("number"), result.get("outcome")}:
                result["head"] = "0" * 64
        return lying

    with _unread(root / MIDDLE, "other"):
        assert _compared(root, _keep(root, lie(13)))[:2] == [1, [("differs", 13, None)]]
        assert _compared(root, _keep(root, lie(4)))[:2] == [
            2,
            [],
        ]  # it ended in the unreadable file
        assert _compared(root, _keep(root, lie(8)))[:2] == [2, []]


@pytest.mark.parametrize("kind", ["journal", "room"])
def test_crosscheck_with_a_file_missing(tmp_path: Path, kind: str) -> None:
    """Of a chain that lacks a file exactly its records are lacking, not those that follow (I8)."""
    chain = sample(tmp_path / "state", segment_records=5)
    kept = journal_of(chain) if kind == "journal" else room_of(chain)
    (chain.root / MIDDLE).unlink()
    status, found, unread = _compared(chain.root, _keep(chain.root, kept))
    assert (status, unread) == (1, [])
    if kind == "journal":
        assert found == [("extra", number, None) for number in range(5, 10)]
    else:
        assert {record for _, record, _ in found} <= set(range(4, 10))


def test_nothing_unread_is_cosigned(root: Path, tmp_path: Path) -> None:
    """A chain that can't all be read isn't cosigned, and what is bad in it is told."""
    key = tmp_path / "audit.key"
    assert within("checkpoint", "--new-key", key, "--name", "example.org/audit").status == 0
    for name, bad in ((MIDDLE, False), (f"{CHAIN}/{segment_name(15)}", True)):
        (root / name).unlink()
        (root / name).mkdir()
        if bad:
            _alter(root, f"{CHAIN}/{segment_name(0)}", b'"seq":2,', b'"seq":3,')
        done = within("--state", root, "checkpoint", "--cosign", key, "--key", KEY)
        assert (done.status, done.out) == (1 if bad else 2, "")
        assert f"{name}: not a regular file" in done.err
