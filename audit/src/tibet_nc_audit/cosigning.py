# SPDX-License-Identifier: MIT
"""The auditor's own key: made, kept in a private file, used to cosign checkpoints.

The file is one line in the form of Go's note package: ``PRIVATE+KEY+name+id+key``, so that other
tools can load it. Beside it, in FILE.seen, stands the largest checkpoint of each chain that was
cosigned with it. That is on disk before the cosignature is told (SPEC §7, Co-signatures), so this
key never says anything else about a size that it has spoken of.
"""

import base64
import fcntl
import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.output import replace_file
from tibet_nc_protocol.cosignature import Cosigner, cosignature_line
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import NoteError, SignatureError
from tibet_nc_protocol.note import Checkpoint, Verifier, read_base64, split_note
from tibet_nc_protocol.signing import KEY_BYTES, Identity

_PREFIX: Final = "PRIVATE+KEY+"
_FILE_BYTES: Final = 4096
_SEEN_BYTES: Final = 1024 * 1024
_SEEN: Final = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, kw_only=True)
class AuditorKey:
    """A name and the identity that signs under it; ``file`` is where it is kept."""

    name: str
    identity: Identity
    file: Path

    @property
    def cosigner(self) -> Cosigner:
        """What others need to check with."""
        return Cosigner(name=self.name, key=self.identity.public_key)


def make_key(path: Path, name: str) -> AuditorKey:
    """Make a key in a new private file; raises AuditError, also when the file is there."""
    secret = secrets.token_bytes(KEY_BYTES)
    identity = Identity(secret)
    try:
        verifier = Verifier(name=name, key=identity.public_key)
    except NoteError as error:
        raise AuditError(str(error)) from None
    encoded = base64.b64encode(Verifier.TYPE + secret).decode()
    line = f"{_PREFIX}{name}+{verifier.key_id.hex()}+{encoded}\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(path.parent)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}") from None
    return AuditorKey(name=name, identity=identity, file=path)


def load_key(path: Path) -> AuditorKey:
    """Read a key file; raises AuditError, also when others may read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            data = file.read(_FILE_BYTES)
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise AuditError(f"{path}: others may read this key; chmod 600 it, or make another")
    try:
        name, identity = _parse(data.decode().removesuffix("\n"))
    except (NoteError, SignatureError, ValueError):
        # Not one word of what stands there: it may be most of a key.
        raise AuditError(f"{path}: not a private key as --new-key makes them") from None
    # By whatever link it was named, what was cosigned with it stands beside the key itself.
    return AuditorKey(name=name, identity=identity, file=Path(os.path.realpath(path)))


def _parse(text: str) -> tuple[str, Identity]:
    if not text.startswith(_PREFIX):
        raise NoteError("no private key")
    name, key_id, encoded = text.removeprefix(_PREFIX).split("+", 2)
    secret = read_base64(encoded)
    if secret[:1] != Verifier.TYPE:
        raise NoteError("a key of another type")
    identity = Identity(secret[1:])
    if Verifier(name=name, key=identity.public_key).key_id.hex() != key_id:
        raise NoteError("the key's id does not fit it")
    return name, identity


def seen(key: AuditorKey, origin: str) -> str | None:
    """Return the note of a chain that was last cosigned with a key; raises AuditError."""
    return _seen(key).get(origin)


def cosign(key: AuditorKey, note: str, seconds: int) -> str:
    """Return a checkpoint's note with a cosignature more; ``seconds`` are since 1970.

    The chain must have been verified up to it. Raises AuditError when a larger or another
    checkpoint was cosigned before, or when this one can't be remembered.
    """
    try:
        text, _ = split_note(note)
        checkpoint = Checkpoint.from_text(text)
    except NoteError as error:
        raise AuditError(f"not a checkpoint's note: {error}") from None
    signed = note + cosignature_line(text, key.name, key.identity, seconds)
    with _locked(key):
        notes = _seen(key)
        before = notes.get(checkpoint.origin)
        if before is not None:
            last = Checkpoint.from_text(split_note(before)[0])
            if last.size > checkpoint.size or (last.size == checkpoint.size and last != checkpoint):
                size = counted(last.size, "record")
                raise AuditError(f"{key.file}: another checkpoint was cosigned before, of {size}")
        with replace_file(_seen_path(key)) as file:
            file.write(msgspec.json.encode(notes | {checkpoint.origin: signed}) + b"\n")
        _sync_folder(key.file.parent)
    return signed


@contextmanager
def _locked(key: AuditorKey) -> Generator[None]:
    """Let nobody else cosign with this key meanwhile, who would have seen less."""
    try:
        with key.file.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise AuditError(f"{key.file}: {error.strerror}") from None


def _seen(key: AuditorKey) -> dict[str, str]:
    path = _seen_path(key)
    try:
        with path.open("rb") as file:
            notes = _SEEN.decode(file.read(_SEEN_BYTES))
        for note in notes.values():
            Checkpoint.from_text(split_note(note)[0])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, NoteError, ValueError, RecursionError):
        raise AuditError(f"{path}: not what was cosigned before; restore it") from None
    return notes


def _seen_path(key: AuditorKey) -> Path:
    return key.file.with_name(f"{key.file.name}.seen")


def _sync_folder(path: Path) -> None:
    """Have the names in a folder on disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
