# SPDX-License-Identifier: MIT
"""SPEC.md says what the code does: every table, limit and example in it is compared."""

import re
from pathlib import Path

import msgspec
import pytest

import tibet_nc_protocol
from tests.protocol import specification
from tests.protocol.specification import NAMED, SPECIFICATION, enumerations, fields, form, rows
from tests.protocol.strategies import RECORD_TYPES, REQUEST_TYPES, RESPONSE_TYPES
from tests.protocol.test_signing import WEAK
from tests.vectors import samples
from tests.vectors.case import SECTIONS
from tibet_nc_protocol import limits
from tibet_nc_protocol.envelope import Envelope
from tibet_nc_protocol.journal_ids import MESSAGE_IDS, SYSLOG_IDENTIFIER
from tibet_nc_protocol.layout import Payload
from tibet_nc_protocol.messages import REQUESTS, Cage, ChainEntry, Job, Limits
from tibet_nc_protocol.note import Verifier
from tibet_nc_protocol.records import RECORDS
from tibet_nc_protocol.signing import Purpose, signed_text

TEXT = SPECIFICATION.read_text(encoding="utf-8")
TABLES = rows(TEXT)
STRUCTS: list[tuple[str, type[msgspec.Struct]]] = [
    *((str(cls.__struct_config__.tag), cls) for cls in REQUEST_TYPES),
    *((str(cls.__struct_config__.tag), cls) for cls in RESPONSE_TYPES),
    *((str(cls.__struct_config__.tag), cls) for cls in RECORD_TYPES),
    ("ChainEntry", ChainEntry),
    ("Job", Job),
    ("Cage", Cage),
    ("Limits", Limits),
    ("The envelope", Envelope),
    ("Payloads", Payload),
]


@pytest.mark.parametrize(("heading", "cls"), STRUCTS)
def test_fields(heading: str, cls: type[msgspec.Struct]) -> None:
    """Each message and record has the fields of its table, in that order, of those types."""
    assert [row[:2] for row in TABLES[heading]] == fields(cls)
    assert all(row[2] for row in TABLES[heading])


def test_types() -> None:
    """Each named type has the form that the specification gives it."""
    stated = {name: form.replace("`", "") for name, form in TABLES["4. Canonical msgpack"]}
    assert stated == {name: form(hint).replace("`", "") for name, hint in NAMED.items()}


def test_enumerations() -> None:
    """Each enumeration has the values of its table, in that order."""
    for enumeration in enumerations():
        stated = [value for value, _ in TABLES[enumeration.__name__]]
        assert stated == [str(member) for member in enumeration]


def test_limits() -> None:
    """Each limit has the value of its table, and none is left out."""
    stated = {name: int(value) for name, value, _ in TABLES["11. Limits"]}
    assert stated == specification.limits(limits)


def test_message_ids() -> None:
    """Each kind of record has the MESSAGE_ID of its table."""
    assert dict(TABLES["Message ids"]) == dict(MESSAGE_IDS)
    stated = {field: value.strip("`") for field, value in TABLES["10. The journal"]}
    assert stated["SYSLOG_IDENTIFIER"] == SYSLOG_IDENTIFIER


def test_purposes() -> None:
    """Each purpose of a signature is in its table."""
    assert {row[0] for row in TABLES["The signed text"]} == {str(purpose) for purpose in Purpose}


def test_requests_have_a_state() -> None:
    """Each request stands once in the table of what is permitted when."""
    stated = [row[0] for row in TABLES["The life of a connection"]]
    assert stated == [str(cls.__struct_config__.tag) for cls in REQUEST_TYPES]


def _hex(data: bytes) -> str:
    lines = [data[begin : begin + 32].hex() for begin in range(0, len(data), 32)]
    return "\n".join(["```hex", *lines, "```"])


def test_the_example_connection() -> None:
    """Every frame of the example is what the code makes with the test keys, in that order."""
    places = [TEXT.index(_hex(sent.frame)) for sent in samples.connection()]
    assert places == sorted(places)
    hello = REQUESTS.encode(samples.requests()["hello"])
    assert _hex(hello) in TEXT
    text = signed_text(Purpose.REQUEST, hello, samples.AGENT.id, samples.CONNECTION, "0")
    assert f"```text\n{text}\n```" in TEXT
    for identity in (samples.AGENT, samples.EXECUTOR):
        assert f"| `{identity.id}` | `{identity.public_key.hex}` |" in TEXT
    assert samples.RUN in TEXT


def test_the_example_chain() -> None:
    """The lines, digests and signed text of the example are what the code makes."""
    lines = samples.three_records()
    assert "```json\n" + "".join(line.line.decode() + "\n" for line in lines) + "```" in TEXT
    assert "```text\n" + "".join(line.digest + "\n" for line in lines) + "```" in TEXT
    unsigned = RECORDS.encode(msgspec.structs.replace(lines[0].record, sig=""))
    assert f"```text\n{signed_text(Purpose.RECORD, unsigned)}\n```" in TEXT
    intent = samples.intent(1, lines[0].digest)
    assert intent.command[:8] in TEXT


def test_the_example_checkpoint() -> None:
    """The note and the verifier key of the example are what the code makes."""
    checkpoint = samples.checkpoint([line.line for line in samples.three_records()])
    assert f"```text\n{checkpoint.note}```" in TEXT
    verifier = Verifier(name=samples.EXECUTOR.id, key=samples.EXECUTOR.public_key)
    assert f"```text\n{verifier.vkey}\n```" in TEXT


def test_the_weak_keys() -> None:
    """The keys of small order that the specification lists are all there are, but for the sign."""
    section = TEXT.partition("### Keys")[2].partition("###")[0]
    stated = re.findall(r"^[0-9a-f]{64}$", section, re.MULTILINE)
    assert stated == sorted(data.hex() for data in WEAK if not data[31] & 0x80)


def test_citations() -> None:
    """Every section that code and vectors cite is there."""
    sections = {int(number) for number in re.findall(r"^## (\d+)\. ", TEXT, re.MULTILINE)}
    assert sections == set(range(1, 13))
    package = Path(tibet_nc_protocol.__file__).parent
    sources = [path.read_text(encoding="utf-8") for path in package.glob("*.py")]
    cited = {int(number) for text in sources for number in re.findall(r"SPEC §(\d+)", text)}
    cited |= {int(section.removeprefix("SPEC §")) for section in SECTIONS.values()}
    assert cited
    assert cited <= sections


def test_every_step_of_the_verification_is_there() -> None:
    """The steps that the verifier cites are those of §7, numbered from 1 without a gap."""
    section = TEXT.partition("## 7. ")[2].partition("## 8. ")[0]
    steps = [int(number) for number in re.findall(r"^(\d+)\. ", section, re.MULTILINE)]
    assert steps == list(range(1, len(steps) + 1))
    verifier = Path(tibet_nc_protocol.__file__).parent / "chain.py"
    cited = re.findall(r"(?:# |Step )(\d)", verifier.read_text(encoding="utf-8"))
    assert cited
    assert {int(number) for number in cited} <= set(steps)
