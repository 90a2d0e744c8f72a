# SPDX-License-Identifier: MIT
"""Texts and recordings that are gone: no fault where that is on record, else one (I8)."""

import shutil
from collections.abc import Callable
from copy import copy
from pathlib import Path

import pytest

from tests.audit.chains import STRANGER, Chain, sample
from tests.audit.verdicts import TEXTS, report
from tibet_nc_audit import evidence
from tibet_nc_audit.findings import What
from tibet_nc_audit.reader import State
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.layout import PAYLOADS, RECORDINGS, recording_name
from tibet_nc_protocol.records import ERASED_TEXT


def test_an_erased_text(tmp_path: Path) -> None:
    """Erasing a text leaves the chain verifying; that it is gone is counted."""
    sample(tmp_path)
    path = tmp_path / TEXTS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    found = report(tmp_path)
    assert (found.good, found.counts.texts, found.counts.missing_texts) == (True, 7, 1)


def test_an_erasure_on_record(tmp_path: Path) -> None:
    """A text and a recording that are on record as erased are no fault when they are gone."""
    chain = sample(tmp_path)
    chain.erased(2)
    undone = report(tmp_path)
    assert (undone.good, undone.counts.erasures, undone.counts.undone_erasures) == (True, 1, 1)
    path = tmp_path / TEXTS
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    (tmp_path / RECORDINGS / "000000000002.cast").unlink()
    found = report(tmp_path)
    assert found.findings == []
    assert (found.counts.missing_texts, found.counts.erased_recordings) == (1, 1)
    assert (found.counts.erasures, found.counts.undone_erasures) == (1, 0)


def test_an_erasure_of_another_command(tmp_path: Path) -> None:
    """A recording that is gone without a record of its own erasure is a fault (I8)."""
    chain = sample(tmp_path)
    chain.erased(4)
    (tmp_path / RECORDINGS / "000000000002.cast").unlink()
    found = report(tmp_path)
    assert [(finding.record, finding.reason) for finding in found.findings] == [(3, "not there")]


def test_an_erasure_of_the_text_alone(tmp_path: Path) -> None:
    """That a command's text was erased is no excuse for a recording that is gone (I8)."""
    chain = sample(tmp_path)
    chain.erased(2, ERASED_TEXT)
    (tmp_path / RECORDINGS / "000000000002.cast").unlink()
    found = report(tmp_path)
    assert [(finding.record, finding.reason) for finding in found.findings] == [(3, "not there")]


def test_an_erasure_meanwhile(tmp_path: Path) -> None:
    """What is erased while it is verified is no fault, though that is on record in a later file."""
    chain = Chain(tmp_path, segment_records=3)
    number = chain.intent("vault read")
    chain.security()
    chain.outcome(number, b"hunter2\n")

    def erase(_bytes: int, _lines: int) -> None:
        if chain.length == 4:
            chain.security()
            chain.security()
            chain.erased(number)
            (tmp_path / RECORDINGS / recording_name(number)).unlink()

    with State(tmp_path) as state:
        found = verify(state, report=erase)
    assert len(chain.segments) > found.segments
    assert found.findings == []
    assert found.counts.erased_recordings == 1


@pytest.mark.parametrize("remembered", [0, 1, 2])
def test_more_is_missing_than_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remembered: int
) -> None:
    """Each recording that isn't there is found, also where no more are waited for (I8)."""
    monkeypatch.setattr(evidence, "_ABSENT", remembered)
    sample(tmp_path)
    for number in (2, 7):
        (tmp_path / RECORDINGS / recording_name(number)).unlink()
    assert [(f.what, f.record) for f in report(tmp_path).findings] == [
        (What.RECORDING, 3),
        (What.RECORDING, 8),
    ]


def test_a_retention_meanwhile(tmp_path: Path) -> None:
    """What is deleted by retention while it is verified is no fault, and is counted as that."""
    chain = Chain(tmp_path, segment_records=3)
    number = chain.intent("df -h")
    chain.security()
    chain.outcome(number, b"20G\n")
    (tmp_path / RECORDINGS / recording_name(number)).unlink()

    def go_on(_bytes: int, _lines: int) -> None:
        if chain.length == 4:
            chain.security()
            chain.security()
        elif chain.length == 6:
            chain.retention(number)

    with State(tmp_path) as state:
        found = verify(state, report=go_on)
    assert chain.length == 7
    assert (found.findings, found.segments) == ([], 2)
    assert found.counts.expired_recordings == 1


def test_an_erased_text_of_an_earlier_file(tmp_path: Path) -> None:
    """What is wrong with a file of texts is told of a record whose text belongs there (I8)."""
    chain = sample(tmp_path, segment_records=5)
    first, _, third, _ = (tmp_path / PAYLOADS / path.name for path in chain.segments)
    first.unlink()
    lines = third.read_bytes().splitlines(keepends=True)
    third.write_bytes(b"".join([lines[0], b"erased by hand\n"]))
    found = report(tmp_path)
    assert found.counts.missing_texts == 3
    assert [(finding.record, finding.line) for finding in found.findings] == [(13, 2)]
    third.write_bytes(b"".join([*lines, b"put in by hand\n"]))
    assert [(finding.record, finding.line) for finding in report(tmp_path).findings] == [(14, 3)]


def test_no_texts_at_all(tmp_path: Path) -> None:
    """A host that keeps no texts has a good chain."""
    sample(tmp_path)
    shutil.rmtree(tmp_path / PAYLOADS)
    found = report(tmp_path)
    assert (found.good, found.counts.texts, found.counts.missing_texts) == (True, 0, 8)


@pytest.mark.parametrize("say", [Chain.retention, Chain.erased])
def test_what_is_put_in_meanwhile_excuses_nothing(
    tmp_path: Path, say: Callable[[Chain, int], int]
) -> None:
    """A line that isn't the executor's, there only after the chain was read, is no record (I8)."""
    chain = Chain(tmp_path, segment_records=3)
    number = chain.command("rm -rf /srv/data", b"gone\n")
    (tmp_path / RECORDINGS / recording_name(number)).unlink()
    forger = copy(chain)
    forger.identity = STRANGER

    def put_in(_bytes: int, _lines: int) -> None:
        if forger.length == chain.length:
            say(forger, number)

    with State(tmp_path) as state:
        found = verify(state, report=put_in)
    assert (found.records, len(chain.segments)) == (3, 2)
    assert [(finding.what, finding.reason) for finding in found.findings] == [
        (What.RECORDING, "not there")
    ]
