# SPDX-License-Identifier: MIT
"""The second verifier (audit/recheck) beside the first, about what the executor itself has signed.

Nobody else can write such records, so no other test says whether both know the same forms: of
records, and of the notes in checkpoints (I8).
"""

import random
import re
import string
import tempfile
from collections.abc import Iterator
from itertools import chain as chain_of
from itertools import islice
from pathlib import Path
from typing import Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.audit.chains import EXECUTOR, STRANGER, Chain
from tests.audit.verdicts import lines_of, put
from tests.fuzz.mutation import mutations, seeds
from tests.harness.recheck import GOOD, agree, ask, go
from tibet_nc_audit.heads import Depth
from tibet_nc_protocol import note
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.errors import DecodeError, RecordError
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.limits import TEXT_CHARACTERS
from tibet_nc_protocol.merkle import leaf_hash, tree_root
from tibet_nc_protocol.records import RECORDS, Checkpoint, digest
from tibet_nc_protocol.signing import Purpose, signed_text

MUTATIONS: Final = 50_000
KEY: Final = EXECUTOR.public_key.hex

_SIGNATURE: Final = re.compile(rb'"sig":"[0-9a-f]{128}",')


def _signed(line: bytes, prev: str) -> bytes:
    """Link and sign a line as the executor would, whatever it holds, if it has place for both."""
    line = re.sub(rb'"prev":"[0-9a-f]{64}"', b'"prev":"%s"' % prev.encode(), line, count=1)
    text = signed_text(Purpose.RECORD, _SIGNATURE.sub(b"", line, count=1))
    return _SIGNATURE.sub(b'"sig":"%s",' % EXECUTOR.sign(text).hex().encode(), line, count=1)


_ODD: Final = [
    b"null", b"-0", b"0", b"007", b"1.0", b"1e3", b"9007199254740991", b"9007199254740992",
    b"9" * 5000, b'""', b'"', b"\\", b"\\u0001", b"\\u00e9", b"\\u001F", b"\\/", b"\\b", b"\\u0008",
    b"\\ud800", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\x7f", b"\xe2\x80\xa8", b"\xc2\x85", b" ",
    b"\t", b"\n", b"[", b"]", b"{}", b"[]", b"true", b",", b":", b'"seq":1,', b'"kind":"key",',
    b'"prev":"0",', b'"a":1,', b'"zz":1,', b"x" * 1024, b"\xc3\xa9" * 1024, b"\xf0\x9f\x98\x80",
    b"\xc2\x80", b"\xc3\xa9\x7f", b"\xc3\xa9" * 1000, b"\\n" * 1000,
    b'"notes":["",' + b'"a",' * 14 + b'"b"],', b'"notes":["",' + b'"a",' * 15 + b'"b"],',
    b'"notes":[],', b'"notes":["a"],', b'"exit":null,', b'"uid":5,', b"x" * 140_000,
]  # fmt: skip


def _each_odd_line(lines: list[bytes]) -> Iterator[bytes]:
    """Yield each line with each odd thing in each place: put in, and in the place of a byte."""
    for line in lines:
        for at in range(len(line) + 1):
            if at % 7 and line[max(0, at - 4) : at + 4].isalnum():
                continue  # within a long word, one place is like the next
            yield line[:at] + line[at + 1 :]
            for odd in _ODD:
                begins = line[max(0, at - 1) : at] in {b",", b'"'}
                if len(odd) <= 8 or at % 50 == 0 or (begins and len(odd) < 4000):
                    yield line[:at] + odd + line[at:]
                    yield line[:at] + odd + line[at + 1 :]


