# SPDX-License-Identifier: MIT
"""Signed notes and checkpoints, as the public specification has them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tibet_nc_protocol.errors import NoteError
from tibet_nc_protocol.merkle import EMPTY_ROOT
from tibet_nc_protocol.note import (
    Checkpoint,
    Verifier,
    open_checkpoint,
    open_note,
    sign_note,
    signature_line,
    split_note,
)
from tibet_nc_protocol.signing import Identity

# The example that the note format's implementations share.
PUBLIC_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLIC_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZ"
    "b6KE6RyyBwJnAM=\n"
)

IDENTITY = Identity(b"note-test-key".ljust(32, b"."))
NAME = "example.org/tibet-nc/host"
OWN = Verifier(name=NAME, key=IDENTITY.public_key)
CHECKPOINT = Checkpoint(origin=NAME, size=42, root=EMPTY_ROOT)


def test_a_note_that_others_signed_opens() -> None:
    """The published example verifies, and its key is written as it was read."""
    verifier = Verifier.from_vkey(PUBLIC_KEY)
    assert verifier.vkey == PUBLIC_KEY
    assert open_note(PUBLIC_NOTE, verifier).startswith("If you think")


def test_a_checkpoint_is_read_as_it_was_written() -> None:
    """What is signed comes back, and its form is exactly the specified one."""
    note = sign_note(CHECKPOINT.text(), NAME, IDENTITY)
    assert open_checkpoint(note, OWN) == CHECKPOINT
    text, ((name, data),) = split_note(note)
    assert text == f"{NAME}\n42\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert (name, len(data), data[:4]) == (NAME, 68, OWN.key_id)


def test_a_second_signature_leaves_the_first_good() -> None:
    """An auditor's own signature is added as a line, and each verifies by itself."""
    auditor = Identity(b"auditor".ljust(32, b"."))
    note = sign_note(CHECKPOINT.text(), NAME, IDENTITY)
    note += signature_line(CHECKPOINT.text(), "auditor", auditor)
    assert open_checkpoint(note, OWN) == CHECKPOINT
    other = Verifier(name="auditor", key=auditor.public_key)
    assert open_checkpoint(note, other) == CHECKPOINT


def test_a_good_signature_excuses_no_bad_one() -> None:
    """A note with two signatures by one key, of which one does not verify, never opens."""
    note = sign_note(CHECKPOINT.text(), NAME, IDENTITY)
    for more in (
        signature_line("another text\n", NAME, IDENTITY),
        f"— {NAME} {base64.b64encode(OWN.key_id + bytes(63)).decode()}\n",
    ):
        text, _, good = note.partition("\n\n")
        for lines in (good + more, more + good):
            with pytest.raises(NoteError, match=r"does not verify|wrong length"):
                open_checkpoint(f"{text}\n\n{lines}", OWN)


def test_signatures_have_a_bound() -> None:
    """A hundred signatures are read, and no more: each could be one to verify."""
    note = sign_note(CHECKPOINT.text(), NAME, IDENTITY)
    other = f"— somebody {base64.b64encode(bytes(68)).decode()}\n"
    assert open_checkpoint(note + 99 * other, OWN) == CHECKPOINT
    with pytest.raises(NoteError, match="more than 100"):
        open_checkpoint(note + 100 * other, OWN)


