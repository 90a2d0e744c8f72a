# SPDX-License-Identifier: MIT
"""Cosignatures on checkpoints, as the public specification has them (C2SP tlog-cosignature)."""

import base64
import hashlib
import itertools
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tibet_nc_protocol.cosignature import Cosigner, cosignature_line, verify_cosignature
from tibet_nc_protocol.errors import NoteError
from tibet_nc_protocol.note import Checkpoint, Verifier, open_checkpoint, sign_note, split_note
from tibet_nc_protocol.signing import Identity, PublicKey

LOG = Identity(b"the log".ljust(32, b"."))
SECRET = b"the auditor".ljust(32, b".")
AUDITOR = Identity(SECRET)
NAME = "example.org/audit"
COSIGNER = Cosigner(name=NAME, key=AUDITOR.public_key)
TEXT = Checkpoint(origin="example.org/log", size=7, root=bytes(32)).text()
NOTE = sign_note(TEXT, "example.org/log", LOG)
TIME = 1_679_315_147


def by_the_specification(text: str, seconds: int) -> str:
    """Make a cosignature line from the words of the specification, with another library."""
    key = Ed25519PrivateKey.from_private_bytes(SECRET)
    public = key.public_key().public_bytes_raw()
    key_id = hashlib.sha256(NAME.encode() + b"\n\x04" + public).digest()[:4]
    signature = key.sign(b"cosignature/v1\n" + f"time {seconds}\n{text}".encode())
    data = key_id + struct.pack(">Q", seconds) + signature
    return f"\u2014 {NAME} {base64.b64encode(data).decode()}\n"


def test_what_the_specification_says_comes_out() -> None:
    """A cosignature is, to the byte, what the public specification prescribes."""
    assert cosignature_line(TEXT, NAME, AUDITOR, TIME) == by_the_specification(TEXT, TIME)


@given(seconds=st.integers(0, 2**63 - 1))
def test_its_time_is_told(seconds: int) -> None:
    """The time that was signed comes back; the log's own signature stays good beside it."""
    note = NOTE + by_the_specification(TEXT, seconds)
    assert verify_cosignature(note, COSIGNER) == seconds
    log = Verifier(name="example.org/log", key=LOG.public_key)
    assert open_checkpoint(note, log).size == 7


def test_the_verifier_key_has_a_type_of_its_own() -> None:
    """A key for cosignatures is never taken for one that signs notes, nor the other way round."""
    assert Cosigner.from_vkey(COSIGNER.vkey) == COSIGNER
    assert base64.b64decode(COSIGNER.vkey.split("+", 2)[2])[:1] == b"\x04"
    with pytest.raises(NoteError, match="another type"):
        Verifier.from_vkey(COSIGNER.vkey)
    with pytest.raises(NoteError, match="another type"):
        Cosigner.from_vkey(Verifier(name=NAME, key=AUDITOR.public_key).vkey)


def test_a_plain_signature_is_no_cosignature() -> None:
    """A signature over the text alone, under the same name and key, says nothing of a time."""
    note = sign_note(TEXT, NAME, AUDITOR)
    with pytest.raises(NoteError, match="not cosigned"):
        verify_cosignature(note, COSIGNER)


@given(place=st.integers(0), flip=st.integers(1, 127))
def test_an_altered_cosignature_never_verifies(place: int, flip: int) -> None:
    """Whatever character is altered, time and text included, it isn't the cosigner's any more."""
    note = NOTE + cosignature_line(TEXT, NAME, AUDITOR, TIME)
    text_and_line = [*range(len(TEXT)), *range(len(NOTE), len(note))]
    at = text_and_line[place % len(text_and_line)]
    altered = note[:at] + chr(ord(note[at]) ^ flip) + note[at + 1 :]
    with pytest.raises(NoteError):
        verify_cosignature(altered, COSIGNER)


def test_several_cosignatures_by_one_key() -> None:
    """The latest time counts, whatever the order, and a good one excuses no bad one."""
    times = (TIME, TIME + 9, TIME + 5)
    lines = [cosignature_line(TEXT, NAME, AUDITOR, seconds) for seconds in times]
    for order in itertools.permutations(lines):
        assert verify_cosignature(NOTE + "".join(order), COSIGNER) == TIME + 9
    bad = cosignature_line("another text\n", NAME, AUDITOR, TIME)
    for order in itertools.permutations([*lines, bad]):
        with pytest.raises(NoteError, match="does not verify"):
            verify_cosignature(NOTE + "".join(order), COSIGNER)


@pytest.mark.parametrize("seconds", [2**63, 2**64 - 1])
def test_a_time_that_the_specification_forbids(seconds: int) -> None:
    """A time over 2^63 - 1 is refused, though signed."""
    with pytest.raises(NoteError, match="possible time"):
        verify_cosignature(NOTE + by_the_specification(TEXT, seconds), COSIGNER)


def test_the_latest_time_that_the_specification_permits() -> None:
    """A time of 2^63 - 1 is read."""
    latest = 2**63 - 1
    assert verify_cosignature(NOTE + by_the_specification(TEXT, latest), COSIGNER) == latest


@pytest.mark.parametrize("length", [0, 7, 8, 64, 71, 73])
def test_a_cosignature_has_one_length(length: int) -> None:
    """What claims to be this key's and is shorter or longer than a cosignature makes it bad."""
    good = cosignature_line(TEXT, NAME, AUDITOR, TIME)
    data = base64.b64decode(good.rpartition(" ")[2]) + b"more"
    assert len(data) == 4 + 72 + 4
    line = f"— {NAME} {base64.b64encode(data[: 4 + length]).decode()}\n"
    for lines in (line, good + line, line + good):
        with pytest.raises(NoteError, match="wrong length"):
            verify_cosignature(NOTE + lines, COSIGNER)


@given(st.text())
def test_any_text_is_a_cosigned_note_or_our_error(text: str) -> None:
    """Reading is total."""
    with pytest.raises(NoteError):
        verify_cosignature(text, COSIGNER)


def test_a_note_with_control_characters_is_refused() -> None:
    """Notes hold no control characters but line ends (C2SP signed-note)."""
    for character in "\x00\t\r\x1b":
        with pytest.raises(NoteError, match="control"):
            split_note(NOTE.replace("log", f"l{character}g", 1))


def test_a_small_order_key_is_no_cosigner() -> None:
    """A key that verifies anything is refused in this form too."""
    weak = bytes(32)
    key_id = hashlib.sha256(NAME.encode() + b"\n\x04" + weak).digest()[:4]
    vkey = f"{NAME}+{key_id.hex()}+{base64.b64encode(b'\x04' + weak).decode()}"
    with pytest.raises(NoteError, match="small order"):
        Cosigner.from_vkey(vkey)
    assert PublicKey(AUDITOR.public_key.data) == COSIGNER.key
