# SPDX-License-Identifier: MIT
"""The second verifier (audit/recheck) beside the first: two programs, one verdict (I8)."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audit.chains import EXECUTOR, LATER, STRANGER, Chain, moment
from tests.harness import beside, recheck
from tests.harness.host import ROOT
from tests.harness.recheck import BAD, GOOD, UNUSABLE, agree, ask, go
from tests.integration.test_documented_commands import options
from tests.redirected import FULL, redirected
from tibet_nc_audit.heads import Depth
from tibet_nc_protocol.layout import CHAIN, segment_name
from tibet_nc_protocol.limits import RECORD_BYTES
from tibet_nc_protocol.records import RECORDS, Checkpoint, Record, Security, SecurityEvent, digest

KEY: Final = EXECUTOR.public_key.hex
VECTORS = sorted((ROOT / "tests" / "vectors").glob("chain_*"))
JUDGED_BY_BOTH: Final = (
    "test_altered_evidence",
    "test_altered_records",
    "test_erasures",
    "test_held_heads",
    "test_key_changes",
    "test_long_files",
    "test_segments",
    "test_unread",
    "test_vectors",
    "test_verify",
    "test_walks",
)
FILTER: Final = (
    "-k",
    "not text and not token and not recording and not byte and not torn and not memory"
    " and not closed and not put_back",
)
"""Without what the second verifier doesn't look at, what the properties below ask both, what only
somebody else than we may not read, and what isn't there any more when the second one looks."""

FUZZ_SECONDS: Final = 2


# --- the same verdict -----------------------------------------------------------------------------


def test_the_auditors_own_tests_are_judged_by_both(second: Path) -> None:
    """Whatever the auditor's tests do to a chain, both verifiers say the same of it (I8)."""
    tests = [ROOT / "tests" / "audit" / f"{name}.py" for name in JUDGED_BY_BOTH]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", beside.__name__, *FILTER, *tests],
        env={**os.environ, beside.PROGRAM: str(second), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    judged = re.search(r"chains judged by both: (\d+)", done.stdout)
    assert judged is not None
    assert int(judged[1]) > 500


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case.name)
def test_chain_vectors(second: Path, tmp_path: Path, case: Path) -> None:
    """It accepts and refuses the published chains, by the same record and step as they say (I8)."""
    about = json.loads((case / "case.json").read_bytes())
    (tmp_path / CHAIN).mkdir()
    (tmp_path / CHAIN / segment_name(0)).write_bytes((case / "input.jsonl").read_bytes())
    held = about.get("held")
    heads = [f"{held['length'] - 1}:{held['head']}"] if held else []
    said = ask(second, tmp_path, key=about["key"], held=heads, depth=Depth.DEEP)
    if case.name == "chain_empty":  # no chain at all is no evidence, to an auditor
        assert said.status == BAD
        return
    assert said.record == about.get("at")
    assert case.name.endswith("_fail") == (said.status == BAD)
    if not held:
        for depth in Depth:
            agree(second, tmp_path, depth, about["key"])
            agree(second, tmp_path, depth, None)
    if said.status == BAD:
        steps = [int(step) for step in re.findall(r"\d+", said.rule.removeprefix("SPEC §7"))]
        assert about["step"] in steps


@dataclass
class Spoiled(Chain):
    """A chain of which one record is signed with a stranger's key; all else of it is good."""

    spoiled: int | None = None

    def append(self, make: Callable[[int, str, str], Record], text: str | None = None) -> int:
        """Append a record, as it would be, and sign it."""
        if self.length != self.spoiled:
            return super().append(make, text)
        record = make(self.length, self.head, moment(self.length))
        own, self.identity = self.identity, STRANGER
        try:
            return super().append(lambda _seq, _prev, _time: record, text)
        finally:
            self.identity = own


