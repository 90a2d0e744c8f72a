# SPDX-License-Identifier: MIT
"""The HTML report takes for records, and for a chain, what the protocol does and nothing else."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.audit.chains import EXECUTOR, LATER, Chain, add, moment, sample
from tests.harness.browser import Page
from tests.integration.report import export, findings, verdict
from tibet_nc_audit.reader import State
from tibet_nc_audit.verify import verify
from tibet_nc_protocol import note
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.layout import CHAIN, segment_name
from tibet_nc_protocol.merkle import leaf_hash, tree_root
from tibet_nc_protocol.records import RECORDS, Checkpoint

type Alter = Callable[[Chain], object]

VECTORS: Final = Path(__file__).parent.parent / "vectors"
CHAINS: Final = [
    path
    for path in sorted(VECTORS.glob("chain_*"))
    if "held" not in json.loads((path / "case.json").read_bytes()) and path.name != "chain_empty"
]
"""But those that only a head from outside shows: a page has none."""

VALUES: Final[list[object]] = [
    *(None, True, 0, -1, 1.5, 2**53, 10**400, [], ["x"], ["x"] * 17, [1], {}, {"a": 1}),
    *("", " ", "x", "x" * 1024, "x" * 1025, "\U0001f512" * 1024, "\U0001f512" * 1025),
    *("\n", "\r", "\0", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800", "\udc00\ud800"),
    *(f"{sigil}{rest}" for sigil in "@!$" for rest in ("", "a", "a b", "a\x85", "a\ufeff", "\n")),
    *("@" + "a" * 254, "@" + "a" * 255, "jis:matrix:@a", "jis:matrix:@", "a\xa0b", "a\u200bb"),
    *("0" * 32, "0" * 64, "0" * 128, "0" * 64 + "\n", "A" * 64, "g" * 64, "0" * 65),
    *("2026-99-99T99:99:99.999999Z", "2026-11-25T10:00:00Z", "2026-11-25T10:00:00.000000Z\n"),
    *("\u0662026-11-25T10:00:00.000000Z", "exited", "safety", "opened", "erased", "constructor"),
]
"""What might stand in a field, whichever it is."""


def _lines(root: Path) -> list[bytes]:
    """Return lines of every kind of record, with each optional field."""
    sample(root / "sample")
    chain = Chain(root / "more")
    number = chain.intent("make &")
    chain.outcome(number, b"early\n", leftover=1)
    chain.remainder(number, b"late\n")
    chain.rotate(LATER)
    chain.retention(number)
    lines = (root / "sample" / CHAIN / segment_name(0)).read_bytes().splitlines() + chain.lines
    lines += [path.read_bytes() for path in sorted(VECTORS.glob("record_*/input.json"))]
    lines += (VECTORS / "chain_of_every_kind/input.jsonl").read_bytes().splitlines()
    return lines


def _variants(line: bytes) -> list[str]:
    """Return a line with each field absent, and with each value in its place."""
    record = json.loads(line)
    made = [{name: record[name] for name in record if name != without} for without in record]
    for name in [*record, "notes", "device", "uid", "__proto__", "unheard_of"]:
        made += [record | {name: value} for value in VALUES]
    return [json.dumps(one, sort_keys=True, separators=(",", ":")) for one in made] + [
        json.dumps(one, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for one in made
    ]


def _is_record(line: bytes) -> bool:
    try:
        RECORDS.decode(line)
    except DecodeError:
        return False
    return True


def test_the_same_are_records(page: Page, tmp_path: Path) -> None:
    """A line is a record to the page if and only if it is one to the protocol (I8)."""
    verdict(page, export(sample(tmp_path / "state").root))
    texts = ["null", "5", "[]", "{}", '"x"', '{"kind":"__proto__"}', "", "[" * 100_000]
    kinds = {RECORDS.decode(line).__class__: line for line in filter(_is_record, _lines(tmp_path))}
    assert len(kinds) == 10
    for line in kinds.values():
        texts += _variants(line)
    texts = [text for text in dict.fromkeys(texts) if not re.search("[\ud800-\udfff]", text)]
    found = page.evaluate(f"{json.dumps(texts)}.map((line) => parseRecord(line) !== null)")
    expected = [_is_record(text.encode()) for text in texts]
    assert 100 < sum(expected) < len(texts)
    differing = [text for text, a, b in zip(texts, found, expected, strict=True) if a != b]
    assert differing == []


@pytest.mark.parametrize(
    ("number", "alter"),
    [
        (0, {"key": "\n"}),
        (7, {"time": 5}),
        (4, {"sender": None}),
        (9, {"notes": {"join": 1}}),
        (18, {"root": 1}),
        (12, {"kind": "constructor"}),
    ],
)
def test_a_record_of_other_types(
    page: Page, tmp_path: Path, number: int, alter: dict[str, object]
) -> None:
    """Whatever stands in the fields of a line, the page names it and shows all others (I8)."""
    segment = sample(tmp_path / "state").segments[0]
    lines = segment.read_bytes().splitlines()
    record = json.loads(lines[number]) | alter
    lines[number] = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    segment.write_bytes(b"\n".join([*lines, b""]))
    said = verdict(page, export(tmp_path / "state"))
    assert f"Not verified: record {number} is bad" in said
    assert "not a record in its one form" in findings(page)[0]
    assert page.evaluate("document.querySelectorAll('.entry').length") >= 13


def _torn(number: int) -> Alter:
    return lambda chain: add(chain.segments[number], b'{"actor":')


def _rename(number: int, first: int) -> Alter:
    return lambda chain: chain.segments[number].rename(chain.root / CHAIN / segment_name(first))


FILES: Final[list[tuple[Alter, int | None]]] = [
    (_torn(1), 10),
    (_torn(0), 5),
    (_rename(1, 6), 5),
    (_rename(1, 4), 5),
    (_rename(1, 10**12 - 1), 5),
    (_rename(0, 1), 0),
    (lambda chain: chain.segments[0].unlink(), 0),
    (lambda chain: chain.segments[1].write_bytes(b""), None),
    (lambda chain: (chain.root / CHAIN / segment_name(10)).touch(), None),
    (lambda chain: (chain.root / CHAIN / segment_name(11)).touch(), 10),
    (lambda chain: [path.write_bytes(b"") for path in chain.segments], 0),
    (lambda chain: [path.write_bytes(b"{") for path in chain.segments], 0),
]


@pytest.mark.parametrize(("alter", "bad"), FILES)
def test_files_of_a_chain(page: Page, tmp_path: Path, alter: Alter, bad: int | None) -> None:
    """A torn last line, or a file that is missing, is held against the record there (I8)."""
    chain = Chain(tmp_path / "state", segment_records=5)
    while chain.length < 10:
        chain.session()
    alter(chain)
    with State(chain.root) as state:
        first = verify(state).first_bad
    assert (first and first.record) == bad
    said = verdict(page, export(chain.root))
    assert ("Verified in this browser" if bad is None else f"record {bad} is bad") in said


def _other(text: str) -> str:
    return note.signature_line(text, EXECUTOR.id, EXECUTOR)


NOTES: Final[list[tuple[str, Callable[[str, str], str], bool]]] = [
    ("", lambda text, mine: f"{text}\n{mine}", True),
    ("an extension\n", lambda text, mine: f"{text}\n{mine}", True),
    ("", lambda text, mine: f"{text}\n{mine}— example.org AAAAAA==\n", True),
    ("", lambda text, mine: f"{text}\n{mine}{mine}", True),
    ("", lambda text, mine: f"{text}\n{mine}{_other('another text')}", False),
    ("", lambda text, mine: f"{text}\n{mine}\n", False),
    ("", lambda text, mine: f"{text}\n{mine[:-1]}", False),
    ("", lambda text, mine: f"{text}\n{mine[:-1]} \n", False),
    ("", lambda text, mine: f"{text}\n{mine[:-1]} more\n", False),
    ("", lambda text, mine: f"{text}\n{mine[:-1]}\r\n", False),
    ("", lambda text, mine: f"{text}\n{mine.replace('=', '')}", False),
    ("", lambda text, mine: f"{text}\n{mine}no signature\n", False),
    ("", lambda text, mine: f"{text}\n{mine}— example.org AAAAAB==\n", False),
    ("", lambda text, mine: f"{text}\n{mine}— a+b AAAAAA==\n", False),
    ("", lambda text, mine: f"{text}\n{mine}- example.org AAAAAA==\n", False),
    ("", lambda text, mine: f"{text}{mine}", False),
    ("\n", lambda text, mine: f"{text}\n{mine}", True),
    ("\t\n", lambda text, mine: f"{text}\n{mine}", False),
]


@pytest.mark.parametrize(("more", "write", "good"), NOTES)
def test_notes(
    page: Page, tmp_path: Path, more: str, write: Callable[[str, str], str], good: bool
) -> None:
    """A checkpoint's note is one to the page just when it is one to the protocol (I8)."""
    chain = Chain(tmp_path / "state")
    root = tree_root([leaf_hash(line) for line in chain.lines])
    text = note.Checkpoint(origin=EXECUTOR.id, size=chain.length, root=root).text() + more
    signed = write(text, _other(text))
    chain.append(
        lambda seq, prev, time: Checkpoint(
            seq=seq, prev=prev, time=time, size=seq, root=root.hex(), note=signed
        )
    )
    with State(chain.root) as state:
        assert verify(state).good == good
    said = verdict(page, export(chain.root))
    assert ("Verified in this browser" if good else "record 1 is bad") in said


