# SPDX-License-Identifier: MIT
"""The HTML report in a real Chromium: what it shows, what it checks, and what it must not do."""

import base64
import hashlib
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.audit.chains import ALICE, EXECUTOR, LATER, STRANGER, Chain, sample
from tests.audit.program import within
from tests.harness.browser import Page
from tests.integration.report import export, findings, verdict
from tibet_nc_audit.page import excerpt, writer
from tibet_nc_protocol import note
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, RECORDINGS, segment_name
from tibet_nc_protocol.merkle import leaf_hash, tree_root
from tibet_nc_protocol.records import ERASED_TEXT, Checkpoint

HOSTILE: Final = (
    b"<script>hit()</script></pre></script><img src=x onerror=hit()><!--<script>\n"
    b"\xe2\x80\xaetxt.exe \x1b]8;;http://example.org\x07link\x1b]8;;\x07 \x1b[31mred\x1b[0m\0\r\n"
)

type Alter = Callable[[str], str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a chain with a bit of everything; the last of its 19 records is a checkpoint."""
    sample(tmp_path / "state")
    return tmp_path / "state"


def _altered(path: Path, alter: Alter) -> Path:
    text = path.read_text()
    other = alter(text)
    assert other != text
    path.write_text(other)
    return path


def _line(text: str, number: int) -> str:
    """Return the line of a record, as it stands in a page."""
    found = next(line for line in text.split("\n") if f'"seq":{number},' in line)
    assert found.startswith('{"')
    return found


def test_unaltered(page: Page, root: Path) -> None:
    """A page as it was made says that it is verified, with the key given, and asks for nothing."""
    said = verdict(page, export(root))
    assert "Verified in this browser" in said
    assert "with the key that was given" in said
    for count in ("19 links", "19 signatures", "1 Merkle roots", "8 command texts", "4 outputs"):
        assert count in said
    assert [url.split(":")[0] for url in page.requests] == ["file"]
    assert page.complaints == []


def test_key_of_the_chain_itself(page: Page, root: Path) -> None:
    """Without a key the page says that the chain only agrees with itself."""
    said = verdict(page, export(root, key=None))
    assert "Verified" in said
    assert "compare it with the key that you hold" in " ".join(said.split())


def test_no_key_at_all(page: Page, root: Path) -> None:
    """Where no record says whose chain it is, the page never claims to have checked signatures."""
    segment = root / CHAIN / segment_name(0)
    genesis, rest = segment.read_bytes().split(b"\n", 1)
    segment.write_bytes(genesis[:-1] + b"\n" + rest)
    times = ("--since", "2026-11-25T10:00:04", "--until", "2026-11-25T10:00:18")
    said = verdict(page, export(root, *times, key=None))
    assert "Partly verified: no key" in said
    assert "bear" not in said
    assert "0 of 14 signatures" in said


def test_another_key(page: Page, root: Path) -> None:
    """A chain of another key than the one given isn't verified from its first record on."""
    path = root.parent / "page.html"
    arguments = ("--key", STRANGER.public_key.hex, "--output", path)
    assert within("export", "--state", root, "--format", "html", *arguments).status == 1
    assert "record 0 is bad" in verdict(page, path)


def _flip(number: int, old: str, new: str) -> Alter:
    def alter(text: str) -> str:
        line = _line(text, number)
        assert old in line
        return text.replace(line, line.replace(old, new, 1))

    return alter


def _drop(number: int) -> Alter:
    return lambda text: text.replace(_line(text, number) + "\n", "")


def _double(number: int) -> Alter:
    return lambda text: text.replace(_line(text, number), "\n".join([_line(text, number)] * 2))


def _swap(number: int) -> Alter:
    def alter(text: str) -> str:
        pair = _line(text, number), _line(text, number + 1)
        return text.replace("\n".join(pair), "\n".join(reversed(pair)))

    return alter


def _replaced(pattern: str, new: str) -> Alter:
    return lambda text: re.sub(pattern, new, text, count=1)


@pytest.mark.parametrize(
    ("number", "alter", "reason"),
    [
        (3, _flip(3, '"output_bytes":63', '"output_bytes":64'), "signature does not verify"),
        (3, _flip(3, '"exit":0', '"exit":1'), "signature does not verify"),
        (9, _flip(9, '{"', '{ "'), "not a record in its one form"),
        (18, _flip(18, '"size":18', '"size":17'), "signature does not verify"),
        (12, _flip(12, '"sig":"', '"sig":"0'), "not a record in its one form"),
        (18, _flip(18, "\\n\\n— did", "\\n\\n— dit"), "signature does not verify"),
        (5, _drop(5), "another record stands in its place"),
        (0, _drop(0), "another record stands in its place"),
        (8, _double(7), "another record stands in its place"),
        (4, _swap(4), "another record stands in its place"),
        (2, _replaced('"command":"df -h"', '"command":"df -l"'), "not the text"),
        (2, _replaced('"salt":"..', '"salt":"00'), "not the text"),
        (3, _replaced("Filesystem  ", "Filesystems "), "not the output that was printed"),
        (14, _replaced(r"y\\ny", r"y\\nn\\ny"), "another length"),
        (9, _replaced(r'"b","//4g', '"b","QUJD'), "shows other bytes than it holds"),
    ],
)
def test_altered(page: Page, root: Path, number: int, alter: Alter, reason: str) -> None:
    """Whatever was altered in the page, it says so and names the first bad record."""
    said = verdict(page, _altered(export(root), alter))
    assert f"Not verified: record {number} is bad" in said
    assert reason in findings(page)[0]


def test_one_fault_hides_no_other(page: Page, root: Path) -> None:
    """The check goes on after a fault: two faults are two findings, and no more."""
    path = _altered(export(root), _flip(3, '"exit":0', '"exit":1'))
    verdict(page, _altered(path, _flip(12, "uid 1000", "uid 1001")))
    assert [found.split(":")[0] for found in findings(page)] == ["Record 3", "Record 12"]


def _noted(chain: Chain, change: Callable[[str], str]) -> int:
    """Append a checkpoint whose record is true and whose note was changed before it was signed."""
    root = tree_root([leaf_hash(line) for line in chain.lines])
    text = note.Checkpoint(origin=EXECUTOR.id, size=chain.length, root=root).text()
    signed = change(note.sign_note(text, EXECUTOR.id, EXECUTOR))
    return chain.append(
        lambda seq, prev, time: Checkpoint(
            seq=seq, prev=prev, time=time, size=seq, root=root.hex(), note=signed
        )
    )


LIES: list[tuple[Callable[[Chain], int], str]] = [
    (lambda chain: chain.checkpoint(root=b"\1" * 32), "not the Merkle root"),
    (
        lambda chain: _noted(chain, lambda text: f"{text[:-6]}AAAA=\n"),
        "checkpoint's signature does not verify",
    ),
    (
        lambda chain: _noted(chain, lambda text: text.replace("\n", "\n1", 1)),
        "note says something else",
    ),
]


@pytest.mark.parametrize(("lie", "reason"), LIES)
def test_a_lying_executor(
    page: Page, tmp_path: Path, lie: Callable[[Chain], int], reason: str
) -> None:
    """A checkpoint that its own executor signed with a wrong root or note is named."""
    chain = Chain(tmp_path / "state")
    chain.command("df")
    number = lie(chain)
    chain.checkpoint()
    assert f"record {number} is bad" in verdict(page, export(chain.root))
    assert reason in findings(page)[0]
    assert len(findings(page)) == 1


def test_another_key_from_within(page: Page, tmp_path: Path) -> None:
    """The check follows a key record: what comes after is signed by the new key, and only by it."""
    chain = Chain(tmp_path / "rotated")
    chain.command("uptime", b"up\n")
    chain.rotate(LATER)
    chain.command("uptime", b"up\n")
    chain.checkpoint()
    assert "Verified" in verdict(page, export(chain.root))
    chain.identity = EXECUTOR
    number = chain.security()
    assert f"record {number} is bad" in verdict(page, export(chain.root))


def test_hostile_output_is_inert(page: Page, tmp_path: Path) -> None:
    """Markup in commands, output and names stays text; hidden characters are made visible."""
    chain = Chain(tmp_path / "state")
    chain.command("echo '</pre></script><script>hit()</script>' \u202egpj.exe", HOSTILE)
    chain.refusal("</pre><script>hit()</script>", detail="<img src=x onerror=hit()>")
    assert "Verified" in verdict(page, export(chain.root))
    assert page.complaints == []
    assert [url.split(":")[0] for url in page.requests] == ["file"]
    assert page.evaluate("document.querySelectorAll('script, img').length") == 1
    shown = page.evaluate("document.getElementById('timeline').innerText")
    assert "<script>hit()</script></pre></script><img src=x onerror=hit()>" in shown
    assert r"\u202egpj.exe" in shown
    assert r"\x1b[31m" in shown
    assert r"\x00\r" in shown
    assert not re.search("[\u202e\x1b\x00\x07]", shown)


def test_bytes_that_html_does_not_carry(page: Page, tmp_path: Path) -> None:
    """A line that is no UTF-8 comes into the page byte for byte, and is the one that is named."""
    chain = Chain(tmp_path / "state")
    chain.command("df", b"x\n")
    data = chain.segments[0].read_bytes().replace(b'"exit":0', b'"exit":\xff\r')
    chain.segments[0].write_bytes(data)
    path = tmp_path / "page.html"
    within("export", "--state", chain.root, "--format", "html", "--output", path)
    assert "record 2 is bad" in verdict(page, path)
    encoded = next(line for line in path.read_text().split("\n") if line.startswith("base64:"))
    assert base64.b64decode(encoded[7:]) == data.split(b"\n")[2]


@pytest.mark.parametrize("number", [0, 4])
def test_an_empty_line(
    page: Page, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A line end too much is a bad record, also where an element of the page begins (I8)."""
    monkeypatch.setattr(writer, "BLOCK_LINES", 4)
    segment = root / CHAIN / segment_name(0)
    lines = segment.read_bytes().split(b"\n")
    segment.write_bytes(b"\n".join([*lines[:number], b"", *lines[number:]]))
    assert f"Not verified: record {number} is bad" in verdict(page, export(root))


def test_the_policy_permits_nothing(page: Page, root: Path) -> None:
    """No script that isn't the page's own runs, and nothing is fetched, whatever is in the page."""
    path = _altered(
        export(root),
        lambda text: text.replace(
            "</main>",
            "<script>document.title='hit'</script><img src='http://127.0.0.1:1/x'"
            " onerror=\"document.title='hit'\"></main>",
        ),
    )
    verdict(page, path)
    assert page.evaluate("document.title") == "db1.example.org: tibet-nc evidence"
    assert any("Content Security Policy" in text for text in page.complaints)
    page.evaluate("try { document.body.innerHTML = '<b>hit</b>' } catch (error) { error.message }")
    assert "tibet-nc" in page.evaluate("document.body.textContent")


def test_an_altered_script_does_not_run(page: Page, root: Path) -> None:
    """Without its script the page says that nothing was checked, and offers nothing to press.

    A script of another digest than the policy names doesn't run.
    """
    path = _altered(export(root), lambda text: text.replace("Not verified", "Verified"))
    page.open(path)
    page.wait("document.readyState === 'complete' && document.title !== ''")
    assert page.evaluate("document.getElementById('word').innerText") == "Not checked"
    assert "Nothing was checked" in page.evaluate("document.body.innerText")
    assert page.evaluate("document.getElementById('search').checkVisibility()") is False


def test_without_ed25519(page: Page, root: Path) -> None:
    """A browser that lacks Ed25519 says that signatures were not checked."""
    path = export(root)
    text = path.read_text()
    assert text.count('"Ed25519"') == 3
    script = text[text.rindex("<script>") + 8 : text.rindex("</script>")]
    other = script.replace('"Ed25519"', '"Ed25519-not-here"')
    path.write_text(text.replace(script, other).replace(_digest(script), _digest(other)))
    said = verdict(page, path)
    assert "Partly verified: no signatures" in said
    assert "can't check Ed25519" in said
    assert " signatures\n" not in said.split("agree", 1)[1]


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def test_the_newest_that_fit(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain too long for a page is there from a record on; its roots are checked all the same."""
    chain = Chain(tmp_path / "state", segment_records=10)
    for number in range(20):
        chain.command(f"echo {number}", b"x\n")
        if number % 3 == 0:
            chain.checkpoint()
    monkeypatch.setattr(excerpt.Excerpt.lines, "__defaults__", (8000,))
    path = export(chain.root)
    said = verdict(page, path)
    assert "Verified" in said
    begins = re.search(r"from record (\d+) on", said)
    assert begins
    start = int(begins[1])
    assert 0 < start < chain.length
    assert re.search("[1-9] Merkle roots", said)
    omitted = page.evaluate("document.getElementById('omitted').textContent")
    assert f"Records before #{start} are not here" in omitted
    text = path.read_text()
    subtree = re.search(r'"subtrees": \["(..)', text)
    assert subtree is not None
    other = subtree[0][:-2] + ("00" if subtree[1] != "00" else "01")
    path.write_text(text.replace(subtree[0], other))
    assert "Merkle root" in verdict(page, path)


def test_only_some_are_shown(page: Page, root: Path) -> None:
    """A filter leaves texts and output of the others out of the file, and checks every record."""
    path = export(root, "--exit", "42")
    text = path.read_text()
    assert "exit 42" in html.unescape(text)
    assert "Filesystem" not in text
    assert "df -h" not in text
    said = verdict(page, path)
    assert "Verified" in said
    assert "19 links" in said
    shown = page.evaluate("document.querySelectorAll('.command').length")
    assert shown == 1


def test_what_a_command_left_running(page: Page, tmp_path: Path) -> None:
    """A remainder is an entry of its own, with its output, which is checked like a command's."""
    chain = Chain(tmp_path / "state")
    number = chain.intent("make &")
    chain.outcome(number, b"early\n", leftover=1)
    remainder = chain.remainder(number, b"late\n")
    said = verdict(page, path := export(chain.root))
    assert "Verified" in said
    assert "2 outputs" in said
    assert "late" in page.evaluate(f"document.getElementById('r{remainder}').textContent")
    said = verdict(page, _altered(path, _replaced(r"late\\n", r"l8te\\n")))
    assert f"record {remainder} is bad" in said


def test_output_that_is_gone_for_a_reason(page: Page, tmp_path: Path) -> None:
    """Where a later record says why output isn't there, the page says which record that is."""
    chain = Chain(tmp_path / "state")
    first = chain.command("df", b"full\n")
    second = chain.command("uptime", b"up\n")
    third = chain.command("id", b"uid\n")
    chain.retention(first)
    chain.erased(third, ERASED_TEXT)
    chain.erased(second)
    for number in (first, second, third):
        (chain.root / RECORDINGS / f"{number:012d}.cast").unlink()
    verdict(page, export(chain.root))
    shown = [
        page.evaluate(f"document.getElementById('r{number}').textContent")
        for number in (first, second, third)
    ]
    assert "The output was kept no longer, as record 7 says." in shown[0]
    assert "The output was erased, as record 9 says." in shown[1]
    assert "The output isn't here." in shown[2]


def test_filters(page: Page, root: Path) -> None:
    """Text, operator, session and verdict filter the timeline; a text in output is found too."""
    verdict(page, export(root))
    count = "document.querySelectorAll('.command').length"
    page.evaluate(_typed("search", "mounted on"))
    assert page.evaluate(count) == 1
    page.evaluate(_typed("search", ""))
    page.evaluate(_typed("operator", ALICE))
    assert page.evaluate(count) == 6
    page.evaluate(_typed("session", "s1"))
    page.evaluate("document.querySelector('#verdicts .failed').click()")
    assert page.evaluate(count) == 4
    page.evaluate("document.querySelector('#verdicts .ran').click()")
    assert page.evaluate("document.querySelector('.command').textContent").startswith("make world")


def _typed(element: str, value: str) -> str:
    return (
        f"(() => {{ const x = document.getElementById('{element}'); x.value = {value!r};"
        " x.dispatchEvent(new Event('input')) })()"
    )


def test_on_a_phone(page: Page, root: Path) -> None:
    """On a narrow screen nothing is wider than it."""
    chain = Chain(root.parent / "wide")
    chain.command("x" * 3000, b"y" * 5000 + b"\n")
    path = export(chain.root)
    try:
        page.size(390, 800)
        verdict(page, path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    finally:
        page.size(1200, 1200)


def test_what_is_missing_from_the_files_is_no_fault_of_the_page(page: Page, root: Path) -> None:
    """Texts and recordings that aren't there are said not to be, and the rest is checked."""
    (root / RECORDINGS / "000000000002.cast").unlink()
    (root / PAYLOADS / "000000000000.jsonl").unlink()
    said = verdict(page, export(root))
    assert "Verified" in said
    assert "0 command texts" in said
    assert "3 outputs" in said
    shown = page.evaluate("document.getElementById('r2').innerText")
    assert "[no text here]" in shown
    assert "The output isn't here." in shown