def _grow(root: Path, spoiled: int | None = None) -> int:
    """Make a chain of several files and checkpoints, which went on with another key."""
    chain = Spoiled(root, segment_records=9, spoiled=spoiled)
    for number in range(3):
        chain.command(f"echo größer {number}")
        chain.refusal('a "quoted" \\ \b\t\x01\x7f text of ü, 漢 and 😀')
    chain.checkpoint()
    chain.outcome(chain.intent("sleep 9 &"), leftover=1)
    chain.remainder(chain.length - 2)
    chain.rotate(LATER)
    chain.aborted(chain.intent("make"))
    chain.checkpoint()
    chain.security()
    return chain.length


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return such a chain that is good."""
    root = tmp_path_factory.mktemp("grown")
    _grow(root)
    return root


def test_each_signature_is_judged_alike(second: Path, tmp_path: Path) -> None:
    """Of one record that the executor linked but didn't sign, both say the same (I8).

    Where that is one that vouches for others, both refuse it at every depth.
    """
    refused = {depth: set[int]() for depth in Depth}
    length = _grow(tmp_path / "good")
    for number in range(length):
        root = tmp_path / str(number)
        assert _grow(root, number) == length
        for depth in Depth:
            for key in (KEY, LATER.public_key.hex, None):
                agree(second, root, depth, key)
            if ask(second, root, key=KEY, depth=depth).status == BAD:
                refused[depth].add(number)
    # The genesis, the key record, the last one of each file, of which one is a checkpoint; of the
    # other checkpoint the note is enough.
    assert refused == {
        Depth.CHAIN: {0, 8, 14, 17, 18},
        Depth.RECORDS: {0, 8, 14, 17, 18},
        Depth.DEEP: set(range(length)),
    }


type Files = dict[str, bytes]


def _flip(files: Files, draw: st.DataObject, name: str) -> None:
    data = files[name]
    at = draw.draw(st.integers(0, max(0, len(data) - 1)))
    if data:
        flipped = data[at] ^ draw.draw(st.integers(1, 255))
        files[name] = data[:at] + bytes([flipped]) + data[at + 1 :]


def _cut(files: Files, draw: st.DataObject, name: str) -> None:
    begin = draw.draw(st.integers(0, len(files[name])))
    end = draw.draw(st.integers(begin, len(files[name])))
    files[name] = files[name][:begin] + files[name][end:]


def _truncate(files: Files, draw: st.DataObject, name: str) -> None:
    files[name] = files[name][: draw.draw(st.integers(0, len(files[name])))]


def _splice(files: Files, draw: st.DataObject, name: str) -> None:
    """Put a piece of any file anywhere."""
    piece = files[draw.draw(st.sampled_from(sorted(files)))]
    begin = draw.draw(st.integers(0, len(piece)))
    end = draw.draw(st.integers(begin, min(len(piece), begin + 300)))
    at = draw.draw(st.integers(0, len(files[name])))
    files[name] = files[name][:at] + piece[begin:end] + files[name][at:]


def _shuffle(files: Files, draw: st.DataObject, name: str) -> None:
    """Drop, double and reorder lines."""
    lines = files[name].splitlines(keepends=True)
    if lines:
        some = draw.draw(st.lists(st.sampled_from(lines), min_size=1, max_size=len(lines) + 2))
        at = draw.draw(st.integers(0, len(lines)))
        files[name] = b"".join([*lines[:at], *some, *lines[at:]][: len(lines) + 2])


def _remove(files: Files, _draw: st.DataObject, name: str) -> None:
    if len(files) > 1:
        del files[name]


def _rename(files: Files, draw: st.DataObject, name: str) -> None:
    number = draw.draw(st.integers(0, 40))
    files[segment_name(number)] = files.pop(name)


DAMAGES: Final[list[Callable[[Files, st.DataObject, str], None]]] = [
    _flip, _cut, _truncate, _splice, _shuffle, _remove, _rename,
]  # fmt: skip


@given(data=st.data())
@settings(max_examples=200)
def test_any_damage_is_judged_alike(second: Path, grown: Path, data: st.DataObject) -> None:
    """Bytes and lines altered, dropped, doubled, moved; files cut, lost, renamed: one verdict (I8).

    With the first key, a later one, a stranger's, and none.
    """
    files = {path.name: path.read_bytes() for path in (grown / CHAIN).iterdir()}
    for _ in range(data.draw(st.integers(0, 3))):
        damage = data.draw(st.sampled_from(DAMAGES))
        damage(files, data, data.draw(st.sampled_from(sorted(files))))
    key = data.draw(
        st.sampled_from([KEY, KEY, LATER.public_key.hex, STRANGER.public_key.hex, None])
    )
    with tempfile.TemporaryDirectory(prefix="tibet-nc-damaged-") as name:
        (Path(name) / CHAIN).mkdir()
        for file, content in files.items():
            (Path(name) / CHAIN / file).write_bytes(content)
        for depth in Depth:
            agree(second, Path(name), depth, key)


# --- the program ----------------------------------------------------------------------------------


def test_it_needs_nothing_but_go(second: Path) -> None:
    """Its module has no requirement, and it is linked with Go's own packages only."""
    assert "require" not in (recheck.SOURCE / "go.mod").read_text()
    foreign = go("list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
    assert foreign.stdout.split() == [second.name]


def test_its_sources_are_in_order() -> None:
    """Go's formatter would change nothing, and go vet finds nothing."""
    root = go("env", "GOROOT").stdout.strip()
    unformatted = subprocess.run(
        [Path(root) / "bin" / "gofmt", "-l", recheck.SOURCE], capture_output=True, check=True
    )
    assert unformatted.stdout == b""
    assert go("vet", ".").stderr == ""


@pytest.mark.parametrize("fuzz", ["FuzzRead", "FuzzNote", "FuzzChain"])
def test_its_own_tests_pass(fuzz: str) -> None:
    """It reads each published record as it must be, and no bytes of a fuzzer make it panic."""
    done = go("test", "-fuzz", fuzz, "-fuzztime", f"{FUZZ_SECONDS}s", "-parallel", "1", ".")
    assert done.returncode == 0, done.stdout + done.stderr


def _run(second: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([second, *arguments], capture_output=True, text=True, check=False)


def test_what_it_says(second: Path, grown: Path, tmp_path: Path) -> None:
    """It says how far its word goes, what is wrong, where, and what it hasn't looked at."""
    good = _run(second, "--state", grown, "--key", KEY)
    assert (good.returncode, good.stderr) == (GOOD, "")
    assert "GOOD: 19 records" in good.stdout
    assert "not checked  command texts, recordings, tokens" in good.stdout
    assert (
        "not checked  each record by itself"
        in _run(second, "--state", grown, "--chain-only").stdout
    )
    assert "NO: the key is from the chain itself" in _run(second, "--state", grown).stdout
    later = _run(second, "--state", grown, "--key", LATER.public_key.hex)
    assert "this chain's since record 15" in later.stdout
    state = shutil.copytree(grown, tmp_path / "state")
    path = state / CHAIN / segment_name(9)
    path.write_bytes(path.read_bytes().replace(b'"leftover":1', b'"leftover":0'))
    bad = _run(second, "--state", state, "--key", KEY)
    assert bad.returncode == BAD
    assert "BAD: first bad record 12; nothing after it was checked" in bad.stdout
    assert f"(chain/{segment_name(9)}, line 4; SPEC §7, step 6)" in bad.stdout


def test_the_page_has_its_options(second: Path) -> None:
    """What docs/auditor.md says of it is what its help says, and all of that."""
    page = (ROOT / "docs" / "auditor.md").read_text()
    section = page.partition("## A second verifier\n")[2].partition("\n## ")[0]
    assert options(section) | {"--state"} == options(_run(second, "--help").stdout)


def test_heads_that_somebody_holds(second: Path, grown: Path, tmp_path: Path) -> None:
    """A chain that was cut short is good by itself, and bad by a head or a checkpoint held (I8)."""
    lines = [
        line
        for path in sorted((grown / CHAIN).iterdir())
        for line in path.read_bytes().splitlines()
    ]
    kept = tmp_path / "note"
    checkpoint = RECORDS.decode(lines[17])
    assert isinstance(checkpoint, Checkpoint)
    kept.write_text(checkpoint.note)
    heads = [f"18:{digest(lines[18])}", f"16:{digest(lines[16])[:8]}", str(kept)]
    for depth in Depth:
        assert ask(second, grown, held=heads, depth=depth).status == GOOD
        for head in ("18:00000000", "9:" + digest(lines[10])):
            said = ask(second, grown, held=[*heads, head], depth=depth)
            where = int(head.partition(":")[0])
            assert (said.record, said.rule) == (where, "SPEC §7, step 9")
    state = shutil.copytree(grown, tmp_path / "state")
    (state / CHAIN / segment_name(18)).unlink()
    path = state / CHAIN / segment_name(9)
    path.write_bytes(b"".join(line + b"\n" for line in lines[9:17]))
    assert ask(second, state).status == GOOD
    for head in (heads[0], str(kept)):
        said = ask(second, state, held=[head])
        assert (said.status, said.record, said.rule) == (BAD, 17, "SPEC §7, step 9")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--unknown"],
        ["more"],
        ["--deep", "--chain-only"],
        ["--key", "00" * 32],
        ["--key", "/nonexistent"],
        ["--key", ""],
        ["--key", "/dev/null"],
        ["--against", "3"],
        ["--against", "3:0011"],
        ["--against", "/dev/zero"],
        ["--state", "/nonexistent"],
        ["--state", "/dev/null"],
        ["--state", "/"],
    ],
)
def test_what_makes_no_sense(second: Path, grown: Path, arguments: list[str]) -> None:
    """Wrong usage and what can't be read are one line, and the status for that."""
    done = _run(second, "--state", grown, *arguments)
    assert (done.returncode, done.stdout) == (UNUSABLE, "")
    assert done.stderr.startswith("tibet-nc-recheck: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--help"]])
