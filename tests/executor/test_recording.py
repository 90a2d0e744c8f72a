# SPDX-License-Identifier: MIT
"""A recording holds exactly what is said of it, wherever its disk was full (I12)."""

import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.executor.injection import file_bytes_left, traced
from tibet_nc_executor.recording import Recorder, read_output
from tibet_nc_executor.writeback import STEP_BYTES
from tibet_nc_protocol.errors import DecodeError

PIECES = [b"a", b"\n", b"\xff", *(bytes([byte]) for byte in "\U0001f600\u00e9".encode())]
BYTES = st.lists(st.sampled_from(PIECES), max_size=60)
CHARACTERS = st.text("\U0001f600\u00e9", max_size=30).map(lambda text: text.encode())
"""Each of which is cut when they come byte by byte."""


@given(
    chunks=st.one_of(
        BYTES,
        st.lists(BYTES.map(b"".join), max_size=8),
        CHARACTERS.map(lambda text: [bytes([byte]) for byte in text]),
    ),
    room=st.integers(100, 1500),
    limit=st.integers(1, 200),
)
def test_as_much_is_recorded_as_is_said(chunks: list[bytes], room: int, limit: int) -> None:
    """The file has the output's beginning, to the byte, up to where the disk was full or it ended.

    Of all of it there is the digest. Characters are cut anywhere, by the chunks, by the limit and
    by the failure.
    """
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "recording.cast"
        recorder = Recorder(path, title="#1", columns=80, rows=24, limit_bytes=limit)
        with file_bytes_left(room):
            for chunk in chunks:
                recorder.feed(chunk)
            recorder.finish("0")
        recorder.close()
        if recorder.descriptor is not None:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(recorder.descriptor)
        whole = b"".join(chunks)
        kept = b"".join(read_output(path)) if recorder.recorded else b""
        marked = path.exists() and b'"m","recording limit reached"' in path.read_bytes()
    assert recorder.bytes == len(whole)
    assert recorder.sha256 == hashlib.sha256(whole).hexdigest()
    assert kept == whole[: recorder.recorded]
    if recorder.failure is None:
        assert recorder.recorded == min(len(whole), limit)
        assert marked == (recorder.recorded == limit)


def test_another_recording_is_never_written_over(tmp_path: Path) -> None:
    """A file in the place of a recording stays as it is, and the record says that there is none."""
    path = tmp_path / "recording.cast"
    path.write_bytes(b"older")
    recorder = Recorder(path, title="#1", columns=80, rows=24, limit_bytes=1000)
    recorder.feed(b"output")
    recorder.feed(b"more")
    recorder.finish("0")
    recorder.close()
    assert path.read_bytes() == b"older"
    assert (recorder.name, recorder.recorded, recorder.bytes) == ("", 0, 10)
    assert recorder.failure == "recording ended early: File exists"


def test_an_emptied_recording_is_none(tmp_path: Path) -> None:
    """A recording from which all was taken is not one of no output."""
    path = tmp_path / "recording.cast"
    path.touch()
    with pytest.raises(DecodeError, match="no header"):
        list(read_output(path))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_what_the_disk_lost_on_the_way_is_not_said_to_be_kept(tmp_path: Path) -> None:
    """A sync that failed while a recording grew is an error before it is said to be kept (I1)."""
    path = tmp_path / "recording.cast"
    recorder = Recorder(path, title="#1", columns=80, rows=24, limit_bytes=2 * STEP_BYTES)
    with traced(os.getpid(), tmp_path / "trace", "inject=fdatasync:error=EIO:when=1", [path]):
        recorder.feed(b"x" * STEP_BYTES)
        recorder.finish("0")
        with pytest.raises(OSError, match="Input/output error"):
            await recorder.settle()
    recorder.close()