def test_the_first_bad_record(page: Page, tmp_path: Path) -> None:
    """The first of several faults is the one that comes first in the chain, whatever its number."""
    chain = Chain(tmp_path / "state")
    while chain.length < 10:
        chain.session()
    lines = chain.lines
    chain.segments[0].write_bytes(b"\n".join([*lines[:8], lines[3], *lines[8:], b""]))
    with State(chain.root) as state:
        report = verify(state)
    assert [finding.record for finding in report.findings] == [8, 4]
    assert "record 8 is bad" in verdict(page, export(chain.root))
    assert [found.split(":")[0] for found in findings(page)][:2] == ["Record 8", "Record 4"]


def test_files_of_an_excerpt(page: Page, tmp_path: Path) -> None:
    """A page that begins or ends within a file asks for no other, and sees what is torn there."""
    chain = Chain(tmp_path / "state", segment_records=5)
    while chain.length < 15:
        chain.session()
    for since, until in ((7, 12), (5, 10), (3, 15), (14, 15)):
        times = ("--since", moment(since), "--until", moment(until))
        assert "Verified in this browser" in verdict(page, export(chain.root, *times))
    assert "Nothing to check" in verdict(page, export(chain.root, "--since", moment(20)))
    add(chain.segments[1], b"{")
    assert "record 10 is bad" in verdict(page, export(chain.root, "--since", moment(7)))
    assert "Verified" in verdict(page, export(chain.root, "--since", moment(10)))


@pytest.mark.parametrize("case", CHAINS, ids=lambda case: case.name)
def test_chain_vectors(page: Page, tmp_path: Path, case: Path) -> None:
    """The page accepts and refuses the same chains as the protocol, at the same record (I8)."""
    about = json.loads((case / "case.json").read_bytes())
    (tmp_path / "state" / CHAIN).mkdir(parents=True)
    data = (case / "input.jsonl").read_bytes()
    (tmp_path / "state" / CHAIN / segment_name(0)).write_bytes(data)
    said = verdict(page, export(tmp_path / "state", key=about["key"]))
    if "at" in about:
        assert f"Not verified: record {about['at']} is bad" in said
    else:
        assert "Verified in this browser" in said
        assert findings(page) == []