def test_an_output_that_takes_nothing(second: Path, grown: Path, arguments: list[str]) -> None:
    """A verdict that can't be written is none: it ends as what can't be read does."""
    where, why = FULL
    done = redirected(where, [second, "--state", grown, *arguments])
    assert done.returncode == UNUSABLE
    assert done.stderr.startswith("tibet-nc-recheck: ")
    assert done.stderr.casefold().endswith(f": {why}\n".casefold())


@pytest.mark.parametrize("length", [RECORD_BYTES, RECORD_BYTES + 1, RECORD_BYTES + 2])
def test_the_longest_line_at_the_end_of_a_file(
    second: Path, grown: Path, tmp_path: Path, length: int
) -> None:
    """A last line at the limit, without a line end, is judged, with any key."""
    root = shutil.copytree(grown, tmp_path / "state")
    with max((root / CHAIN).iterdir()).open("ab") as file:
        file.write(b"x" * length)
    for key in (None, KEY, STRANGER.public_key.hex):
        assert ask(second, root, key=key).status == BAD


def test_a_file_that_is_longer_than_any_disk(second: Path, grown: Path, tmp_path: Path) -> None:
    """A hole of terabytes is judged, also where it is searched for a later key; nobody waits."""
    root = shutil.copytree(grown, tmp_path / "state")
    with min((root / CHAIN).iterdir()).open("r+b") as file:
        file.truncate(1 << 43)
    for key in (None, KEY, LATER.public_key.hex, STRANGER.public_key.hex):
        for depth in Depth:
            agree(second, root, depth, key)


