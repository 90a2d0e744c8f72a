# SPDX-License-Identifier: MIT
"""The HTML report as a file; what it does in a browser is tests/integration/test_report_page.py."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

import pytest
from msgspec import structs

from tests.audit.chains import EXECUTOR, LATER, STRANGER, Chain, add, moment, salt, sample
from tests.audit.program import within
from tests.audit.verdicts import lines_of, report
from tibet_nc_audit.page import excerpt, writer
from tibet_nc_protocol.layout import (
    PAYLOADS,
    PAYLOADS_CODEC,
    RECORDINGS,
    Payload,
    recording_name,
    remainder_name,
    segment_name,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a chain with a bit of everything."""
    sample(tmp_path / "state")
    return tmp_path / "state"


def _page(root: Path, *arguments: str) -> str:
    done = within("export", "--state", root, "--format", "html", *arguments)
    assert (done.status, done.err) == (0, "")
    return done.out


def _block(page: str, kind: str) -> list[str]:
    found = re.findall(rf'<pre hidden data-of="{kind}"[^>]*>\n(.*?)</pre>', page, re.DOTALL)
    return html.unescape("".join(found)).splitlines()


def _payload(number: int) -> bytes:
    payload = Payload(seq=number, salt=salt(number).hex(), command="id")
    return PAYLOADS_CODEC.encode(payload) + b"\n"


def test_every_line_is_in_it(root: Path) -> None:
    """The page holds each line of the chain, byte for byte, over however many elements."""
    assert [line.encode() for line in _block(_page(root), "chain")] == lines_of(root)


