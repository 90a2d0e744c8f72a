# SPDX-License-Identifier: MIT
"""Every record is in the journal too, with fields an auditor can query (real journald)."""

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.directories import reachable_directory
from tests.executor.rig import OPERATOR, Client, Executor, whole_chain
from tests.harness.journald import Journald
from tibet_nc_protocol.journal_ids import MESSAGE_IDS
from tibet_nc_protocol.messages import Finished
from tibet_nc_protocol.records import RECORDS, digest

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to start journald")


@pytest.fixture(scope="module")
def journald() -> Iterator[Journald]:
    """Start a journald unless one runs."""
    with Journald() as running:
        yield running


@pytest.fixture
def executor(journald: Journald) -> Iterator[Executor]:
    """Start an executor that has a journald to write to."""
    del journald  # it only has to run
    with reachable_directory() as path, Executor(path) as running:
        yield running


async def test_every_record_is_in_the_journal_under_the_executors_uid(
    executor: Executor, journald: Journald
) -> None:
    """Number, head, kind and MESSAGE_ID of each entry are those of the chain, in order.

    No field of any entry holds a command's text (I10).
    """
    client = await Client.connect(executor)
    finished = await client.run("echo hello; exit 7")
    await client.close()
    assert isinstance(finished, Finished)
    chain = whole_chain(executor)
    matches = (f"_UID={executor.uids.executor}", "SYSLOG_IDENTIFIER=tibet-nc-executor")
    heads = [digest(RECORDS.encode(record)) for record in chain]
    end = time.monotonic() + 10
    entries: list[dict[str, Any]] = []
    while time.monotonic() < end and len(entries) < len(chain):
        found = journald.entries(*matches)
        entries = [entry for entry in found if entry["TIBET_NC_HEAD"] in heads]
    assert [entry["TIBET_NC_HEAD"] for entry in entries] == heads
    for entry, record in zip(entries, chain, strict=True):
        kind = type(record).__name__.lower()
        assert entry["TIBET_NC_SEQ"] == str(record.seq)
        assert entry["TIBET_NC_KIND"] == kind
        assert entry["MESSAGE_ID"] == MESSAGE_IDS[kind]
        assert "hello" not in json.dumps(entry)
    (outcome,) = [entry for entry in entries if entry["TIBET_NC_KIND"] == "outcome"]
    assert outcome["TIBET_NC_EXIT"] == "7"
    assert outcome["TIBET_NC_RUN"] == finished.run
    (intent,) = [entry for entry in entries if entry["TIBET_NC_KIND"] == "intent"]
    assert intent["TIBET_NC_SENDER"] == OPERATOR
