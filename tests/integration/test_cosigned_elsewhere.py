# SPDX-License-Identifier: MIT
"""The auditor's cosignatures beside those of a program that isn't ours.

aics-tlog is somebody else's reading of the same public specifications (C2SP signed-note,
tlog-checkpoint, tlog-cosignature): what one signs, the other takes, and nothing else.
"""

from pathlib import Path

import pytest
from aics_tlog import Checkpoint as ForeignCheckpoint
from aics_tlog import (
    cosignature_vkey,
    format_vkey,
    parse_note,
    parse_vkey,
    sign_cosignature,
    verify_checkpoint,
)
from aics_tlog.checkpoint import serialise_checkpoint
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.audit.chains import EXECUTOR, sample
from tests.audit.program import within
from tibet_nc_audit import cosigning
from tibet_nc_protocol.cosignature import Cosigner, cosignature_line, verify_cosignature
from tibet_nc_protocol.errors import NoteError
from tibet_nc_protocol.limits import EXACT_INTEGER
from tibet_nc_protocol.note import Checkpoint, Verifier
from tibet_nc_protocol.signing import Identity

NAME = "example.org/audit"
LOG = parse_vkey(Verifier(name=EXECUTOR.id, key=EXECUTOR.public_key).vkey)


def _good(note: str, cosigner: str, *, quorum: int = 1) -> bool:
    """Tell whether the other program finds a checkpoint signed by the chain and a cosigner."""
    try:
        parsed = parse_note(note)
    except ValueError:
        return False
    return bool(verify_checkpoint(parsed, LOG, [parse_vkey(cosigner)], quorum).ok)


def test_a_cosigned_checkpoint_is_good_elsewhere(tmp_path: Path) -> None:
    """What --cosign prints verifies there with both keys; with any character altered, nowhere."""
    chain = sample(tmp_path / "state")
    mine = cosigning.make_key(tmp_path / "audit.key", NAME)
    asked = ("checkpoint", "--state", chain.root)
    cosigned = within(
        *asked, "--cosign", tmp_path / "audit.key", "--key", EXECUTOR.public_key.hex
    ).out
    vkey = mine.cosigner.vkey
    assert _good(cosigned, vkey)
    assert not _good(within(*asked).out, vkey)
    assert not _good(cosigned, Cosigner(name=NAME, key=EXECUTOR.public_key).vkey)
    for at, character in enumerate(cosigned):
        altered = f"{cosigned[:at]}{'B' if character != 'B' else 'C'}{cosigned[at + 1 :]}"
        assert not _good(altered, vkey), at


ROOTS = st.binary(min_size=32, max_size=32)
NAMES = st.from_regex(r"[!-*,-~\xa1-\xff]{1,40}", fullmatch=True)


@given(
    secret=ROOTS,
    name=NAMES,
    origin=NAMES,
    size=st.integers(0, EXACT_INTEGER),
    root=ROOTS,
    seconds=st.integers(0, 2**63 - 1),
)
def test_both_write_the_same_line(
    secret: bytes, name: str, origin: str, size: int, root: bytes, seconds: int
) -> None:
    """For any key, name, checkpoint and time, both make the same cosignature, byte for byte."""
    mine, theirs = Identity(secret), Ed25519PrivateKey.from_private_bytes(secret)
    text = Checkpoint(origin=origin, size=size, root=root).text()
    assert text == serialise_checkpoint(ForeignCheckpoint(origin, size, root))
    cosigner = Cosigner(name=name, key=mine.public_key)
    assert cosigner.vkey == format_vkey(cosignature_vkey(name, theirs.public_key()))
    _, line = sign_cosignature(theirs, name, seconds, origin, size, root)
    note = f"{text}\n{cosignature_line(text, name, mine, seconds)}"
    assert parse_note(note).signatures == (line,)
    assert verify_cosignature(note, cosigner) == seconds
    other = Cosigner(name=name, key=EXECUTOR.public_key)
    with pytest.raises(NoteError):
        verify_cosignature(note, other)