def test_many_elements(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines in several elements are the same lines."""
    monkeypatch.setattr(writer, "BLOCK_LINES", 4)
    page = _page(root)
    assert page.count('data-of="chain"') == 5
    assert [line.encode() for line in _block(page, "chain")] == lines_of(root)


def test_a_key_that_somebody_else_named(tmp_path: Path) -> None:
    """A page begins with no key that the key before didn't sign (I8)."""
    chain = Chain(tmp_path)
    for identity in (STRANGER, EXECUTOR):
        chain.identity = identity
        number = chain.rotate(LATER)
        after = chain.session()
        chain.identity = EXECUTOR
        (about,) = _block(_page(tmp_path, "--since", moment(after)), "about")
        assert f'"start": {number + 1}' in about
        key = LATER if identity is EXECUTOR else EXECUTOR
        assert f'"key_here": "{key.public_key.hex}"' in about


def test_it_needs_nothing_else(root: Path) -> None:
    """No address but a name space is in the page, and its policy permits its own parts alone."""
    page = _page(root)
    assert set(re.findall(r"https?://[^\s\"')]+", page)) == {"http://www.w3.org/2000/svg"}
    policy = re.search('Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    for part in ("script", "style"):
        text = re.search(rf"<{part}>(.*?)</{part}>", page, re.DOTALL)
        assert text is not None
        digest = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
        assert f"{part}-src 'sha256-{digest}'" in policy[1]
    assert "innerHTML" not in page
    assert "eval(" not in page


def test_what_is_too_large_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings and texts over the bounds are left out, and counted on the page."""
    whole = _page(root)
    monkeypatch.setattr(writer, "RECORDING_BYTES", 200)
    monkeypatch.setattr(writer, "TEXTS_BYTES", 200)
    page = _page(root)
    about = _block(page, "about")[0]
    omitted = re.findall(r"Too large for this page, ([a-z ]+): (\d+)", about)
    texts = len(_block(whole, "texts")) - len(_block(page, "texts"))
    recordings = whole.count('data-of="recording"') - page.count('data-of="recording"')
    assert dict(omitted) == {"command texts": str(texts), "recordings": str(recordings)}
    assert all(int(number) > 0 for _, number in omitted)


def test_line_ends_have_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither recordings nor a chain of nothing but line ends make a page larger than any other."""
    chain = Chain(tmp_path)
    for number in [chain.command("yes", b"y\n") for _ in range(5)]:
        (tmp_path / RECORDINGS / recording_name(number)).write_bytes(b"\n" * 400)
    monkeypatch.setattr(writer, "RECORDINGS_BYTES", 1000)
    page = within("export", "--state", tmp_path, "--format", "html").out
    assert page.count('data-name="') == 2
    assert "Too large for this page, recordings: 3" in _block(page, "about")[0]
    chain.segments[0].write_bytes(b"\n" * 1000)
    monkeypatch.setattr(excerpt, "LINES", 100)
    page = within("export", "--state", tmp_path, "--format", "html").out
    assert _block(page, "chain") == [""] * 100
    assert "Records from 100 on are not here" in _block(page, "about")[0]


def test_times(root: Path) -> None:
    """Times choose the records; the page says where it begins and from what it goes on."""
    page = _page(root, "--since", "2026-11-25T10:00:05", "--until", "2026-11-25T10:00:09")
    assert [line.encode() for line in _block(page, "chain")] == lines_of(root)[5:9]
    about = _block(page, "about")[0]
    assert f'"prev": "{hashlib.sha256(lines_of(root)[4]).hexdigest()}"' in about
    assert f'"key_here": "{EXECUTOR.public_key.hex}"' in about


def test_texts_of_times(root: Path) -> None:
    """A page of times holds no text of an earlier or later record; the newest has those of none."""
    add(root / PAYLOADS / segment_name(0), _payload(99) + _payload(7))
    whole = _block(_page(root), "texts")
    assert len(whole) == 10
    for since, until in ((0, 5), (5, 9), (9, 18)):
        page = _page(root, "--since", moment(since), "--until", moment(until))
        here = [text for text in whole if since <= json.loads(text)["seq"] < until]
        assert _block(page, "texts") == here
    assert _block(_page(root, "--since", moment(17)), "texts") == whole[-3:-1]
    assert _block(_page(root, "--since", moment(19)), "texts") == []


def test_a_name_that_is_markup(tmp_path: Path) -> None:
    """What records say can't end the title, the style or the script."""
    chain = Chain(tmp_path)
    chain.refusal("</title></style></script></pre>", detail="</pre><script>")
    page = _page(tmp_path)
    assert page.count("</script>") == page.count("</style>") == page.count("</title>") == 1


def _replaced(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize("how", ["altered", "torn", "a link", "a name", "too much", "a remainder"])
def test_a_recording_that_is_not_the_one(tmp_path: Path, how: str) -> None:
    """A recording in a page that isn't what its record says is as bad as verify finds it (I8)."""
    chain = Chain(tmp_path / "state")
    number = chain.intent("id")
    said: dict[str, dict[str, object]] = {
        "a name": {"recording": "another.cast"},
        "too much": {"recorded_bytes": 6},
    }
    chain.outcome(
        number,
        b"uid=0",
        leftover=1,
        alter=lambda outcome: structs.replace(outcome, **said.get(how, {})),
    )
    chain.remainder(number, b"late\n")
    path = chain.root / RECORDINGS / recording_name(number)
    match how:
        case "altered":
            _replaced(path, b"uid=0", b"uid=1")
        case "torn":
            path.write_bytes(path.read_bytes()[:-1])
        case "a link":
            path.symlink_to(path.rename(tmp_path / "aside"))
        case "a remainder":
            _replaced(chain.root / RECORDINGS / remainder_name(number), b"late", b"l8te")
        case _:
            pass
    (finding,) = report(chain.root).findings
    done = within("export", "--state", chain.root, "--format", "html")
    why = f"record {finding.record}: {finding.file}: {finding.reason}"
    assert (done.status, done.err) == (1, f"tibet-nc-audit: {why}\n")
    assert done.out.endswith("</html>\n")
    assert within("export", "--state", chain.root, "--format", "html", "--exit", "9").status == 0


def test_other_formats_take_no_key(root: Path) -> None:
    """A key given to a format that checks nothing is wrong usage."""
    key = EXECUTOR.public_key.hex
    done = within("export", "--state", root, "--format", "csv", "--key", key)
    assert done.status == 2
    assert "takes no key" in done.err