def test_key_vectors(second: Path, grown: Path) -> None:
    """It takes the published keys that are good, and none of small order, however written."""
    cases = sorted((ROOT / "tests" / "vectors").glob("key_*"))
    assert len(cases) > 10
    for case in cases:
        done = _run(second, "--state", grown, "--key", (case / "input.txt").read_text())
        assert (done.returncode == UNUSABLE) == case.name.endswith("_fail"), case


@pytest.mark.parametrize("kind", ["directory", "link", "pipe", "chain is a link"])
def test_nothing_but_files_is_read(second: Path, grown: Path, tmp_path: Path, kind: str) -> None:
    """What only has the name of a file of the chain is neither followed nor waited for."""
    state = shutil.copytree(grown, tmp_path / "state")
    path = state / CHAIN / segment_name(9)
    match kind:
        case "directory":
            path.unlink()
            path.mkdir()
        case "link":
            path.rename(path.with_suffix(".aside"))
            path.symlink_to(path.with_suffix(".aside").name)
        case "pipe":
            path.unlink()
            os.mkfifo(path)
        case _:
            (state / CHAIN).rename(state / "aside")
            (state / CHAIN).symlink_to("aside")
    for depth in Depth:
        said = ask(second, state, key=KEY, depth=depth)
        assert said.status == UNUSABLE
        assert "regular file" in said.complaint or "directory" in said.complaint


@pytest.mark.parametrize("key", [None, KEY, LATER.public_key.hex])
def test_what_is_bad_before_what_can_not_be_read(
    second: Path, grown: Path, tmp_path: Path, key: str | None
) -> None:
    """A file that can't be read hides no bad record before it, whichever key is given (I8)."""
    state = shutil.copytree(grown, tmp_path / "state")
    path = state / CHAIN / segment_name(9)
    path.unlink()
    path.mkdir()
    assert ask(second, state, key=key).status == UNUSABLE
    first = state / CHAIN / segment_name(0)
    first.write_bytes(first.read_bytes().replace(b'"seq":2,', b'"seq":3,'))
    assert ask(second, state, key=key).record == 2


def test_a_number_is_compared_whole(second: Path, tmp_path: Path) -> None:
    """A record whose number only begins as it must is bad at every depth (I8)."""
    chain = Chain(tmp_path)
    chain.append(
        lambda _seq, prev, time: Security(
            seq=10, prev=prev, time=time, what=SecurityEvent.PEER, detail="not record 1"
        )
    )
    chain.security()
    for depth in Depth:
        assert ask(second, tmp_path, key=KEY, depth=depth).record == 1
        agree(second, tmp_path, depth, KEY)


def test_the_first_record_is_the_genesis_at_every_depth(second: Path, tmp_path: Path) -> None:
    """A chain that somebody began with another record is bad, also to who has no key (I8)."""
    chain = Chain(tmp_path)
    chain.length, chain.head = 0, "0" * 64
    (tmp_path / CHAIN / segment_name(0)).unlink()
    chain.security()
    chain.security()
    for depth in Depth:
        for key in (KEY, None):
            assert ask(second, tmp_path, key=key, depth=depth).record == 0
            agree(second, tmp_path, depth, key)
