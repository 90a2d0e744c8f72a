# SPDX-License-Identifier: MIT
"""Files made by an enemy: no traceback, and nothing that a terminal would act on."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.audit.chains import Chain, sample
from tests.audit.program import safe, within

VERBS = (
    ("verify",),
    ("verify", "--json"),
    ("verify", "--chain-only"),
    ("verify", "--deep"),
    ("checkpoint",),
    ("checkpoint", "--prove", "2"),
    ("checkpoint", "--grown-from", "18"),
    ("crosscheck", "--journal", "/dev/null", "--uid", "991"),
    ("log",),
    ("log", "--json"),
    ("show", "2"),
    ("show", "--json", "7"),
    ("show", "18"),
    ("replay", "2", "--no-wait"),
    ("export", "--format", "jsonl"),
    ("export", "--format", "csv"),
    ("export", "--format", "tibet"),
    ("export", "--format", "cast", "2"),
)
SAFE = tuple(verb for verb in VERBS if verb[-1] not in {"tibet", "2"} or verb[0] == "show")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a good state directory that no test alters."""
    root = tmp_path_factory.mktemp("original")
    sample(root, segment_records=10)
    return root


def _all(root: Path) -> None:
    for verb in VERBS:
        done = within("--state", root, *verb)
        assert done.status in {0, 1, 2}
        assert safe(done.err)
        if verb in SAFE or verb[0] == "replay":
            assert safe(done.out, keep="\n\t\r" if "csv" in verb else "\n\t")


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


HOSTILE = st.one_of(
    st.binary(max_size=2_000),
    st.just(b"[" * 50_000 + b"\n"),
    st.just(b'{"seq":' + b"9" * 5_000 + b"}\n"),
    st.just(b'{"token_id":"x","erin":' + b"[" * 900 + b"]" * 900 + b"}\n"),
    st.just(b"\n" * 1_000),
    st.just(b"\0" * 1_000),
    st.just(b'{"seq":1,"prev":"\\ud800"}\n'),
)


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_arbitrary_files(
    original: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever the files hold, every verb ends with a status and safe text."""
    root = shutil.copytree(original, tmp_path_factory.mktemp("hostile") / "state")
    files = _files(root)
    for _ in range(data.draw(st.integers(min_value=1, max_value=3))):
        path = data.draw(st.sampled_from(files))
        whole = path.read_bytes()
        at = data.draw(st.integers(min_value=0, max_value=len(whole)))
        end = data.draw(st.integers(min_value=at, max_value=len(whole)))
        middle = data.draw(HOSTILE | st.sampled_from(files).map(Path.read_bytes))
        path.write_bytes(whole[:at] + middle + whole[end:])
    _all(root)
    shutil.rmtree(root.parent)


@given(names=st.lists(st.sampled_from(["chain", "payloads", "recordings", "tokens.jsonl"])))
@settings(max_examples=20, deadline=None)
def test_arbitrary_directories(
    original: Path, tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    """Directories that are gone, or files where directories should be, are one error each."""
    root = shutil.copytree(original, tmp_path_factory.mktemp("hostile") / "state")
    for index, name in enumerate(names):
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if index % 2:
            path.write_bytes(b"a file")
        elif "." in name:
            path.mkdir()
    _all(root)
    shutil.rmtree(root.parent)


@pytest.mark.parametrize("name", ["chain", "payloads", "recordings", "tokens.jsonl"])
def test_nothing_is_looked_for_elsewhere(original: Path, tmp_path: Path, name: str) -> None:
    """A link in the place of a directory or a file is not followed, whatever it leads to."""
    root = shutil.copytree(original, tmp_path / "state")
    assert within("--state", root, "verify").status == 0
    (root / name).rename(tmp_path / name)
    (root / name).symlink_to(tmp_path / name)
    assert within("--state", root, "verify").status != 0


TEXT = st.text(max_size=200).map(lambda text: text.encode(errors="replace").decode())


@given(command=TEXT.filter(bool), detail=TEXT, output=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_hostile_texts_in_a_good_chain(
    tmp_path_factory: pytest.TempPathFactory, command: str, detail: str, output: bytes
) -> None:
    """Whatever a command says and prints, the terminal of the auditor is safe (I9)."""
    root = tmp_path_factory.mktemp("texts")
    chain = Chain(root)
    chain.security(detail)
    chain.command(command, output)
    chain.command(command + "\x1b[2J\u202e", b"\x1b]0;title\x07" + output)
    chain.refusal(command, detail=detail)
    assert within("verify", "--state", root).status == 0
    _all(root)
    shutil.rmtree(root)