def test_every_odd_line_is_read_alike(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Both say of the same lines that they are records, whatever is put where (I8)."""
    known = [line for lines in _every_kind(tmp_path_factory) for line in lines]
    changed = islice(mutations(random.Random(1), seeds()), MUTATIONS)
    good = 0
    with tempfile.NamedTemporaryFile(prefix="tibet-nc-lines-") as file:
        for line in chain_of(_each_odd_line(known), changed):
            try:
                RECORDS.decode(line)
            except DecodeError:
                verdict = b"b"
            else:
                verdict = b"g"
                good += 1
            file.write(b"%b%d\n%b" % (verdict, len(line), line))
        assert good > 1000
        file.flush()
        done = go("test", "-count=1", "-run", "TestLinesJudgedElsewhere", ".", lines=file.name)
    assert done.returncode == 0, done.stdout


@given(data=st.data())
@settings(max_examples=150)
def test_an_odd_record_is_judged_alike(
    second: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Of a line that the executor signed, whatever it holds, both say whether it is a record (I8).

    So the forms of records, which nothing but the code of each knows, are the same in both.
    """
    lines = data.draw(st.sampled_from(_every_kind(tmp_path_factory)))
    at = data.draw(st.integers(0, len(lines) - 1))
    odd = lines[at]
    for _ in range(data.draw(st.integers(1, 2))):
        begin = data.draw(st.integers(0, len(odd)))
        end = begin + data.draw(st.sampled_from([0, 0, 1, 1, 2, 5, 30]))
        odd = odd[:begin] + data.draw(st.sampled_from([b"", *_ODD])) + odd[end:]
    made: list[bytes] = []
    for line in [*lines[:at], *odd.split(b"\n"), *lines[at + 1 :]]:
        made.append(_signed(line, digest(made[-1]) if made else "0" * 64))
    expected = None
    verifier = ChainVerifier(EXECUTOR.public_key)
    try:
        for line in made:
            verifier.feed(line)
    except RecordError as error:
        expected = error.position
    with tempfile.TemporaryDirectory(prefix="tibet-nc-odd-") as name:
        (Path(name) / CHAIN).mkdir()
        put(Path(name), made)
        assert ask(second, Path(name), key=KEY, depth=Depth.DEEP).record == (expected)
        agree(second, Path(name), Depth.RECORDS, KEY)
        fast = ask(second, Path(name), key=KEY, depth=Depth.CHAIN)
        if expected is None:
            assert fast.status == GOOD


_IN_NOTES: Final = [
    "\n", "\n\n", "\r", "\t", "\x1f", "\x7f", "\x85", " ", "\u00a0", "\u2003", "+", "=", "0", "00",
    "1", "A", "B", "é", "— ", "— a AAAA\n", "— a AA==\n", "— a AB==\n", "— a \n", "—  AAAA\n",
    "- a AAAA\n", "more\n", *("— a AAAA\n" * number for number in (99, 100)),
]  # fmt: skip


@given(data=st.data())
@settings(max_examples=200)
def test_an_odd_note_is_judged_alike(second: Path, data: st.DataObject) -> None:
    """Of a checkpoint's note that the executor signed, whatever it says, both say the same (I8)."""

    def odd(text: str) -> str:
        for _ in range(data.draw(st.sampled_from([0, 0, 1, 1, 2]))):
            begin = data.draw(st.integers(0, len(text)))
            end = begin + data.draw(st.sampled_from([0, 0, 1, 2]))
            text = text[:begin] + data.draw(st.sampled_from(["", *_IN_NOTES])) + text[end:]
        return text

    with tempfile.TemporaryDirectory(prefix="tibet-nc-note-") as name:
        chain = Chain(Path(name))
        chain.security()
        root = tree_root([leaf_hash(line) for line in chain.lines])
        origin, size = EXECUTOR.id, chain.length
        if data.draw(st.booleans()):
            origin, size, root = data.draw(
                st.sampled_from(
                    [("other", size, root), (origin, 1, root), (origin, size, bytes(32))]
                )
            )
        text = odd(note.Checkpoint(origin=origin, size=size, root=root).text())
        signers = data.draw(st.sampled_from([[EXECUTOR], [EXECUTOR] * 2, [STRANGER, EXECUTOR], []]))
        signed = "".join(
            odd(note.signature_line(text, data.draw(st.sampled_from([EXECUTOR.id, "a"])), signer))
            for signer in signers
        )
        written = odd(f"{text}\n{signed}") if data.draw(st.booleans()) else f"{text}\n{signed}"
        assume(len(written) <= TEXT_CHARACTERS)
        root = tree_root([leaf_hash(line) for line in chain.lines])
        chain.append(
            lambda seq, prev, time: Checkpoint(
                seq=seq, prev=prev, time=time, size=seq, root=root.hex(), note=written
            )
        )
        for depth in Depth:
            agree(second, Path(name), depth, KEY)


def _unused_bits(encoded: str) -> str:
    """Set bits that base64 with one sign of padding doesn't use."""
    digits = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    at = encoded.rindex("=") - 1
    return encoded[:at] + digits[digits.index(encoded[at]) | 1] + encoded[at + 1 :]


@pytest.mark.parametrize(
    ("text", "signatures", "good"),
    [
        ("{text}", "{line}", True),
        ("{text}more\n", "{line}", True),
        ("{text}\x7f\n", "{line}", True),
        ("{text}\x1f\n", "{line}", False),
        ("{text}\r\n", "{line}", False),
        ("{origin}\n02\n{root}\n", "{line}", False),
        ("{origin}\n+2\n{root}\n", "{line}", False),
        ("{origin}\n2\n{odd_root}\n", "{line}", False),
        ("other\n2\n{root}\n", "{line}", False),
        ("{origin}\n1\n{root}\n", "{line}", False),
        ("{text}", "{odd_line}", False),
        ("{text}", "{line}{line}", True),
        ("{text}", "{line}— a AAAA\n", True),
        ("{text}", "{line}— a AAB=\n", False),
        ("{text}", "{line}— a \n", False),
        ("{text}", "{line}— a\u2003b AAAA\n", False),
        ("{text}", "{line}— a+b AAAA\n", False),
        ("{text}", "{line}- a AAAA\n", False),
        ("{text}", "{line}\n", False),
        ("{text}", "— a AAAA\n", False),
        ("{text}", "{renamed}", False),
        ("{text}", "{strangers}", False),
        ("{text}", "{strangers}{line}", True),
        ("{text}", "{forged}{line}", False),
        ("{text}", "{line}" + "— a AAAA\n" * 60, True),
    ],
)
def test_each_rule_for_notes(
    second: Path, tmp_path: Path, text: str, signatures: str, *, good: bool
) -> None:
    """Both refuse a note that the executor signed, for each rule that C2SP has for one (I8)."""
    chain = Chain(tmp_path)
    chain.security()
    root = tree_root([leaf_hash(line) for line in chain.lines])
    name = EXECUTOR.id
    usual = note.Checkpoint(origin=name, size=2, root=root).text()
    encoded = usual.split("\n")[2]
    said = text.format(text=usual, origin=name, root=encoded, odd_root=_unused_bits(encoded))
    line = note.signature_line(said, name, EXECUTOR)
    other = note.signature_line(said + "x", name, EXECUTOR)
    written = signatures.format(
        line=line,
        odd_line=_unused_bits(line),
        renamed=line.replace(name, "other"),
        strangers=note.signature_line(said, name, STRANGER),
        forged=other,
    )
    chain.append(
        lambda seq, prev, time: Checkpoint(
            seq=seq, prev=prev, time=time, size=2, root=root.hex(), note=f"{said}\n{written}"
        )
    )
    for depth in Depth:
        assert (ask(second, tmp_path, key=KEY, depth=depth).status == GOOD) == good
        agree(second, tmp_path, depth, KEY)


_KINDS: list[list[bytes]] = []


def _every_kind(factory: pytest.TempPathFactory) -> list[list[bytes]]:
    """Return short chains that have each kind of record."""
    if not _KINDS:
        root = factory.mktemp("kinds")
        chain = Chain(root)
        chain.session()
        chain.outcome(chain.intent("true"), leftover=1)
        chain.remainder(2)
        chain.aborted(chain.intent("false"))
        chain.refusal("reboot")
        chain.security()
        chain.checkpoint()
        _KINDS.append(lines_of(root))
    return _KINDS
