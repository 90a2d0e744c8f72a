# SPDX-License-Identifier: MIT
"""SPEC.md says what the executor does: its table of requests, and the journal's fields."""

import re

from msgspec import inspect

from tests.protocol.specification import SPECIFICATION, rows
from tests.vectors.every_kind import all_kinds
from tibet_nc_executor.journal import fields
from tibet_nc_executor.monitor import PERMITTED, Role, State
from tibet_nc_protocol.messages import Hello

TABLES = rows(SPECIFICATION.read_text(encoding="utf-8"))


def tag_of(cls: type) -> str:
    """Return the tag of a message type."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return str(info.tag)


def test_the_monitor_permits_what_the_table_says() -> None:
    """The executor permits exactly the requests of SPEC §5, to those peers, in those states."""
    stated: dict[tuple[Role, str], State] = {}
    for tag, peer, state, _ in TABLES["The life of a connection"]:
        for role in Role if peer == "both" else [Role(peer)]:
            stated[role, tag] = State(state)
    permitted = {
        (role, tag_of(cls)): state
        for role, requests in PERMITTED.items()
        for cls, state in requests.items()
    }
    assert permitted == stated
    assert permitted[Role.AGENT, tag_of(Hello)] is State.CHALLENGED


def test_the_journal_has_the_fields_of_the_table() -> None:
    """I8: All fields of SPEC §10, and no others, are sent to the journal."""
    stated = {row[0] for row in TABLES["10. The journal"]}
    sent = {name for line in all_kinds() for name in fields(line.record, line.digest)}
    assert sent == stated


def test_the_journal_is_as_urgent_as_the_table_says() -> None:
    """I8: Each kind of record has the PRIORITY of SPEC §10, by which an auditor's queries go."""
    (stated,) = [value for field, value in TABLES["10. The journal"] if field == "PRIORITY"]
    named = re.findall(r"(\d) for ((?:`\w+`(?:, | and )?)+)", stated)
    levels = {kind: level for level, kinds in named for kind in re.findall(r"`(\w+)`", kinds)}
    (others,) = re.findall(r"(\d) for others", stated)
    for line in all_kinds():
        sent = fields(line.record, line.digest)
        assert sent["PRIORITY"] == levels.get(sent["TIBET_NC_KIND"], others), sent