@given(place=st.integers(0), flip=st.integers(1, 127))
def test_an_altered_note_never_opens(place: int, flip: int) -> None:
    """Whatever character of a note is altered, it is not taken for the signed one."""
    note = sign_note(CHECKPOINT.text(), NAME, IDENTITY)
    place %= len(note)
    altered = note[:place] + chr(ord(note[place]) ^ flip) + note[place + 1 :]
    with pytest.raises(NoteError):
        open_checkpoint(altered, OWN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n",
        "origin\n1\n",
        "origin\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n-1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\n",
        "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n",
        "origin\n1\nAAAA\n",
        "\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nan extension without an end",
        "origin\n1\n\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        "origin\n\u0661\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        f"origin\n{2**53}\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        f"origin\n{10**16}\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        f"origin\n{'9' * 5000}\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """Missing lines, odd numbers and other forms of base64 are not read."""
    with pytest.raises(NoteError):
        Checkpoint.from_text(text)


@pytest.mark.parametrize("size", [0, 1, 10, 2**53 - 1])
def test_every_size_is_read(size: int) -> None:
    """From none on, every number of records that can be exact is read."""
    checkpoint = Checkpoint(origin=NAME, size=size, root=EMPTY_ROOT)
    assert Checkpoint.from_text(checkpoint.text()) == checkpoint


@pytest.mark.parametrize("text", ["", "no line end", "an empty\n\nline\n", "\n\n"])
def test_what_is_no_text_of_a_note(text: str) -> None:
    """A text from which a note couldn't be told apart again isn't signed."""
    with pytest.raises(NoteError, match="ends with one line end and has no empty line"):
        sign_note(text, NAME, IDENTITY)


def test_a_verifier_key_with_another_id() -> None:
    """The id in a verifier key is that of its name and key, or it is none: a name isn't altered."""
    name, key_id, key = OWN.vkey.split("+", 2)
    assert Verifier.from_vkey(f"{name}+{key_id}+{key}") == OWN
    for altered in (f"{name}x+{key_id}+{key}", f"{name}+{'0' * 8}+{key}", f"{name}++{key}"):
        with pytest.raises(NoteError, match="id does not fit its key"):
            Verifier.from_vkey(altered)


@pytest.mark.parametrize("name", ["", "a b", "a\tb", "a\u00a0b", "a\n", "a+b", "a\ud800"])
def test_what_is_no_name(name: str) -> None:
    """A name that its own signature line couldn't hold is refused before anything is signed."""
    with pytest.raises(NoteError, match="can't be the name of a key"):
        signature_line(CHECKPOINT.text(), name, IDENTITY)


@pytest.mark.parametrize("code", [code for code in range(0x20) if chr(code) != "\n"])
def test_control_characters(code: int) -> None:
    """A note with a control character is none: it would show as something else than it is."""
    text = CHECKPOINT.text() + "an extension\n"
    with pytest.raises(NoteError, match="no control characters"):
        open_checkpoint(sign_note(text.replace("an ", f"an{chr(code)}"), NAME, IDENTITY), OWN)
    assert open_checkpoint(sign_note(text, NAME, IDENTITY), OWN) == CHECKPOINT


GOOD_LINE = f"— {NAME} {base64.b64encode(bytes(68)).decode()}"


@pytest.mark.parametrize(
    "line",
    [
        "",
        GOOD_LINE[2:],
        GOOD_LINE.replace("— ", "- "),
        GOOD_LINE.replace("— ", "—"),
        GOOD_LINE.replace(NAME, ""),
        GOOD_LINE.replace(NAME, "a+b"),
        GOOD_LINE.replace(NAME, "a b"),
        GOOD_LINE.replace(NAME, "a\u00a0b"),
        GOOD_LINE.replace("=", ""),
        GOOD_LINE + "=",
        GOOD_LINE + " ",
        GOOD_LINE.rpartition(" ")[0],
        GOOD_LINE.rpartition(" ")[0] + " ",
        GOOD_LINE.replace("AA", "A-"),
        f"{GOOD_LINE}\n",
    ],
)
def test_what_is_no_signature_line(line: str) -> None:
    """A signature line has one form; with one of another form among them a note is none."""
    note = sign_note(CHECKPOINT.text(), NAME, IDENTITY)
    assert open_checkpoint(f"{note}{GOOD_LINE.replace(NAME, 'somebody')}\n", OWN) == CHECKPOINT
    with pytest.raises(NoteError):
        split_note(f"{note}{line}\n")


def test_a_note_ends_with_a_line_end() -> None:
    """With another character in its place, or with none, what verified is no note."""
    note = sign_note(CHECKPOINT.text(), NAME, IDENTITY)
    for altered in (f"{note[:-1]}x", note[:-1], f"{note[:-1]} "):
        with pytest.raises(NoteError, match="a text, an empty line and signature lines"):
            open_checkpoint(altered, OWN)


def test_signatures_of_nothing_are_no_note() -> None:
    """Signature lines alone are signatures of no text, not of an empty one."""
    with pytest.raises(NoteError, match="a text, an empty line and signature lines"):
        open_note(signature_line("\n", NAME, IDENTITY), OWN)


@pytest.mark.parametrize("key", [bytes(32), bytes(31), b""])
def test_a_verifier_key_that_is_no_key(key: bytes) -> None:
    """A key of small order, which verifies anything, and one of another length, are refused."""
    encoded = base64.b64encode(b"\x01" + key).decode()
    with pytest.raises(NoteError, match="not a verifier key"):
        Verifier.from_vkey(f"{NAME}+00000000+{encoded}")


@given(st.text())
def test_any_text_is_a_note_or_our_error(text: str) -> None:
    """Reading is total."""
    with pytest.raises(NoteError):
        open_checkpoint(text, OWN)


@given(st.text())
def test_any_text_is_a_verifier_key_or_our_error(text: str) -> None:
    """Reading is total."""
    with pytest.raises(NoteError):
        Verifier.from_vkey(text)
